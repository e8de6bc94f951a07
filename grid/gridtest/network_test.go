package gridtest_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// TestCutOneWay cuts the leader of a counter off in each way that a link can
// be cut one way, and all the time the counter counts.
func TestCutOneWay(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	cl := c.Client(t)
	hits := dcounter.New(cl, "hits")
	want := int64(0)
	add := func() {
		t.Helper()
		n, err := hits.Add(ctx, 1)
		if want++; err != nil || n != want {
			t.Fatalf("%d, %v; want %d", n, err, want)
		}
	}
	add()
	for _, cut := range []struct {
		what string
		do   func(leader, other int)
	}{
		{"it hears nobody", func(leader, other int) { c.CutOneWay(other, leader) }},
		{"nobody hears it", func(leader, other int) { c.CutOneWay(leader, other) }},
		{"one does not hear it", func(leader, other int) {
			if other == (leader+1)%3 {
				c.CutOneWay(leader, other)
			}
		}},
		{"it is isolated", func(leader, _ int) { c.Isolate(leader) }},
	} {
		leader := c.Leader(cl, "hits", nil)
		for other := range 3 {
			if other != leader {
				cut.do(leader, other)
			}
		}
		began := time.Now()
		for range 5 {
			add()
		}
		t.Logf("%s: served after %v", cut.what, time.Since(began))
		c.Heal()
		c.WaitReady()
	}
	sameHashes(t, c)
}

// TestMinoritySide shows that what is cut off from the majority serves neither
// reads nor writes, and that a client on that side is told that nothing was
// done, or that it is not known.
func TestMinoritySide(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	cl := c.Client(t, client.WithOperationTimeout(1500*time.Millisecond))
	hits := dcounter.New(cl, "hits")
	if n, err := hits.Add(ctx, 1); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for range 3 { // what a leader might be tempted to rest on
		if n, err := hits.Get(ctx); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	leader := c.Leader(cl, "hits", nil)
	others := []int{(leader + 1) % 3, (leader + 2) % 3}
	c.Partition([]int{leader, gridtest.Clients}, others)
	if n, err := hits.Get(t.Context()); err == nil {
		t.Errorf("a minority answers a read with %d", n)
	}
	if err := dmap.New[string, int](cl, "entries{hits}").Put(t.Context(), "k", 1); err == nil {
		t.Error("a minority puts")
	}
	if _, err := hits.Add(t.Context(), 1); err == nil {
		t.Error("a minority adds")
	} else if !errors.Is(err, quorate.ErrUnavailable) && !errors.Is(err, quorate.ErrOutcomeUnknown) {
		t.Errorf("write: %v", err)
	}
	// The others go on.
	n, err := dcounter.New(c.Member(others[0]).Client(), "hits").Add(ctx, 1)
	if err != nil || n < 2 || n > 3 {
		t.Fatalf("the majority: %d, %v", n, err)
	}
	c.Heal()
	if _, err := hits.Add(ctx, 1); err != nil {
		t.Fatalf("healed: %v", err)
	}
	sameHashes(t, c)
}

// TestTablesAreFresh shows that a client that comes later is told who leads now.
func TestTablesAreFresh(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	c.Client(t)
	for _, g := range c.Groups(0) {
		to := (c.LeaderOf(g) + 1) % 3
		c.MoveLeader(g, to)
		table := c.Client(t).Table()
		for _, told := range table.Groups {
			if name := nameOf(&table, told.Leader); told.ID == g && name != fmt.Sprintf("n%d", to+1) {
				t.Errorf("group %d: %q is told to lead, member %d does", g, name, to)
			}
		}
	}
}

func nameOf(t *protocol.Table, id protocol.MemberID) string {
	for _, m := range t.Members {
		if m.ID == id {
			return m.Name
		}
	}
	return ""
}

// TestBadNetwork counts over links that lose, double, reorder, delay and break.
func TestBadNetwork(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	c.SetLinks(gridtest.Link{
		Delay: time.Millisecond, Jitter: 4 * time.Millisecond,
		Loss: 0.02, Duplicate: 0.1, Reorder: 0.1, Reset: 0.002,
	})
	const workers, adds = 6, 40
	var wg sync.WaitGroup
	for w := range workers {
		cl := c.Client(t)
		wg.Go(func() {
			for i := range adds {
				if _, err := dcounter.New(cl, fmt.Sprint("hits", i%3)).Add(ctx, 1); err != nil {
					t.Errorf("worker %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	c.Heal()
	total := int64(0)
	for i := range 3 {
		n, err := dcounter.New(c.Client(t), fmt.Sprint("hits", i)).Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if total != workers*adds {
		t.Errorf("%d, want %d", total, workers*adds)
	}
	sameHashes(t, c)
}
