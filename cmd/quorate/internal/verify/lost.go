package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

const (
	observerClients = 4
	observersEach   = 2
	observerCalls   = 30               // acknowledged between two losses, at least
	observerPause   = time.Millisecond // between two rounds of them
	observerAgain   = time.Minute      // for clients of before to go on
)

// observers use a grid while it is lost and formed anew, each from one goroutine, with
// a counter and an entry of its own. So each knows which values are possible: those
// that were acknowledged, and those whose outcome is unknown. After a loss exactly one
// call of each observer fails with quorate.ErrGridLost; after it nothing from before
// must be there, and without such an error nothing must be missing.
type observers struct {
	clients []*client.Client
	all     []*observer
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	calls   atomic.Int64
	losses  atomic.Int64 // that were begun
	broken  func(string)
}

// observer is one of them.
type observer struct {
	w       *observers
	name    string
	counter *dcounter.Counter
	entries *dmap.Map[string, int64]

	count int64          // of the counter, as last acknowledged
	adds  int64          // of unknown outcome since
	entry int64          // as last acknowledged; 0: none
	puts  map[int64]bool // of unknown outcome since
	next  int64          // to put

	done     atomic.Int64 // calls acknowledged since the last loss was begun
	reported atomic.Int64 // how often a call has returned quorate.ErrGridLost
}

// startObservers starts them; dial makes a client.
func startObservers(ctx context.Context, name string, dial func(int) (*client.Client, error), broken func(string)) (*observers, error) {
	w := &observers{broken: broken}
	for i := range observerClients {
		c, err := dial(i)
		if err != nil {
			w.stop()
			return nil, err
		}
		w.clients = append(w.clients, c)
		for j := range observersEach {
			own := fmt.Sprintf("%s-observer-%d-%d", name, i, j)
			w.all = append(w.all, &observer{
				w: w, name: own, counter: dcounter.New(c, own), entries: dmap.New[string, int64](c, own), puts: map[int64]bool{},
			})
		}
	}
	ctx, w.cancel = context.WithCancel(ctx)
	for _, x := range w.all {
		w.wg.Go(func() { x.run(ctx) })
	}
	return w, nil
}

func (w *observers) stop() {
	if w.cancel != nil {
		w.cancel()
	}
	w.wg.Wait()
	for _, c := range w.clients {
		_ = c.Close()
	}
}

// begin declares that the grid may be lost from now on.
func (w *observers) begin() {
	w.losses.Add(1)
	for _, x := range w.all {
		x.done.Store(0)
	}
}

// await waits until each observer has had observerCalls acknowledged.
func (w *observers) await(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, x := range w.all {
		for x.done.Load() < observerCalls {
			if err := contexts.Sleep(ctx, 10*time.Millisecond); err != nil {
				return fmt.Errorf("the client of %s does not go on: %d calls answered within %v", x.name, x.done.Load(), patience)
			}
		}
	}
	return nil
}

// reported returns how often a loss was reported to observers.
func (w *observers) reported() int64 {
	n := int64(0)
	for _, x := range w.all {
		n += x.reported.Load()
	}
	return n
}

func (x *observer) run(ctx context.Context) {
	for ctx.Err() == nil {
		x.add(ctx)
		x.put(ctx)
		x.get(ctx)
		_ = contexts.Sleep(ctx, observerPause)
	}
}

// record records the outcome of a call. It reports whether a call that failed may have
// been carried out all the same.
func (x *observer) record(ctx context.Context, what string, err error) (unknown bool) {
	x.w.calls.Add(1)
	switch {
	case ctx.Err() != nil:
		return true
	case err == nil:
		x.done.Add(1)
		return false
	case errors.Is(err, quorate.ErrGridLost):
		// Neither this call nor an earlier one reaches the next grid.
		x.count, x.adds, x.entry = 0, 0, 0
		clear(x.puts)
		if x.reported.Add(1) > x.w.losses.Load() {
			x.w.broken(fmt.Sprintf("%s of %s: nothing was lost since: %v", what, x.name, err))
		}
		return false
	case !errors.Is(err, quorate.ErrUnavailable) && !errors.Is(err, quorate.ErrOutcomeUnknown) && !errors.Is(err, quorate.ErrSessionLost):
		x.w.broken(fmt.Sprintf("%s of %s: %v", what, x.name, err))
	}
	return !quorate.SafeToRetry(err)
}

func (x *observer) add(ctx context.Context) {
	n, err := x.counter.Add(ctx, 1)
	switch unknown := x.record(ctx, "add", err); {
	case unknown:
		x.adds++
	case err != nil:
	case n > x.count && n <= x.count+x.adds+1:
		x.count, x.adds = n, 0
	default:
		x.w.broken(fmt.Sprintf("the counter of %s was %d, %d adds had an unknown outcome, and an add returned %d", x.name, x.count, x.adds, n))
		x.count, x.adds = n, 0
	}
}

func (x *observer) put(ctx context.Context) {
	x.next++
	err := x.entries.Put(ctx, "k", x.next)
	switch unknown := x.record(ctx, "put", err); {
	case unknown:
		x.puts[x.next] = true
	case err == nil:
		x.entry = x.next
		clear(x.puts)
	}
}

func (x *observer) get(ctx context.Context) {
	n, ok, err := x.entries.Get(ctx, "k")
	x.record(ctx, "get", err)
	switch {
	case err != nil || ok && x.puts[n] || ok == (x.entry != 0) && n == x.entry:
	default:
		x.w.broken(fmt.Sprintf("the entry of %s was %d, the outcome of %v was unknown, and it is %d (there: %t)", x.name, x.entry, x.puts, n, ok))
	}
}
