package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// memberGCPercent lets the heap of a member grow to five times what lives
// before it is collected: the grid's data lives long and does not move.
const memberGCPercent = 400

// tuneMemory sets the garbage collector for a member, unless the environment
// says otherwise: it runs seldom, and more often when the memory the process
// may have comes to an end.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(memberGCPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		if limit := memoryLimit(); limit > 0 {
			// A tenth is for what is not the heap: stacks, mapped files, the kernel's
			// buffers of the connections.
			debug.SetMemoryLimit(limit - limit/10)
		}
	}
}

// memoryLimit returns how much memory the process may have: its control group's
// limit or else the machine's memory. 0: not known.
func memoryLimit() int64 {
	limit := int64(math.MaxInt64)
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
			limit = min(limit, n)
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
				kib, _ = strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			}
		}
		if kib > 0 {
			limit = min(limit, kib<<10)
		}
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}
