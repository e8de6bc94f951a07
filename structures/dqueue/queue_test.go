package dqueue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/structurestest"
)

func open(t *testing.T) (context.Context, *structurestest.Local, *structurestest.Client, *dqueue.Queue[string]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	grid := structurestest.NewLocal(t, dqueue.Kind())
	c := grid.Client()
	return ctx, grid, c, dqueue.New[string](c, "jobs")
}

func put(t *testing.T, ctx context.Context, q *dqueue.Queue[string], values ...string) {
	t.Helper()
	for _, v := range values {
		if err := q.Put(ctx, v); err != nil {
			t.Fatal(err)
		}
	}
}

func wantLeft(t *testing.T, ctx context.Context, q *dqueue.Queue[string], want ...string) {
	t.Helper()
	n, err := q.Len(ctx)
	if err != nil || n != len(want) {
		t.Errorf("Len = %d, %v, want %d", n, err, len(want))
	}
	got, err := q.Drain(ctx, 1_000_000)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("left: %.50q, %v, want %.50q", got, err, want)
	}
}

// outcome is what a call in a goroutine came back with.
type outcome struct {
	v   string
	err error
}

// inLine starts a call and returns when it waits as the n-th.
func inLine(grid *structurestest.Local, n int, call func() (string, error)) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		v, err := call()
		done <- outcome{v, err}
	}()
	grid.AwaitWaiting(n)
	return done
}

func TestFirstInFirstOut(t *testing.T) {
	ctx, _, _, q := open(t)
	if v, ok, err := q.Peek(ctx); ok || err != nil {
		t.Errorf("Peek of nothing = %q, %t, %v", v, ok, err)
	}
	if v, ok, err := q.Poll(ctx); ok || err != nil {
		t.Errorf("Poll of nothing = %q, %t, %v", v, ok, err)
	}
	put(t, ctx, q, "a", "b", "c")
	if v, ok, err := q.Peek(ctx); v != "a" || !ok || err != nil {
		t.Errorf("Peek = %q, %t, %v", v, ok, err)
	}
	if v, err := q.Take(ctx); v != "a" || err != nil {
		t.Errorf("Take = %q, %v", v, err)
	}
	if got, err := q.Drain(ctx, 1); !slices.Equal(got, []string{"b"}) || err != nil {
		t.Errorf("Drain = %q, %v", got, err)
	}
	wantLeft(t, ctx, q, "c")
}

func TestTakesAreServedInOrder(t *testing.T) {
	ctx, grid, _, q := open(t)
	take := func() (string, error) { return q.Take(ctx) }
	first, second := inLine(grid, 1, take), inLine(grid, 2, take)
	put(t, ctx, q, "a", "b")
	if got := <-first; got.v != "a" || got.err != nil {
		t.Errorf("first: %+v", got)
	}
	if got := <-second; got.v != "b" || got.err != nil {
		t.Errorf("second: %+v", got)
	}
}

// notInTime checks that a call got nothing within its Wait, and changed nothing.
func notInTime(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, quorate.ErrNotInTime) || !quorate.SafeToRetry(err) {
		t.Errorf("%s: %v, want %v", what, err, quorate.ErrNotInTime)
	}
}

// TestWait: Take and Put wait for as long as Wait says, with 0 not at all.
func TestWait(t *testing.T) {
	ctx, grid, _, q := open(t)
	second := dqueue.Wait(time.Second)
	take := func() (string, error) { return q.Take(ctx, second) }
	_, err := q.Take(ctx, dqueue.Wait(0))
	notInTime(t, "Take of nothing", err)
	_, err = q.TakeN(ctx, 3, dqueue.Wait(0))
	notInTime(t, "TakeN of nothing", err)
	none := inLine(grid, 1, take)
	grid.Advance(time.Second)
	notInTime(t, "Take after a second", (<-none).err)
	one := inLine(grid, 1, take)
	put(t, ctx, q, "a")
	if got := <-one; got.v != "a" || got.err != nil {
		t.Errorf("Take: %+v", got)
	}

	if err := q.Configure(ctx, dqueue.Capacity(1)); err != nil {
		t.Fatal(err)
	}
	if err := q.Put(ctx, "b", dqueue.Wait(0)); err != nil {
		t.Errorf("Put where there is room: %v", err)
	}
	notInTime(t, "Put to a full queue", q.Put(ctx, "x", dqueue.Wait(0)))
	full := inLine(grid, 1, func() (string, error) { return "", q.Put(ctx, "x", second) })
	grid.Advance(time.Second)
	notInTime(t, "Put after a second", (<-full).err)
	room := inLine(grid, 1, func() (string, error) { return "", q.Put(ctx, "c", second) })
	if v, err := q.Take(ctx, dqueue.Wait(0)); v != "b" || err != nil {
		t.Errorf("Take = %q, %v", v, err)
	}
	if got := <-room; got.err != nil {
		t.Errorf("the Put that waited: %v", got.err)
	}
	wantLeft(t, ctx, q, "c")
}

