package gridtest_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// testContext bounds all that a test does, of several waits.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*gridtest.WaitTimeout)
	t.Cleanup(cancel)
	return ctx
}

func TestForm(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := gridtest.Start(t, 3)
	t.Logf("formed after %v", time.Since(began))
	ctx := testContext(t)
	cl := c.Client(t)
	m := dmap.New[string, string](cl, "users")
	if err := m.Put(ctx, "ada", "lovelace"); err != nil {
		t.Fatal(err)
	}
	// The embedded clients see it, too.
	for i := range 3 {
		v, ok, err := dmap.New[string, string](c.Member(i).Client(), "users").Get(ctx, "ada")
		if err != nil || !ok || v != "lovelace" {
			t.Errorf("member %d: got %q, %t, %v", i, v, ok, err)
		}
		n, err := dcounter.New(c.Member(i).Client(), "hits").Add(ctx, 1)
		if err != nil || n != int64(i+1) {
			t.Errorf("member %d: counter %d, %v", i, n, err)
		}
	}
}

func TestAlone(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1)
	n, err := dcounter.New(c.Client(t), "hits").Add(testContext(t), 5)
	if err != nil || n != 5 {
		t.Fatalf("got %d, %v", n, err)
	}
}

func TestKillTheLeader(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	cl := c.Client(t)
	hits := dcounter.New(cl, "hits")
	if _, err := hits.Add(ctx, 1); err != nil {
		t.Fatal(err)
	}
	victim := c.Leader(cl, "hits", nil)
	began := time.Now()
	c.Kill(victim)
	for range 9 {
		if _, err := hits.Add(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("served again after %v", time.Since(began))
	c.Restart(victim)
	c.WaitReady()
	if n, err := hits.Get(ctx); err != nil || n != 10 {
		t.Fatalf("counter %d, %v, want 10", n, err)
	}
	sameHashes(t, c)
}

func TestRestartAll(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	cl := c.Client(t)
	m := dmap.New[string, int](cl, "numbers")
	for i := range 100 {
		if err := m.Put(ctx, fmt.Sprint(i), i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		c.Kill(i)
	}
	for i := range 3 {
		c.Restart(i)
	}
	c.WaitReady()
	for i := range 100 {
		v, ok, err := m.Get(ctx, fmt.Sprint(i))
		if err != nil || !ok || v != i {
			t.Fatalf("%d: got %d, %t, %v", i, v, ok, err)
		}
	}
	sameHashes(t, c)
}

// sameHashes waits until replicas that have applied the same have equal hashes.
func sameHashes(t *testing.T, c *gridtest.Cluster) {
	t.Helper()
	type at struct{ group, applied uint64 }
	c.Eventually("equal hashes of all replicas", func() bool {
		hashes := map[at]map[uint64]int{}
		for i := range c.Len() {
			r, err := c.Hashes(i)
			if err != nil {
				return false
			}
			for _, g := range r.Groups {
				k := at{g.ID, g.Applied}
				if hashes[k] == nil {
					hashes[k] = map[uint64]int{}
				}
				hashes[k][g.Hash]++
			}
		}
		for k, h := range hashes {
			if len(h) > 1 {
				t.Fatalf("group %d at index %d has different hashes: %v", k.group, k.applied, h)
			}
			for _, n := range h {
				if n != c.Len() {
					return false
				}
			}
		}
		return len(hashes) > 0
	})
}

func TestCutAndPause(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	cl := c.Client(t)
	hits := dcounter.New(cl, "hits")
	for i := range 30 {
		if i%10 == 5 {
			c.CutClients()
		}
		if _, err := hits.Add(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	victim := c.Leader(cl, "hits", nil)
	c.Pause(victim)
	for range 10 {
		if _, err := hits.Add(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	c.Resume(victim)
	if n, err := hits.Get(ctx); err != nil || n != 40 {
		t.Fatalf("counter %d, %v, want 40", n, err)
	}
}

func TestLeadersSpread(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	c.Eventually("every member leads one data group", func() bool {
		s, err := c.Status(0)
		if err != nil {
			return false
		}
		leads := map[uint64]int{}
		for _, g := range s.Groups {
			if g.ID != uint64(protocol.SystemGroup) {
				leads[g.Leader]++
			}
		}
		return len(leads) == 3
	})
}

// TestNoLeaderIsKnown has a member learn from others who leads while it starts:
// it believes them no longer once they are gone.
func TestNoLeaderIsKnown(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	c.Kill(0)
	c.Restart(0)
	c.WaitReady()
	c.Kill(1)
	c.Kill(2)
	c.Eventually("no group to have a leader", func() bool {
		s, err := c.Status(0)
		if err != nil {
			return false
		}
		for _, g := range s.Groups {
			if g.Leader != 0 {
				return false
			}
		}
		return len(s.Groups) > 1
	})
}

func TestJoinAFormedCluster(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 2)
	ctx := testContext(t)
	i := c.Add()
	c.WaitReady()
	n, err := dcounter.New(c.Member(i).Client(), "hits").Add(ctx, 3)
	if err != nil || n != 3 {
		t.Fatalf("got %d, %v", n, err)
	}
}

// TestKilledMemberMoves starts a killed member again at another port before
// the others have missed it.
func TestKilledMemberMoves(t *testing.T) {
	t.Parallel()
	move := false
	c := gridtest.Start(t, 3, gridtest.WithConfig(func(i int, cfg *grid.Config) {
		if i == 1 && move {
			cfg.Listen = "127.0.0.1:0"
		}
	}))
	ctx := testContext(t)
	cl := c.Client(t)
	old := c.Member(1).Addr()
	c.Kill(1)
	hold, err := net.Listen("tcp", old) // so that no other member gets it
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	move = true
	restarted := time.Now()
	c.Restart(1)
	c.WaitReady()
	t.Logf("ready after %v", time.Since(restarted))
	if n, err := dcounter.New(cl, "hits").Add(ctx, 1); err != nil || n != 1 {
		t.Fatalf("counter %d, %v", n, err)
	}
	began := time.Now()
	c.Eventually("everyone knows the new address", func() bool {
		for i := range 3 {
			s, err := c.Status(i)
			if err != nil {
				return false
			}
			for _, m := range s.Members {
				if m.Name == "n2" && m.Address != c.Member(1).Addr() {
					return false
				}
			}
		}
		return true
	})
	t.Logf("known everywhere after %v", time.Since(began))
	// It takes part again: the others may lose one.
	c.Kill(0)
	if n, err := dcounter.New(cl, "hits").Add(ctx, 1); err != nil || n != 2 {
		t.Fatalf("counter %d, %v", n, err)
	}
}

// TestRestartAllFromSnapshots shows that every group, the system group among
// them, starts again from a snapshot: also where a replica began without a
// vote.
func TestRestartAllFromSnapshots(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithTuning(func(cfg *shardgroups.Config) { cfg.SnapshotBytes, cfg.RetainBytes = 1, 1 }))
	ctx, cancel := context.WithTimeout(context.Background(), gridtest.WaitTimeout)
	defer cancel()
	hits := dcounter.New(c.Client(t), "hits")
	for range 100 {
		if _, err := hits.Add(ctx, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Millisecond) // snapshots are looked at once a second
	}
	for i := range 3 {
		c.Kill(i)
	}
	for i := range 3 {
		c.Restart(i)
	}
	c.WaitReady()
	if n, err := hits.Get(ctx); err != nil || n != 100 {
		t.Fatalf("%d, %v; want 100", n, err)
	}
	for i := range 3 {
		s, err := c.Status(i)
		if err != nil || !s.Ready {
			t.Errorf("member %d: %+v, %v", i, s, err)
		}
		for _, g := range s.Groups {
			if g.Applied == 0 {
				t.Errorf("member %d: group %d has a state, and no index of it", i, g.ID)
			}
		}
	}
}
