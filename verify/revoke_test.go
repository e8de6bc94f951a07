package verify

import (
	"errors"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/structurestest"
)

// TestRevokedHistory records a revocation, whose holder releases afterwards, or not.
// What it held may come back at any time since, and not before: a history with a grant
// to another before it, made by hand, is illegal.
func TestRevokedHistory(t *testing.T) {
	for name, releases := range map[string]bool{"released": true, "not released": false} {
		t.Run(name, func(t *testing.T) {
			grid := structurestest.NewLocal(t, dsemaphore.Kind())
			h, ctx := NewHistory(), t.Context()
			s := NewSemaphore(h, 1, "s", dsemaphore.New(grid.Client(), "s"))
			other := NewSemaphore(h, 2, "s", dsemaphore.New(grid.Client(), "s"))
			if err := s.Init(ctx, 1); err != nil {
				t.Fatal(err)
			}
			held, err := s.Acquire(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			between := h.now()
			if existed, err := other.Revoke(ctx, held.ID()+1); existed || err != nil {
				t.Fatalf("revoke what is not there: %v, %v", existed, err)
			}
			if existed, err := other.Revoke(ctx, held.ID(), structures.Grace(time.Second)); !existed || err != nil {
				t.Fatalf("revoke: %v, %v", existed, err)
			}
			grid.Advance(time.Minute)
			<-held.Context().Done()
			if releases {
				if err := held.Release(ctx); !errors.Is(err, structures.ErrNotHeld) {
					t.Fatalf("release: %v, want ErrNotHeld", err)
				}
			}
			next, err := other.Acquire(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			if v := Check(h, 10*time.Second); v.Outcome != Linearizable {
				t.Errorf("the history as it was recorded: %v", v)
			}

			for i := range h.ops {
				if in := h.ops[i].Input.(semaphoreInput); in.op == semaphoreAcquire && in.grant == next.release.(semaphoreInput).grant {
					h.ops[i].Call, h.ops[i].Return = between, between+1
				}
			}
			if v := Check(h, 10*time.Second); v.Outcome != Illegal {
				t.Errorf("another was granted it before it was revoked: %v", v)
			}
		})
	}
}

// TestGrants_Revoked counts the permits of a holder until its context has ended,
// whether they are revoked or not.
func TestGrants_Revoked(t *testing.T) {
	grid := structurestest.NewLocal(t, dsemaphore.Kind())
	ctx := t.Context()
	s, admin := dsemaphore.New(grid.Client(), "s"), dsemaphore.New(grid.Client(), "s")
	if err := s.Init(ctx, 3); err != nil {
		t.Fatal(err)
	}
	acquire := func() *structures.Held {
		t.Helper()
		held, err := s.Acquire(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	g := NewGrants(1) // the grid has more: so it is one that grants too much
	first := acquire()
	if _, err := g.Granted(first, 1, 0); err != nil {
		t.Fatal(err)
	}
	if existed, err := admin.Revoke(ctx, first.ID(), structures.Grace(time.Hour)); !existed || err != nil {
		t.Fatalf("revoke: %v, %v", existed, err)
	}
	second := acquire()
	if _, err := g.Granted(second, 1, first.Token()); err == nil {
		t.Error("two hold one permit: the context of one that is revoked lives")
	}
	g.Returns(second)
	grid.Advance(time.Minute) // its client learns of it
	<-first.Context().Done()
	third := acquire()
	if _, err := g.Granted(third, 1, second.Token()); err != nil {
		t.Errorf("the context of the revoked one has ended: %v", err)
	}
	if _, err := g.Granted(third, 1, protocol.Token(1<<62)); err == nil {
		t.Error("a token that does not grow")
	}
}
