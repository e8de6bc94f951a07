package gridtest_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/protocol"
)

// TestRollingRestart ends all members of a volatile grid at the same time, as
// an operator without patience does: each waits until the one before it is
// back, and nothing is lost.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory), gridtest.WithConfig(func(_ int, cfg *grid.Config) {
		cfg.ShutdownTimeout = gridtest.WaitTimeout
	}))
	c.WaitFull()
	l := startLoad(t, c.Client(t))
	// One stays until the others are back: with nobody to stay nobody waits.
	var wg sync.WaitGroup
	began := time.Now()
	for i := range 2 {
		wg.Go(func() {
			c.Close(i)
			c.Restart(i)
			t.Logf("member %d: back after %v", i, time.Since(began))
		})
	}
	wg.Wait()
	c.WaitFull()
	c.Close(2)
	c.Restart(2)
	c.WaitFull()
	l.end()
	sameHashes(t, c)
}

// TestLeaveWaitsForVotes ends a member while the copy of one that has returned
// has no vote yet: of two who vote none can go.
func TestLeaveWaitsForVotes(t *testing.T) {
	t.Parallel()
	const last = protocol.SystemGroup + 3 // the group whose place is filled last: no other place makes it wait
	var armed atomic.Bool
	reached, release := make(chan int, 1), make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	defer let() // where the test fails before
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory), gridtest.WithConfig(func(_ int, cfg *grid.Config) {
		cfg.ShutdownTimeout = gridtest.WaitTimeout
	}), gridtest.WithSteps(func(i int, point string, g protocol.GroupID) {
		if point == tune.DropAgreed && g == last && armed.CompareAndSwap(true, false) {
			reached <- i
			<-release
		}
	}))
	c.WaitFull()
	l := startLoad(t, c.Client(t))
	armed.Store(true)
	c.Kill(0)
	c.Restart(0)
	var coordinates int
	select {
	case coordinates = <-reached:
	case <-time.After(gridtest.WaitTimeout):
		t.Fatal("no place is given back")
	}
	other := 3 - coordinates // of the two that were there all the time
	left := make(chan struct{})
	go func() {
		defer close(left)
		c.Close(other)
	}()
	select {
	case <-left:
		t.Error("a member has ended that a group could not do without")
	case <-time.After(2 * time.Second):
	}
	let()
	<-left
	c.Restart(other)
	c.WaitFull()
	l.end()
	sameHashes(t, c)
}

// TestLeaveTogether shows that members that all end do not wait for each other:
// Close of a Cluster fails long before their time is up.
func TestLeaveTogether(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithConfig(func(_ int, cfg *grid.Config) { cfg.ShutdownTimeout = time.Hour }))
	c.WaitFull()
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() { c.Close(i) })
	}
	wg.Wait()
}
