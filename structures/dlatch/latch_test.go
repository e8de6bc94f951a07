package dlatch_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dlatch"
	"github.com/quorate/quorate/structures/structurestest"
	"github.com/quorate/quorate/structures/txn"
)

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// set returns a latch with a count, and its round.
func set(t *testing.T, n int64) (context.Context, *structurestest.Local, *dlatch.Latch, dlatch.Round) {
	t.Helper()
	ctx := bounded(t)
	grid := structurestest.NewLocal(t, dlatch.Kind())
	l := dlatch.New(grid.Client(), "loaded")
	return ctx, grid, l, setAgain(t, ctx, l, n)
}

func setAgain(t *testing.T, ctx context.Context, l *dlatch.Latch, n int64) dlatch.Round {
	t.Helper()
	round, err := l.Set(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	return round
}

func wantCount(t *testing.T, ctx context.Context, l *dlatch.Latch, want int64) {
	t.Helper()
	if n, _, err := l.Count(ctx); n != want || err != nil {
		t.Errorf("Count = %d, %v, want %d", n, err, want)
	}
}

// outcome is what an Await in a goroutine came back with.
type outcome struct {
	round dlatch.Round
	err   error
}

// awaits starts an Await and returns when n calls wait.
func awaits(ctx context.Context, grid *structurestest.Local, l *dlatch.Latch, n int, opts ...dlatch.AwaitOption) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		round, err := l.Await(ctx, opts...)
		done <- outcome{round, err}
	}()
	grid.AwaitWaiting(n)
	return done
}

