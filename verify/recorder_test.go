package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/drwlock"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/structurestest"
)

// TestRecorders lets clients loose on a grid without a network, with calls
// that give up and sessions that end, and asks that the history is accepted.
func TestRecorders(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	grid := structurestest.NewLocal(t, dcounter.Kind(), dmap.Kind(), dsemaphore.Kind(), dqueue.Kind(), dlock.Kind(), dref.Kind(), drwlock.Kind())
	h := NewHistory()
	setup := grid.Client()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := NewSemaphore(h, 0, "s", dsemaphore.New(setup, "s")).Init(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if err := NewQueue(h, 0, "q", dqueue.New[string](setup, "q")).Configure(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := dref.New[string](setup, "r").Configure(ctx, dref.Keep(RefKept)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for client := 1; client <= 4; client++ {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			for life := range 3 {
				c := grid.Client()
				use(ctx, h, client, c, random, fmt.Sprintf("%d-%d", client, life))
				c.End()
			}
		})
	}
	wg.Wait()
	if v := Check(h, 30*time.Second); v.Outcome != Linearizable {
		t.Fatalf("%v of %d operations", v, h.Len())
	}
	kinds := map[kind]int{}
	for _, op := range h.Operations() {
		kinds[op.Object.kind]++
	}
	if len(kinds) != 7 {
		t.Errorf("operations by kind: %v", kinds)
	}
}

// use draws operations; what they return is for the history.
func use(ctx context.Context, h *History, client int, c *structurestest.Client, random *rand.Rand, values string) {
	counter := NewCounter(h, client, "c", dcounter.New(c, "c"))
	m := NewMap(h, client, "m", dmap.New[string, string](c, "m"))
	s := NewSemaphore(h, client, "s", dsemaphore.New(c, "s"))
	q := NewQueue(h, client, "q", dqueue.New[string](c, "q"))
	r := NewRef(h, client, "r", dref.New[string](c, "r"))
	l := NewLock(h, client, "l", dlock.New(c, "{l}lock"), dcounter.New(c, "{l}count"))
	rw := NewRWLock(h, client, "rw", drwlock.New(c, "{rw}lock"), dcounter.New(c, "{rw}count"))
	var held, locked, shared []*Held
	for i := range 40 {
		soon, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(3))*time.Millisecond)
		v := fmt.Sprintf("%s-%d", values, i)
		key := fmt.Sprint(random.IntN(2))
		switch random.IntN(32) {
		case 0:
			_, _ = counter.Add(ctx, random.Int64N(5))
		case 1:
			_, _ = counter.Get(ctx)
		case 2:
			_, _ = counter.CompareAndSet(ctx, random.Int64N(4), 0)
		case 3:
			_ = m.Put(ctx, key, v)
		case 4:
			if e, ok, err := m.Get(ctx, key); ok && err == nil {
				_, _ = m.Replace(ctx, key, e.Version, v)
			}
		case 5:
			_, _, _ = m.PutIfAbsent(ctx, key, v)
		case 6:
			_, _, _ = m.Remove(ctx, key)
		case 7:
			if got, err := s.Acquire(soon, 1+random.Int64N(3)); err == nil {
				held = append(held, got)
			}
		case 8:
			if got, ok, err := s.TryAcquire(ctx, 1); ok && err == nil {
				held = append(held, got)
			}
		case 9:
			if len(held) > 0 {
				_ = held[0].Release(ctx)
				held = held[1:]
			}
		case 10, 11:
			_ = q.Put(soon, v)
		case 12:
			_, _ = q.Take(soon)
		case 13:
			_, _, _ = q.Poll(ctx)
		case 14:
			_ = q.PutAll(ctx, []string{v, v + "+", v + "++"})
		case 15:
			_, _ = q.TakeN(soon, 2)
		case 16:
			_ = q.Put(ctx, v, dqueue.Wait(0))
			_, _ = q.Take(ctx, dqueue.Wait(0))
			_, _ = q.TakeN(ctx, 2, dqueue.Wait(0))
		case 17:
			_ = r.Set(ctx, v)
			_, _, _ = r.Swap(ctx, v+"+")
		case 18:
			_, _, _ = r.SetIfAbsent(ctx, v)
			_, _ = r.CompareAndSet(ctx, v, v+"+")
		case 19:
			if e, ok, err := r.Get(ctx); ok && err == nil {
				_, _ = r.Replace(ctx, e.Version, v)
				_, _ = r.Rollback(ctx, e.Version)
			}
		case 20:
			_, _ = r.Delete(ctx)
		case 21:
			if got, err := l.Lock(soon); err == nil {
				locked = append(locked, got)
			}
		case 22:
			if got, ok, err := l.TryLock(ctx); ok && err == nil {
				locked = append(locked, got)
			}
		case 23:
			if len(locked) > 0 { // also what was released
				_, _ = l.Add(ctx, locked[random.IntN(len(locked))])
			}
		case 24:
			if len(locked) > 0 {
				_ = locked[len(locked)-1].Release(ctx)
			}
		case 25:
			if i, err := l.Inspect(ctx); err == nil && len(i.Holders) > 0 {
				_, _ = l.Revoke(ctx, i.Holders[0].ID, structures.Grace(0))
			}
		case 26:
			if got, err := rw.RLock(soon); err == nil {
				shared = append(shared, got)
			}
			if len(shared) > 0 { // few are left over: it is not known when those come back
				_ = shared[0].Release(ctx)
			}
			if got, ok, err := rw.TryRLock(ctx); ok && err == nil {
				shared = append(shared, got)
			}
		case 27:
			if got, err := rw.Lock(soon); err == nil {
				shared = append(shared, got)
			}
			if got, ok, err := rw.TryLock(ctx); ok && err == nil {
				shared = append(shared, got)
			}
		case 28:
			if len(shared) > 0 {
				_, _ = rw.Add(ctx, shared[random.IntN(len(shared))])
				_ = shared[random.IntN(len(shared))].Release(ctx)
			}
		case 29:
			if len(shared) > 0 {
				if got, err := rw.Downgrade(ctx, shared[len(shared)-1]); err == nil {
					shared = append(shared, got)
				}
			}
		case 30:
			if len(shared) > 0 {
				if got, ok, err := rw.TryUpgrade(ctx, shared[len(shared)-1]); ok && err == nil {
					shared = append(shared, got)
				}
			}
		case 31:
			if i, err := rw.Inspect(ctx); err == nil && len(i.Holders) > 0 {
				_, _ = rw.Revoke(ctx, i.Holders[0].ID, structures.Grace(0))
			}
		}
		cancel()
	}
	for _, h := range shared[min(1, len(shared)):] {
		_ = h.Release(ctx)
	}
}
