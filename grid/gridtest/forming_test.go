package gridtest_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/protocol"
)

// TestFounderRestarts kills the founder, or another member, at each step of
// forming the cluster, and starts it again, in memory as a new incarnation: in the
// end there is one cluster with everyone in it. Of the steps some are tried at a
// time, of both durabilities and of founder and member; all under QUORATE_SOAK.
func TestFounderRestarts(t *testing.T) {
	n := 0
	for _, durability := range []grid.Durability{grid.Memory, grid.Disk} {
		for _, point := range tune.FormingPoints() {
			for _, founder := range []bool{true, false} {
				n++
				if os.Getenv("QUORATE_SOAK") == "" && !(durability == grid.Memory && founder) && n%5 != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/founder %t", durability, point, founder), func(t *testing.T) {
					t.Parallel()
					founderRestarts(t, durability, point, founder)
				})
			}
		}
	}
}

func founderRestarts(t *testing.T, durability grid.Durability, point string, founder bool) {
	var armed atomic.Bool
	armed.Store(true)
	hit, resume := make(chan int, 1), make(chan struct{})
	var c *gridtest.Cluster
	ready := make(chan struct{})
	c = gridtest.Start(t, 3, gridtest.WithoutWait(), gridtest.WithDurability(durability),
		gridtest.WithSteps(func(i int, at string, g protocol.GroupID) {
			if at != point || g != protocol.SystemGroup || !armed.CompareAndSwap(true, false) {
				return
			}
			<-ready // c is there
			if founder {
				c.Pause(i) // nobody hears of it any more
				hit <- i
				return
			}
			hit <- i
			<-resume
		}))
	close(ready)
	select {
	case i := <-hit:
		if !founder {
			i = (i + 1) % 3
		}
		t.Logf("member %d is killed", i)
		c.Kill(i)
		close(resume)
		c.Restart(i)
	case <-time.After(gridtest.WaitTimeout):
		close(resume)
		t.Fatalf("nobody has come to: %s\n%s", point, c.Diagnose())
	}
	c.WaitReady()
	oneCluster(t, c, 3)
}
