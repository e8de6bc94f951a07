package gridtest_test

import (
	"testing"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dmap"
)

// TestMemory_TokensOnlyGrow loses a group of a grid in memory, then all of it but
// one member, and then all of it: the versions that are handed out go on upwards.
func TestMemory_TokensOnlyGrow(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 5, gridtest.WithDurability(grid.Memory))
	last := map[string]dmap.Version{}
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
	put := func(when string) {
		t.Helper()
		m := dmap.New[string, int](c.Client(t), "numbers")
		for _, k := range keys {
			if err := m.Put(testContext(t), k, 1); err != nil {
				t.Fatal(err)
			}
			e, _, err := m.Entry(testContext(t), k)
			if err != nil {
				t.Fatal(err)
			}
			v := e.Version
			if v <= last[k] {
				t.Errorf("%s: version %d of %s after %d", when, v, k, last[k])
			}
			last[k] = v
		}
	}
	put("at first")
	a, b, lost := victims(t, c)
	c.Kill(a)
	c.Kill(b)
	c.Restart(a)
	c.Restart(b)
	c.Eventually("the group is replaced", func() bool {
		for i := range c.Len() {
			s, err := c.Status(i)
			if err != nil || !s.Ready {
				return false
			}
			for _, g := range s.Groups {
				if g.ID == lost {
					return false
				}
			}
		}
		return true
	})
	c.WaitFull()
	put("after a group was lost")
	for _, lost := range []struct {
		from int
		when string
	}{{1, "after all but one member was lost"}, {0, "after all was lost"}} {
		before, err := c.Status(lost.from)
		if err != nil {
			t.Fatal(err)
		}
		for i := lost.from; i < c.Len(); i++ {
			c.Kill(i)
		}
		for i := lost.from; i < c.Len(); i++ {
			c.Restart(i)
		}
		c.Eventually("the grid is formed anew", func() bool {
			for i := range c.Len() {
				s, err := c.Status(i)
				if err != nil || !s.Ready || s.Cluster == before.Cluster {
					return false
				}
			}
			return true
		})
		put(lost.when)
	}
}
