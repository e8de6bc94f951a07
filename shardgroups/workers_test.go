package shardgroups

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestWorkersStartWhileAwaited: requests that are in the Host when it closes
// start goroutines while Close waits for the others, and just after.
func TestWorkersStartWhileAwaited(t *testing.T) {
	var w workers
	var started, ended atomic.Int64
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 50_000 {
				started.Add(1)
				next := make(chan struct{})
				w.run(func() { ended.Add(1); close(next) })
				<-next
			}
		})
	}
	for range 4 {
		all.Go(func() {
			for range 20_000 {
				w.wait()
			}
		})
	}
	all.Wait()
	w.wait()
	if s, e := started.Load(), ended.Load(); s != e {
		t.Fatalf("%d goroutines have ended of %d", e, s)
	}
}
