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
	witnessClients = 4
	witnessesEach  = 2
	witnessCalls   = 30               // acknowledged between two losses, at least
	witnessPause   = time.Millisecond // between two rounds of them
	witnessAgain   = time.Minute      // for clients of before to go on
)

// witnesses use a grid while it is lost and formed anew, each from one
// goroutine, with a counter and an entry of its own. So each knows all that may
// be true of them: what it was told, and what it was not. One call of each says
// that the grid was lost; from then on nothing of before is there, and without
// such a word nothing is missing.
type witnesses struct {
	clients []*client.Client
	all     []*witness
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	calls   atomic.Int64
	losses  atomic.Int64 // that were begun
	broken  func(string)
}

// witness is one of them.
type witness struct {
	w       *witnesses
	name    string
	counter *dcounter.Counter
	entries *dmap.Map[string, int64]

	count int64          // of the counter, as last told
	adds  int64          // of unknown outcome since
	entry int64          // as last told; 0: none
	puts  map[int64]bool // of unknown outcome since
	next  int64          // to put

	done atomic.Int64 // calls acknowledged since the last loss was begun
	told atomic.Int64 // how often it was told that the grid was lost
}

// startWitnesses starts them; dial makes a client.
func startWitnesses(ctx context.Context, name string, dial func(int) (*client.Client, error), broken func(string)) (*witnesses, error) {
	w := &witnesses{broken: broken}
	for i := range witnessClients {
		c, err := dial(i)
		if err != nil {
			w.stop()
			return nil, err
		}
		w.clients = append(w.clients, c)
		for j := range witnessesEach {
			own := fmt.Sprintf("%s-witness-%d-%d", name, i, j)
			w.all = append(w.all, &witness{
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

func (w *witnesses) stop() {
	if w.cancel != nil {
		w.cancel()
	}
	w.wg.Wait()
	for _, c := range w.clients {
		_ = c.Close()
	}
}

// begin tells them that the grid may be lost from now on.
func (w *witnesses) begin() {
	w.losses.Add(1)
	for _, x := range w.all {
		x.done.Store(0)
	}
}

// await waits until each has been answered often again.
func (w *witnesses) await(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, x := range w.all {
		for x.done.Load() < witnessCalls {
			if err := contexts.Sleep(ctx, 10*time.Millisecond); err != nil {
				return fmt.Errorf("the client of %s does not go on: %d calls answered within %v", x.name, x.done.Load(), patience)
			}
		}
	}
	return nil
}

// told returns how often they were told of a loss.
func (w *witnesses) told() int64 {
	n := int64(0)
	for _, x := range w.all {
		n += x.told.Load()
	}
	return n
}

func (x *witness) run(ctx context.Context) {
	for ctx.Err() == nil {
		x.add(ctx)
		x.put(ctx)
		x.get(ctx)
		_ = contexts.Sleep(ctx, witnessPause)
	}
}

// heard notes what an error says. It reports whether the call may have been
// carried out all the same.
func (x *witness) heard(ctx context.Context, what string, err error) (unknown bool) {
	x.w.calls.Add(1)
	switch {
	case ctx.Err() != nil:
		return true
	case err == nil:
		x.done.Add(1)
		return false
	case errors.Is(err, quorate.ErrGridLost):
		// Nothing of this call, nor of those before, reaches the next grid.
		x.count, x.adds, x.entry = 0, 0, 0
		clear(x.puts)
		if x.told.Add(1) > x.w.losses.Load() {
			x.w.broken(fmt.Sprintf("%s of %s: nothing was lost since: %v", what, x.name, err))
		}
		return false
	case !errors.Is(err, quorate.ErrUnavailable) && !errors.Is(err, quorate.ErrOutcomeUnknown) && !errors.Is(err, quorate.ErrSessionLost):
		x.w.broken(fmt.Sprintf("%s of %s: %v", what, x.name, err))
	}
	return !quorate.SafeToRetry(err)
}

func (x *witness) add(ctx context.Context) {
	n, err := x.counter.Add(ctx, 1)
	switch unknown := x.heard(ctx, "add", err); {
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

func (x *witness) put(ctx context.Context) {
	x.next++
	err := x.entries.Put(ctx, "k", x.next)
	switch unknown := x.heard(ctx, "put", err); {
	case unknown:
		x.puts[x.next] = true
	case err == nil:
		x.entry = x.next
		clear(x.puts)
	}
}

func (x *witness) get(ctx context.Context) {
	n, ok, err := x.entries.Get(ctx, "k")
	x.heard(ctx, "get", err)
	switch {
	case err != nil || ok && x.puts[n] || ok == (x.entry != 0) && n == x.entry:
	default:
		x.w.broken(fmt.Sprintf("the entry of %s was %d, the outcome of %v was unknown, and it is %d (there: %t)", x.name, x.entry, x.puts, n, ok))
	}
}