// TestPutAll: many values come in their order, also beyond what one part holds.
func TestPutAll(t *testing.T) {
	ctx, _, _, q := open(t)
	var all []string
	for i := range 2500 {
		all = append(all, fmt.Sprint(i))
	}
	put(t, ctx, q, "first")
	if err := q.PutAll(ctx, all); err != nil {
		t.Fatal(err)
	}
	if err := q.PutAll(ctx, nil); err != nil {
		t.Errorf("PutAll of nothing: %v", err)
	}
	wantLeft(t, ctx, q, append([]string{"first"}, all...)...)
	large := []string{strings.Repeat("a", 600_000), strings.Repeat("b", 600_000), strings.Repeat("c", 600_000)}
	if err := q.PutAll(ctx, large); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, ctx, q, large...)
}

// counting counts calls.
type counting struct {
	*structurestest.Client
	calls int
}

func (c *counting) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	c.calls++
	return c.Client.Invoke(ctx, call)
}

// TestPutAllWaits: it puts what there is room for and waits for the rest, in order.
func TestPutAllWaits(t *testing.T) {
	ctx, grid, _, q := open(t)
	if err := q.Configure(ctx, dqueue.Capacity(2)); err != nil {
		t.Fatal(err)
	}
	partial := func(err error, want int) {
		t.Helper()
		e, ok := errors.AsType[*dqueue.PartialError](err)
		if !ok || e.Put != want || e.Unknown != 0 || !errors.Is(err, quorate.ErrNotInTime) {
			t.Errorf("%v, want %d values put", err, want)
		}
		if quorate.SafeToRetry(err) != (want == 0) {
			t.Errorf("%v: safe to retry: %t", err, quorate.SafeToRetry(err))
		}
	}
	once := &counting{Client: grid.Client()}
	partial(dqueue.New[string](once, "jobs").PutAll(ctx, []string{"a", "b", "x"}, dqueue.Wait(0)), 2)
	if once.calls != 1 {
		t.Errorf("what there is room for was put in %d calls", once.calls)
	}
	partial(q.PutAll(ctx, []string{"x"}, dqueue.Wait(0)), 0)
	late := inLine(grid, 1, func() (string, error) { return "", q.PutAll(ctx, []string{"x"}, dqueue.Wait(time.Second)) })
	grid.Advance(time.Second)
	partial((<-late).err, 0)

	all := inLine(grid, 1, func() (string, error) { return "", q.PutAll(ctx, []string{"c", "d", "e", "f"}) })
	behind := inLine(grid, 2, func() (string, error) { return "", q.Put(ctx, "g") })
	var got []string
	for range 7 {
		v, err := q.Take(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	for _, c := range []<-chan outcome{all, behind} {
		if got := <-c; got.err != nil {
			t.Error(got.err)
		}
	}
	own := slices.DeleteFunc(got, func(v string) bool { return v == "g" })
	if want := []string{"a", "b", "c", "d", "e", "f"}; !slices.Equal(own, want) {
		t.Errorf("taken %q, want %q", own, want)
	}
	bad := dqueue.New[any](grid.Client(), "jobs")
	err := bad.PutAll(ctx, []any{1, func() {}})
	if e, ok := errors.AsType[*dqueue.PartialError](err); !ok || e.Put != 0 || !errors.Is(err, quorate.ErrInvalid) || !quorate.SafeToRetry(err) {
		t.Errorf("a value that cannot be encoded: %v", err)
	}
	wantLeft(t, ctx, q)
}

// TestTakeN: it takes what is there, waits for one, and takes with it what comes at
// the same moment.
func TestTakeN(t *testing.T) {
	ctx, grid, c, q := open(t)
	want := func(got []string, err error, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) || err != nil {
			t.Errorf("TakeN = %q, %v, want %q", got, err, want)
		}
	}
	takeN := func(q *dqueue.Queue[string], n int) func() (string, error) {
		return func() (string, error) {
			got, err := q.TakeN(ctx, n)
			return strings.Join(got, ""), err
		}
	}
	putAll := func(values ...string) {
		t.Helper()
		if err := q.PutAll(ctx, values); err != nil {
			t.Fatal(err)
		}
	}
	putAll("a", "b", "c")
	got, err := q.TakeN(ctx, 2)
	want(got, err, "a", "b")
	got, err = q.TakeN(ctx, 2, dqueue.Wait(0))
	want(got, err, "c")
	if _, err := q.TakeN(ctx, 0); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("TakeN of 0: %v", err)
	}

	first, second := inLine(grid, 1, takeN(q, 3)), inLine(grid, 2, takeN(q, 3))
	putAll("d", "e", "f", "g")
	if got := <-first; got.v != "def" || got.err != nil {
		t.Errorf("the first TakeN: %+v", got)
	}
	if got := <-second; got.v != "g" || got.err != nil {
		t.Errorf("the second TakeN: %+v", got)
	}
	one := inLine(grid, 1, takeN(q, 3))
	put(t, ctx, q, "h", "i")
	if got := <-one; got.v != "h" || got.err != nil {
		t.Errorf("TakeN takes what came first: %+v", got)
	}
	wantLeft(t, ctx, q, "i")

	// One that has waited gives back all where it cannot read one of them.
	numbers := dqueue.New[int](c, "jobs")
	reader := inLine(grid, 1, func() (string, error) { _, err := numbers.TakeN(ctx, 3); return "", err })
	putAll("j", "k", "l", "m")
	if got := <-reader; !errors.Is(got.err, quorate.ErrCodec) || !quorate.SafeToRetry(got.err) {
		t.Errorf("TakeN of another type: %v", got.err)
	}
	wantLeft(t, ctx, q, "j", "k", "l", "m")
}

