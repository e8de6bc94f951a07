package dmap_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/structurestest"
)

type user struct {
	Name   string
	Logins int
}

// grid is a grid without members, whose calls can be made to fail.
type grid struct {
	*structurestest.Client
	*structurestest.Local
	fail func(structures.Call) error
}

func newGrid(t *testing.T) *grid {
	l := structurestest.NewLocal(t, dmap.Kind())
	return &grid{Client: l.Client(), Local: l}
}

func (g *grid) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	if g.fail != nil {
		if err := g.fail(call); err != nil {
			return structures.Reply{}, err
		}
	}
	return g.Client.Invoke(ctx, call)
}

func (g *grid) InvokeAll(ctx context.Context, calls []structures.Call) ([]structures.Reply, []error) {
	replies, errs := make([]structures.Reply, len(calls)), make([]error, len(calls))
	for i, call := range calls {
		replies[i], errs[i] = g.Invoke(ctx, call)
	}
	return replies, errs
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: -want +got\n%s", what, diff)
	}
}

// optional is the result of the methods that return a value, if there is one.
type optional[V any] struct {
	Value V
	OK    bool
}

func opt[V any](t *testing.T) func(v V, ok bool, err error) optional[V] {
	return func(v V, ok bool, err error) optional[V] {
		t.Helper()
		check(t, err)
		return optional[V]{v, ok}
	}
}

func TestOneKey(t *testing.T) {
	ctx := testContext(t)
	m := dmap.New[string, user](newGrid(t), "users")
	u := opt[user](t)
	ada, bob := user{"ada", 1}, user{"bob", 2}

	want(t, "Get of nothing", u(m.Get(ctx, "ada")), optional[user]{})
	check(t, m.Put(ctx, "ada", ada))
	want(t, "Get", u(m.Get(ctx, "ada")), optional[user]{ada, true})
	want(t, "stale Get", u(m.Get(ctx, "ada", dmap.Stale())), optional[user]{ada, true})
	want(t, "Swap", u(m.Swap(ctx, "ada", bob)), optional[user]{ada, true})
	want(t, "Swap of nothing", u(m.Swap(ctx, "new", bob)), optional[user]{})
	want(t, "PutIfAbsent", u(m.PutIfAbsent(ctx, "ada", ada)), optional[user]{bob, false})
	want(t, "PutIfAbsent of nothing", u(m.PutIfAbsent(ctx, "eve", ada)), optional[user]{OK: true})
	want(t, "Remove", u(m.Remove(ctx, "eve")), optional[user]{ada, true})
	want(t, "Remove of nothing", u(m.Remove(ctx, "eve")), optional[user]{})
	for _, existed := range []bool{true, false} {
		deleted, err := m.Delete(ctx, "new")
		check(t, err)
		want(t, "Delete", deleted, existed)
	}
	n, err := m.Len(ctx)
	check(t, err)
	want(t, "Len", n, 1)

	e, ok, err := m.Entry(ctx, "ada")
	check(t, err)
	want(t, "Entry", e, dmap.Entry[string, user]{Key: "ada", Value: bob, Version: e.Version})
	next, err := m.Replace(ctx, "ada", e.Version, ada)
	check(t, err)
	if !ok || next <= e.Version {
		t.Errorf("Replace of version %d gives %d", e.Version, next)
	}
	_, err = m.Replace(ctx, "ada", e.Version, bob)
	for _, err := range []error{err, m.DeleteVersion(ctx, "ada", e.Version), m.DeleteVersion(ctx, "nobody", next)} {
		if !errors.Is(err, dmap.ErrConflict) || !quorate.SafeToRetry(err) {
			t.Errorf("another version: %v", err)
		}
	}
	check(t, m.DeleteVersion(ctx, "ada", next))
	want(t, "Get after DeleteVersion", u(m.Get(ctx, "ada")), optional[user]{})
}

