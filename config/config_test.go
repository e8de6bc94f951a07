package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/structurestest"
	"github.com/quorate/quorate/structures/txn"
)

type limits struct {
	Rate  int
	Burst int `json:"burst"`
}

func (l limits) check() error {
	if l.Rate < 0 {
		return fmt.Errorf("a rate of %d", l.Rate)
	}
	return nil
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// await waits until a condition holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); time.Since(start) < 2*time.Minute; time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within two minutes: %s", what)
}

// follows is Follow without an error, until the test ends.
func follows[T any](ctx context.Context, t *testing.T, s Source[T], opts ...Option) *Value[T] {
	t.Helper()
	v, err := Follow(ctx, s, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// TestLastGood: what cannot be decoded or is refused never replaces a good value, and a later
// good one is taken (CONFIG-1); nor does a deletion (CONFIG-5).
func TestLastGood(t *testing.T) {
	ctx := deadline(t)
	c := structurestest.NewLocal(t, dref.Kind(), dmap.Kind()).Client()
	r := dref.New[limits](c, "limits")
	m := dmap.New[string, limits](c, "settings")
	for name, one := range map[string]struct {
		source Source[limits]
		set    func(limits) error
		bad    func() error
		gone   func() error
	}{
		"ref": {
			Ref(r), func(l limits) error { return r.Set(ctx, l) },
			func() error { return dref.New[string](c, "limits").Set(ctx, "no struct") },
			func() error { _, err := r.Delete(ctx); return err },
		},
		"key": {
			Key(m, "limits"), func(l limits) error { return m.Put(ctx, "limits", l) },
			func() error { return dmap.New[string, string](c, "settings").Put(ctx, "limits", "no struct") },
			func() error { _, err := m.Delete(ctx, "limits"); return err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Follow(ctx, one.source); !errors.Is(err, ErrNoValue) {
				t.Errorf("Follow of nothing: %v", err)
			}
			v := follows(ctx, t, one.source, Default(limits{Rate: 1}), Validate(limits.check))
			is := func(rate int, from From, rejections uint64) {
				t.Helper()
				await(t, fmt.Sprint(rate, from, rejections), func() bool {
					s := v.State()
					return v.Load().Rate == rate && s.From == from && s.Rejections == rejections
				})
			}
			do := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			is(1, FromDefault, 0)
			do(one.set(limits{Rate: 5}))
			is(5, FromGrid, 0)
			version := v.State().Version
			do(one.set(limits{Rate: -1}))
			is(5, FromGrid, 1)
			if s := v.State(); s.Version != version || !errors.Is(s.Rejected, ErrRejected) || !strings.Contains(s.Rejected.Error(), "a rate of -1") {
				t.Errorf("%+v", s)
			}
			do(one.bad())
			is(5, FromGrid, 2)
			if s := v.State(); !errors.Is(s.Rejected, quorate.ErrCodec) {
				t.Errorf("%+v", s)
			}
			do(one.set(limits{Rate: 7}))
			is(7, FromGrid, 2)
			if s := v.State(); s.Rejected != nil || s.Version <= version || s.Gone || s.Confirmed.IsZero() {
				t.Errorf("%+v", s)
			}
			do(one.gone())
			await(t, "gone", func() bool { return v.State().Gone })
			is(7, FromGrid, 2)
			back := follows(ctx, t, one.source, Default(limits{Rate: 1}), DeletedIsDefault())
			do(one.set(limits{Rate: 8}))
			is(8, FromGrid, 2)
			await(t, "taken again", func() bool { return back.Load().Rate == 8 })
			do(one.gone())
			await(t, "the default", func() bool { return back.Load().Rate == 1 && back.State().From == FromDefault })
		})
	}
}

// TestChanges: each change comes, or a newer one, and what is rejected comes once, beside the
// last good value.
func TestChanges(t *testing.T) {
	ctx := deadline(t)
	c := structurestest.NewLocal(t, dref.Kind()).Client()
	r := dref.New[limits](c, "limits")
	v := follows(ctx, t, Ref(r), Default(limits{}), Validate(limits.check))
	version, step := Version(0), 0
	for l, err := range v.Changes(ctx) {
		step++
		switch step {
		case 1:
			if l.Rate != 0 || err != nil {
				t.Fatal(l, err)
			}
			if version, err = v.Publish(ctx, 0, limits{Rate: 1}); err != nil || version == 0 {
				t.Fatal(version, err)
			}
		case 2:
			if l.Rate != 1 || err != nil || v.State().Version != version {
				t.Fatal(l, err)
			}
			if _, err := v.Publish(ctx, version, limits{Rate: -1}); !errors.Is(err, ErrRejected) {
				t.Errorf("Publish of what is refused: %v", err)
			}
			if _, err := v.Publish(ctx, version-1, limits{Rate: 3}); !errors.Is(err, ErrConflict) || !errors.Is(err, dref.ErrConflict) {
				t.Errorf("Publish over another version: %v", err)
			}
			if err := r.Set(ctx, limits{Rate: -7}); err != nil {
				t.Fatal(err)
			}
		case 3:
			if l.Rate != 1 || !errors.Is(err, ErrRejected) {
				t.Fatal(l, err)
			}
			v.cancel() // the loop ends with what is followed
		default:
			t.Fatal(l, err)
		}
	}
	if step != 3 {
		t.Errorf("%d steps", step)
	}
	m := dmap.New[string, int](structurestest.NewLocal(t, dmap.Kind()).Client(), "m")
	n := follows(ctx, t, Key(m, "n"), Default(0))
	first, err := n.Publish(ctx, 0, 4)
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	if _, err := n.Publish(ctx, 0, 5); !errors.Is(err, ErrConflict) {
		t.Errorf("Publish of what is there: %v", err)
	}
	if second, err := n.Publish(ctx, first, 5); err != nil || second <= first {
		t.Error(second, err)
	}
	await(t, "5", func() bool { return *n.Load() == 5 })

	// The version of what was not there is known, also of values that are read as others.
	times := dmap.New[string, time.Time](structurestest.NewLocal(t, dmap.Kind()).Client(), "m")
	until := follows(ctx, t, Key(times, "until"), Default(time.Time{}))
	first, err = until.Publish(ctx, 0, time.Now())
	if e, ok, got := times.Entry(ctx, "until"); err != nil || got != nil || !ok || first != e.Version {
		t.Errorf("%d, %v; %+v, %v", first, err, e, got)
	}
}

// TestFile: a process that starts while the grid is away goes on with the last good value
// (CONFIG-2).
func TestFile(t *testing.T) {
	ctx := deadline(t)
	path := filepath.Join(t.TempDir(), "limits.cbor")
	grid := newFake()
	v := follows(ctx, t, grid.source(), File(path), Default(limits{Rate: 1}), Wait(time.Millisecond), Validate(limits.check))
	if v.Load().Rate != 1 || v.State().From != FromDefault {
		t.Errorf("%+v, %+v", v.Load(), v.State())
	}
	grid.puts(10, limits{Rate: 5})
	await(t, "the file", func() bool { _, err := os.Stat(path); return err == nil && v.Load().Rate == 5 })
	grid.puts(11, limits{Rate: -5})
	await(t, "a rejection", func() bool { return v.State().Rejections == 1 })
	v.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}

	again := follows(ctx, t, newFake().source(), File(path), Default(limits{Rate: 1}), Wait(time.Millisecond))
	if s := again.State(); again.Load().Rate != 5 || s.From != FromFile || s.Version != 10 || !s.Confirmed.IsZero() {
		t.Errorf("%+v, %+v", again.Load(), s)
	}
	// Nor need there be a client yet.
	none := follows(ctx, t, Ref(dref.New[limits](nil, "limits")), File(path), Wait(time.Millisecond))
	if s := none.State(); none.Load().Rate != 5 || s.From != FromFile {
		t.Errorf("%+v, %+v", none.Load(), s)
	}
	// What the file has is validated, too.
	strict := follows(ctx, t, newFake().source(), File(path), Default(limits{Rate: 1}), Wait(time.Millisecond),
		Validate(func(l limits) error { return fmt.Errorf("no %d", l.Rate) }))
	if s := strict.State(); strict.Load().Rate != 1 || s.From != FromDefault || s.File == nil {
		t.Errorf("%+v, %+v", strict.Load(), s)
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Follow(ctx, newFake().source(), File(path), Wait(time.Millisecond)); !errors.Is(err, quorate.ErrUnavailable) {
		t.Errorf("without a value: %v", err)
	}
}

// TestFile_AnotherSource: a file that another source has written, here of a reference in
// another partition, keeps nothing of the grid's out: their versions do not compare.
func TestFile_AnotherSource(t *testing.T) {
	ctx := deadline(t)
	path := filepath.Join(t.TempDir(), "limits.cbor")
	grid := newFake()
	grid.puts(10, limits{Rate: 5})
	follows(ctx, t, grid.source(), File(path)).Close()
	other := newFake()
	other.partition = 1
	other.puts(4, limits{Rate: 7})
	v := follows(ctx, t, other.source(), File(path))
	if s := v.State(); v.Load().Rate != 7 || s.From != FromGrid {
		t.Errorf("%+v, %+v", v.Load(), s)
	}
}

// TestTorn: a struct of several keys is built at the end of a transaction, never of half of
// it, and not while a list, or one after a gap, is not whole (CONFIG-4).
func TestTorn(t *testing.T) {
	ctx := deadline(t)
	local := structurestest.NewLocal(t, dmap.Kind())
	c := local.Client()
	m := dmap.New[string, int](c, "settings")
	v := follows(ctx, t, Prefix[limits](m, "{app}/"), Default(limits{Rate: 3, Burst: 3}))
	set := func(n int) {
		t.Helper()
		if _, err := txn.New(c).Then(m.Txn().Put("{app}/Rate", n), m.Txn().Put("{app}/burst", n)).Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var seen sync.WaitGroup
	seen.Go(func() {
		for l := range v.Changes(ctx) {
			if l.Rate != l.Burst {
				t.Errorf("half of a change: %+v", *l)
			}
		}
	})
	for n := range 50 {
		set(n)
		await(t, "the change", func() bool { return v.Load().Burst == n })
	}
	cancel()
	seen.Wait()
	if _, err := m.Delete(t.Context(), "{app}/burst"); err != nil {
		t.Fatal(err)
	}
	await(t, "the default of one field", func() bool { return *v.Load() == limits{Rate: 49, Burst: 3} })
	if _, err := v.Publish(t.Context(), 0, limits{}); !errors.Is(err, quorate.ErrUnsupported) {
		t.Errorf("Publish of a prefix: %v", err)
	}
	if _, err := Follow(t.Context(), Prefix[int](m, "x")); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("a prefix of no struct: %v", err)
	}

	// Events by hand: a list in two parts, and a gap.
	f := &fold2{tree[limits]{codec: structures.CBOR, prefix: "p/", keys: map[string]leaf{}, listing: true}}
	f.want(t, "", structures.EventCurrent, "Rate", 1, false)
	f.want(t, "", structures.EventCurrent, "burst", 1, false)
	f.want(t, "1 1", structures.EventSynced, "", 0, false)
	f.want(t, "", structures.EventPut, "Rate", 2, true)
	f.want(t, "2 2", structures.EventPut, "burst", 2, false)
	f.want(t, "", structures.EventGap, "", 0, false)
	f.want(t, "", structures.EventPut, "burst", 3, false)
	f.want(t, "", structures.EventCurrent, "Rate", 3, false)
	f.want(t, "3 3", structures.EventSynced, "", 0, false)
}

type fold2 struct{ tree[limits] }

func (f *fold2) want(t *testing.T, want string, typ structures.EventType, key string, n int, more bool) {
	t.Helper()
	e := structures.WatchEvent{Event: structures.Event{Type: typ}, More: more}
	if key != "" {
		e.Key, _ = structures.AppendKey(nil, "p/"+key)
		e.Value, _ = structures.AppendValue(nil, structures.CBOR, n)
	}
	got := ""
	if s, is := f.take(&e, &fakeStream{}, nil); is && s.value != nil {
		got = fmt.Sprint(s.value.Rate, s.value.Burst)
	}
	if got != want {
		t.Errorf("%v %s: %q, want %q", typ, key, got, want)
	}
}

// TestNeverBack: an older state of the same grid is not taken, however it comes; one of
// another grid is. A row that was restored in a newer state is older, and taken (CONFIG-3).
func TestNeverBack(t *testing.T) {
	ctx := deadline(t)
	path := filepath.Join(t.TempDir(), "limits.cbor")
	grid := newFake()
	v := follows(ctx, t, grid.source(), File(path), Default(limits{}), Wait(time.Millisecond))
	is := func(rate int) {
		t.Helper()
		await(t, fmt.Sprint(rate), func() bool { return v.Load().Rate == rate })
	}
	grid.puts(10, limits{Rate: 10})
	is(10)
	grid.puts(9, limits{Rate: 9})
	grid.puts(11, limits{Rate: 11})
	is(11)
	for l := range v.Changes(ctx) {
		if l.Rate != 11 {
			t.Errorf("%+v", *l)
		}
		break
	}
	grid.puts(9, limits{Rate: 9})
	grid.progress(time.Unix(1, 0))
	grid.drained(t)
	is(11)
	grid.restored(20, 5, limits{Rate: 5}) // the majority was lost: an older row in a newer state
	is(5)
	v.Close()

	// Nor does a process that has begun with its file.
	same := newFake()
	v = follows(ctx, t, same.source(), File(path), Wait(time.Millisecond))
	is(5)
	same.puts(12, limits{Rate: 12})
	same.drained(t)
	is(5)
	v.Close()
	other := newFake()
	other.cluster = protocol.UUID{2}
	v = follows(ctx, t, other.source(), File(path), Wait(time.Millisecond))
	other.puts(3, limits{Rate: 3})
	is(3)
}

// TestOutage: while the grid is away the last value stays, and Confirmed stands; a watch that
// fails is begun anew (CONFIG-6).
func TestOutage(t *testing.T) {
	ctx := deadline(t)
	grid := newFake()
	begun := time.Now()
	grid.puts(10, limits{Rate: 10})
	v := follows(ctx, t, grid.source())
	if s := v.State(); v.Load().Rate != 10 || s.Confirmed.Before(begun) || s.Confirmed.After(time.Now()) {
		t.Errorf("%+v, %+v", v.Load(), s)
	}
	at := time.Now().Add(time.Minute)
	grid.progress(at)
	await(t, "confirmed", func() bool { return v.State().Confirmed.Equal(at) })
	grid.progress(at.Add(-time.Second))
	grid.drained(t)
	grid.fails(quorate.ErrOverloaded)
	await(t, "an error", func() bool { return errors.Is(v.State().Err, quorate.ErrOverloaded) })
	if s := v.State(); v.Load().Rate != 10 || !s.Confirmed.Equal(at) {
		t.Errorf("%+v, %+v", v.Load(), s)
	}
	grid.puts(12, limits{Rate: 12})
	await(t, "it goes on", func() bool { return v.Load().Rate == 12 && v.State().Err == nil })
	grid.fails(quorate.ErrOverloaded)
	await(t, "another error", func() bool { return v.State().Err != nil })
	grid.puts(12, limits{Rate: 12}) // nothing has changed meanwhile
	await(t, "it goes on with the same value", func() bool { return v.State().Err == nil })
	grid.fails(quorate.ErrClosed)
	for l, err := range v.Changes(ctx) {
		if errors.Is(err, quorate.ErrClosed) && l.Rate == 12 {
			return
		}
	}
	t.Error("the loop has ended without the error")
}

func TestFollow_Types(t *testing.T) {
	ctx := deadline(t)
	for _, o := range []Option{Default(1), Validate(func(int) error { return nil })} {
		if _, err := Follow(ctx, newFake().source(), o); !errors.Is(err, quorate.ErrInvalid) || !strings.Contains(err.Error(), "config.limits") {
			t.Errorf("%v", err)
		}
	}
	c := structurestest.NewLocal(t, dref.Kind()).Client()
	if _, err := Follow(ctx, Ref(dref.New[limits](c, "")), Default(limits{})); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("a bad name: %v", err)
	}
	if _, err := Follow(ctx, Source[int]{}); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("no source: %v", err)
	}
}

