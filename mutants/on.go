//go:build mutants

package mutants

import (
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

var (
	planted = Bug(os.Getenv("QUORATE_MUTANT"))
	started = time.Now()
)

// On reports whether a bug is planted.
func On(b Bug) bool { return b == planted }

// Drift returns what a replica's own clock adds to the replicated one, in
// nanoseconds: where OwnClock is planted, the time since the process started.
func Drift() int64 {
	if !On(OwnClock) {
		return 0
	}
	return int64(time.Since(started))
}

var first sync.Map // by Bug

// First returns the first v of all where b is planted, and v otherwise.
func First[T any](b Bug, v T) T {
	if !On(b) {
		return v
	}
	was, _ := first.LoadOrStore(b, v)
	return was.(T)
}

// Shuffle gives s another order each time where b is planted.
func Shuffle[T any](b Bug, s []T) {
	if On(b) {
		rand.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	}
}
