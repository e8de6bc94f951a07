package gridtest_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// TestMemory_MinorityKilled shows a grid in memory: it says so, and with one of
// three members killed nothing that was acknowledged is lost.
func TestMemory_MinorityKilled(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
	for i := range c.Len() {
		if s, err := c.Status(i); err != nil || s.Durability != "memory" {
			t.Fatalf("member %d has durability %q: %v", i, s.Durability, err)
		}
	}
	cl := c.Client(t)
	if d := cl.Durability(); d != "memory" {
		t.Errorf("a client sees durability %q", d)
	}
	m := dmap.New[int, string](cl, "entries")
	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()
	const n = 300
	for k := range n {
		if err := m.Put(ctx, k, fmt.Sprint(k)); err != nil {
			t.Fatal(err)
		}
		if k == n/2 {
			c.Kill(c.Leader(cl, "entries", nil))
		}
	}
	for k := range n {
		if v, ok, err := m.Get(ctx, k); err != nil || !ok || v != fmt.Sprint(k) {
			t.Fatalf("key %d: %q, %t: %v", k, v, ok, err)
		}
	}
}

// TestMemory_DurabilityDiffers shows that a member of another durability than
// the cluster's is refused, both ways, with both named.
func TestMemory_DurabilityDiffers(t *testing.T) {
	t.Parallel()
	for have, other := range map[grid.Durability]grid.Durability{grid.Disk: grid.Memory, grid.Memory: grid.Disk} {
		t.Run(string(have), func(t *testing.T) {
			c := gridtest.Start(t, 1, gridtest.WithDurability(have))
			cfg := grid.Config{Name: "late", Durability: other, Listen: "127.0.0.1:0", Join: c.Addrs()}
			if other == grid.Disk {
				cfg.DataDir = t.TempDir()
			}
			m, err := grid.Start(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
			defer cancel()
			err = m.Ready(ctx)
			if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), string(have)) || !strings.Contains(err.Error(), string(other)) {
				t.Fatalf("ready: %v", err)
			}
		})
	}
}

// TestMemory_LaggingMemberIsStreamed shows that a member that was cut off for
// longer than the logs reach back has the same state again, from memory.
func TestMemory_LaggingMemberIsStreamed(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory),
		gridtest.WithTuning(func(cfg *shardgroups.Config) { cfg.SnapshotBytes, cfg.RetainBytes = 32<<10, 16<<10 }))
	cl := c.Client(t)
	m := dmap.New[int, string](cl, "entries")
	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()
	const late = 2
	streams := func() (n uint64) {
		for i := range c.Len() {
			if s, err := c.Status(i); err == nil {
				for _, g := range s.Groups {
					n += g.Snapshots
				}
			}
		}
		return n
	}
	value := strings.Repeat("x", 10_000)
	fill := map[int]string{}
	for k := range 500 {
		fill[k] = value
	}
	same := func() bool {
		want, err := c.Hashes(0)
		if err != nil {
			return false
		}
		got, err := c.Hashes(late)
		return err == nil && len(want.Groups) > 0 && slices.Equal(want.Groups, got.Groups)
	}
	// What is missed must have gone from the log of whoever leads when the late one
	// is back: again, until it was so.
	for round := 0; streams() == 0; round++ {
		if round == 10 {
			t.Fatal("no stream, however often the late one was late")
		}
		for i := range late { // lost, not held up: it would arrive in the end
			c.SetLink(i, late, gridtest.Link{Loss: 1})
			c.SetLink(late, i, gridtest.Link{Loss: 1})
		}
		for range 3 {
			if err := m.PutAll(ctx, maps.All(fill)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range late {
			c.Snapshot(i)
		}
		c.Heal()
		c.Eventually("the same state everywhere", same)
	}
}

// TestMemory_RestartStorm kills a member again and again while it starts: each
// start is another incarnation at the same address, and must not take over what
// was meant for the one before.
func TestMemory_RestartStorm(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
	cl := c.Client(t)
	hits := dcounter.New(cl, "hits")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range int64(2) {
		if _, err := hits.Add(testContext(t), 1); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			c.Kill(0)
			c.Restart(0)
			time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond) // when in its start it is killed
		}
		c.WaitReady()
		c.WaitFull()
		if n, err := hits.Get(testContext(t)); err != nil || n != round+1 {
			t.Errorf("counter %d, %v, want %d", n, err, round+1)
		}
	}
	sameHashes(t, c)
}
