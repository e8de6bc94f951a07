package member

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/quorate/quorate/grid"
)

// memberGCPercent lets the heap of a member grow to five times what lives
// before it is collected: the grid's data lives long and does not move.
const memberGCPercent = 400

// leastLimit is the least limit that is worth keeping.
const leastLimit = 64 << 20

// TuneMemory sets the garbage collector for members, unless the environment
// says otherwise: it runs seldom, and more often when the memory the process
// may have comes to an end. It returns how much that is, 0 where it is not
// known; until ctx ends what is resident is held to it.
//
// The limit of Go's runtime, which GOMEMLIMIT sets, is one of what the runtime
// knows of. Here it is one of all: the runtime gets what the rest leaves.
func TuneMemory(ctx context.Context) int64 {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(memberGCPercent)
	}
	limit := debug.SetMemoryLimit(-1) // reads it
	if os.Getenv("GOMEMLIMIT") == "" {
		system := grid.SystemMemory()
		if system == 0 {
			return 0
		}
		limit = system - notOurs(system)
	}
	if limit < leastLimit || limit == math.MaxInt64 {
		return 0
	}
	debug.SetMemoryLimit(ForHeap(limit, 0))
	go func() {
		for last := int64(0); ; {
			resident, outside := grid.ResidentMemory()
			if h := ForHeap(limit, outside); h != last {
				debug.SetMemoryLimit(h)
				last = h
			}
			pause := 250 * time.Millisecond
			if resident < limit/2 {
				pause = time.Second
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	}()
	return limit
}

// ForHeap is what the runtime may have of a limit when so much is resident that
// it does not know of. The runtime goes a little beyond its limit while it
// collects. In steps, because a new limit makes it compute anew.
func ForHeap(limit, outside int64) int64 {
	const step = 4 << 20
	outside = (outside + step - 1) / step * step
	return max(limit-outside-limit/32, limit/2)
}

// notOurs is how much of what the system lets the process have is left to what
// is not resident in it and counts all the same: the kernel's buffers of
// connections, and of files that are being written.
func notOurs(limit int64) int64 {
	const least = 64 << 20
	return max(limit/10, min(least, limit/4))
}
