package workloads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/delection"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/drwlock"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/verify"
)

// The objects of an epoch: 47 keys, counted as a map's keys and as structures
// without keys.
const (
	epochKeys       = 24
	epochCounters   = 6
	epochSemaphores = 4
	epochQueues     = 4

	epochPermits  = 3
	epochCapacity = 6
)

// registers uses a map with a few keys: put, swap, put if absent, remove, and
// replace and delete by version.
func (r *Run) registers(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		name := e.prefix + "map"
		m := verify.NewMap(e.history, id, name, dmap.New[string, string](c, name))
		key, value := fmt.Sprint("k", rng.IntN(epochKeys)), fmt.Sprint(id, "-", rng.Uint64())
		var err error
		switch rng.IntN(10) {
		case 0, 1, 2:
			_, _, err = m.Get(ctx, key)
		case 3:
			err = m.Put(ctx, key, value)
		case 4:
			_, _, err = m.Swap(ctx, key, value)
		case 5:
			_, _, err = m.PutIfAbsent(ctx, key, value)
		case 6:
			_, _, err = m.Remove(ctx, key)
		case 7:
			var entry dmap.Entry[string, string]
			if entry, _, err = m.Get(ctx, key); err == nil {
				_ = r.seen(nil)
				err = conflict(m.DeleteVersion(ctx, key, entry.Version))
			}
		default:
			var entry dmap.Entry[string, string]
			if entry, _, err = m.Get(ctx, key); err == nil {
				_ = r.seen(nil)
				_, err = m.Replace(ctx, key, entry.Version, value)
				err = conflict(err)
			}
		}
		_ = r.seen(err)
	}
}

// conflict is no failure: it is an answer.
func conflict(err error) error {
	if has([]error{dmap.ErrConflict}, err) && !unknown(err) {
		return nil
	}
	return err
}

// counters uses a few counters.
func (r *Run) counters(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		name := fmt.Sprint(e.prefix, "counter-", rng.IntN(epochCounters))
		n := verify.NewCounter(e.history, id, name, dcounter.New(c, name))
		var err error
		switch rng.IntN(20) {
		case 0:
			err = n.Set(ctx, rng.Int64N(1000))
		case 1:
			err = n.Destroy(ctx)
		case 2, 3, 4, 5, 6:
			_, err = n.Get(ctx)
		case 7, 8, 9:
			var now int64
			if now, err = n.Get(ctx); err == nil {
				_ = r.seen(nil)
				_, err = n.CompareAndSet(ctx, now, now+1_000_000)
			}
		default:
			_, err = n.Add(ctx, rng.Int64N(100)-20)
		}
		_ = r.seen(err)
	}
}

// semaphores acquires permits, with and without waiting, and gives them back, or holds
// them until another client has revoked them.
func (r *Run) semaphores(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		name := fmt.Sprint(e.prefix, "semaphore-", rng.IntN(epochSemaphores))
		s := verify.NewSemaphore(e.history, id, name, dsemaphore.New(c, name))
		if err := e.prepare(name, func() error { return r.seen(s.Init(ctx, epochPermits)) }); err != nil {
			return
		}
		n := 1 + rng.Int64N(2)
		var held *verify.Held
		var err error
		switch rng.IntN(8) {
		case 0:
			_, err = s.Available(ctx)
		case 1:
			held, _, err = s.TryAcquire(ctx, n)
		case 2, 3:
			held, err = s.Acquire(ctx, n, dsemaphore.Wait(time.Duration(rng.IntN(500))*time.Millisecond))
			err = inTime(err)
		default:
			wait, cancel := waiting(ctx, e, rng)
			held, err = s.Acquire(wait, n)
			cancel()
		}
		_ = r.seen(err)
		switch {
		case held == nil:
			return
		case rng.IntN(stuckOneOf) == 0:
			other := verify.NewSemaphore(e.history, id, name, dsemaphore.New(r.other(c, rng), name))
			if r.stuck(ctx, e, held.Held, rng, other) {
				return
			}
		default:
			r.sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
		_ = r.seen(notHeld(held.Release(ctx)))
	}
}

// inTime returns err, and nil if it says that a wait is over.
func inTime(err error) error {
	if errors.Is(err, quorate.ErrNotInTime) {
		return nil
	}
	return err
}