func TestCountDown(t *testing.T) {
	ctx, grid, l, round := set(t, 3)
	first, second := awaits(ctx, grid, l, 1), awaits(ctx, grid, l, 2, dlatch.In(round))
	if n, err := l.CountDown(ctx, dlatch.In(round)); n != 2 || err != nil {
		t.Fatalf("CountDown = %d, %v", n, err)
	}
	grid.AwaitWaiting(2)
	// Below 0 is 0, and says 0.
	if n, err := l.CountDown(ctx, dlatch.By(5)); n != 0 || err != nil {
		t.Fatalf("CountDown = %d, %v", n, err)
	}
	for _, done := range []<-chan outcome{first, second} {
		if got := <-done; got.round != round || got.err != nil {
			t.Errorf("Await = %d, %v, want %d", got.round, got.err, round)
		}
	}
	if n, err := l.CountDown(ctx); n != 0 || err != nil {
		t.Errorf("CountDown at 0 = %d, %v", n, err)
	}
	if got, err := l.Await(ctx); got != round || err != nil {
		t.Errorf("Await of an open latch = %d, %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	ctx, grid, l, round := set(t, 2)
	fresh := dlatch.New(grid.Client(), "fresh")
	for _, test := range []struct {
		name string
		do   func() error
		want error
		text string
	}{
		{"set again", func() error { _, err := l.Set(ctx, 1); return err }, dlatch.ErrNotZero, "set latch loaded: not zero: it is 2"},
		{"set to 0", func() error { _, err := l.Set(ctx, 0); return err }, quorate.ErrInvalid, "not within 1 to"},
		{"down by 0", func() error { _, err := l.CountDown(ctx, dlatch.By(0)); return err }, quorate.ErrInvalid, "not within 1 to"},
		{"count before Set", func() error { _, _, err := fresh.Count(ctx); return err }, dlatch.ErrNotSet, ""},
		{"down before Set", func() error { _, err := fresh.CountDown(ctx); return err }, dlatch.ErrNotSet, ""},
		{"hold before Set", func() error { _, err := fresh.Hold(ctx); return err }, dlatch.ErrNotSet, ""},
		{"down in another round", func() error { _, err := l.CountDown(ctx, dlatch.In(round+1)); return err }, dlatch.ErrRound, "the present round is"},
		{"hold in another round", func() error { _, err := l.Hold(ctx, dlatch.In(round+1)); return err }, dlatch.ErrRound, ""},
		{"await a later round", func() error { _, err := l.Await(ctx, dlatch.In(round+1)); return err }, dlatch.ErrRound, ""},
		{"await no round", func() error { _, err := l.Await(ctx, dlatch.In(1<<63), dlatch.Wait(0)); return err }, dlatch.ErrRound, ""},
		{"await and not wait", func() error { _, err := l.Await(ctx, dlatch.Wait(0)); return err }, quorate.ErrNotInTime, "the count is 2"},
		{"long note", func() error { _, err := l.Hold(ctx, dlatch.Note(strings.Repeat("x", 256))); return err }, quorate.ErrTooLarge, "256 bytes"},
		{"bad note", func() error { _, err := l.Hold(ctx, dlatch.Note("\xff")); return err }, quorate.ErrInvalid, "UTF-8"},
		{"bad name", func() error { _, err := dlatch.New(grid.Client(), "").Set(ctx, 1); return err }, quorate.ErrInvalid, "name"},
	} {
		err := test.do()
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v, want %v %q", test.name, err, test.want, test.text)
		}
	}
	wantCount(t, ctx, l, 2)
}

// TestSetAgainBeforeAllAreAnswered: more calls wait than one mutation may answer, and the
// latch is set again while the rest still waits: the rest has not to wait for another
// round.
func TestSetAgainBeforeAllAreAnswered(t *testing.T) {
	ctx := bounded(t)
	grid := structurestest.NewLocal(t, dlatch.Kind())
	c := grid.Client()
	l := dlatch.New(c, "loaded")
	round := setAgain(t, ctx, l, 1)
	const waiting = 1200
	grid.Advance(time.Second) // at the beginning of time nothing is due yet
	var all sync.WaitGroup
	got := make(chan outcome, waiting)
	others := []*dlatch.Latch{dlatch.New(grid.Client(), "loaded"), dlatch.New(grid.Client(), "loaded")}
	for i := range waiting {
		all.Go(func() {
			round, err := others[i%2].Await(ctx)
			got <- outcome{round, err}
		})
	}
	grid.AwaitWaiting(waiting)
	// One entry, so that nothing is cleaned up between the two.
	down, again := l.Txn().CountDown(), l.Txn().Set(1)
	if ok, err := txn.New(c).Then(down, again).Commit(ctx); !ok || err != nil {
		t.Fatalf("Commit = %t, %v", ok, err)
	}
	all.Wait()
	for range waiting {
		if o := <-got; o.round != round || o.err != nil {
			t.Fatalf("Await = %d, %v, want %d", o.round, o.err, round)
		}
	}
	wantCount(t, ctx, l, 1)
}

// TestAbsentIsNotOpen: a latch that was lost, here destroyed, is not open, and what was
// waited for in an earlier instance has not ended in this one.
func TestAbsentIsNotOpen(t *testing.T) {
	ctx, grid, l, old := set(t, 1)
	waiting := awaits(ctx, grid, l, 1)
	if err := l.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; !errors.Is(got.err, quorate.ErrDestroyed) {
		t.Errorf("the call that waited: %v", got.err)
	}
	for _, opts := range [][]dlatch.AwaitOption{nil, {dlatch.In(old)}, {dlatch.Wait(0)}, {dlatch.Wait(time.Minute)}} {
		if _, err := l.Await(ctx, opts...); !errors.Is(err, dlatch.ErrNotSet) {
			t.Errorf("Await: %v, want %v", err, dlatch.ErrNotSet)
		}
	}
	setAgain(t, ctx, l, 1)
	for _, opts := range [][]dlatch.AwaitOption{{dlatch.In(old)}, {dlatch.In(old), dlatch.Wait(0)}} {
		if _, err := l.Await(ctx, opts...); !errors.Is(err, dlatch.ErrRound) {
			t.Errorf("Await of a round of before: %v, want %v", err, dlatch.ErrRound)
		}
	}
}

// TestLateWorker: what a worker of an earlier round counts does not count in this one.
func TestLateWorker(t *testing.T) {
	ctx, _, l, old := set(t, 1)
	if _, err := l.CountDown(ctx, dlatch.In(old)); err != nil {
		t.Fatal(err)
	}
	round := setAgain(t, ctx, l, 2)
	if _, err := l.CountDown(ctx, dlatch.In(old)); !errors.Is(err, dlatch.ErrRound) {
		t.Errorf("a late CountDown: %v, want %v", err, dlatch.ErrRound)
	}
	wantCount(t, ctx, l, 2)
	if got, err := l.Await(ctx, dlatch.In(old)); got != old || err != nil {
		t.Errorf("Await of the round before = %d, %v", got, err)
	}
	if got, err := l.Await(ctx, dlatch.In(old), dlatch.Wait(0)); got != old || err != nil {
		t.Errorf("Await of the round before = %d, %v", got, err)
	}
	if n, now, err := l.Count(ctx); n != 2 || now != round || err != nil {
		t.Errorf("Count = %d, %d, %v, want round %d", n, now, err, round)
	}
}

// TestHold: workers that release, and one that dies.
func TestHold(t *testing.T) {
	ctx, grid, l, round := set(t, 1)
	released, err := l.Hold(ctx, dlatch.In(round), dlatch.Note("host a"))
	if err != nil {
		t.Fatal(err)
	}
	dying := grid.Client()
	dead, err := dlatch.New(dying, "loaded").Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wantCount(t, ctx, l, 3)
	if i, err := l.Inspect(ctx); err != nil || len(i.Holders) != 2 || i.Holders[0].Note != "host a" || i.Holders[0].ID != released.ID() {
		t.Errorf("Inspect = %+v, %v", i, err)
	}
	if n, err := l.CountDown(ctx); n != 2 || err != nil {
		t.Fatalf("CountDown = %d, %v", n, err)
	}
	waiting := awaits(ctx, grid, l, 1)
	if err := released.Release(ctx); err != nil {
		t.Fatal(err)
	}
	grid.AwaitWaiting(1)
	dying.End()
	if got := <-waiting; got.round != round || got.err != nil {
		t.Errorf("Await = %d, %v", got.round, got.err)
	}
	if !errors.Is(context.Cause(dead.Context()), quorate.ErrSessionLost) {
		t.Errorf("the dead worker's context: %v", context.Cause(dead.Context()))
	}
	if _, err := l.Hold(ctx); !errors.Is(err, dlatch.ErrDone) {
		t.Errorf("Hold of an open latch: %v, want %v", err, dlatch.ErrDone)
	}
}

// TestHoldOfEarlierRound: a worker of the last round that ends in this one, by a release, by
// its death or by an operator, counts nothing down.
func TestHoldOfEarlierRound(t *testing.T) {
	ctx, grid, l, _ := set(t, 1)
	operator := dlatch.New(grid.Client(), "loaded")
	dying := grid.Client()
	held, err := l.Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := l.Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dlatch.New(dying, "loaded").Hold(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := l.CountDown(ctx, dlatch.By(4)); n != 0 || err != nil {
		t.Fatalf("CountDown = %d, %v", n, err)
	}
	setAgain(t, ctx, l, 2)
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	dying.End()
	if existed, err := operator.Revoke(ctx, revoked.ID(), structures.Grace(0)); !existed || err != nil {
		t.Errorf("Revoke = %t, %v", existed, err)
	}
	wantCount(t, ctx, l, 2)
}

// TestHoldCountsOnce: a hold that ends twice counts once.
func TestHoldCountsOnce(t *testing.T) {
	ctx, grid, l, _ := set(t, 2)
	held, err := l.Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if existed, err := dlatch.New(grid.Client(), "loaded").Revoke(ctx, held.ID(), structures.Grace(0)); !existed || err != nil {
		t.Errorf("Revoke = %t, %v", existed, err)
	}
	wantCount(t, ctx, l, 2)
	if err := held.Release(ctx); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("Release of a hold that has ended: %v", err)
	}
	wantCount(t, ctx, l, 2)
}

func TestWait(t *testing.T) {
	ctx, grid, l, round := set(t, 1)
	waiting := awaits(ctx, grid, l, 1, dlatch.Wait(time.Second))
	grid.Advance(time.Second)
	if got := <-waiting; !errors.Is(got.err, quorate.ErrNotInTime) || !quorate.SafeToRetry(got.err) {
		t.Errorf("Await: %v, want %v", got.err, quorate.ErrNotInTime)
	}
	cancelled, cancel := context.WithCancel(ctx)
	waiting = awaits(cancelled, grid, l, 1)
	cancel()
	if got := <-waiting; !errors.Is(got.err, context.Canceled) {
		t.Errorf("a cancelled Await: %v", got.err)
	}
	if _, err := l.CountDown(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Await(ctx, dlatch.Wait(0)); got != round || err != nil {
		t.Errorf("Await = %d, %v", got, err)
	}
}

func TestTxn(t *testing.T) {
	ctx := bounded(t)
	grid := structurestest.NewLocal(t, dlatch.Kind())
	c := grid.Client()
	l, other := dlatch.New(c, "{part}loaded"), dlatch.New(c, "{part}other")
	begun := l.Txn().Set(2)
	if ok, err := txn.New(c).Then(begun, other.Txn().Set(5)).Commit(ctx); !ok || err != nil {
		t.Fatalf("Commit = %t, %v", ok, err)
	}
	round, err := begun.Result()
	if err != nil {
		t.Fatal(err)
	}
	held, err := l.Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	left, n := l.Txn().CountDown(dlatch.In(round), dlatch.By(2)), l.Txn().Count()
	if ok, err := txn.New(c).If(l.Txn().IfHeld(held)).Then(left, n, other.Txn().CountDown()).Commit(ctx); !ok || err != nil {
		t.Fatalf("Commit = %t, %v", ok, err)
	}
	if n, err := left.Result(); n != 1 || err != nil {
		t.Errorf("CountDown = %d, %v", n, err)
	}
	if n, err := n.Result(); n != 1 || err != nil {
		t.Errorf("Count = %d, %v", n, err)
	}
	if _, err := l.CountDown(ctx, dlatch.IfHeld(held)); err != nil {
		t.Error(err)
	}
	if ok, err := txn.New(c).If(l.Txn().IfAtMost(0)).Then(l.Txn().Release(held)).Commit(ctx); !ok || err != nil {
		t.Fatalf("Commit = %t, %v", ok, err)
	}
	if _, err := l.Set(ctx, 1, dlatch.IfHeld(held)); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("Set: %v, want %v", err, structures.ErrNotHeld)
	}
	if ok, err := txn.New(c).Then(l.Txn().CountDown(dlatch.In(round + 1))).Commit(ctx); ok || !errors.Is(err, dlatch.ErrRound) {
		t.Errorf("Commit = %t, %v, want %v", ok, err, dlatch.ErrRound)
	}
	if _, err := txn.New(c).Then(l.Txn().CountDown(dlatch.IfHeld(held))).Commit(ctx); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("IfHeld inside a transaction: %v", err)
	}
}

// TestSeen: reads tell the version of what they saw.
func TestSeen(t *testing.T) {
	ctx, _, l, _ := set(t, 2)
	var before, after dlatch.Version
	if _, _, err := l.Count(ctx, dlatch.Seen(&before)); err != nil || before == 0 {
		t.Fatalf("version %d, %v", before, err)
	}
	if _, err := l.CountDown(ctx); err != nil {
		t.Fatal(err)
	}
	if n, _, err := l.Count(ctx, dlatch.Stale(), dlatch.Seen(&after)); n != 1 || err != nil || after <= before {
		t.Errorf("%d at %d, after %d: %v", n, after, before, err)
	}
}
