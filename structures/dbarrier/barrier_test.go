package dbarrier_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures/dbarrier"
	"github.com/quorate/quorate/structures/structurestest"
)

func bounded(t *testing.T) (context.Context, *structurestest.Local) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	grid := structurestest.NewLocal(t, dbarrier.Kind())
	grid.Advance(time.Second) // at the beginning of time nothing is due yet
	return ctx, grid
}

// outcome is what an Await or an Enter in a goroutine came back with.
type outcome struct {
	dbarrier.Arrival
	inside *dbarrier.Inside
	err    error
}

// awaits starts an Await, and returns when n calls wait.
func awaits(ctx context.Context, grid *structurestest.Local, b *dbarrier.Barrier, n int, opts ...dbarrier.WaitOption) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		a, err := b.Await(ctx, opts...)
		done <- outcome{Arrival: a, err: err}
	}()
	grid.AwaitWaiting(n)
	return done
}

// enters starts an Enter, and returns when n calls wait.
func enters(ctx context.Context, grid *structurestest.Local, d *dbarrier.DoubleBarrier, n int) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		i, err := d.Enter(ctx)
		done <- outcome{inside: i, err: err}
	}()
	grid.AwaitWaiting(n)
	return done
}

// leaves starts a Leave, and returns when n calls wait.
func leaves(ctx context.Context, grid *structurestest.Local, i *dbarrier.Inside, n int) <-chan error {
	done := make(chan error, 1)
	go func() { done <- i.Leave(ctx) }()
	grid.AwaitWaiting(n)
	return done
}

// together lets parties of their own clients enter, and returns them with their clients.
func together(t *testing.T, ctx context.Context, grid *structurestest.Local, n int) (parties []*dbarrier.Inside, clients []*structurestest.Client) {
	t.Helper()
	var entering []<-chan outcome
	for i := range n {
		c := grid.Client()
		clients = append(clients, c)
		entering = append(entering, enters(ctx, grid, dbarrier.NewDouble(c, "job", n), (i+1)%n))
	}
	for _, done := range entering {
		got := <-done
		if got.err != nil {
			t.Fatal(got.err)
		}
		parties = append(parties, got.inside)
		if got.inside.Round() != parties[0].Round() {
			t.Errorf("a party is in round %d, another in %d", got.inside.Round(), parties[0].Round())
		}
	}
	return parties, clients
}

// TestMeet: all parties of a round go together, each with an index of its own, and the next
// round is another one.
func TestMeet(t *testing.T) {
	ctx, grid := bounded(t)
	last := dbarrier.Round(0)
	for range 3 {
		var done []<-chan outcome
		for i := range 3 {
			done = append(done, awaits(ctx, grid, dbarrier.New(grid.Client(), "step", 3), (i+1)%3))
		}
		first := <-done[0]
		for i, d := range done {
			got := first
			if i > 0 {
				got = <-d
			}
			if got.err != nil || got.Round != first.Round || got.Index != i || got.Round <= last {
				t.Errorf("party %d: %+v, after round %d, with %+v", i, got, last, first)
			}
		}
		last = first.Round
	}
}

// TestCrowd: the largest number of parties meets in one step, also if the answers to others
// leave too little of an entry for it.
func TestCrowd(t *testing.T) {
	ctx, grid := bounded(t)
	c, other := grid.Client(), grid.Client()
	done := make(chan outcome, dbarrier.MaxParties)
	b := dbarrier.New(c, "crowd", dbarrier.MaxParties)
	for range dbarrier.MaxParties - 1 {
		go func() {
			a, err := b.Await(ctx)
			done <- outcome{Arrival: a, err: err}
		}()
	}
	grid.AwaitWaiting(dbarrier.MaxParties - 1)
	a, err := dbarrier.New(other, "crowd", dbarrier.MaxParties).Await(ctx)
	done <- outcome{Arrival: a, err: err}
	seen := map[int]bool{}
	for range dbarrier.MaxParties {
		got := <-done
		if got.err != nil || got.Round != a.Round || seen[got.Index] {
			t.Fatalf("%+v, and the last %+v, twice: %t", got, a, seen[got.Index])
		}
		seen[got.Index] = true
	}
}