func TestKeysAndCodecs(t *testing.T) {
	ctx := testContext(t)
	grid := newGrid(t)
	type point struct{ X, Y int }
	points := dmap.New[point, string](grid, "points", dmap.Codec(structures.JSON))
	check(t, points.Put(ctx, point{1, 2}, "a"))
	want(t, "struct key", opt[string](t)(points.Get(ctx, point{1, 2})), optional[string]{"a", true})

	_, _, err := dmap.New[point, string](grid, "points").Get(ctx, point{1, 2})
	if !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("another codec: %v", err)
	}
	_, err = dmap.Add(ctx, dmap.New[string, int](grid, "n", dmap.Codec(structures.JSON)), "a", 1)
	if !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("Add with JSON: %v", err)
	}
	for name, err := range map[string]error{
		"float key":     dmap.New[float64, int](grid, "m").Put(ctx, 1, 1),
		"interface key": dmap.New[any, int](grid, "m").Put(ctx, 1, 1),
		"name":          dmap.New[string, int](grid, "").Put(ctx, "a", 1),
		"no codec":      dmap.New[string, int](grid, "m", dmap.Codec(nil)).Put(ctx, "a", 1),
		"value":         dmap.New[string, func()](grid, "m").Put(ctx, "a", func() {}),
		"TTL":           dmap.New[string, int](grid, "m").Put(ctx, "a", 1, dmap.TTL(99*time.Millisecond)),
	} {
		if !errors.Is(err, quorate.ErrInvalid) || !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw := dmap.New[string, []byte](grid, "raw", dmap.Codec(structures.Raw))
	check(t, raw.Put(ctx, strings.Repeat("k", 4096), make([]byte, 1<<20-1)))
	for _, err := range []error{
		raw.Put(ctx, strings.Repeat("k", 4097), nil),
		raw.Put(ctx, "k", make([]byte, 1<<20)),
		raw.PutAll(ctx, maps.All(map[string][]byte{"k": make([]byte, 1<<20)})),
	} {
		if !errors.Is(err, quorate.ErrTooLarge) || !quorate.SafeToRetry(err) {
			t.Errorf("over a limit: %v", err)
		}
	}
}

// TestUnreadableResults: the error of a mutation whose result cannot be read says
// whether anything has changed.
func TestUnreadableResults(t *testing.T) {
	ctx := testContext(t)
	grid := newGrid(t)
	texts, numbers := dmap.New[string, string](grid, "m"), dmap.New[string, int](grid, "m")
	check(t, texts.Put(ctx, "k", "text"))
	_, stored, err := numbers.PutIfAbsent(ctx, "k", 1)
	if stored || !errors.Is(err, quorate.ErrCodec) || !quorate.SafeToRetry(err) {
		t.Errorf("PutIfAbsent, which stored nothing: %t, %v", stored, err)
	}
	_, err = numbers.Update(ctx, "k", func(old int, _ bool) (int, error) { return old, nil })
	if !errors.Is(err, quorate.ErrCodec) || !quorate.SafeToRetry(err) {
		t.Errorf("Update, which stored nothing: %v", err)
	}
	_, _, err = numbers.Swap(ctx, "k", 1)
	if !errors.Is(err, quorate.ErrCodec) || quorate.SafeToRetry(err) {
		t.Errorf("Swap: %v", err)
	}
	_, _, err = texts.Remove(ctx, "k")
	if !errors.Is(err, quorate.ErrCodec) || quorate.SafeToRetry(err) {
		t.Errorf("Remove: %v", err)
	}
	// A read changes nothing, however its answer looks.
	bad := structurestest.Echo{Code: protocol.CodeOK, Body: []byte{0xff}}
	if _, _, err := dmap.New[string, int](bad, "m").Get(ctx, "k"); !quorate.SafeToRetry(err) {
		t.Errorf("Get of what is garbled: %v", err)
	}
}

func TestTTL(t *testing.T) {
	ctx := testContext(t)
	grid := newGrid(t)
	m := dmap.New[string, int](grid, "m")
	left := func(k string) time.Duration {
		t.Helper()
		e, ok, err := m.Entry(ctx, k)
		check(t, err)
		if !ok {
			return -1
		}
		return e.Left
	}
	check(t, m.Put(ctx, "a", 1, dmap.TTL(time.Second)))
	check(t, m.Put(ctx, "forever", 1, dmap.TTL(dmap.Never)))
	grid.Advance(400 * time.Millisecond)
	want(t, "left", left("a"), 600*time.Millisecond)
	check(t, m.Put(ctx, "a", 2, dmap.KeepTTL()))
	want(t, "left after KeepTTL", left("a"), 600*time.Millisecond)
	_, err := dmap.Add(ctx, m, "a", 5)
	check(t, err)
	want(t, "left after Add", left("a"), 600*time.Millisecond)

	check(t, m.Configure(ctx, dmap.DefaultTTL(time.Minute)))
	check(t, m.Configure(ctx, dmap.DefaultTTL(time.Minute)))
	if err := m.Configure(ctx, dmap.DefaultTTL(time.Hour)); !errors.Is(err, quorate.ErrSettings) || !strings.Contains(err.Error(), "1m0s") {
		t.Errorf("other settings: %v", err)
	}
	for i := range 20 { // in every partition
		check(t, m.Put(ctx, fmt.Sprint(i), i))
		want(t, "default TTL", left(fmt.Sprint(i)), time.Minute)
	}
	want(t, "left of an older entry", left("forever"), 0)
	ok, err := m.SetTTL(ctx, "3", dmap.Never)
	check(t, err)
	want(t, "SetTTL", ok, true)
	ok, err = m.SetTTL(ctx, "nobody", time.Hour)
	check(t, err)
	want(t, "SetTTL of nothing", ok, false)

	grid.Advance(time.Minute)
	want(t, "an expired entry", left("a"), -1)
	n, err := m.Len(ctx)
	check(t, err)
	want(t, "Len", n, 2)
	check(t, m.Destroy(ctx))
	check(t, m.Configure(ctx, dmap.DefaultTTL(time.Hour)))
}

