package dmap_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/txn"
)

// watched is a watch that a test takes events from, one by one.
type watched struct {
	t    *testing.T
	next func() (dmap.Event[string, int], error, bool)
}

func watchOf(ctx context.Context, t *testing.T, m *dmap.Map[string, int], opts ...dmap.WatchOption) *watched {
	next, stop := iter.Pull2(m.Watch(ctx, opts...))
	t.Cleanup(stop)
	return &watched{t, next}
}

func (w *watched) event() dmap.Event[string, int] {
	w.t.Helper()
	e, err, ok := w.next()
	if err != nil || !ok {
		w.t.Fatalf("%v, %v", err, ok)
	}
	return e
}

// text is an event as tests compare it.
func text(e dmap.Event[string, int]) string {
	s := e.Type.String()
	if e.Key != "" {
		s += " " + e.Key
	}
	if e.Type == dmap.Put || e.Type == dmap.Current {
		s += fmt.Sprint(" ", e.Value)
	}
	if e.HasOld {
		s += fmt.Sprint(" was ", e.Old)
	}
	if e.More {
		s += " and"
	}
	return s
}

// expect takes as many events as there are texts, and compares them.
func (w *watched) expect(want ...string) (events []dmap.Event[string, int]) {
	w.t.Helper()
	var got []string
	for range want {
		e := w.event()
		got, events = append(got, text(e)), append(events, e)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Fatalf("events: -want +got\n%s", diff)
	}
	return events
}

func (w *watched) fails(target error) {
	w.t.Helper()
	if e, err, _ := w.next(); !errors.Is(err, target) {
		w.t.Fatalf("%v, %v; want %v", text(e), err, target)
	}
	if e, err, ok := w.next(); ok {
		w.t.Fatalf("behind the error: %v, %v", e, err)
	}
}

func TestWatch(t *testing.T) {
	ctx, g := testContext(t), newGrid(t)
	m := dmap.New[string, int](g, "{t}m")
	check(t, m.Put(ctx, "old", 1))

	w := watchOf(ctx, t, m)
	w.expect("synced")
	check(t, m.Put(ctx, "a", 1))
	check(t, m.Put(ctx, "a", 2))
	_, err := m.Delete(ctx, "a")
	check(t, err)
	check(t, m.PutAll(ctx, maps.All(map[string]int{"b": 1, "c": 2, "d": 3})))
	check(t, m.Put(ctx, "e", 4, dmap.TTL(100*time.Millisecond)))
	g.Advance(time.Second)
	check(t, m.Clear(ctx))
	check(t, m.Put(ctx, "f", 5))
	check(t, m.Destroy(ctx))
	check(t, m.Put(ctx, "g", 6))
	got := w.expect("put a 1", "put a 2", "removed a", "put b 1 and", "put c 2 and", "put d 3", "put e 4", "expired e",
		"removed b and", "removed c and", "removed d and", "removed old", "put f 5", "destroyed", "put g 6")
	if got[0].Previous != 0 || got[1].Previous != got[0].Version || got[2].Previous != got[1].Version {
		t.Errorf("the versions before: %d, %d, %d", got[0].Previous, got[1].Previous, got[2].Previous)
	}
	for i := 1; i < len(got); i++ {
		if got[i].Version < got[i-1].Version {
			t.Errorf("%v has version %d, behind %d", text(got[i]), got[i].Version, got[i-1].Version)
		}
	}
	if gone := got[13]; !gone.Covers("f") || !gone.Covers("whatever") {
		t.Error("Destroyed covers none of the keys")
	}
	if !got[0].Covers("a") || got[0].Covers("b") {
		t.Error("an event covers another key than its own")
	}
}

func TestWatch_Current(t *testing.T) {
	ctx, g := testContext(t), newGrid(t)
	m := dmap.New[string, int](g, "{t}m")
	check(t, m.Put(ctx, "a", 1))
	check(t, m.Put(ctx, "b", 2, dmap.TTL(time.Hour)))
	w := watchOf(ctx, t, m, dmap.WithCurrent())
	got := w.expect("current a 1", "current b 2", "synced")
	if got[0].Left != 0 || got[1].Left != time.Hour {
		t.Errorf("left: %v, %v", got[0].Left, got[1].Left)
	}
	check(t, m.Put(ctx, "a", 3))
	w.expect("put a 3")
}

