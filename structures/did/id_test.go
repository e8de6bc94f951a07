package did

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/structurestest"
)

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func next(t *testing.T, ctx context.Context, s *Sequence) int64 {
	t.Helper()
	id, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestNext(t *testing.T) {
	ctx := bounded(t)
	grid := structurestest.NewLocal(t, Kind())
	seen := map[int64]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 4 {
		s := New(grid.Client(), "orders", Block(int64(1+i*3)))
		all.Go(func() {
			last := int64(0)
			for id, err := range s.NextN(ctx, 200) {
				if err != nil || id <= last {
					t.Errorf("%d, %v after %d", id, err, last)
				}
				last = id
				mu.Lock()
				if seen[id] {
					t.Errorf("%d twice", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(seen) != 800 {
		t.Errorf("%d ids", len(seen))
	}
}

// TestNext_Concurrent: one handle gives out no id twice either.
func TestNext_Concurrent(t *testing.T) {
	ctx := bounded(t)
	s := New(structurestest.NewLocal(t, Kind()).Client(), "orders", Block(7))
	var seen sync.Map
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				id, err := s.Next(ctx)
				if _, twice := seen.LoadOrStore(id, true); twice || err != nil {
					t.Error(id, err, "twice:", twice)
				}
			}
		})
	}
	all.Wait()
}

// TestAfterLoss, of *a lost majority in memory repeats numbers*: the grid that has lost its
// data begins at later versions, and ids begin there (ID-1).
func TestAfterLoss(t *testing.T) {
	ctx := bounded(t)
	before := New(structurestest.NewLocal(t, Kind()).Client(), "{x}orders", Block(10))
	last := int64(0)
	for range 25 {
		last = next(t, ctx, before)
	}
	c := structurestest.NewLocal(t, Kind(), dcounter.Kind()).Client()
	for range last { // so that its versions are later ones
		if _, err := dcounter.New(c, "{x}versions").Add(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	if id := next(t, ctx, New(c, "{x}orders", Block(10))); id <= last {
		t.Errorf("%d is given out after %d", id, last)
	}
}

// TestTooFast: ids do not outrun the versions with which a grid in memory begins after a loss
// (ID-2).
func TestTooFast(t *testing.T) {
	if PerSecond != systemstate.TicksPerSecond {
		t.Errorf("%d ids a second, versions have %d", PerSecond, systemstate.TicksPerSecond)
	}
	ctx := bounded(t)
	grid := structurestest.NewLocal(t, Kind())
	s := New(grid.Client(), "orders")
	reserve := func() (int64, error) { return s.invoke(ctx, "reserve", opReserve, MaxBlock) }
	blocks := func(want int64) {
		t.Helper()
		n := int64(0)
		var err error
		for ; n <= want; n++ {
			if _, err = reserve(); err != nil {
				break
			}
		}
		if n != want || !errors.Is(err, ErrTooFast) {
			t.Errorf("%d blocks, %v, want %d", n, err, want)
		}
	}
	blocks(PerSecond / MaxBlock)
	grid.Advance(999 * time.Millisecond)
	blocks(0)
	grid.Advance(2 * time.Millisecond)
	blocks(17) // with what was left of the first
	grid.Advance(time.Hour)
	for range 100 { // what was not used is not lost
		if _, err := reserve(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Raise(ctx, MaxRaise); err != nil {
		t.Fatal(err)
	}
	blocks(PerSecond / MaxBlock)
}

// faulty is a client whose mutations can be applied without an answer.
type faulty struct {
	*structurestest.Client
	lost  atomic.Bool
	calls atomic.Int64
}

func (f *faulty) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	f.calls.Add(1)
	reply, err := f.Client.Invoke(ctx, call)
	if f.lost.Load() {
		return structures.Reply{}, &quorate.Error{Op: call.Verb, Object: call.Name, Cause: quorate.ErrUnavailable, Unknown: true}
	}
	return reply, err
}

// TestUnknownOutcomeIsAGap (ID-3).
func TestUnknownOutcomeIsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := &faulty{Client: structurestest.NewLocal(t, Kind()).Client()}
		s := New(c, "orders", Block(4))
		last := int64(0)
		for range 4 {
			last = next(t, ctx, s)
			c.lost.Store(true)
			synctest.Wait()
		}
		if id, err := s.Next(ctx); !errors.Is(err, quorate.ErrUnavailable) {
			t.Fatalf("Next = %d, %v, and the next block is unknown", id, err)
		}
		synctest.Wait()
		c.lost.Store(false)
		if id := next(t, ctx, s); id < last+1+4 {
			t.Errorf("%d after %d: it may be of the block whose outcome was unknown", id, last)
		}
		synctest.Wait()
	})
}

// TestPrefetch: the next block is there before it is needed, and lasts over an outage.
func TestPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := &faulty{Client: structurestest.NewLocal(t, Kind()).Client()}
		s := New(c, "orders", Block(8))
		for i := range 8 {
			next(t, ctx, s)
			synctest.Wait()
			want := int64(1)
			if i >= 6 { // less than a quarter is left
				want = 2
			}
			if n := c.calls.Load(); n != want {
				t.Errorf("%d reservations after %d ids, want %d", n, i+1, want)
			}
		}
		c.lost.Store(true)
		for range 8 {
			next(t, ctx, s)
		}
		if _, err := s.Next(ctx); !errors.Is(err, quorate.ErrUnavailable) {
			t.Errorf("Next without a block: %v", err)
		}
		synctest.Wait()
	})
}