// TestDue writes onto entries that are due and not yet cleaned up: more come
// due at once than one entry sweeps.
func TestDue(t *testing.T) {
	ctx := testContext(t)
	grid := newGrid(t)
	m := dmap.New[string, int](grid, "{one partition}")
	const entries = 2500
	check(t, m.PutAll(ctx, func(yield func(string, int) bool) {
		for i := range entries {
			if !yield(fmt.Sprintf("%06d", i), i) {
				return
			}
		}
	}, dmap.TTL(time.Second)))
	grid.Advance(time.Second) // sweeps a thousand
	last := fmt.Sprintf("%06d", entries-1)
	n, err := m.Len(ctx)
	check(t, err)
	want(t, "Len with entries overdue", n, 0)
	_, stored, err := m.PutIfAbsent(ctx, last, -1)
	check(t, err)
	want(t, "stored over a due entry", stored, true)
	for range 4 {
		n, err := m.Len(ctx)
		check(t, err)
		want(t, "Len", n, 1)
		grid.Advance(0)
	}
	deleted, err := m.Delete(ctx, last)
	check(t, err)
	want(t, "Delete", deleted, true)
	n, err = m.Len(ctx)
	check(t, err)
	want(t, "Len after all", n, 0)
}

func TestManyKeys(t *testing.T) {
	ctx := testContext(t)
	m := dmap.New[int, string](newGrid(t), "m")
	all := map[int]string{}
	for i := range 9000 {
		all[i] = strings.Repeat("v", i%700)
	}
	check(t, m.PutAll(ctx, maps.All(all)))
	n, err := m.Len(ctx)
	check(t, err)
	want(t, "Len", n, len(all))

	keys := slices.Collect(maps.Keys(all))
	got, err := m.GetAll(ctx, append(keys, -1, -2)...)
	check(t, err)
	want(t, "GetAll", got, all)

	got = map[int]string{}
	for e, err := range m.All(ctx) {
		check(t, err)
		if _, twice := got[e.Key]; twice {
			t.Fatalf("%d comes twice", e.Key)
		}
		got[e.Key] = e.Value
	}
	want(t, "All", got, all)
	for range m.All(ctx) {
		break
	}

	deleted, err := m.DeleteAll(ctx, 1, 2, 3, 3, -5)
	check(t, err)
	want(t, "DeleteAll", deleted, 3)
	check(t, m.Clear(ctx))
	n, err = m.Len(ctx)
	check(t, err)
	want(t, "Len after Clear", n, 0)

	check(t, m.PutAll(ctx, func(yield func(int, string) bool) { _ = yield(1, "first") && yield(1, "second") }))
	want(t, "the later of two", opt[string](t)(m.Get(ctx, 1)), optional[string]{"second", true})
}