func TestWatch_Filters(t *testing.T) {
	ctx, g := testContext(t), newGrid(t)
	m := dmap.New[string, int](g, "{t}m")
	check(t, m.Configure(ctx, dmap.KeepOld()))
	one := watchOf(ctx, t, m, dmap.Key("b"))
	prefix := watchOf(ctx, t, m, dmap.Prefix("a"))
	between := watchOf(ctx, t, m, dmap.From("b"), dmap.Before("c"))
	removed := watchOf(ctx, t, m, dmap.Only(dmap.Removed))
	keys := watchOf(ctx, t, m, dmap.KeysOnly())
	old := watchOf(ctx, t, m, dmap.OldValues(), dmap.Key("a1"))
	for _, w := range []*watched{one, prefix, between, removed, keys, old} {
		w.expect("synced")
	}
	check(t, m.PutAll(ctx, maps.All(map[string]int{"a1": 1, "b": 2, "c": 3})))
	check(t, m.Put(ctx, "a1", 4))
	_, err := m.Delete(ctx, "a1")
	check(t, err)
	one.expect("put b 2")
	prefix.expect("put a1 1", "put a1 4", "removed a1")
	between.expect("put b 2")
	removed.expect("removed a1")
	keys.expect("put a1 0 and", "put b 0 and", "put c 0", "put a1 0", "removed a1")
	old.expect("put a1 1", "put a1 4 was 1", "removed a1 was 4")
}

func TestWatch_Resumed(t *testing.T) {
	ctx, g := testContext(t), newGrid(t)
	m := dmap.New[string, int](g, "{t}m")
	check(t, m.Put(ctx, "a", 1))
	entry, _, err := m.Entry(ctx, "a")
	check(t, err)
	w := watchOf(ctx, t, m, dmap.WithCurrent())
	var at []dmap.WatchCursor
	take := func(want string) {
		t.Helper()
		at = append(at, w.expect(want)[0].Cursor())
	}
	take("current a 1")
	take("synced")
	check(t, m.PutAll(ctx, maps.All(map[string]int{"b": 1, "c": 2, "d": 3})))
	check(t, m.Put(ctx, "a", 4))
	want := []string{"put b 1 and", "put c 2 and", "put d 3", "put a 4"}
	for _, e := range want {
		take(e)
	}
	// Each cursor goes on behind its event, also inside of a mutation.
	for i, c := range at {
		var again dmap.WatchCursor
		b, err := c.MarshalText()
		check(t, err)
		check(t, again.UnmarshalText(b))
		rest := append([]string{"synced"}, want[max(i-1, 0):]...)
		if i == 0 { // in the midst of the list: what was listed has changed since
			rest = []string{"put a 4", "current b 1", "current c 2", "current d 3", "synced"}
		}
		watchOf(ctx, t, m, dmap.After(again)).expect(rest...)
	}
	watchOf(ctx, t, m, dmap.AfterVersion(entry.Version)).expect(append([]string{"synced"}, want...)...)
}

func TestWatch_Newest(t *testing.T) {
	ctx, g := testContext(t), newGrid(t)
	m := dmap.New[string, int](g, "m")
	w := watchOf(ctx, t, m, dmap.Key("a"), dmap.Newest())
	w.expect("removed a", "synced")
	check(t, m.Put(ctx, "a", 1))
	w.expect("put a 1")
	for i := range 100 {
		check(t, m.Put(ctx, "a", i))
	}
	_, err := m.Delete(ctx, "a")
	check(t, err)
	for n := 0; ; n++ {
		if e := w.event(); e.Type == dmap.Removed {
			break
		} else if n > 100 {
			t.Fatalf("%d states, then %v", n, text(e))
		}
	}
}

func TestWatch_Progress(t *testing.T) {
	ctx, g := testContext(t), newGrid(t)
	m := dmap.New[string, int](g, "m")
	w := watchOf(ctx, t, m, dmap.ProgressEvery(time.Second))
	w.expect("synced")
	check(t, m.Put(ctx, "a", 1))
	w.expect("put a 1", "progress", "progress")
}

