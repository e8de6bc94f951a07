package workloads

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/verify"
)

// mayBe reports whether an operation that failed may have taken effect: one
// that waited may, until its session has ended, although it is refused.
func mayBe(err error) bool {
	return unknown(err) || has([]error{quorate.ErrSessionLost, quorate.ErrClosed}, err)
}

// written are entries that are written once, some of them deleted again. What
// was acknowledged is there at the end.
type written struct {
	run *Run
	m   string

	mu       sync.Mutex // guards what follows
	expected verify.Entries
}

const (
	mostWritten = 200_000
	readBatch   = 500
)

func newWritten(r *Run) *written {
	w := &written{run: r, m: r.cfg.Name + "-written", expected: verify.Entries{}}
	r.atEnd("acknowledged entries", w.check)
	return w
}

func (w *written) worker(id int, c *client.Client) worker {
	m := dmap.New[string, int64](c, w.m)
	n := int64(0)
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		if n*int64(len(w.run.cfg.Clients)) >= mostWritten {
			return
		}
		n++
		key := fmt.Sprint(id, "-", n)
		err := w.run.count(m.Put(ctx, key, n))
		state := verify.Present
		switch {
		case unknown(err):
			state = verify.Maybe
		case err != nil:
			return
		case rng.IntN(4) == 0:
			if _, err := m.Delete(ctx, key); w.run.count(err) == nil {
				state = verify.Absent
			} else if unknown(err) {
				state = verify.Maybe
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.expected[key] = state
	}
}

func (w *written) check(ctx context.Context) error {
	m := dmap.New[string, int64](w.run.cfg.Clients[0], w.m)
	present := map[string]bool{}
	var keys []string
	look := func() error {
		var got map[string]int64
		err := patiently(ctx, func(ctx context.Context) (err error) {
			got, err = m.GetAll(ctx, keys...)
			return err
		})
		for k := range got {
			present[k] = true
		}
		w.run.counted.Add(int64(len(keys)))
		keys = keys[:0]
		return err
	}
	for k := range w.expected {
		if keys = append(keys, k); len(keys) == readBatch {
			if err := look(); err != nil {
				return err
			}
		}
	}
	if err := look(); err != nil {
		return err
	}
	return verify.CheckEntries(w.expected, func(k string) bool { return present[k] })
}

// owned are entries with one writer each, who writes growing numbers. A reader
// never sees less than what was acknowledged before it asked, nor more than
// what the writer has tried.
type owned struct {
	run  *Run
	m    string
	each []atomic.Pointer[single]
}

// single is one entry. After a write with an unknown outcome, which may take
// effect at any time, another takes its place.
type single struct {
	key                 string
	acknowledged, tried atomic.Int64
	busy                sync.Mutex // held by the writer
}

const ownedKeys = 64 // of a client

func newOwned(r *Run) *owned {
	o := &owned{run: r, m: r.cfg.Name + "-owned", each: make([]atomic.Pointer[single], ownedKeys*len(r.cfg.Clients))}
	for i := range o.each {
		o.each[i].Store(&single{key: fmt.Sprint(i)})
	}
	return o
}

func (o *owned) writer(id int, c *client.Client) worker {
	m := dmap.New[string, int64](c, o.m)
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		i := id*ownedKeys + rng.IntN(ownedKeys)
		one := o.each[i].Load()
		if !one.busy.TryLock() {
			return
		}
		defer one.busy.Unlock()
		n := one.tried.Add(1)
		switch err := o.run.count(m.Put(ctx, one.key, n)); {
		case err == nil:
			one.acknowledged.Store(n)
		case unknown(err):
			o.each[i].Store(&single{key: one.key + "'"})
		}
	}
}

func (o *owned) reader(_ int, c *client.Client) worker {
	m := dmap.New[string, int64](c, o.m)
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		one := o.each[rng.IntN(len(o.each))].Load()
		low := one.acknowledged.Load()
		n, _, err := m.Get(ctx, one.key)
		if o.run.count(err) != nil {
			return
		}
		if high := one.tried.Load(); n < low || n > high {
			o.run.violates("one writer", "entry %s was %d, and %d to %d were written", one.key, n, low, high)
		}
	}
}

// lives writes entries with a time to live and looks when they are removed: never
// before their time, and after it within a bound of undisturbed time.
func (r *Run) lives(id int, c *client.Client) worker {
	m := dmap.New[string, int64](c, r.cfg.Name+"-lives")
	type entry struct {
		key  string
		life verify.Life
	}
	var alive []entry
	n := 0
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		if len(alive) < 50 && rng.IntN(3) == 0 {
			n++
			e := entry{key: fmt.Sprint(id, "-", n)}
			e.life.TTL = time.Duration(300+rng.IntN(4000)) * time.Millisecond
			e.life.Called = time.Now()
			err := m.Put(ctx, e.key, int64(n), dmap.TTL(e.life.TTL))
			e.life.Returned = time.Now()
			if r.count(err) == nil {
				alive = append(alive, e)
			}
			return
		}
		if len(alive) == 0 {
			return
		}
		i := rng.IntN(len(alive))
		e := alive[i]
		asked := time.Now()
		_, there, err := m.Get(ctx, e.key)
		if r.count(err) != nil {
			return
		}
		if err := verify.CheckLife(e.life, there, asked, time.Now(), r.cfg.Quiet); err != nil {
			r.violates("time to live", "entry %s: %v", e.key, err)
			there = false
		}
		if !there {
			alive[i] = alive[len(alive)-1]
			alive = alive[:len(alive)-1]
		}
	}
}