func TestScanRange(t *testing.T) {
	ctx := testContext(t)
	grid := newGrid(t)
	texts := dmap.New[string, int](grid, "texts")
	numbers := dmap.New[int, int](grid, "numbers")
	for i, k := range []string{"", "a", "a\xff", "a\xff\xff", "ab", "b", "\xff"} {
		check(t, texts.Put(ctx, k, i))
		check(t, numbers.Put(ctx, i-3, i))
	}
	textKeys := func(opts ...dmap.ScanOption) []string { return collect(t, texts.Keys(ctx, opts...)) }
	numberKeys := func(opts ...dmap.ScanOption) []int { return collect(t, numbers.Keys(ctx, opts...)) }

	want(t, "prefix a", textKeys(dmap.Prefix("a")), []string{"a", "ab", "a\xff", "a\xff\xff"})
	want(t, "prefix a xff", textKeys(dmap.Prefix("a\xff")), []string{"a\xff", "a\xff\xff"})
	want(t, "prefix xff", textKeys(dmap.Prefix("\xff")), []string{"\xff"})
	want(t, "empty prefix", len(textKeys(dmap.Prefix(""))), 7)
	want(t, "prefix and range", textKeys(dmap.Prefix("a"), dmap.From("ab"), dmap.Before("b")), []string{"ab", "a\xff", "a\xff\xff"})
	want(t, "range", numberKeys(dmap.From(-1), dmap.Before(2)), []int{-1, 0, 1})
	want(t, "from", numberKeys(dmap.From(2)), []int{2, 3})
	want(t, "empty range", numberKeys(dmap.From(2), dmap.Before(2)), nil)

	for _, keys := range []func(func(int, error) bool){
		numbers.Keys(ctx, dmap.Prefix("a")), numbers.Keys(ctx, dmap.From("a")), numbers.Keys(ctx, dmap.From(1.5)),
		numbers.Keys(ctx, dmap.From(1), dmap.Before(uint(3))), numbers.Keys(ctx, dmap.From([2]int{})),
	} {
		for _, err := range keys {
			if !errors.Is(err, quorate.ErrInvalid) {
				t.Errorf("a bad range: %v", err)
			}
		}
	}
	// Keys of another type are told, not left out.
	errs := 0
	for _, err := range dmap.New[string, int](grid, "numbers").All(ctx) {
		if !errors.Is(err, quorate.ErrCodec) {
			t.Errorf("integers as text: %v", err)
		}
		errs++
	}
	want(t, "errors", errs, 1)
}