func TestWatch_Errors(t *testing.T) {
	ctx, g := testContext(t), newGrid(t)
	m := dmap.New[string, int](g, "m")
	other := dmap.New[string, int](g, "other")
	check(t, other.Put(ctx, "a", 1))
	cursor := watchOf(ctx, t, other).expect("synced")[0].Cursor()
	for what, opts := range map[string][]dmap.WatchOption{
		"a key of another type":     {dmap.Key(7)},
		"bounds of another type":    {dmap.From(7)},
		"a key and a range":         {dmap.Key("a"), dmap.Prefix("a")},
		"two beginnings":            {dmap.WithCurrent(), dmap.AfterVersion(7)},
		"a version of many":         {dmap.AfterVersion(7)},
		"version 0":                 {dmap.Key("a"), dmap.AfterVersion(0)},
		"the zero cursor":           {dmap.After(dmap.WatchCursor{})},
		"another map's cursor":      {dmap.After(cursor)},
		"a cursor of an iteration":  {dmap.Resume(new(dmap.Cursor))},
		"Newest of a range":         {dmap.Newest()},
		"Newest with others":        {dmap.Newest(), dmap.Key("a"), dmap.WithCurrent()},
		"a window of nothing":       {dmap.Window(0)},
		"progress all the time":     {dmap.ProgressEvery(time.Millisecond)},
		"only what is always there": {dmap.Only(dmap.Synced)},
		"a window without an end":   {dmap.Window(structures.MaxWindow + 1)},
	} {
		t.Run(what, func(t *testing.T) { watchOf(ctx, t, m, opts...).fails(quorate.ErrInvalid) })
	}
	watchOf(ctx, t, m, dmap.OldValues()).fails(quorate.ErrSettings)
	w := watchOf(ctx, t, dmap.New[string, int](g, ""))
	w.fails(quorate.ErrInvalid)
	ended, cancel := context.WithCancel(ctx)
	w = watchOf(ended, t, m)
	w.expect("synced")
	cancel()
	w.fails(context.Canceled)
	check(t, dmap.New[string, string](g, "text").Put(ctx, "a", "x"))
	watchOf(ctx, t, dmap.New[string, int](g, "text"), dmap.WithCurrent()).fails(quorate.ErrCodec)
}

// fold keeps what the events of watches add up to: of one that goes on from the last
// cursor again and again.
type fold struct {
	opts []dmap.WatchOption

	mu  sync.Mutex
	has map[string]int
}

func (f *fold) follow(ctx context.Context, m *dmap.Map[string, int], rnd *rand.Rand) error {
	begin := dmap.WithCurrent()
	for {
		left := 1 + rnd.IntN(60)
		for e, err := range m.Watch(ctx, append(f.opts, begin)...) {
			if err != nil {
				return err
			}
			f.take(e)
			if left--; left == 0 {
				begin = dmap.After(e.Cursor())
				break
			}
		}
	}
}

func (f *fold) take(e dmap.Event[string, int]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e.Type {
	case dmap.Current, dmap.Put:
		f.has[e.Key] = e.Value
	case dmap.Removed, dmap.Expired:
		delete(f.has, e.Key)
	case dmap.Destroyed:
		for k := range f.has {
			if e.Covers(k) {
				delete(f.has, k)
			}
		}
	}
}

func (f *fold) diff(want map[string]int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cmp.Diff(want, f.has)
}

