package gridtest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
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
