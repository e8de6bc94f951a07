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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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
	if v, ok, err := q.Poll(ctx, 0); ok || err != nil {
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

func TestPollWaits(t *testing.T) {
	ctx, grid, _, q := open(t)
	poll := func() (string, error) {
		v, ok, err := q.Poll(ctx, time.Second)
		return fmt.Sprint(v, ok), err
	}
	none := inLine(grid, 1, poll)
	grid.Advance(time.Second)
	if got := <-none; got.v != "false" || got.err != nil {
		t.Errorf("Poll of nothing: %+v", got)
	}
	one := inLine(grid, 1, poll)
	put(t, ctx, q, "a")
	if got := <-one; got.v != "atrue" || got.err != nil {
		t.Errorf("Poll: %+v", got)
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
	if err := q.Configure(ctx, dqueue.Capacity(0)); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("no capacity: %v", err)
	}
	if _, err := q.Drain(ctx, -1); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("a negative Drain: %v", err)
	}
	if err := dqueue.New[string](c, "a\nb").Put(ctx, ""); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("a bad name: %v", err)
	}
}