// gate is what is read only when the test says so.
type gate struct{}

var entered, opened chan bool

func (*gate) UnmarshalCBOR([]byte) error {
	select {
	case entered <- true:
	default: // it has been said
	}
	<-opened
	return errors.New("closed")
}

// TestManyTakes gives back more elements, of a session that has ended, than one
// mutation may deal out to those who wait.
func TestManyTakes(t *testing.T) {
	const (
		calls, each = 3, 600 // the last of them has too little room
		n           = calls * each
	)
	entered, opened = make(chan bool, calls), make(chan bool)
	ctx, grid, _, q := open(t)
	dead := grid.Client()
	var gone []<-chan outcome
	for i := range calls {
		gone = append(gone, inLine(grid, i+1, func() (string, error) {
			_, err := dqueue.New[gate](dead, "jobs").TakeN(ctx, each)
			return "", err
		}))
	}
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(i)
	}
	for part := range slices.Chunk(all, each) {
		if err := q.PutAll(ctx, part); err != nil {
			t.Fatal(err)
		}
		<-entered
	}
	takers := []*dqueue.Queue[string]{q, dqueue.New[string](grid.Client(), "jobs")}
	done := make(chan outcome, n)
	for i := range n {
		go func() {
			v, err := takers[i%2].Take(ctx)
			done <- outcome{v, err}
		}()
	}
	grid.AwaitWaiting(n)
	dead.End()
	if got, err := q.Len(ctx); got != 0 || err != nil {
		t.Errorf("Len = %d, %v, while others wait", got, err)
	}
	grid.Advance(100 * time.Millisecond)
	seen := map[string]bool{}
	for range n {
		got := <-done
		if got.err != nil {
			t.Fatal(got.err)
		}
		seen[got.v] = true
	}
	if len(seen) != n {
		t.Errorf("%d elements were taken, want %d", len(seen), n)
	}
	close(opened)
	for _, c := range gone {
		<-c
	}
	wantLeft(t, ctx, q)
}

