package gridtest_test

import (
	"sync"
	"testing"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// TestThousandWaiters has more calls of one client wait for one semaphore, and for
// one queue, than a partition has slots. Each holder releases, all are served, and
// what comes beside them is not kept waiting.
func TestThousandWaiters(t *testing.T) {
	t.Parallel()
	const many = 1100
	c := gridtest.Start(t, 1, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	cl, other := c.Client(t, client.WithName("waits")), c.Client(t)

	permits := dsemaphore.New(cl, "{x}permits")
	if err := permits.Init(ctx, 1); err != nil {
		t.Fatal(err)
	}
	first, err := permits.Acquire(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	jobs := dqueue.New[int](cl, "{x}jobs")
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			held, err := permits.Acquire(ctx, 1)
			if err == nil {
				err = held.Release(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if _, err := jobs.Take(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	c.Eventually("calls to be held back", func() bool { return cl.Stats().HeldBack >= 2*(many-256) })
	if err := dqueue.New[int](cl, "{x}others").Put(ctx, 1); err != nil {
		t.Errorf("a call that may wait: %v", err)
	}
	if err := first.Release(ctx); err != nil {
		t.Errorf("a release: %v", err)
	}
	for i := range many {
		q := jobs
		if i%2 == 0 {
			q = dqueue.New[int](other, "{x}jobs")
		}
		if err := q.Put(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	if n, err := permits.Available(ctx); n != 1 || err != nil {
		t.Errorf("%d permits are free at the end, %v", n, err)
	}
	if n, err := jobs.Len(ctx); n != 0 || err != nil {
		t.Errorf("%d jobs are left, %v", n, err)
	}
}
