package gridtest_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dcounter"
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

// TestMemoryOfAllLost kills all members of a volatile grid: it is formed anew,
// empty.
func TestMemoryOfAllLost(t *testing.T) {
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
	fill(t, c)
	before := clusterOf(t, c, 0)
	for i := range 3 {
		c.Kill(i)
	}
	for i := range 3 {
		c.Restart(i)
	}
	formedAnew(t, c, before)
}

// TestMemoryOfMostLost kills two of three members: the third has proof that the
// memory of the majority is lost, and the grid is formed anew, empty.
func TestMemoryOfMostLost(t *testing.T) {
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
	fill(t, c)
	before := clusterOf(t, c, 0)
	for i := range 2 {
		c.Kill(i)
	}
	for i := range 2 {
		c.Restart(i)
	}
	c.Eventually("the survivor gives the grid up", func() bool {
		s, err := c.Status(2)
		return err == nil && s.Cluster != before
	})
	formedAnew(t, c, before)
}

// TestMemoryCutOff cuts a member off from the others, which are started again
// one after the other: it has no leader, and no reason to give anything up.
func TestMemoryCutOff(t *testing.T) {
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
	fill(t, c)
	c.WaitFull()
	before := clusterOf(t, c, 0)
	c.Pause(2)
	time.Sleep(5 * time.Second) // long enough to miss a leader and look for proof
	c.Resume(2)
	c.WaitFull()
	for i := range 3 {
		if got := clusterOf(t, c, i); got != before {
			t.Errorf("member %d is in cluster %s, was in %s", i, got, before)
		}
	}
}

func fill(t *testing.T, c *gridtest.Cluster) {
	t.Helper()
	if _, err := dcounter.New(c.Client(t), "hits").Add(testContext(t), 5); err != nil {
		t.Fatal(err)
	}
}

func clusterOf(t *testing.T, c *gridtest.Cluster, i int) string {
	t.Helper()
	s, err := c.Status(i)
	if err != nil {
		t.Fatal(err)
	}
	return s.Cluster
}

func formedAnew(t *testing.T, c *gridtest.Cluster, before string) {
	t.Helper()
	c.WaitFull()
	after := clusterOf(t, c, 0)
	if after == before {
		t.Fatal("the grid is the same")
	}
	for i := range c.Len() {
		if got := clusterOf(t, c, i); got != after {
			t.Errorf("member %d is in cluster %s, member 0 in %s", i, got, after)
		}
		ctx := testContext(t)
		if err := c.Member(i).Ready(ctx); err != nil {
			t.Fatal(err)
		}
		n, err := dcounter.New(c.Member(i).Client(), "hits").Add(ctx, 1)
		if err != nil || n != int64(i+1) {
			t.Errorf("by member %d: counter %d, %v, want %d", i, n, err, i+1)
		}
	}
}
