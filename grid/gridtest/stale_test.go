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
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// TestStaleReads cuts a follower off and writes. Every stale read of it gives the
// state of before with that state's version, in every structure; a read that is not
// stale gives nothing there, and elsewhere what was written with a later version. Once
// the follower has caught up, a stale read of it gives that state with that version.
func TestStaleReads(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithConfig(func(_ int, cfg *grid.Config) { cfg.Groups = 1 }))
	ctx := testContext(t)
	cl := c.Client(t)
	behind := (c.LeaderOf(protocol.SystemGroup+1) + 1) % c.Len()
	if behind == c.LeaderOf(protocol.SystemGroup) {
		behind = (behind + 1) % c.Len()
	}
	follower, err := client.Dial(ctx, c.Addrs()[behind:behind+1], client.WithForward())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = follower.Close() })

	type read func(ctx context.Context, inv structures.Invoker, opts ...structures.ReadOption) (int64, error)
	reads := map[string]read{
		"counter Get": func(ctx context.Context, inv structures.Invoker, opts ...structures.ReadOption) (int64, error) {
			return dcounter.New(inv, "c").Get(ctx, opts...)
		},
		"map Get": func(ctx context.Context, inv structures.Invoker, opts ...structures.ReadOption) (int64, error) {
			n, _, err := dmap.New[string, int64](inv, "m").Get(ctx, "k", opts...)
			return n, err
		},
		"map Entry": func(ctx context.Context, inv structures.Invoker, opts ...structures.ReadOption) (int64, error) {
			e, _, err := dmap.New[string, int64](inv, "m").Entry(ctx, "k", opts...)
			return e.Value, err
		},
		"queue Peek": func(ctx context.Context, inv structures.Invoker, opts ...structures.ReadOption) (int64, error) {
			n, _, err := dqueue.New[int64](inv, "peeked").Peek(ctx, opts...)
			return n, err
		},
		"queue Len": func(ctx context.Context, inv structures.Invoker, opts ...structures.ReadOption) (int64, error) {
			n, err := dqueue.New[int64](inv, "counted").Len(ctx, opts...)
			return int64(n), err
		},
		"semaphore Available": func(ctx context.Context, inv structures.Invoker, opts ...structures.ReadOption) (int64, error) {
			return dsemaphore.New(inv, "s").Available(ctx, opts...)
		},
	}
	// write makes every read give n; it is called with 1 and then with 2.
	write := func(n int64) {
		t.Helper()
		peeked := dqueue.New[int64](cl, "peeked")
		_, _, taken := peeked.Poll(ctx)
		s := dsemaphore.New(cl, "s")
		permits := s.Init(ctx, 1)
		if n > 1 {
			permits = s.AddPermits(ctx, 1)
		}
		if err := errors.Join(
			dcounter.New(cl, "c").Set(ctx, n),
			dmap.New[string, int64](cl, "m").Put(ctx, "k", n),
			taken, peeked.Put(ctx, n), dqueue.New[int64](cl, "counted").Put(ctx, n), permits,
		); err != nil {
			t.Fatal(err)
		}
	}

	write(1)
	before, after := map[string]structures.Version{}, map[string]structures.Version{}
	for what, read := range reads {
		c.Eventually("the follower has "+what, func() bool {
			var seen structures.Version
			n, err := read(ctx, follower, structures.Stale(), structures.Seen(&seen))
			before[what] = seen
			return n == 1 && err == nil
		})
	}
	c.Isolate(behind)
	write(2)
	for what, read := range reads {
		var stale, now structures.Version
		if n, err := read(ctx, follower, structures.Stale(), structures.Seen(&stale)); n != 1 || err != nil || stale != before[what] {
			t.Errorf("%s of a follower behind = %d, %v of version %d; want 1 of %d", what, n, err, stale, before[what])
		}
		if n, err := read(ctx, cl, structures.Seen(&now)); n != 2 || err != nil || now <= stale {
			t.Errorf("%s = %d, %v of version %d; want 2, later than %d", what, n, err, now, stale)
		}
		after[what] = now
	}
	// What is not stale has no answer there, and leaves alone what was seen before.
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	kept := before["counter Get"]
	if n, err := reads["counter Get"](short, follower, structures.Seen(&kept)); !errors.Is(err, quorate.ErrUnavailable) || kept != before["counter Get"] {
		t.Errorf("a linearizable read of a follower that is cut off = %d, %v of version %d", n, err, kept)
	}
	c.Heal()
	for what, read := range reads {
		c.Eventually("the follower has caught up with "+what, func() bool {
			var stale structures.Version
			n, err := read(ctx, follower, structures.Stale(), structures.Seen(&stale))
			if err == nil && (n == 2) != (stale >= after[what]) {
				t.Fatalf("%s = %d of version %d; it became 2 by version %d", what, n, stale, after[what])
			}
			return n == 2
		})
	}
}
