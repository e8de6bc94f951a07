package workloads

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

const (
	crowdWaiters = 1_200 // of one client at one semaphore: more than a partition has slots
	crowdIdle    = 1_100 // Takes of one client at one queue
	crowdPermits = 4
	crowdFull    = 10 * time.Second // to be there
	crowdServed  = 90 * time.Second // for all of them to be granted once
	crowdOther   = 20 * time.Second // for another call beside the idle ones
)

// Crowd is two clients with more waiting calls than a partition has slots: one
// holds what its own calls wait for, the other waits for elements that do not
// come and does other things beside it. It returns the first promise that was
// broken.
func Crowd(ctx context.Context, name string, holder, idler *client.Client) error {
	errs := make(chan error, 2)
	go func() { errs <- crowdOfWaiters(ctx, name, holder) }()
	go func() { errs <- crowdOfIdle(ctx, name, idler) }()
	return errors.Join(<-errs, <-errs)
}

// crowdOfWaiters: all permits are held and a thousand calls wait; then the
// permits are released, and each call is granted and releases in turn.
func crowdOfWaiters(ctx context.Context, name string, c *client.Client) error {
	sem := dsemaphore.New(c, name+"-crowd")
	if err := sem.Init(ctx, crowdPermits); err != nil {
		return fmt.Errorf("prepare the crowd: %w", err)
	}
	var held []*structures.Held
	for range crowdPermits {
		h, err := sem.Acquire(ctx, 1)
		if err != nil {
			return fmt.Errorf("prepare the crowd: %w", err)
		}
		held = append(held, h)
	}
	ctx, cancel := context.WithTimeout(ctx, crowdFull+crowdServed)
	defer cancel()
	var calling, served, refused, failed atomic.Int64
	var first atomic.Pointer[error]
	var all sync.WaitGroup
	for range crowdWaiters {
		all.Go(func() {
			calling.Add(1)
			h, err := sem.Acquire(ctx, 1)
			for errors.Is(err, quorate.ErrOverloaded) && ctx.Err() == nil {
				refused.Add(1)
				pauseIn(ctx, 100*time.Millisecond)
				h, err = sem.Acquire(ctx, 1)
			}
			if err == nil {
				err = h.Release(ctx)
			}
			switch {
			case err == nil, errors.Is(err, quorate.ErrSessionLost): // a fault may take the session
				served.Add(1)
			default:
				failed.Add(1)
				first.CompareAndSwap(nil, &err)
			}
		})
	}
	for until := time.Now().Add(crowdFull / 5); time.Now().Before(until) && (calling.Load() < crowdWaiters); {
		pauseIn(ctx, 10*time.Millisecond)
	}
	pauseIn(ctx, time.Second) // they are on their way
	began := time.Now()
	for _, h := range held {
		if err := h.Release(ctx); err != nil && !errors.Is(err, quorate.ErrSessionLost) {
			cancel()
			all.Wait()
			return fmt.Errorf("release beside %d waiting calls of the same client, after %v: %w", crowdWaiters, time.Since(began).Round(time.Millisecond), err)
		}
	}
	all.Wait()
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d of %d waiting calls of one client were not served within %v (%d were, %d times refused): %w",
			n, crowdWaiters, crowdServed, served.Load(), refused.Load(), *first.Load())
	}
	return nil
}

// crowdOfIdle: more Takes wait at one member than it may take; calls of the same
// client to other structures there go through.
func crowdOfIdle(ctx context.Context, name string, c *client.Client) error {
	idle, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	g := Groups(c)[0]
	q := dqueue.New[string](c, CounterOf(c, name+"-idle-", g))
	for range crowdIdle {
		all.Go(func() {
			for idle.Err() == nil {
				if _, err := q.Take(idle); err != nil {
					pauseIn(idle, 200*time.Millisecond) // overloaded, or the session was lost
				}
			}
		})
	}
	pauseIn(ctx, 2*time.Second) // they are on their way
	for round := range 3 {
		began := time.Now()
		once, cancel := context.WithTimeout(ctx, crowdOther)
		err := dqueue.New[string](c, CounterOf(c, name+"-other-", g)).Put(once, fmt.Sprint(round))
		what := "a Put to another queue"
		if err == nil {
			what = "a TryAcquire of another semaphore"
			err = tryOnce(once, dsemaphore.New(c, CounterOf(c, name+"-other-semaphore-", g)))
		}
		cancel()
		switch {
		case err == nil, errors.Is(err, quorate.ErrSessionLost):
		case errors.Is(err, quorate.ErrOverloaded) && time.Since(began) < crowdOther/2:
			return fmt.Errorf("%s beside %d idle Takes of the same client is refused: %w", what, crowdIdle, err)
		default:
			return fmt.Errorf("%s beside %d idle Takes of the same client, after %v: %w", what, crowdIdle, time.Since(began).Round(time.Millisecond), err)
		}
	}
	return nil
}

func tryOnce(ctx context.Context, sem *dsemaphore.Semaphore) error {
	if err := sem.Init(ctx, 1); err != nil {
		return err
	}
	held, err := sem.Acquire(ctx, 1, dsemaphore.Wait(time.Second))
	if err != nil {
		return inTime(err)
	}
	return held.Release(ctx)
}

func pauseIn(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
