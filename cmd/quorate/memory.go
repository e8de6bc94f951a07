package main

import (
	"os"
	"runtime/debug"

	"github.com/quorate/quorate/grid"
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
		if limit := grid.SystemMemory(); limit > 0 {
			debug.SetMemoryLimit(limit - notHeap(limit))
		}
	}
}

// notHeap is how much of a limit is left to what the runtime does not count:
// the log store's tables, mapped files, the kernel's buffers of connections.
func notHeap(limit int64) int64 {
	const least = 64 << 20
	return max(limit/10, min(least, limit/4))
}