func TestErrors(t *testing.T) {
	ctx, grid := bounded(t)
	c := grid.Client()
	waiting := awaits(ctx, grid, dbarrier.New(c, "step", 3), 1)
	for _, test := range []struct {
		name string
		do   func() error
		want error
		text string
	}{
		{"other parties", func() error { _, err := dbarrier.New(c, "step", 2).Await(ctx); return err }, quorate.ErrSettings, "3 parties meet here, at a barrier that is cyclic"},
		{"other form", func() error { _, err := dbarrier.NewDouble(c, "step", 3).Enter(ctx); return err }, quorate.ErrSettings, "cyclic"},
		{"not wait", func() error { _, err := dbarrier.New(c, "step", 3).Await(ctx, dbarrier.Wait(0)); return err }, quorate.ErrNotInTime, ""},
		{"one party", func() error { _, err := dbarrier.New(c, "one", 1).Await(ctx); return err }, quorate.ErrInvalid, "1 parties, not within 2 to 1000"},
		{"many parties", func() error { _, err := dbarrier.NewDouble(c, "many", 1001).Enter(ctx); return err }, quorate.ErrInvalid, "1001 parties"},
		{"long note", func() error {
			_, err := dbarrier.NewDouble(c, "x", 2).Enter(ctx, dbarrier.Note(strings.Repeat("x", 256)))
			return err
		}, quorate.ErrTooLarge, "256 bytes"},
		{"bad name", func() error { _, err := dbarrier.New(c, "", 2).Await(ctx); return err }, quorate.ErrInvalid, "name"},
	} {
		err := test.do()
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v, want %v %q", test.name, err, test.want, test.text)
		}
	}
	if err := dbarrier.New(c, "step", 3).Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; !errors.Is(got.err, quorate.ErrDestroyed) {
		t.Errorf("Await: %v, want %v", got.err, quorate.ErrDestroyed)
	}
	// Nobody waits: another number is right.
	awaits(ctx, grid, dbarrier.New(c, "step", 2), 1)
}

// TestWithdrawnIsNotCounted: who gives up, or dies, before the round is complete is no party
// of it, and the others wait for another one.
func TestWithdrawnIsNotCounted(t *testing.T) {
	ctx, grid := bounded(t)
	first := awaits(ctx, grid, dbarrier.New(grid.Client(), "step", 3), 1)
	cancelled, cancel := context.WithCancel(ctx)
	gone := awaits(cancelled, grid, dbarrier.New(grid.Client(), "step", 3), 2)
	cancel()
	if got := <-gone; !errors.Is(got.err, context.Canceled) {
		t.Errorf("a cancelled Await: %v", got.err)
	}
	dying := grid.Client()
	dead := awaits(ctx, grid, dbarrier.New(dying, "step", 3), 2)
	dying.End()
	if got := <-dead; !errors.Is(got.err, quorate.ErrSessionLost) {
		t.Errorf("the Await of a dead party: %v", got.err)
	}
	late := awaits(ctx, grid, dbarrier.New(grid.Client(), "step", 3), 2, dbarrier.Wait(time.Second))
	grid.Advance(time.Second)
	if got := <-late; !errors.Is(got.err, quorate.ErrNotInTime) {
		t.Errorf("an Await with Wait: %v", got.err)
	}
	second := awaits(ctx, grid, dbarrier.New(grid.Client(), "step", 3), 2)
	third := awaits(ctx, grid, dbarrier.New(grid.Client(), "step", 3), 0)
	a, b, c := <-first, <-second, <-third
	if a.err != nil || b.err != nil || c.err != nil || a.Round != c.Round || b.Index != 1 || c.Index != 2 {
		t.Errorf("%+v, %+v, %+v", a, b, c)
	}
}

// TestLeave: nobody returns from Leave before all have left; who stops waiting for that has
// left all the same.
func TestLeave(t *testing.T) {
	ctx, grid := bounded(t)
	parties, _ := together(t, ctx, grid, 3)
	first := leaves(ctx, grid, parties[0], 1)
	impatient, cancel := context.WithCancel(ctx)
	second := leaves(impatient, grid, parties[1], 2)
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("Leave: %v", err)
	}
	if parties[1].Context().Err() == nil || parties[2].Context().Err() != nil {
		t.Error("the context of who has left lives, or that of who is inside has ended")
	}
	if err := <-leaves(ctx, grid, parties[2], 0); err != nil {
		t.Error(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := parties[1].Leave(ctx); err != nil {
		t.Errorf("Leave again: %v", err)
	}
}

// TestDeadInside: who dies inside is waited for until its session has ended.
func TestDeadInside(t *testing.T) {
	ctx, grid := bounded(t)
	parties, clients := together(t, ctx, grid, 2)
	left := leaves(ctx, grid, parties[0], 1)
	clients[1].End()
	if err := <-left; err != nil {
		t.Error(err)
	}
	if !errors.Is(context.Cause(parties[1].Context()), quorate.ErrSessionLost) {
		t.Errorf("the context of the dead: %v", context.Cause(parties[1].Context()))
	}
}

// TestFastParty: a party that has left, and comes again while others of its round are
// inside, waits for the next round.
func TestFastParty(t *testing.T) {
	ctx, grid := bounded(t)
	parties, clients := together(t, ctx, grid, 2)
	if err := parties[0].Release(ctx); err != nil {
		t.Fatal(err)
	}
	again := enters(ctx, grid, dbarrier.NewDouble(clients[0], "job", 2), 1)
	other := enters(ctx, grid, dbarrier.NewDouble(grid.Client(), "job", 2), 2)
	if err := <-leaves(ctx, grid, parties[1], 0); err != nil {
		t.Error(err)
	}
	a, b := <-again, <-other
	if a.err != nil || b.err != nil {
		t.Fatal(a.err, b.err)
	}
	if a.inside.Round() != b.inside.Round() || a.inside.Round() <= parties[0].Round() {
		t.Errorf("rounds %d and %d, after %d", a.inside.Round(), b.inside.Round(), parties[0].Round())
	}
}