// TestSeen: reads tell the version of what they saw, also of nothing.
func TestSeen(t *testing.T) {
	ctx, _, _, q := open(t)
	var empty, one, stale dqueue.Version
	put(t, ctx, q, "a")
	wantLeft(t, ctx, q, "a")
	if _, ok, err := q.Peek(ctx, dqueue.Seen(&empty)); ok || err != nil || empty == 0 {
		t.Errorf("Peek of nothing at %d: %t, %v", empty, ok, err)
	}
	put(t, ctx, q, "b")
	if n, err := q.Len(ctx, dqueue.Seen(&one)); n != 1 || err != nil || one <= empty {
		t.Errorf("Len = %d at %d, after %d: %v", n, one, empty, err)
	}
	if v, _, err := q.Peek(ctx, dqueue.Stale(), dqueue.Seen(&stale)); v != "b" || err != nil || stale != one {
		t.Errorf("Peek = %q at %d, want %d: %v", v, stale, one, err)
	}
}

func TestCapacity(t *testing.T) {
	ctx, grid, _, q := open(t)
	if err := q.Configure(ctx, dqueue.Capacity(2)); err != nil {
		t.Fatal(err)
	}
	if err := q.Configure(ctx, dqueue.Capacity(2)); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := q.Configure(ctx, dqueue.Capacity(3)); !errors.Is(err, quorate.ErrSettings) || !strings.Contains(err.Error(), "capacity 2") {
		t.Errorf("another capacity: %v", err)
	}
	put(t, ctx, q, "a", "b")
	if ok, err := q.Offer(ctx, "x"); ok || err != nil {
		t.Errorf("Offer to a full queue = %t, %v", ok, err)
	}
	third := inLine(grid, 1, func() (string, error) { return "", q.Put(ctx, "c") })
	cancelled, cancel := context.WithCancel(ctx)
	never := inLine(grid, 2, func() (string, error) { return "", q.Put(cancelled, "never") })
	cancel()
	if got := <-never; !errors.Is(got.err, context.Canceled) {
		t.Errorf("a cancelled Put: %v", got.err)
	}
	if v, err := q.Take(ctx); v != "a" || err != nil {
		t.Errorf("Take = %q, %v", v, err)
	}
	if got := <-third; got.err != nil {
		t.Errorf("the Put that waited: %v", got.err)
	}
	wantLeft(t, ctx, q, "b", "c")
}

func TestCancelledTakeTakesNothing(t *testing.T) {
	ctx, grid, _, q := open(t)
	cancelled, cancel := context.WithCancel(ctx)
	first := inLine(grid, 1, func() (string, error) { return q.Take(cancelled) })
	second := inLine(grid, 2, func() (string, error) { return q.Take(ctx) })
	cancel()
	if got := <-first; !errors.Is(got.err, context.Canceled) || errors.Is(got.err, quorate.ErrOutcomeUnknown) {
		t.Errorf("a cancelled Take: %+v", got)
	}
	put(t, ctx, q, "a")
	if got := <-second; got.v != "a" || got.err != nil {
		t.Errorf("the next Take: %+v", got)
	}
	wantLeft(t, ctx, q)
}

func TestSessionEnd(t *testing.T) {
	ctx, grid, c, q := open(t)
	waiting := inLine(grid, 1, func() (string, error) { return q.Take(ctx) })
	c.End()
	if got := <-waiting; !errors.Is(got.err, quorate.ErrSessionLost) {
		t.Errorf("a waiting Take: %+v", got)
	}
	other := dqueue.New[string](grid.Client(), "jobs")
	put(t, ctx, other, "a")
	wantLeft(t, ctx, other, "a")
}

func TestDestroy(t *testing.T) {
	ctx, grid, _, q := open(t)
	waiting := inLine(grid, 1, func() (string, error) { return q.Take(ctx) })
	if err := q.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; !errors.Is(got.err, quorate.ErrDestroyed) {
		t.Errorf("a waiting Take: %+v", got)
	}
	put(t, ctx, q, "a")
	wantLeft(t, ctx, q, "a")
}

func TestClearAndDrainInSteps(t *testing.T) {
	ctx, _, _, q := open(t)
	var all []string
	for i := range 2500 {
		all = append(all, fmt.Sprint(i))
	}
	put(t, ctx, q, all...)
	wantLeft(t, ctx, q, all...)
	put(t, ctx, q, all...)
	if err := q.Clear(ctx); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, ctx, q)
}

