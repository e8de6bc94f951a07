package gridtest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dmap"
)

// TestForgedGossip: what a stranger says in the name of a member makes no group
// refuse writes, and no member discard its data at its next start.
func TestForgedGossip(t *testing.T) {
	c := gridtest.Start(t, 3)
	cl := c.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()
	m := dmap.New[string, int](cl, "m")
	const victim = 1
	was := incarnation(t, c, victim)
	stop := c.Forge(victim, gridtest.Forgery{MemoryFull: true, DiskFull: true, DiskOut: true, Run: 1 << 40})
	c.Eventually("the others have heard it", func() bool {
		return c.Logged("a member is not in the condition that was announced")
	})
	for i := range 200 {
		if err := m.Put(ctx, fmt.Sprint(i%10), i); err != nil {
			t.Fatalf("put %d: %v\n%s", i, err, c.Diagnose())
		}
		s, err := c.Status(i % 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range s.Members {
			if o.MemoryFull || o.DiskFull {
				t.Fatalf("look %d: member %d believes that %s is full", i, i%3, o.Name)
			}
		}
		for _, g := range s.Groups {
			if g.Refuses != "" {
				t.Fatalf("look %d: group %d refuses writes: %s", i, g.ID, g.Refuses)
			}
		}
	}
	stop()
	c.Close(victim)
	c.Restart(victim)
	c.WaitFull()
	if is := incarnation(t, c, victim); is != was {
		t.Errorf("the member has discarded its data: it was %s and is %s", was, is)
	}
}