// waiting bounds a wait by the epoch, and often sooner.
func waiting(ctx context.Context, e *epoch, rng *rand.Rand) (context.Context, context.CancelFunc) {
	limit := operationTime
	if rng.IntN(3) == 0 {
		limit = time.Duration(rng.IntN(60)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(e.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// queue returns a queue of the epoch, which holds a few elements only.
func (r *Run) queue(ctx context.Context, id int, c *client.Client, e *epoch, rng *rand.Rand) (*verify.Queue, error) {
	name := fmt.Sprint(e.prefix, "queue-", rng.IntN(epochQueues))
	q := verify.NewQueue(e.history, id, name, dqueue.New[string](c, name))
	return q, e.prepare(name, func() error { return r.seen(q.Configure(ctx, epochCapacity)) })
}

// puts puts into queues that are often full.
func (r *Run) puts(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		q, err := r.queue(ctx, id, c, e, rng)
		if err != nil {
			return
		}
		v := fmt.Sprint(id, "-", rng.Uint64())
		switch rng.IntN(8) {
		case 0:
			_, err = q.Offer(ctx, v)
		case 1, 2:
			_, err = q.Len(ctx)
		case 3:
			err = inTime(q.Put(ctx, v, dqueue.Wait(time.Duration(rng.IntN(100))*time.Millisecond)))
		case 4:
			err = inTime(q.PutAll(ctx, []string{v, v + "+", v + "++"}))
		default:
			wait, cancel := waiting(ctx, e, rng)
			err = q.Put(wait, v)
			cancel()
		}
		_ = r.seen(err)
	}
}

// takes takes from them, withdraws what waits, and looks.
func (r *Run) takes(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		q, err := r.queue(ctx, id, c, e, rng)
		if err != nil {
			return
		}
		switch rng.IntN(8) {
		case 0:
			_, _, err = q.Peek(ctx)
		case 1:
			_, _, err = q.Poll(ctx)
		case 2:
			_, err = q.Take(ctx, dqueue.Wait(time.Duration(rng.IntN(100))*time.Millisecond))
			err = inTime(err)
		case 3:
			wait, cancel := waiting(ctx, e, rng)
			_, err = q.TakeN(wait, 2)
			cancel()
		default:
			wait, cancel := waiting(ctx, e, rng)
			_, err = q.Take(wait)
			cancel()
		}
		_ = r.seen(err)
	}
}

// transactions carries transactions out over a few keys of a map, a counter and a queue.
func (r *Run) transactions(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		t := verify.NewTxn(e.history, id, txnTag(e), c)
		key := func() string { return fmt.Sprint("k", rng.IntN(2)) }
		if rng.IntN(4) == 0 {
			_ = r.seen(t.Get(ctx, key()))
			return
		}
		condition := func() verify.TxnStep {
			return [...]verify.TxnStep{{Op: verify.TxnIfAbsent, Key: key()}, {Op: verify.TxnIfAtLeast, N: rng.Int64N(10)}, {Op: verify.TxnIfEmpty}}[rng.IntN(3)]
		}
		steps := func() (all []verify.TxnStep) {
			for range 1 + rng.IntN(4) {
				all = append(all, [...]verify.TxnStep{
					{Op: verify.TxnGet, Key: key()},
					{Op: verify.TxnPut, Key: key(), Value: fmt.Sprint(id, "-", rng.Uint32())},
					{Op: verify.TxnRemove, Key: key()},
					{Op: verify.TxnCount},
					{Op: verify.TxnAdd, N: rng.Int64N(7) - 3},
					{Op: verify.TxnOffer, Value: fmt.Sprint(rng.Uint32())},
					{Op: verify.TxnPoll},
					{Op: verify.TxnPoll},
					{Op: verify.TxnLen},
				}[rng.IntN(9)])
			}
			if rng.IntN(12) == 0 {
				all = append(all, verify.TxnStep{Op: verify.TxnRefuse})
			}
			return all
		}
		_ = r.seen(t.Commit(ctx, verify.TxnPlan{If: []verify.TxnStep{condition()}, Then: steps(), Else: steps()}))
	}
}

// txnTag is what the names of the structures of an epoch's transactions begin with.
func txnTag(e *epoch) string { return "{" + e.prefix + "txn}" }

// clean destroys the objects of an epoch that was decided, and, if its watches have
// settled, what they watched.
func (r *Run) clean(e *epoch, settled bool) {
	ctx, cancel := context.WithTimeout(context.Background(), operationTime)
	defer cancel()
	c := r.cfg.Clients[0]
	if settled {
		e.watched.clean(ctx)
	}
	_ = dmap.New[string, string](c, e.prefix+"map").Destroy(ctx)
	_ = dmap.New[string, string](c, txnTag(e)+"map").Destroy(ctx)
	_ = dcounter.New(c, txnTag(e)+"counter").Destroy(ctx)
	_ = dqueue.New[string](c, txnTag(e)+"queue").Destroy(ctx)
	for i := range epochCounters {
		_ = dcounter.New(c, fmt.Sprint(e.prefix, "counter-", i)).Destroy(ctx)
	}
	for i := range epochSemaphores {
		_ = dsemaphore.New(c, fmt.Sprint(e.prefix, "semaphore-", i)).Destroy(ctx)
	}
	for i := range epochLocks {
		_ = dlock.New(c, lockTag(e, i)+"lock").Destroy(ctx)
		_ = dcounter.New(c, lockTag(e, i)+"count").Destroy(ctx)
		_ = drwlock.New(c, lockTag(e, i)+"rwlock").Destroy(ctx)
		_ = dcounter.New(c, lockTag(e, i)+"rwcount").Destroy(ctx)
	}
	for i := range epochElections {
		_ = delection.New[string](c, fmt.Sprint(e.prefix, "election-", i)).Destroy(ctx)
	}
	for i := range epochQueues {
		_ = dqueue.New[string](c, fmt.Sprint(e.prefix, "queue-", i)).Destroy(ctx)
	}
	for i := range epochRefs {
		_ = dref.New[string](c, fmt.Sprint(e.prefix, "ref-", i)).Destroy(ctx)
	}
	_ = dservice.New(c, e.prefix+"service").Destroy(ctx)
	_ = dpresence.New[int](c, e.prefix+"presence").Destroy(ctx)
}
