package structures_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

const (
	opHold    protocol.Op = 1
	opRelease protocol.Op = 4
	codeGone              = protocol.CodeKindBase + 3
)

// holder is a grid that grants hold 5 with token 7 to whoever asks, and lets a
// function answer the release.
type holder struct {
	structurestest.Echo
	lease   context.Context
	release func(ctx context.Context) (structures.Reply, error)
}

func (g *holder) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	if call.Op == opRelease {
		if id, err := structures.ReadHold(call.Body); id != 5 || err != nil || call.Lease != g.lease {
			return structures.Reply{}, errors.New("another hold, or under another lease")
		}
		return g.release(ctx)
	}
	r := structures.Granted(5, 7)
	return structures.Reply{Code: r.Code, Body: r.Body, Lease: g.lease}, nil
}

var kind = &structures.Kind{
	ID: 99, Name: "thing",
	Codes: []structures.CodeInfo{{Code: codeGone, Err: structures.ErrNotHeld}},
}

func (g *holder) acquire(t *testing.T) *structures.Held {
	t.Helper()
	h := structures.NewHandle(g, kind, "s", nil)
	held, err := h.Acquire(t.Context(), h.Call("acquire", opHold, 0, 0, nil), opRelease)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// held returns what is held under a lease, whose release a function carries out.
func held(t *testing.T, lease context.Context, release func(ctx context.Context) error) *structures.Held {
	t.Helper()
	g := &holder{lease: lease, release: func(ctx context.Context) (structures.Reply, error) {
		return structures.Reply{}, release(ctx)
	}}
	return g.acquire(t)
}

// wantCause checks why a context has ended; nil: it has not.
func wantCause(t *testing.T, ctx context.Context, want error) {
	t.Helper()
	if got := context.Cause(ctx); got != want || (ctx.Err() == nil) != (want == nil) {
		t.Errorf("the context has ended because of %v, want %v", got, want)
	}
}

func TestHeldReleaseEndsContextFirst(t *testing.T) {
	var h *structures.Held
	h = held(t, t.Context(), func(context.Context) error {
		wantCause(t, h.Context(), structures.ErrReleased)
		return nil
	})
	if h.Token() != 7 || h.ID() != 5 {
		t.Errorf("hold %d, token %d", h.ID(), h.Token())
	}
	wantCause(t, h.Context(), nil)
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestHeldReleaseOnce(t *testing.T) {
	var calls atomic.Int32
	want := errors.New("refused")
	h := held(t, t.Context(), func(context.Context) error {
		calls.Add(1)
		return want
	})
	errs := make(chan error)
	for range 8 {
		go func() { errs <- h.Release(t.Context()) }()
	}
	for range 8 {
		if err := <-errs; err != want {
			t.Errorf("Release = %v, want %v", err, want)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("released %d times", calls.Load())
	}
}

func TestHeldReleaseOutlivesItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := held(t, t.Context(), func(ctx context.Context) error {
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		why := errors.New("the request was aborted")
		ended, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		err := h.Release(ended)
		if !errors.Is(err, quorate.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) || !errors.Is(err, why) || errors.Is(err, quorate.ErrUnavailable) {
			t.Fatalf("Release with an ended context = %v", err)
		}
		late, stop := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer stop()
		err = h.Release(late)
		if !errors.Is(err, quorate.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, why) || !errors.Is(err, quorate.ErrUnavailable) {
			t.Fatalf("Release that is not answered in time = %v", err)
		}
		if err := h.Release(t.Context()); err != nil {
			t.Fatalf("the release itself: %v", err)
		}
	})
}

// TestHeldEndsWithLease: whatever ends the lease is the cause of the context's end
// and the error of a release that it overtakes.
func TestHeldEndsWithLease(t *testing.T) {
	for _, why := range []error{quorate.ErrSessionLost, quorate.ErrGridLost, quorate.ErrClosed} {
		synctest.Test(t, func(t *testing.T) {
			lease, end := context.WithCancelCause(t.Context())
			kept := held(t, lease, nil)
			h := held(t, lease, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
			go func() {
				time.Sleep(time.Second)
				end(why)
			}()
			err := h.Release(context.Background())
			if !errors.Is(err, why) || errors.Is(err, quorate.ErrOutcomeUnknown) {
				t.Fatalf("Release = %v, want %v", err, why)
			}
			wantCause(t, h.Context(), structures.ErrReleased)
			wantCause(t, kept.Context(), why)
		})
	}
}

// TestHeldHasGone: the grid says that there is no such hold, and the session lives.
func TestHeldHasGone(t *testing.T) {
	g := &holder{lease: t.Context(), release: func(context.Context) (structures.Reply, error) {
		r := structures.Refuse(codeGone, "it was revoked")
		return structures.Reply{Code: r.Code, Body: r.Body}, nil
	}}
	h := g.acquire(t)
	err := h.Release(t.Context())
	if !errors.Is(err, structures.ErrNotHeld) || errors.Is(err, quorate.ErrSessionLost) || err.Error() != "release thing s: not held: it was revoked" {
		t.Errorf("Release = %v", err)
	}
}

func TestHeldBind(t *testing.T) {
	type key struct{}
	why := errors.New("the request was aborted")
	synctest.Test(t, func(t *testing.T) {
		outer, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, 1))
		h := held(t, t.Context(), func(context.Context) error { return nil })
		first, second := h.Bind(t.Context()), h.Bind(outer)
		if second.Value(key{}) != 1 {
			t.Error("a value of ctx is lost")
		}
		wantCause(t, second, nil)
		cancel(why)
		synctest.Wait()
		wantCause(t, second, why)
		wantCause(t, first, nil)
		if err := h.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantCause(t, first, structures.ErrReleased)
	})
}

// TestHeldBind_EndsFirst: what is bound to a hold ends before its release goes out, and what
// is bound to one that has ended never lives.
func TestHeldBind_EndsFirst(t *testing.T) {
	for range 1000 { // or else it is a matter of which goroutine runs first
		h := held(t, t.Context(), func(context.Context) error { return nil })
		bound := h.Bind(t.Context())
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = h.Release(ended) // it does not wait
		wantCause(t, bound, structures.ErrReleased)
		wantCause(t, h.Bind(t.Context()), structures.ErrReleased)
		if t.Failed() {
			return
		}
	}
}

// TestHeldDo_Ended: nothing runs under a hold that has ended.
func TestHeldDo_Ended(t *testing.T) {
	f := func(context.Context, protocol.Token) error {
		t.Error("it ran")
		return nil
	}
	h := held(t, t.Context(), func(context.Context) error { return nil })
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Do(t.Context(), f); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("after the release: %v", err)
	}
	lease, end := context.WithCancelCause(t.Context())
	h = held(t, lease, func(ctx context.Context) error { return ctx.Err() })
	end(quorate.ErrSessionLost)
	if err := h.Do(t.Context(), f); !errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("after the session: %v", err)
	}
}

