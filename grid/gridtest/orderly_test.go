package gridtest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// TestCloseUnderLoad closes every member once, in order, while clients work:
// no operation may fail, and none may be lost or done twice.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	cl := c.Client(t)
	const workers = 8
	var done [workers]int64
	var wg sync.WaitGroup
	for w := range workers {
		counter := dcounter.New(cl, fmt.Sprint("hits", w))
		wg.Go(func() {
			for ctx.Err() == nil {
				// The context of the operation outlives the load: what was begun is
				// answered.
				if _, err := counter.Add(t.Context(), 1); err != nil {
					t.Errorf("worker %d after %d: %v", w, done[w], err)
					return
				}
				done[w]++
			}
		})
	}
	for i := range 3 {
		c.Close(i)
		c.Restart(i)
		c.WaitReady()
	}
	stop()
	wg.Wait()
	total := int64(0)
	for w := range workers {
		n, err := dcounter.New(cl, fmt.Sprint("hits", w)).Get(t.Context())
		if err != nil || n != done[w] {
			t.Errorf("worker %d: counter %d, %v, want %d", w, n, err, done[w])
		}
		total += n
	}
	t.Logf("%d operations", total)
	sameHashes(t, c)
}

// TestForward lets a client that reaches one member only use all of the grid.
func TestForward(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	for i := range 3 {
		cl, err := client.Dial(ctx, c.Addrs()[i:i+1], client.WithForward())
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		m := dmap.New[string, int](cl, "numbers")
		for k := range 20 {
			if err := m.Put(ctx, fmt.Sprint(k), i); err != nil {
				t.Fatalf("by member %d: %v", i, err)
			}
		}
	}
	n, err := dmap.New[string, int](c.Client(t), "numbers").Len(ctx)
	if err != nil || n != 20 {
		t.Errorf("%d entries, %v", n, err)
	}
}