// fake is a grid that says what a test wants.
type fake struct {
	cluster   protocol.UUID
	partition protocol.PartitionID
	events    chan func() (structures.WatchEvent, error)
}

func newFake() *fake {
	return &fake{cluster: protocol.UUID{1}, events: make(chan func() (structures.WatchEvent, error), 100)}
}

func (f *fake) source() Source[limits] {
	return Source[limits]{
		name: "fake",
		open: func(context.Context, time.Duration) (structures.WatchStream, fold[limits], error) {
			return &fakeStream{f}, &row[limits]{codec: structures.CBOR}, nil
		},
	}
}

func (f *fake) puts(version Version, l limits) { f.restored(version, version, l) }

// restored says that a state has a row of some version.
func (f *fake) restored(state, version Version, l limits) {
	value, _ := structures.AppendValue(nil, structures.CBOR, l)
	f.sends(structures.WatchEvent{
		Event: structures.Event{Type: structures.EventPut, Value: value}, Version: version, State: state, Cluster: f.cluster, Partition: f.partition,
	})
}

func (f *fake) progress(at time.Time) {
	f.sends(structures.WatchEvent{Event: structures.Event{Type: structures.EventProgress}, AsOf: at})
}

func (f *fake) sends(e structures.WatchEvent) {
	f.events <- func() (structures.WatchEvent, error) { return e, nil }
}

func (f *fake) fails(err error) {
	f.events <- func() (structures.WatchEvent, error) { return structures.WatchEvent{}, err }
}

// drained waits until all was taken in.
func (f *fake) drained(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	f.events <- func() (structures.WatchEvent, error) { close(done); return structures.WatchEvent{}, nil }
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("it was not taken in")
	}
}

type fakeStream struct{ f *fake }

func (s *fakeStream) Next(ctx context.Context) (structures.WatchEvent, error) {
	select {
	case next := <-s.f.events:
		return next()
	case <-ctx.Done():
		return structures.WatchEvent{}, ctx.Err()
	}
}

func (s *fakeStream) Cursor() structures.WatchCursor { return structures.WatchCursor{} }

func (s *fakeStream) Close() {}
