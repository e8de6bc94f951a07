package workloads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/drwlock"
	"github.com/quorate/quorate/verify"
)

const (
	epochLocks = 3
	// nowOneOf holders has its hold taken away at once, before it knows, and writes on.
	nowOneOf = 50
)

// lockTag is the tag that a lock of an epoch and its counter share.
func lockTag(e *epoch, i int) string { return fmt.Sprintf("{%slock-%d}", e.prefix, i) }

// locks acquires locks, with and without waiting, and adds to a counter as long as they are
// held and now and then longer: what is added must be added by the holder.
func locks(r *Run, id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		tag := lockTag(e, rng.IntN(epochLocks))
		recorded := func(c *client.Client) *verify.Lock {
			return verify.NewLock(e.history, id, tag, dlock.New(c, tag+"lock"), dcounter.New(c, tag+"count"))
		}
		l := recorded(c)
		var held *verify.Held
		var err error
		switch rng.IntN(8) {
		case 0, 1:
			held, _, err = l.TryLock(ctx)
		case 2, 3:
			held, err = l.Lock(ctx, dlock.Wait(time.Duration(rng.IntN(300))*time.Millisecond))
			err = inTime(err)
		default:
			wait, cancel := waiting(ctx, e, rng)
			held, err = l.Lock(wait)
			cancel()
		}
		_ = r.seen(err)
		if held != nil {
			holds(ctx, r, e, rng, held, l.Add, recorded(r.other(c, rng)))
		}
	}
}

// rwlocks reads and writes under locks, as locks does, and exchanges holds now and then.
func rwlocks(r *Run, id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		tag := lockTag(e, rng.IntN(epochLocks))
		recorded := func(c *client.Client) *verify.RWLock {
			return verify.NewRWLock(e.history, id, tag+"rwlock", drwlock.New(c, tag+"rwlock"), dcounter.New(c, tag+"rwcount"))
		}
		l := recorded(c)
		writing := rng.IntN(3) == 0
		acquire, try := l.RLock, l.TryRLock
		if writing {
			acquire, try = l.Lock, l.TryLock
		}
		var held *verify.Held
		var err error
		switch rng.IntN(8) {
		case 0, 1:
			held, _, err = try(ctx)
		case 2, 3:
			held, err = acquire(ctx, drwlock.Wait(time.Duration(rng.IntN(300))*time.Millisecond))
			err = inTime(err)
		default:
			wait, cancel := waiting(ctx, e, rng)
			held, err = acquire(wait)
			cancel()
		}
		_ = r.seen(err)
		if held == nil {
			return
		}
		if rng.IntN(3) == 0 {
			var next *verify.Held
			if writing {
				next, err = l.Downgrade(ctx, held)
			} else {
				next, _, err = l.TryUpgrade(ctx, held)
			}
			if !errors.Is(err, structures.ErrRevoked) {
				_ = r.seen(notHeld(err))
			}
			switch {
			case next != nil:
				held = next
			case writing:
				return // it is on its way back
			}
		}
		holds(ctx, r, e, rng, held, l.Add, recorded(r.other(c, rng)))
	}
}

// holds writes while something is held, has it taken away now and then, and releases it.
func holds(ctx context.Context, r *Run, e *epoch, rng *rand.Rand, held *verify.Held, add func(context.Context, *verify.Held) (bool, error), other revoker) {
	write := func() {
		_, err := add(ctx, held)
		_ = r.seen(err)
	}
	write()
	switch {
	case rng.IntN(stuckOneOf) == 0:
		back := r.stuck(ctx, e, held.Held, rng, other)
		write()
		if back {
			return
		}
	case rng.IntN(nowOneOf) == 0:
		existed, err := other.Revoke(ctx, held.ID(), structures.Grace(0))
		if r.seen(err) == nil && existed {
			r.revoked.Add(1)
		}
		write()
	default:
		r.sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
	}
	_ = r.seen(notHeld(held.Release(ctx)))
	if rng.IntN(4) == 0 {
		write() // late
	}
}

// exclusive are locks that live as long as the run. Never do two hold one, as far as the
// holders know, each grant's token is larger than those of all grants before it, and what a
// lock protects outside of the grid accepts each write of a holder.
type exclusive struct {
	run      *Run
	name     string
	each     []*verify.Grants
	resource []*verify.Resource
}

const exclusiveLocks = 3

func newExclusive(r *Run) *exclusive {
	x := &exclusive{run: r, name: r.cfg.Name + "-exclusive-"}
	for range exclusiveLocks {
		x.each, x.resource = append(x.each, verify.NewGrants(1)), append(x.resource, new(verify.Resource))
	}
	r.atEnd("locks", x.check)
	return x
}

func (x *exclusive) lock(c *client.Client, i int) *dlock.Lock {
	return dlock.New(c, fmt.Sprint(x.name, i))
}

func (x *exclusive) worker(c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		i := rng.IntN(exclusiveLocks)
		wait, cancel := waiting(ctx, e, rng)
		defer cancel()
		before := x.each[i].Token()
		held, err := x.lock(c, i).Lock(wait)
		if x.run.count(err) != nil {
			return
		}
		if _, err = x.each[i].Granted(held, 1, before); err != nil {
			x.run.violates("locks", "lock %d: %v", i, err)
		}
		x.write(i, held)
		if rng.IntN(stuckOneOf) == 0 {
			if x.run.stuck(ctx, e, held, rng, revocable{x.lock(x.run.other(c, rng), i)}) {
				return // its client acknowledges, and so the lock comes back
			}
		} else {
			x.run.sleep(time.Duration(rng.IntN(15)) * time.Millisecond)
		}
		x.write(i, held)
		x.each[i].Returns(held)
		back, cancel := context.WithTimeout(context.Background(), operationTime)
		defer cancel()
		_ = x.run.count(notHeld(held.Release(back)))
	}
}

// write writes to what the lock protects. It may be refused only after the context of the
// hold has ended.
func (x *exclusive) write(i int, held *structures.Held) {
	if !x.resource[i].Write(held.Token()) && held.Context().Err() == nil {
		x.run.violates("locks", "lock %d: a write of the holder, with token %d, was refused", i, held.Token())
	}
}

// check waits until the sessions that were lost have given back what they held.
func (x *exclusive) check(ctx context.Context) error {
	for i := range x.each {
		err := patiently(ctx, func(ctx context.Context) error {
			l := x.lock(x.run.cfg.Clients[0], i)
			held, ok, err := l.TryLock(ctx)
			switch {
			case err != nil:
				return err
			case !ok:
				return fmt.Errorf("lock %d is held when nobody holds any", i)
			}
			return held.Release(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// revocable is a lock as stuck takes it.
type revocable struct{ *dlock.Lock }

// Revoke is dlock.Lock.ForceUnlock.
func (l revocable) Revoke(ctx context.Context, hold protocol.HoldID, opts ...structures.RevokeOption) (existed bool, err error) {
	return l.ForceUnlock(ctx, hold, opts...)
}
