package workloads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/verify"
)

// sums are counters that are only added to: 1 at a time, so that no two adds
// may return the same, and what an add returns is larger than what any add
// returned before it was called.
type sums struct {
	run  *Run
	name string
	each []*sum
}

type sum struct {
	mu           sync.Mutex // guards what follows
	acknowledged []int64
	unknown      []int64
	returned     map[int64]bool
	largest      int64
}

const sumCounters = 8

func newSums(r *Run) *sums {
	s := &sums{run: r, name: r.cfg.Name + "-sum-"}
	for range sumCounters {
		s.each = append(s.each, &sum{returned: map[int64]bool{}})
	}
	r.atEnd("counter sums", s.check)
	return s
}

func (s *sums) worker(c *client.Client) worker {
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		i := rng.IntN(sumCounters)
		one := s.each[i]
		one.mu.Lock()
		before := one.largest
		one.mu.Unlock()
		n, err := dcounter.New(c, fmt.Sprint(s.name, i)).Add(ctx, 1)
		_ = s.run.count(err)
		one.mu.Lock()
		defer one.mu.Unlock()
		switch {
		case err == nil:
			if one.returned[n] {
				s.run.violates("counter sums", "two adds to %s%d returned %d", s.name, i, n)
			}
			if n <= before {
				s.run.violates("counter sums", "an add to %s%d returned %d after another had returned %d", s.name, i, n, before)
			}
			one.returned[n] = true
			one.largest = max(one.largest, n)
			one.acknowledged = append(one.acknowledged, 1)
		case unknown(err):
			one.unknown = append(one.unknown, 1)
		}
	}
}

func (s *sums) check(ctx context.Context) error {
	var errs []error
	for i, one := range s.each {
		var n int64
		err := patiently(ctx, func(ctx context.Context) (err error) {
			n, err = dcounter.New(s.run.cfg.Clients[0], fmt.Sprint(s.name, i)).Get(ctx)
			return err
		})
		if err == nil {
			err = verify.CheckSum(n, one.acknowledged, one.unknown)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s%d: %w", s.name, i, err))
		}
	}
	return errors.Join(errs...)
}

// elements are those of queues whose takers often withdraw. At the end each was
// taken once or is left.
type elements struct {
	run  *Run
	name string
	each []*verify.Elements
	size []atomic.Int64 // about what is in the queue
	mu   sync.Mutex     // guards each
}

const (
	elementQueues  = 4
	longestElement = 200 // elements in a queue, about
	manyElements   = 20  // of a PutAll and of a TakeN at most
)

func newElements(r *Run) *elements {
	e := &elements{run: r, name: r.cfg.Name + "-elements-", size: make([]atomic.Int64, elementQueues)}
	for range elementQueues {
		e.each = append(e.each, &verify.Elements{})
	}
	r.atEnd("queue elements", e.check)
	return e
}

func (e *elements) puts(id int, c *client.Client) worker {
	n := 0
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		i := rng.IntN(elementQueues)
		if e.size[i].Load() > longestElement {
			return
		}
		n++
		values := []string{fmt.Sprint(id, "-", n)}
		q := dqueue.New[string](c, fmt.Sprint(e.name, i))
		var put, maybe int // of the first
		var err error
		if rng.IntN(4) == 0 {
			for range rng.IntN(manyElements) {
				n++
				values = append(values, fmt.Sprint(id, "-", n))
			}
			err = q.PutAll(ctx, values)
			if p, ok := errors.AsType[*dqueue.PartialError](err); ok {
				put, maybe = p.Put, p.Unknown
			}
		} else {
			err = q.Put(ctx, values[0])
		}
		_ = e.run.count(err)
		switch {
		case err == nil:
			put = len(values)
		case mayBe(err):
			maybe = max(maybe, 1)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.size[i].Add(int64(put))
		e.each[i].Put = append(e.each[i].Put, values[:put]...)
		e.each[i].PutUnknown = append(e.each[i].PutUnknown, values[put:put+maybe]...)
	}
}

func (e *elements) takes(_ int, c *client.Client) worker {
	return func(ctx context.Context, span *epoch, rng *rand.Rand) {
		i := rng.IntN(elementQueues)
		ctx, cancel := waiting(ctx, span, rng)
		defer cancel()
		q := dqueue.New[string](c, fmt.Sprint(e.name, i))
		most := 1
		var taken []string
		var err error
		if rng.IntN(3) == 0 {
			most = manyElements
			taken, err = q.TakeN(ctx, most)
		} else {
			taken = make([]string, 1)
			taken[0], err = q.Take(ctx)
		}
		_ = e.run.count(err)
		e.mu.Lock()
		defer e.mu.Unlock()
		switch {
		case err == nil:
			e.size[i].Add(-int64(len(taken)))
			e.each[i].Taken = append(e.each[i].Taken, taken...)
		case unknown(err):
			e.each[i].TakesUnknown += most
		}
	}
}

func (e *elements) check(ctx context.Context) error {
	var errs []error
	for i, all := range e.each {
		q := dqueue.New[string](e.run.cfg.Clients[0], fmt.Sprint(e.name, i))
		for {
			var taken []string
			err := patiently(ctx, func(ctx context.Context) (err error) {
				taken, err = q.Drain(ctx, 500)
				all.Left = append(all.Left, taken...)
				if unknown(err) {
					all.TakesUnknown += 500 - len(taken)
				}
				return err
			})
			if err != nil {
				errs = append(errs, fmt.Errorf("%s%d: %w", e.name, i, err))
			}
			if err != nil || len(taken) == 0 {
				break
			}
		}
		if err := verify.CheckElements(*all); err != nil {
			errs = append(errs, fmt.Errorf("%s%d: %w", e.name, i, err))
		}
	}
	return errors.Join(errs...)
}
