package gridtest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dmap"
)

// TestMemory_MinorityKilled shows a grid in memory: it says so, and with one of
// three members killed nothing that was acknowledged is lost.
func TestMemory_MinorityKilled(t *testing.T) {
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
