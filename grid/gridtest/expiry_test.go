package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// TestExpiryBesideReleases writes entries with a short time to live without a
// pause, in all partitions. Beside that sessions end, whose permits others wait
// for, and calls time out: all of that comes to pass while the writers go on.
// When they stop, everything expires.
func TestExpiryBesideReleases(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	cl := c.Client(t)
	m := dmap.New[string, int](cl, "short")

	writing, stop := context.WithCancel(ctx)
	defer stop()
	var writers sync.WaitGroup
	var written atomic.Int64
	for w := range 4 {
		writers.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				batch := func(yield func(string, int) bool) {
					for i := range 500 {
						if !yield(fmt.Sprint("k", w, " ", n, " ", i), i) {
							return
						}
					}
				}
				err := m.PutAll(writing, batch, dmap.TTL(200*time.Millisecond))
				switch {
				case err == nil:
					written.Add(500)
				case writing.Err() == nil && !errors.Is(err, quorate.ErrOverloaded):
					t.Errorf("put: %v", err)
					return
				}
			}
		})
	}
	c.Eventually("there is much to expire", func() bool { return written.Load() > 5000 })

	s := dsemaphore.New(cl, "writers")
	if err := s.Init(ctx, 1); err != nil {
		t.Fatal(err)
	}
	q := dqueue.New[int](cl, "jobs")
	for range 3 {
		holder := c.Client(t, client.WithSessionTTL(2*time.Second))
		if _, err := dsemaphore.New(holder, "writers").Acquire(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Take(ctx, dqueue.Wait(500*time.Millisecond)); !errors.Is(err, quorate.ErrNotInTime) {
			t.Fatalf("a call that times out: %v", err)
		}
		if err := holder.Close(); err != nil {
			t.Fatal(err)
		}
	}
	held, err := s.Acquire(ctx, 1)
	if err != nil {
		t.Fatalf("what an ended session held: %v", err)
	}
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}

	stop()
	writers.Wait()
	t.Logf("%d entries were written", written.Load())
	c.Eventually("everything has expired", func() bool {
		n, err := m.Len(ctx)
		return n == 0 && err == nil
	})
	c.Eventually("the members have the same state", func() bool {
		var first []string
		for i := range c.Len() {
			r, err := c.Hashes(i)
			if err != nil {
				return false
			}
			var hashes []string
			for _, g := range r.Groups {
				hashes = append(hashes, fmt.Sprintf("%d: %d %x", g.ID, g.Applied, g.Hash))
			}
			if first == nil {
				first = hashes
			}
			if !slices.Equal(first, hashes) {
				return false
			}
		}
		return true
	})
}