func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := structurestest.NewLocal(t, Kind()).Client()
		s := New(c, "orders", Block(100), MaxAge(time.Minute))
		first := next(t, ctx, s)
		time.Sleep(30 * time.Second)
		if id := next(t, ctx, s); id != first+1 {
			t.Errorf("%d after %d", id, first)
		}
		time.Sleep(31 * time.Second)
		if id := next(t, ctx, s); id != first+100 {
			t.Errorf("%d of an old block after %d", id, first)
		}
		synctest.Wait()
	})
}

func TestRaise(t *testing.T) {
	ctx := bounded(t)
	grid := structurestest.NewLocal(t, Kind())
	s, other := New(grid.Client(), "orders", Block(10)), New(grid.Client(), "orders", Block(10))
	low := next(t, ctx, other)
	first := next(t, ctx, s)
	if n, err := s.Raise(ctx, 5000); n != 5000 || err != nil {
		t.Errorf("Raise = %d, %v", n, err)
	}
	if id := next(t, ctx, s); id != 5000 || first >= id {
		t.Errorf("%d after %d and Raise(5000)", id, first)
	}
	if id := next(t, ctx, other); id != low+1 {
		t.Errorf("%d, of a block that was reserved before: after %d", id, low)
	}
	if n, err := s.Raise(ctx, 70); n < 5010 || err != nil {
		t.Errorf("Raise to less = %d, %v", n, err)
	}
}

// TestRaise_InFlight: a block that was on its way when the ids were raised is not given out.
func TestRaise_InFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := structurestest.NewLocal(t, Kind()).Client()
		s := New(c, "orders", Block(4))
		f := &fetch{done: make(chan struct{})}
		s.fetching = f
		if _, err := s.Raise(ctx, 1000); err != nil {
			t.Fatal(err)
		}
		s.fetch(ctx, f)
		if s.now.left() != 0 || s.then.left() != 0 {
			t.Error("it was kept")
		}
		if id := next(t, ctx, s); id < 1000 {
			t.Errorf("%d after Raise(1000)", id)
		}
		synctest.Wait()
	})
}

func TestErrors(t *testing.T) {
	ctx := bounded(t)
	c := structurestest.NewLocal(t, Kind()).Client()
	s := New(c, "orders")
	for name, f := range map[string]func() error{
		"small block": func() error { _, err := New(c, "orders", Block(0)).Next(ctx); return err },
		"large block": func() error { _, err := New(c, "orders", Block(MaxBlock+1)).Next(ctx); return err },
		"age":         func() error { _, err := New(c, "orders", MaxAge(-1)).Next(ctx); return err },
		"name":        func() error { _, err := New(c, "").Next(ctx); return err },
		"raise to 0":  func() error { _, err := s.Raise(ctx, 0); return err },
		"raise to more": func() error {
			_, err := s.Raise(ctx, MaxRaise+1)
			return err
		},
		"wire": func() error { _, err := s.invoke(ctx, "reserve", opReserve, 0); return err },
	} {
		if err := f(); !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.handle.Destroy(ctx); !errors.Is(err, quorate.ErrUnsupported) {
		t.Errorf("destroy: %v", err)
	}
	if kind.Op(structures.OpDestroy) != nil || kind.Op(structures.OpLength) == nil {
		t.Error("ids can be destroyed, or have no length")
	}
	blocked := New(stuck{c}, "orders")
	over, cancel := context.WithCancelCause(ctx)
	cancel(errOver)
	if _, err := blocked.Next(over); !errors.Is(err, errOver) || !errors.Is(err, context.Canceled) {
		t.Errorf("Next whose context has ended: %v", err)
	}
}

var errOver = errors.New("over")

// stuck is a client that gets no answer.
type stuck struct{ *structurestest.Client }

func (stuck) Invoke(ctx context.Context, _ structures.Call) (structures.Reply, error) {
	<-ctx.Done()
	return structures.Reply{}, ctx.Err()
}
