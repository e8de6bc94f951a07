//go:build mutants

package mutants

import (
	"math/rand/v2"
	"os"
	"reflect"
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

var (
	versionsMu sync.Mutex // guards versions
	versions   = map[any][2]any{}
)

var kept sync.Map

// Keep keeps a number for an owner, for Kept.
func Keep(owner any, n int) { kept.Store(owner, n) }

// Kept returns what was kept for an owner last, once.
func Kept(owner any) (n int, ok bool) {
	v, ok := kept.LoadAndDelete(owner)
	if ok {
		n = v.(int)
	}
	return n, ok
}

// Previous returns v, or, where b is planted, what v was for the same owner before
// it changed last.
func Previous[T any](b Bug, owner any, v T) T {
	if !On(b) {
		return v
	}
	versionsMu.Lock()
	defer versionsMu.Unlock()
	was, ok := versions[owner]
	if !ok {
		was = [2]any{v, v}
	}
	if !reflect.DeepEqual(was[1], v) {
		was = [2]any{was[1], v}
	}
	versions[owner] = was
	return was[0].(T)
}

// Shuffle gives s another order each time where b is planted.
func Shuffle[T any](b Bug, s []T) {
	if On(b) {
		rand.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	}
}
