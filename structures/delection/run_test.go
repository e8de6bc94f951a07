package delection_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
)

// TestRun: it leads while its function runs, resigns, and returns the function's error.
func TestRun(t *testing.T) {
	p := newPlace(t)
	e := p.election()
	failed := errors.New("failed")
	err := e.Run(p.ctx, "me", func(ctx context.Context, token protocol.Token) error {
		if l := p.wantLeader(e, "me"); l.Token != token {
			t.Errorf("token %d, want %d", token, l.Token)
		}
		if _, err := e.Campaign(ctx, "me"); !errors.Is(err, delection.ErrLeading) {
			t.Errorf("a campaign inside: %v", err)
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("Run = %v", err)
	}
	p.wantLeader(e, "")
	if err := e.Run(p.ctx, "me", func(context.Context, protocol.Token) error { return nil }); err != nil {
		t.Errorf("Run = %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = e.Run(p.ctx, "me", func(context.Context, protocol.Token) error { panic("planned") })
	}()
	p.wantLeader(e, "")

	ctx, cancel := context.WithCancel(p.ctx)
	err = e.Run(ctx, "me", func(ctx context.Context, _ protocol.Token) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	p.wantLeader(e, "")
	if err := e.Run(ctx, "me", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	if err := e.Run(p.ctx, "me", nil, delection.Priority(1<<40)); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("Run = %v", err)
	}
}

// TestRun_NeverTwo: when the leadership is lost Run campaigns again, but not while the
// function still runs: it may be slow to stop (ELECT-6).
func TestRun_NeverTwo(t *testing.T) {
	p := newPlace(t)
	e, admin := p.election(), p.election()
	var running, most, calls atomic.Int32
	entered, stop := make(chan protocol.Token), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- e.Run(p.ctx, "me", func(ctx context.Context, token protocol.Token) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			calls.Add(1)
			entered <- token
			<-stop
			return context.Cause(ctx)
		}, delection.Wait(time.Nanosecond))
	}()
	token := <-entered
	l := p.wantLeader(admin, "me")
	if ok, err := admin.ForceResign(p.ctx, l.Hold, delection.Grace(0)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	p.grid.Advance(2 * time.Second) // its client learns of it, and its context ends
	other := p.leads(admin, "other")
	// While the function runs nobody campaigns.
	time.Sleep(20 * time.Millisecond)
	if list, err := admin.Candidates(p.ctx); err != nil || len(list) != 0 {
		t.Fatalf("candidates %+v, %v, while its function runs", list, err)
	}
	stop <- struct{}{}
	p.grid.AwaitWaiting(1)
	p.resign(other)
	if again := <-entered; again <= other.Token() || other.Token() <= token {
		t.Errorf("tokens %d, %d, %d", token, other.Token(), again)
	}
	stop <- struct{}{}
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if calls.Load() != 2 || most.Load() != 1 {
		t.Errorf("%d calls, of which %d at once", calls.Load(), most.Load())
	}
}

// TestRun_GoesOn: a destroyed election and a lost session do not end it.
func TestRun_GoesOn(t *testing.T) {
	p := newPlace(t)
	first := p.leads(p.election(), "first")
	e := p.election()
	done := make(chan error, 1)
	go func() {
		done <- e.Run(p.ctx, "me", func(ctx context.Context, _ protocol.Token) error {
			if lead := context.Cause(ctx); lead != nil {
				return lead
			}
			return nil
		})
	}()
	p.grid.AwaitWaiting(1)
	if err := e.Destroy(p.ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if err := first.Resign(p.ctx); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("Resign = %v", err)
	}
}
