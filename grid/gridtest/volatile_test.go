package gridtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
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

// TestMemoryLost_ClientGoesOn takes the memory of all members, and of most,
// while a client works, holds a permit and waits: it is told what it has lost,
// and goes on in the grid that is formed anew, from nothing.
func TestMemoryLost_ClientGoesOn(t *testing.T) {
	for name, killed := range map[string]int{"all": 3, "most": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
			ctx := testContext(t)
			cl := c.Client(t)
			hits, free := dcounter.New(cl, "hits"), dsemaphore.New(cl, "free")
			if err := hits.Set(ctx, 1000); err != nil {
				t.Fatal(err)
			}
			if err := free.Init(ctx, 1); err != nil {
				t.Fatal(err)
			}
			held, err := free.Acquire(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			took := make(chan error, 1)
			go func() {
				_, err := dqueue.New[string](cl, "jobs").Take(ctx)
				took <- err
			}()
			before := cl.Cluster()
			for i := range killed {
				c.Kill(i)
			}
			for i := range killed {
				c.Restart(i)
			}
			// One that comes to the new grid first: what it has must stay its own.
			var other *client.Client
			c.Eventually("the grid is formed anew", func() bool {
				short, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				other, err = client.Dial(short, c.Addrs())
				if err != nil {
					return false
				}
				t.Cleanup(func() { other.Close() })
				return other.Cluster() != before
			})
			others := dcounter.New(other, "others")
			for i := range 10 {
				if n, err := others.Add(ctx, 1); err != nil || n != int64(i+1) {
					t.Errorf("add %d of another client: %d, %v", i, n, err)
				}
			}

			<-held.Context().Done()
			if err := context.Cause(held.Context()); !errors.Is(err, quorate.ErrSessionLost) {
				t.Errorf("what was held ends with %v", err)
			}
			if err := <-took; !errors.Is(err, quorate.ErrSessionLost) {
				t.Errorf("what waited ends with %v", err)
			}
			for want := int64(1); want <= 10; {
				switch n, err := hits.Add(ctx, 1); {
				case errors.Is(err, quorate.ErrGridLost) && want == 1:
					t.Log(err)
				case err != nil || n != want:
					t.Fatalf("add in the new grid: %d, %v, want %d", n, err, want)
				default:
					want++
				}
			}
			if cl.Cluster() == before {
				t.Error("the client says that it is in the old grid")
			}
			if n, err := others.Get(ctx); err != nil || n != 10 {
				t.Errorf("what another client counted: %d, %v", n, err)
			}
			if killed < 3 {
				return // who was left knows that permits are held back
			}
			if err := free.Init(ctx, 1); err != nil {
				t.Fatal(err)
			}
			again, err := free.Acquire(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			if again.Token() <= held.Token() {
				t.Errorf("token %d after %d", again.Token(), held.Token())
			}
		})
	}
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
		hits := dcounter.New(c.Member(i).Client(), "hits")
		n, err := hits.Add(ctx, 1)
		for errors.Is(err, quorate.ErrGridLost) { // once: the member's client has not noticed before
			n, err = hits.Add(ctx, 1)
		}
		if err != nil || n != int64(i+1) {
			t.Errorf("by member %d: counter %d, %v, want %d", i, n, err, i+1)
		}
	}
}
