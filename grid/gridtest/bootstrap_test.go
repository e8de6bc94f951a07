package gridtest_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dcounter"
)

// TestCrashesWhileForming kills members at any moment of the first start, and
// starts them again: there must be one cluster in the end, with everyone in it.
func TestCrashesWhileForming(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := gridtest.Start(t, 3, gridtest.WithoutWait())
	for range 6 {
		time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond)
		i := rng.IntN(3)
		c.Kill(i)
		c.Restart(i)
	}
	c.WaitReady()
	oneCluster(t, c, 3)
}

// TestPauseWhileForming cuts the founder off while it founds.
func TestPauseWhileForming(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithoutWait())
	time.Sleep(300 * time.Millisecond)
	for i := range 3 {
		c.Pause(i)
		time.Sleep(200 * time.Millisecond)
		c.Resume(i)
	}
	c.WaitReady()
	oneCluster(t, c, 3)
}

// A member that expects others to found a cluster with, and finds one that is
// formed, joins it.
func TestBlankMembersJoinRatherThanFound(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1)
	// A member that expects three finds a formed cluster, and joins it.
	c2 := gridtest.Start(t, 1, gridtest.WithoutWait(), gridtest.WithConfig(func(_ int, cfg *grid.Config) {
		cfg.Name, cfg.BootstrapExpect, cfg.Join = "late", 3, c.Addrs()
	}))
	c2.WaitReady()
	oneCluster(t, c2, 2)
}

func oneCluster(t *testing.T, c *gridtest.Cluster, members int) {
	t.Helper()
	cluster := ""
	for i := range c.Len() {
		var err error
		c.Eventually("all members listed", func() bool {
			s, e := c.Status(i)
			err = e
			if e == nil && cluster == "" {
				cluster = s.Cluster
			}
			return e == nil && s.Ready && s.Cluster == cluster && len(s.Members) == members
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	n, err := dcounter.New(c.Client(t), "hits").Add(testContext(t), 1)
	if err != nil || n != 1 {
		t.Fatalf("counter %d, %v", n, err)
	}
}
