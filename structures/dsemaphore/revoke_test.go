package dsemaphore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

// TestRevoke: a holder learns that its permits are revoked and why; the next has them
// when it has acknowledged and the grace is over, not before. Who is only asked keeps
// them.
func TestRevoke(t *testing.T) {
	l := structurestest.NewLocal(t, Kind())
	ctx := t.Context()
	ann, bob, admin := New(l.Client(), "s"), New(l.Client(), "s"), New(l.Client(), "s")
	if err := ann.Init(ctx, 3); err != nil {
		t.Fatal(err)
	}
	held, err := ann.Acquire(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	granted := make(chan *structures.Held, 1)
	go func() {
		next, err := bob.Acquire(ctx, 3)
		if err != nil {
			t.Error(err)
		}
		granted <- next
	}()
	l.AwaitWaiting(1)
	l.Advance(time.Second)
	i, err := admin.Inspect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(i.Holders) != 1 || i.Holders[0].ID != held.ID() || i.Holders[0].Token != held.Token() || i.Holders[0].Amount != 2 || i.Holders[0].For != time.Second {
		t.Errorf("holders %+v, want hold %d of 2 permits for a second", i.Holders, held.ID())
	}
	if i.Waiting != 1 || len(i.Waiters) != 1 || i.Waiters[0].Operation != "acquire" || i.Waiters[0].Amount != 3 || i.Length != 1 || i.Bytes == 0 {
		t.Errorf("%+v, want one that waits for 3 permits, 1 free", i)
	}

	revoke := func(want bool, opts ...structures.RevokeOption) {
		t.Helper()
		if existed, err := admin.Revoke(ctx, held.ID(), opts...); existed != want || err != nil {
			t.Fatalf("revoke: %v, %v, want %v", existed, err, want)
		}
	}
	revoke(true, structures.AskOnly())
	l.Advance(time.Minute)
	select {
	case <-held.Asked():
	default:
		t.Error("the holder does not know that somebody asks")
	}
	if err := held.Context().Err(); err != nil {
		t.Errorf("it was only asked for: %v", err)
	}

	revoke(true, structures.Grace(10*time.Second), structures.Reason("host gone"))
	l.Advance(9 * time.Second)
	if cause := context.Cause(held.Context()); !errors.Is(cause, structures.ErrRevoked) || !strings.Contains(cause.Error(), "host gone") {
		t.Errorf("the context has ended because of %v, want ErrRevoked", cause)
	}
	if i, err := admin.Inspect(ctx); err != nil || len(i.Holders) != 1 || i.Holders[0].Mark != structures.HoldAcknowledged || i.Holders[0].Left != time.Second {
		t.Errorf("holders %+v, %v, want one with a second left", i.Holders, err)
	}
	l.Advance(time.Second)
	next := <-granted
	if next.Token() <= held.Token() {
		t.Errorf("token %d after token %d", next.Token(), held.Token())
	}
	if err := held.Release(ctx); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("the release of what was revoked: %v, want ErrNotHeld", err)
	}
	revoke(false)
	if next.Context().Err() != nil {
		t.Error("a revocation that names another hold has ended this one")
	}

	held = next
	revoke(true, structures.Grace(0))
	if n, err := admin.Available(ctx); n != 3 || err != nil {
		t.Errorf("revoked at once, %d free, %v", n, err)
	}
	l.Advance(time.Second)
	if cause := context.Cause(held.Context()); !errors.Is(cause, structures.ErrRevoked) {
		t.Errorf("the context has ended because of %v, want ErrRevoked", cause)
	}
	for _, opts := range [][]structures.RevokeOption{
		{structures.Grace(-time.Second)}, {structures.Grace(structures.MaxGrace + 1)}, {structures.Reason("\xff")},
	} {
		if _, err := admin.Revoke(ctx, 1, opts...); !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", opts, err)
		}
	}
	if _, err := admin.Revoke(ctx, 1, structures.Reason(strings.Repeat("x", structures.MaxNote+1))); !errors.Is(err, quorate.ErrTooLarge) {
		t.Errorf("a long reason: %v, want ErrTooLarge", err)
	}
}