// TestHeldIn: a context tells which holds it carries, while they live.
func TestHeldIn(t *testing.T) {
	g := &holder{lease: t.Context(), release: func(context.Context) (structures.Reply, error) { return structures.Reply{}, nil }}
	h := g.acquire(t)
	same, other := structures.NewHandle(g, kind, "s", nil), structures.NewHandle(g, kind, "another", nil)
	elsewhere := structures.NewHandle(&holder{}, kind, "s", nil)
	echo := structures.NewHandle(structurestest.Echo{}, kind, "s", nil)
	for name, ctx := range map[string]context.Context{"context": h.Context(), "bound": context.WithoutCancel(h.Bind(t.Context()))} {
		if same.HeldIn(ctx) != h {
			t.Errorf("%s: does not carry it", name)
		}
		if other.HeldIn(ctx) != nil || elsewhere.HeldIn(ctx) != nil || echo.HeldIn(ctx) != nil || same.HeldIn(t.Context()) != nil {
			t.Errorf("%s: carries what it was not bound to", name)
		}
	}
	bound := context.WithoutCancel(h.Bind(t.Context()))
	_ = h.Release(t.Context())
	if same.HeldIn(bound) != nil {
		t.Error("what was released is carried on")
	}
}

// TestAcquireGivesBack: what is granted and does not reach the caller is released,
// under the lease that it was granted under.
func TestAcquireGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		released := 0
		g := &holder{lease: t.Context(), release: func(context.Context) (structures.Reply, error) {
			released++
			return structures.Reply{}, nil
		}}
		late := &unanswered{holder: g}
		h := structures.NewHandle(late, kind, "s", nil)
		if held, err := h.Acquire(t.Context(), h.Call("acquire", opHold, 0, 0, nil), opRelease); held != nil || !errors.Is(err, quorate.ErrOutcomeUnknown) {
			t.Fatalf("Acquire = %v, %v", held, err)
		}
		late.late(structures.Reply{Body: []byte{1}, Lease: g.lease}) // is not understood
		synctest.Wait()
		if released != 0 {
			t.Error("released, but what?")
		}
		late.late(structures.Reply{Body: structures.Granted(5, 7).Body, Lease: g.lease})
		synctest.Wait()
		if released != 1 {
			t.Errorf("released %d times", released)
		}
	})
}

// unanswered answers no call that holds, but gives what it is granted later.
type unanswered struct {
	*holder
	late func(structures.Reply)
}

func (u *unanswered) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	if call.Op == opHold {
		u.late = call.Late
		return structures.Reply{}, &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: context.Canceled, Unknown: true}
	}
	return u.holder.Invoke(ctx, call)
}