// TestWatch_Folds watches a map that changes all the time, in many ways and from many
// positions, and compares what the events add up to with the map.
func TestWatch_Folds(t *testing.T) {
	for range 6 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			ctx, g, rnd := testContext(t), newGrid(t), rand.New(rand.NewPCG(seed, 0))
			m := dmap.New[string, int](g, "m")
			for range 300 {
				change(ctx, t, g, m, rnd)
			}
			watching, stop := context.WithCancel(ctx)
			var folds []*fold
			var done sync.WaitGroup
			for i, opts := range [][]dmap.WatchOption{
				nil, {dmap.Prefix("a")}, {dmap.Window(300)}, {dmap.From("b")}, {dmap.Prefix("c"), dmap.Window(4096)}, {dmap.Key("a7")},
			} {
				f := &fold{opts: opts, has: map[string]int{}}
				folds = append(folds, f)
				done.Go(func() {
					if err := f.follow(watching, m, rand.New(rand.NewPCG(seed, uint64(i)))); !errors.Is(err, context.Canceled) {
						t.Errorf("watch %d: %v", i, err)
					}
				})
			}
			for range 1000 {
				change(ctx, t, g, m, rnd)
			}
			for i, f := range folds {
				want := map[string]int{}
				for e, err := range m.All(ctx, scanOptions(f.opts)...) {
					check(t, err)
					if i < len(folds)-1 || e.Key == "a7" {
						want[e.Key] = e.Value
					}
				}
				for f.diff(want) != "" && ctx.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				if diff := f.diff(want); diff != "" {
					t.Errorf("watch %d: -map +events\n%s", i, diff)
				}
			}
			stop()
			done.Wait()
		})
	}
}

// change changes the map in some way.
func change(ctx context.Context, t *testing.T, g *grid, m *dmap.Map[string, int], rnd *rand.Rand) {
	key := func() string { return fmt.Sprintf("%c%d", 'a'+rune(rnd.IntN(3)), rnd.IntN(200)) }
	switch n := rnd.IntN(100); {
	case n < 60:
		check(t, m.Put(ctx, key(), rnd.IntN(1000)))
	case n < 75:
		_, err := m.Delete(ctx, key())
		check(t, err)
	case n < 90:
		all := map[string]int{}
		for range 1 + rnd.IntN(50) {
			all[key()] = rnd.IntN(1000)
		}
		check(t, m.PutAll(ctx, maps.All(all)))
	case n < 97:
		check(t, m.Put(ctx, key(), 7, dmap.TTL(time.Second)))
		g.Advance(time.Duration(rnd.IntN(500)) * time.Millisecond)
	case n < 98:
		check(t, m.Destroy(ctx))
	default:
		check(t, m.Clear(ctx))
	}
}

func scanOptions(opts []dmap.WatchOption) (scan []dmap.ScanOption) {
	for _, o := range opts {
		if s, ok := o.(dmap.ScanOption); ok {
			scan = append(scan, s)
		}
	}
	return scan
}

// TestWatch_TransactionResumed: a cursor goes on behind its event inside of a transaction,
// too, whose last operation has a later version than the event.
func TestWatch_TransactionResumed(t *testing.T) {
	ctx, g := testContext(t), newGrid(t)
	m, others := dmap.New[string, int](g, "{t}m"), dmap.New[string, int](g, "{t}others")
	commit := func(n int) {
		t.Helper()
		_, err := txn.New(g).Then(
			others.Txn().Put("x", n), m.Txn().Put("a", n), m.Txn().Put("b", n), m.Txn().Put("c", n), others.Txn().Put("y", n),
		).Commit(ctx)
		check(t, err)
	}
	all, some := watchOf(ctx, t, m), watchOf(ctx, t, m, dmap.Key("b"))
	all.expect("synced")
	some.expect("synced")
	commit(1)
	commit(2)
	e := some.expect("put b 1")[0]
	watchOf(ctx, t, m, dmap.Key("b"), dmap.After(e.Cursor())).expect("synced", "put b 2")
	watchOf(ctx, t, m, dmap.AfterVersion(e.Version)).expect("synced", "put c 1", "put a 2 and", "put b 2 and", "put c 2")
	entry, _, err := m.Entry(ctx, "b")
	check(t, err)
	after := watchOf(ctx, t, m, dmap.Key("b"), dmap.AfterVersion(entry.Version))
	check(t, m.Put(ctx, "b", 3))
	after.expect("synced", "put b 3")
	want := []string{"put a 1 and", "put b 1 and", "put c 1", "put a 2 and", "put b 2 and", "put c 2", "put b 3"}
	for i, event := range want {
		c := all.expect(event)[0].Cursor()
		watchOf(ctx, t, m, dmap.After(c)).expect(append([]string{"synced"}, want[i+1:]...)...)
	}
}