// TestManyPuts lets more in at once than one mutation may do.
func TestManyPuts(t *testing.T) {
	const n = 1500
	ctx, grid, _, q := open(t)
	if err := q.Configure(ctx, dqueue.Capacity(n)); err != nil {
		t.Fatal(err)
	}
	for range n {
		put(t, ctx, q, "old")
	}
	var clients []*dqueue.Queue[string] // a client has 1,024 calls in flight at most
	for range 2 {
		clients = append(clients, dqueue.New[string](grid.Client(), "jobs"))
	}
	done := make(chan error, n)
	for i := range n {
		go func() { done <- clients[i%2].Put(ctx, "new") }()
	}
	grid.AwaitWaiting(n)
	if err := q.Clear(ctx); err != nil {
		t.Fatal(err)
	}
	grid.Advance(100 * time.Millisecond)
	for range n {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if got, err := q.Len(ctx); got != n || err != nil {
		t.Errorf("Len = %d, %v, want %d", got, err, n)
	}
}

// TestAnotherCodec: what another codec wrote is not taken, however often it is
// tried.
func TestAnotherCodec(t *testing.T) {
	ctx, grid, c, q := open(t)
	other := dqueue.New[string](c, "jobs", dqueue.Codec(structures.JSON))
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, quorate.ErrCodec) || !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	put(t, ctx, q, "a", "b")
	for range 3 {
		_, err := other.Take(ctx)
		refused("take", err)
		_, _, err = other.Poll(ctx)
		refused("poll", err)
		_, err = other.Take(ctx, dqueue.Wait(time.Second))
		refused("take within a second", err)
		_, err = other.Drain(ctx, 10)
		refused("drain", err)
	}
	put(t, ctx, other, "c")
	put(t, ctx, q, "d")
	if got, err := q.Drain(ctx, 10); !slices.Equal(got, []string{"a", "b"}) || err != nil {
		t.Errorf("Drain as far as it can be read: %q, %v", got, err)
	}
	if v, err := other.Take(ctx); v != "c" || err != nil {
		t.Errorf("Take = %q, %v", v, err)
	}
	wantLeft(t, ctx, q, "d")

	// One that has waited gives back what it cannot read.
	waits := inLine(grid, 1, func() (string, error) { return other.Take(ctx) })
	put(t, ctx, q, "e")
	refused("take that has waited", (<-waits).err)
	wantLeft(t, ctx, q, "e")
}

// TestAnotherType: what is of another type is not taken, or the error says that
// it was.
func TestAnotherType(t *testing.T) {
	ctx, grid, c, q := open(t)
	numbers := dqueue.New[int](c, "jobs")
	taken := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, quorate.ErrCodec) || !errors.Is(err, quorate.ErrOutcomeUnknown) || quorate.SafeToRetry(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	put(t, ctx, q, "a", "b", "c")
	if err := numbers.Put(ctx, 7); err != nil {
		t.Fatal(err)
	}
	_, err := numbers.Take(ctx)
	taken("take", err)
	_, _, err = numbers.Poll(ctx)
	taken("poll", err)
	got, err := numbers.Drain(ctx, 10)
	taken("drain", err)
	if !slices.Equal(got, []int{7}) || !strings.Contains(err.Error(), "1 elements") {
		t.Errorf("Drain = %v, %v", got, err)
	}
	waits := inLine(grid, 1, func() (string, error) { _, err := numbers.Take(ctx); return "", err })
	put(t, ctx, q, "d")
	if o := <-waits; !errors.Is(o.err, quorate.ErrCodec) || !quorate.SafeToRetry(o.err) {
		t.Errorf("a take that has waited: %v", o.err)
	}
	wantLeft(t, ctx, q, "d")
}

func TestErrors(t *testing.T) {
	ctx, _, c, q := open(t)
	numbers := dqueue.New[int](c, "jobs")
	put(t, ctx, q, "text")
	if _, _, err := numbers.Peek(ctx); !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("another type: %v", err)
	}
	if _, _, err := dqueue.New[string](c, "jobs", dqueue.Codec(structures.JSON)).Peek(ctx); !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("another codec: %v", err)
	}
	if err := dqueue.New[string](c, "jobs", dqueue.Codec(nil)).Put(ctx, "a"); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("no codec: %v", err)
	}
	if err := q.Put(ctx, strings.Repeat("x", 1<<20)); !errors.Is(err, quorate.ErrTooLarge) || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("a large value: %v", err)
	}
	if err := q.Configure(ctx, dqueue.Capacity(-1)); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("no capacity: %v", err)
	}
	if _, err := q.Drain(ctx, -1); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("a negative Drain: %v", err)
	}
	if err := dqueue.New[string](c, "a\nb").Put(ctx, ""); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("a bad name: %v", err)
	}
}