func collect[K ~string | ~int](t *testing.T, seq func(func(K, error) bool)) (keys []K) {
	t.Helper()
	for k, err := range seq {
		check(t, err)
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func TestAdd(t *testing.T) {
	ctx := testContext(t)
	grid := newGrid(t)
	m := dmap.New[string, int32](grid, "m")
	n, err := dmap.Add(ctx, m, "a", 5)
	check(t, err)
	want(t, "Add", n, int32(5))
	n, err = dmap.Add(ctx, m, "a", -7)
	check(t, err)
	want(t, "Add", n, int32(-2))
	if _, err := dmap.Add(ctx, m, "a", math.MinInt32); !errors.Is(err, dmap.ErrOverflow) || !quorate.SafeToRetry(err) {
		t.Errorf("over int32: %v", err)
	}
	want(t, "after an overflow", opt[int32](t)(m.Get(ctx, "a")), optional[int32]{-2, true})
	check(t, dmap.New[string, any](grid, "m").Put(ctx, "text", "t"))
	if _, err := dmap.Add(ctx, m, "text", 1); !errors.Is(err, dmap.ErrNotInteger) {
		t.Errorf("text: %v", err)
	}

	check(t, dmap.AddAll(ctx, m, func(yield func(string, int32) bool) {
		for i := range 10_000 {
			if !yield(fmt.Sprint(i%2000), 1) {
				return
			}
		}
	}))
	total := int32(0)
	for e, err := range m.All(ctx, dmap.From("0"), dmap.Before(":")) {
		check(t, err)
		total += e.Value
	}
	want(t, "total", total, 10_000)

	err = dmap.AddAll(ctx, m, maps.All(map[string]int32{"text": 1, "a": math.MinInt32}))
	if !errors.Is(err, dmap.ErrNotInteger) && !errors.Is(err, dmap.ErrOverflow) {
		t.Errorf("AddAll: %v", err)
	}
	partial, ok := errors.AsType[*dmap.PartialError[string]](err)
	if !ok || len(partial.NotDone) != 2 || !quorate.SafeToRetry(err) {
		t.Errorf("AddAll: %v", err)
	}
	err = dmap.AddAll(ctx, dmap.New[string, int64](grid, "n"), func(yield func(string, int64) bool) {
		_ = yield("a", math.MaxInt64) && yield("b", 1) && yield("a", 1)
	})
	if !errors.Is(err, dmap.ErrOverflow) || !quorate.SafeToRetry(err) {
		t.Errorf("deltas that overflow: %v", err)
	}
}

func TestPartialError(t *testing.T) {
	ctx := testContext(t)
	grid := newGrid(t)
	m := dmap.New[int, int](grid, "m")
	var failed, unknown, other []int
	refused := grid.Partition("m", keyOf(0))
	lost := refused
	for i := range 40 {
		p := grid.Partition("m", keyOf(i))
		if lost == refused && p != refused {
			lost = p
		}
		switch p {
		case refused:
			failed = append(failed, i)
		case lost:
			unknown = append(unknown, i)
		default:
			other = append(other, i)
		}
	}
	fail := func(call structures.Call) error {
		switch call.Partition {
		case refused:
			return &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: quorate.ErrUnavailable}
		case lost:
			return &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: context.DeadlineExceeded, Unknown: true}
		}
		return nil
	}
	entries := func(yield func(int, int) bool) {
		for i := range 40 {
			if !yield(i, 1) {
				return
			}
		}
	}
	grid.fail = fail
	err := dmap.AddAll(ctx, m, entries)
	partial, ok := errors.AsType[*dmap.PartialError[int]](err)
	if !ok {
		t.Fatal(err)
	}
	slices.Sort(partial.NotDone)
	slices.Sort(partial.Unknown)
	want(t, "not done", partial.NotDone, failed)
	want(t, "unknown", partial.Unknown, unknown)
	for _, cause := range []error{quorate.ErrUnavailable, quorate.ErrOutcomeUnknown, context.DeadlineExceeded} {
		if !errors.Is(err, cause) {
			t.Errorf("%v is not %v", err, cause)
		}
	}

	// Where a part was done the whole is not safe to retry, although the part
	// that failed changed nothing.
	lost = refused
	err = m.PutAll(ctx, entries)
	if !errors.Is(err, quorate.ErrUnavailable) || errors.Is(err, quorate.ErrOutcomeUnknown) || quorate.SafeToRetry(err) {
		t.Errorf("PutAll: %v", err)
	}
	got, err := m.GetAll(ctx, append(slices.Clone(failed), other...)...)
	if !errors.Is(err, quorate.ErrUnavailable) || !quorate.SafeToRetry(err) {
		t.Errorf("GetAll: %v", err)
	}
	want(t, "GetAll reads the others", len(got), len(other))
	for _, err := range []error{m.Clear(ctx), m.Destroy(ctx)} {
		if quorate.SafeToRetry(err) || !errors.Is(err, quorate.ErrUnavailable) {
			t.Errorf("done in some partitions: %v", err)
		}
	}
	if _, err := m.Len(ctx); !quorate.SafeToRetry(err) {
		t.Errorf("Len: %v", err)
	}

	grid.fail = nil
	check(t, m.Destroy(ctx))
	err = m.PutAll(canceled(ctx), entries)
	if !errors.Is(err, context.Canceled) || !quorate.SafeToRetry(err) {
		t.Errorf("nothing was sent: %v", err)
	}
}

func keyOf(i int) []byte {
	b, err := structures.AppendKey(nil, i)
	if err != nil {
		panic(err)
	}
	return b
}

func canceled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// conflicting is an invoker that calls then after every Replace that met a conflict.
type conflicting struct {
	structures.Invoker
	then func()
}

func (c conflicting) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	reply, err := c.Invoker.Invoke(ctx, call)
	if call.Verb == "replace" && reply.Code != protocol.CodeOK {
		c.then()
	}
	return reply, err
}

// TestUpdate_EndsInItsPause: a context that ends between two tries of an Update is the
// error, with its cause.
func TestUpdate_EndsInItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tries = 10 // the pause is long enough then to end in it
		grid := newGrid(t)
		other := dmap.New[string, int](grid, "m")
		check(t, other.Put(t.Context(), "n", 0))
		shutdown := errors.New("shutdown")
		ctx, cancel := context.WithCancelCause(t.Context())
		conflicts := 0
		m := dmap.New[string, int](conflicting{grid, func() {
			if conflicts++; conflicts == tries {
				cancel(shutdown)
			}
		}}, "m")
		_, err := m.Update(ctx, "n", func(old int, _ bool) (int, error) {
			check(t, other.Put(t.Context(), "n", old+1))
			return old, nil
		})
		if !errors.Is(err, context.Canceled) || !errors.Is(err, shutdown) || !quorate.SafeToRetry(err) {
			t.Errorf("got %v, want it to be canceled because of %v", err, shutdown)
		}
		if want := "others wrote the entry meanwhile"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
		if conflicts != tries {
			t.Errorf("%d conflicts, want %d", conflicts, tries)
		}
	})
}

