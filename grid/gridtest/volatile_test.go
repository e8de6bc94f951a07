package gridtest_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
)

// TestMemoryKilledInTurn kills each member of a volatile grid under load, each
// after the groups are full again: every one returns as a new incarnation, and
// nothing that was acknowledged is lost.
func TestMemoryKilledInTurn(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
	l := startLoad(t, c.Client(t))
	for round := range 4 {
		c.WaitFull()
		i := round % 3
		c.Kill(i)
		began := time.Now()
		c.Restart(i)
		c.WaitFull()
		t.Logf("member %d: full after %v", i, time.Since(began))
	}
	l.end()
	sameHashes(t, c)
}
