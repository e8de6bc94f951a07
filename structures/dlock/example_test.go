package dlock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/structurestest"
)

// etcd's NewLocker, a sync.Locker, is Do here: it can fail, and says if the lock was lost on the
// way, with the cause.
func ExampleLock_Do() {
	c := structurestest.Example(dlock.Kind()) // in an application: client.Dial
	ctx := context.Background()

	reports := dlock.New(c, "reports")
	err := reports.Do(ctx, func(ctx context.Context, token protocol.Token) error {
		fmt.Println("alone, with a token:", token > 0) // stop when ctx ends
		return nil
	})
	fmt.Println(err)
	// Output:
	// alone, with a token: true
	// <nil>
}

// Curator's InterProcessMutex is reentrant. Here a hold is handed on: what is called gets the
// context, and an attempt to lock again is ErrHeld instead of a wait for itself.
func Example_interProcessMutex() {
	c := structurestest.Example(dlock.Kind()) // in an application: client.Dial
	ctx := context.Background()

	l := dlock.New(c, "reports")
	inner := func(ctx context.Context) error {
		held, err := l.Lock(ctx)
		if errors.Is(err, dlock.ErrHeld) {
			return nil // the caller has it
		}
		if err != nil {
			return err
		}
		return held.Release(ctx)
	}
	held, err := l.Lock(ctx) // acquire
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("inside:", inner(held.Bind(ctx)))
	fmt.Println("release:", held.Release(ctx))
	fmt.Println("alone:", inner(ctx))
	// Output:
	// inside: <nil>
	// release: <nil>
	// alone: <nil>
}

// Curator's InterProcessSemaphoreMutex is a lock that is not reentrant, with a wait of limited
// time: acquire(1, SECONDS).
func Example_interProcessSemaphoreMutex() {
	c := structurestest.Example(dlock.Kind()) // in an application: client.Dial
	ctx := context.Background()

	l := dlock.New(c, "reports")
	held, ok, err := l.TryLock(ctx, dlock.Wait(time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("acquired:", ok)
	_, ok, err = l.TryLock(ctx)
	fmt.Println("again:", ok, err)
	fmt.Println("release:", held.Release(ctx))
	// Output:
	// acquired: true
	// again: false <nil>
	// release: <nil>
}

// Curator's InterProcessMultiLock is LockAll: all or none, without two callers that have half
// each.
func ExampleLockAll() {
	c := structurestest.Example(dlock.Kind()) // in an application: client.Dial
	ctx := context.Background()

	from, to := dlock.New(c, "account-7"), dlock.New(c, "account-3")
	all, err := dlock.LockAll(ctx, []*dlock.Lock{from, to}, dlock.Note("transfer"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(all.Context().Err(), all.Token(from) > 0, all.Token(to) > 0)
	fmt.Println(all.Release(ctx))
	// Output:
	// <nil> true true
	// <nil>
}

// Curator's Revoker asks the holder of a lock to release it, which decides itself.
func Example_revoker() {
	c := structurestest.Example(dlock.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	held, err := dlock.New(c, "reports").Lock(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	other := dlock.New(grid.Client(), "reports")
	i, err := other.Inspect(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	existed, err := other.ForceUnlock(ctx, i.Holders[0].ID, dlock.AskOnly(), dlock.Reason("more urgent"))
	fmt.Println("asked:", existed, err)
	grid.Advance(time.Second) // time passes
	<-held.Asked()
	fmt.Println("released:", held.Release(ctx))
	// Output:
	// asked: true <nil>
	// released: <nil>
}

// An operator takes a lock away from a host that hangs. The hold that was seen is named, so
// that a later holder loses nothing.
func ExampleLock_ForceUnlock() {
	c := structurestest.Example(dlock.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	held, err := dlock.New(c, "reports").Lock(ctx, dlock.Note("host a"))
	if err != nil {
		fmt.Println(err)
		return
	}
	admin := dlock.New(grid.Client(), "reports")
	i, err := admin.Inspect(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("held by", i.Holders[0].Note)
	existed, err := admin.ForceUnlock(ctx, i.Holders[0].ID, dlock.Grace(5*time.Second), dlock.Reason("host hangs"))
	fmt.Println("existed:", existed, err)
	grid.Advance(5 * time.Second) // time passes
	<-held.Context().Done()
	fmt.Println(context.Cause(held.Context()))
	next, ok, err := admin.TryLock(ctx)
	fmt.Println("next:", ok, err, next.Token() > held.Token())
	// Output:
	// held by host a
	// existed: true <nil>
	// revoked: host hangs
	// next: true <nil> true
}

// etcd's Mutex has Lock, TryLock and IsOwner, a condition of transactions. That is IfHeld
// here: the write is applied only if the lock is held in the very state that it is applied to.
func Example_etcdMutex() {
	c := structurestest.Example(dlock.Kind(), dcounter.Kind()) // in an application: client.Dial
	ctx := context.Background()

	l := dlock.New(c, "{users}lock") // one tag: the lock and what it protects lie together
	count := dcounter.New(c, "{users}count")
	held, err := l.Lock(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, ok, err := l.TryLock(ctx)
	fmt.Println("TryLock:", ok, err)
	n, err := count.Add(ctx, 1, dcounter.IfHeld(held))
	fmt.Println("count:", n, err)
	if err := held.Release(ctx); err != nil {
		fmt.Println(err)
	}
	_, err = count.Add(ctx, 1, dcounter.IfHeld(held))
	fmt.Println(errors.Is(err, structures.ErrNotHeld))
	// Output:
	// TryLock: false <nil>
	// count: 1 <nil>
	// true
}

// Consul's api.Lock has a lock-delay: after the holder's session has ended nobody has the lock
// for a while.
func ExampleDelay() {
	c := structurestest.Example(dlock.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	l := dlock.New(grid.Client(), "reports")
	if err := l.Configure(ctx, dlock.Delay(15*time.Second)); err != nil {
		fmt.Println(err)
	}
	if _, err := dlock.New(c, "reports").Lock(ctx); err != nil {
		fmt.Println(err)
	}
	c.End() // the holder dies
	_, ok, err := l.TryLock(ctx)
	fmt.Println("at once:", ok, err)
	grid.Advance(15 * time.Second) // time passes
	_, ok, err = l.TryLock(ctx)
	fmt.Println("after the delay:", ok, err)
	// Output:
	// at once: false <nil>
	// after the delay: true <nil>
}

// Hazelcast's FencedLock has getFence. Here each hold has its token: what is protected
// remembers the largest and refuses smaller ones.
func Example_fencedLock() {
	c := structurestest.Example(dlock.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	var largest protocol.Token // that the protected storage has seen
	write := func(token protocol.Token) bool {
		if token < largest {
			return false
		}
		largest = token
		return true
	}
	former, err := dlock.New(c, "storage").Lock(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	c.End() // it is paused for longer than its session lives
	next, err := dlock.New(grid.Client(), "storage").Lock(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the holder writes:", write(next.Token()))
	fmt.Println("the former holder writes:", write(former.Token()))
	// Output:
	// the holder writes: true
	// the former holder writes: false
}