func TestUpdate(t *testing.T) {
	ctx := testContext(t)
	m := dmap.New[string, int](newGrid(t), "m")
	const workers, each = 4, 50
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				_, err := m.Update(ctx, "n", func(old int, _ bool) (int, error) { return old + 1, nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want(t, "sum", opt[int](t)(m.Get(ctx, "n")), optional[int]{workers * each, true})

	own := errors.New("own")
	if _, err := m.Update(ctx, "n", func(int, bool) (int, error) { return 0, own }); err != own {
		t.Errorf("the function's error: %v", err)
	}
	for range 2 {
		v, err := m.Update(ctx, "n", func(int, bool) (int, error) { return 9, dmap.DeleteEntry })
		check(t, err)
		want(t, "deleted", v, 0)
	}
	want(t, "Get after a delete", opt[int](t)(m.Get(ctx, "n")), optional[int]{})

	// A loop that never wins ends with its context.
	tries := 0
	ended, cancel := context.WithCancelCause(ctx)
	_, err := m.Update(ended, "n", func(int, bool) (int, error) {
		if tries++; tries == 3 {
			cancel(own)
		}
		return tries, m.Put(ctx, "n", -1)
	})
	if !errors.Is(err, own) || !errors.Is(err, context.Canceled) || !quorate.SafeToRetry(err) {
		t.Errorf("an ended context: %v", err)
	}
}

// TestPartsKeepTheLimit: no call of an operation over many keys is larger than
// the body of a request may be.
func TestPartsKeepTheLimit(t *testing.T) {
	ctx := testContext(t)
	g := newGrid(t)
	limits := protocol.DefaultLimits()
	g.fail = func(call structures.Call) error {
		if len(call.Body) > int(limits.Body()) {
			return fmt.Errorf("a body of %d bytes", len(call.Body))
		}
		return nil
	}
	deltas := map[string]int{}
	for i := range 1000 {
		deltas[fmt.Sprintf("{one}%01040d", i)] = math.MaxInt
	}
	check(t, dmap.AddAll(ctx, dmap.New[string, int](g, "m"), maps.All(deltas)))
}

// TestBeforeReady: a handle made before there is a client says so in every call.
func TestBeforeReady(t *testing.T) {
	ctx := testContext(t)
	var c *structurestest.Client
	for _, inv := range []structures.Invoker{nil, c} {
		m := dmap.New[string, int](inv, "m")
		_, _, err := m.Get(ctx, "a")
		_, length := m.Len(ctx)
		for _, err := range []error{err, length, m.Put(ctx, "a", 1), m.PutAll(ctx, maps.All(map[string]int{"a": 1}))} {
			if !errors.Is(err, quorate.ErrUnavailable) || !quorate.SafeToRetry(err) ||
				!strings.Contains(err.Error(), "the member is not ready: wait for Member.Ready") {
				t.Errorf("got %v", err)
			}
		}
	}
}

// TestSeen: reads of a key tell the version of what they saw, also of nothing; a
// read of all partitions has none.
func TestSeen(t *testing.T) {
	ctx, m := testContext(t), dmap.New[string, int](newGrid(t), "m")
	var none, one, stale dmap.Version
	check(t, m.Put(ctx, "{a}other", 1))
	if _, ok, err := m.Get(ctx, "{a}", dmap.Seen(&none)); ok || err != nil || none == 0 {
		t.Errorf("Get of nothing at %d: %t, %v", none, ok, err)
	}
	check(t, m.Put(ctx, "{a}", 1))
	e, ok, err := m.Entry(ctx, "{a}", dmap.Seen(&one))
	if !ok || err != nil || one <= none || e.Version > one {
		t.Errorf("Entry of version %d at %d, after %d: %t, %v", e.Version, one, none, ok, err)
	}
	if v, _, err := m.Get(ctx, "{a}", dmap.Stale(), dmap.Seen(&stale)); v != 1 || err != nil || stale != one {
		t.Errorf("stale Get = %d at %d, want %d: %v", v, stale, one, err)
	}
	if n, err := m.Len(ctx, dmap.Stale()); n != 2 || err != nil {
		t.Errorf("stale Len = %d, %v", n, err)
	}
	if _, err := m.Len(ctx, dmap.Seen(&stale)); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("the version of all partitions: %v", err)
	}
}
