package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dlock"
)

// lockLater acquires a lock in a goroutine.
func lockLater(ctx context.Context, t *testing.T, l *dlock.Lock) <-chan *structures.Held {
	done := make(chan *structures.Held, 1)
	go func() {
		held, err := l.Lock(ctx)
		if err != nil {
			t.Errorf("Lock: %v", err)
		}
		done <- held
	}()
	return done
}

// TestLock_HandOver: those who wait for a lock keep their places when its leader is killed, and
// have it when the holder releases it, and when the holder's process has gone without a word.
func TestLock_HandOver(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	var g gate
	first := c.Client(t)
	dying := c.Client(t, client.WithSessionTTL(2*time.Second), client.WithDialer(g.dial))
	last := c.Client(t)
	held, err := dlock.New(first, "deploy").Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	waiting := func(n uint64) {
		t.Helper()
		c.Eventually(fmt.Sprint(n, " to wait"), func() bool {
			i, err := dlock.New(first, "deploy").Inspect(ctx)
			return err == nil && i.Waiting == n
		})
	}
	second := lockLater(ctx, t, dlock.New(dying, "deploy"))
	waiting(1)
	third := lockLater(ctx, t, dlock.New(last, "deploy"))
	waiting(2)
	c.Kill(c.Leader(first, "deploy", nil))
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	next := <-second
	if next == nil || next.Token() <= held.Token() {
		t.Fatalf("after the kill of the leader the next has %+v", next)
	}
	waiting(1)
	g.close(c.Addrs()...) // as of a process that is killed: nothing is said
	after := <-third
	if after == nil || after.Token() <= next.Token() {
		t.Fatalf("after the end of the holder the next has %+v", after)
	}
	if next.Context().Err() == nil {
		t.Error("the next is granted the lock while the context of the one before lives")
	}
	if err := after.Release(ctx); err != nil {
		t.Error(err)
	}
}

// TestLock_LeavesNothing: one lock for each user, taken and freed once, leaves no state.
func TestLock_LeavesNothing(t *testing.T) {
	t.Parallel()
	users := 100_000
	if testing.Short() {
		users = 2000
	}
	c := gridtest.Start(t, 1, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	cl := c.Client(t)
	var all sync.WaitGroup
	const workers = 64
	for w := range workers {
		all.Go(func() {
			for i := w; i < users && ctx.Err() == nil; i += workers {
				held, err := dlock.New(cl, fmt.Sprint("user-", i)).Lock(ctx)
				if err == nil {
					err = held.Release(ctx)
				}
				if err != nil {
					t.Errorf("user %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
	kind := dlock.Kind()
	for p := range cl.Partitions() {
		reply, err := cl.Invoke(ctx, structures.ListCall(&kind, protocol.PartitionID(p), "", 10))
		if err != nil {
			t.Fatal(err)
		}
		if list, _, err := structures.ReadListed(reply.Body); err != nil || len(list) > 0 {
			t.Errorf("partition %d has %+v, %v", p, list, err)
		}
	}
}

// TestLock_ManyWaiters: thousands wait for one lock, a third of them gives up at any moment.
// Nobody else is forgotten, one holds at a time, and at the end the lock is free.
func TestLock_ManyWaiters(t *testing.T) {
	t.Parallel()
	clients, each := 12, 834
	if testing.Short() {
		clients, each = 4, 100
	}
	c := gridtest.Start(t, 1, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	l := dlock.New(c.Client(t), "one")
	first, err := l.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex // guards what follows
	token, holds, granted, gaveUp := first.Token(), 0, 0, 0
	given, give := context.WithCancel(ctx)
	defer give()
	for range clients {
		l := dlock.New(c.Client(t), "one")
		for i := range each {
			ctx, may := ctx, i%3 == 0
			if may {
				ctx = given
			}
			all.Go(func() {
				held, err := l.Lock(ctx)
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					if gaveUp++; !may || !errors.Is(err, context.Canceled) {
						t.Errorf("Lock: %v", err)
					}
					return
				}
				mu.Lock()
				if holds++; holds != 1 || held.Token() <= token {
					t.Errorf("%d hold, token %d after %d", holds, held.Token(), token)
				}
				token, granted = held.Token(), granted+1
				holds--
				mu.Unlock()
				if err := held.Release(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	c.Eventually("many to wait", func() bool {
		i, err := l.Inspect(ctx)
		return err == nil && i.Waiting >= uint64(clients*min(each, 100))
	})
	if err := first.Release(ctx); err != nil {
		t.Error(err)
	}
	give()
	all.Wait()
	if granted+gaveUp != clients*each {
		t.Errorf("%d were granted the lock and %d gave up, of %d", granted, gaveUp, clients*each)
	}
	if i, err := l.Inspect(ctx); err != nil || len(i.Holders) > 0 || i.Waiting > 0 || i.Bytes > 0 {
		t.Errorf("at the end: %+v, %v", i, err)
	}
}
