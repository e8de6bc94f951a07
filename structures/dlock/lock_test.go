package dlock

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func locked(t *testing.T, ctx context.Context, l *Lock, opts ...LockOption) *structures.Held {
	t.Helper()
	held, err := l.Lock(ctx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func released(t *testing.T, ctx context.Context, h *structures.Held) {
	t.Helper()
	if err := h.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

// outcome is what a Lock in a goroutine came back with.
type outcome struct {
	held *structures.Held
	err  error
}

// inLine starts a Lock and returns when it waits as the n-th.
func inLine(ctx context.Context, grid *structurestest.Local, l *Lock, n int, opts ...LockOption) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		held, err := l.Lock(ctx, opts...)
		done <- outcome{held, err}
	}()
	grid.AwaitWaiting(n)
	return done
}

func granted(t *testing.T, ch <-chan outcome) *structures.Held {
	t.Helper()
	select {
	case got := <-ch:
		if got.err != nil {
			t.Fatal(got.err)
		}
		return got.held
	case <-time.After(2 * time.Minute):
		t.Fatal("the lock was not granted")
		return nil
	}
}

// notGranted reports a call that does not wait any more.
func notGranted(t *testing.T, ch <-chan outcome) {
	t.Helper()
	select {
	case got := <-ch:
		t.Errorf("it was granted: %+v", got)
	default:
	}
}

// TestLock: one holds, the others wait in the order of arrival, and nobody overtakes them.
func TestLock(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob, eve := New(grid.Client(), "l"), New(grid.Client(), "l"), New(grid.Client(), "l")
	first := locked(t, ctx, ann, Note("nightly"))
	if _, ok, err := bob.TryLock(ctx); ok || err != nil {
		t.Fatalf("TryLock of a lock that is held = %t, %v", ok, err)
	}
	second := inLine(ctx, grid, bob, 1, Note("bob"))
	third := inLine(ctx, grid, ann, 2) // not reentrant: it waits like any other
	i, err := eve.Inspect(ctx)
	if err != nil || len(i.Holders) != 1 || i.Holders[0].ID != first.ID() || i.Holders[0].Token != first.Token() || i.Holders[0].Note != "nightly" ||
		len(i.Waiters) != 2 || i.Waiters[0].Note != "bob" || i.Length != 1 {
		t.Errorf("%+v, %v", i, err)
	}
	released(t, ctx, first)
	held := granted(t, second)
	notGranted(t, third)
	if _, ok, err := eve.TryLock(ctx); ok || err != nil {
		t.Errorf("TryLock beside one that waits = %t, %v", ok, err)
	}
	released(t, ctx, held)
	last := granted(t, third)
	released(t, ctx, last)
	if first.Token() >= held.Token() || held.Token() >= last.Token() {
		t.Errorf("tokens %d, %d, %d do not grow", first.Token(), held.Token(), last.Token())
	}
	if i, err := eve.Inspect(ctx); err != nil || len(i.Holders) != 0 || i.Length != 0 || i.Bytes != 0 {
		t.Errorf("free, it is %+v, %v", i, err)
	}
	again, ok, err := eve.TryLock(ctx)
	if !ok || err != nil {
		t.Fatalf("TryLock of a lock that is free = %t, %v", ok, err)
	}
	released(t, ctx, again)
}

// TestTokens: a call that came early and is granted late has the token of the grant. With
// that of its arrival a resource would take it for older than what was written since.
func TestTokens(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob := New(grid.Client(), "{x}l"), New(grid.Client(), "{x}l")
	other := New(grid.Client(), "{x}other")
	first := locked(t, ctx, ann)
	second := inLine(ctx, grid, bob, 1)
	between := locked(t, ctx, other).Token() // in the same partition, while bob waits
	released(t, ctx, first)
	if held := granted(t, second); held.Token() <= between || uint64(held.ID()) >= uint64(between) {
		t.Errorf("hold %d with token %d, asked for before %d and granted after", held.ID(), held.Token(), between)
	}
}

// TestLateRelease: a release that arrives late finds its hold gone, not the next hold of the
// same session.
func TestLateRelease(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	l := New(grid.Client(), "l")
	first := locked(t, ctx, l)
	released(t, ctx, first)
	second := locked(t, ctx, l)
	late := l.handle.Call("release", opRelease, 0, l.handle.Partition(nil), structures.AppendHold(nil, first.ID()))
	if _, err := l.handle.Invoke(ctx, late); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("a late release: %v", err)
	}
	if _, ok, err := New(grid.Client(), "l").TryLock(ctx); ok || err != nil {
		t.Errorf("after a late release another has it: %t, %v", ok, err)
	}
	released(t, ctx, second)
}

// TestEndedWaiterIsPassedOver: the holder and the first of those that wait end in one entry.
// The lock goes to the next, not to the session that has ended.
func TestEndedWaiterIsPassedOver(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	first, other := grid.Client(), grid.Client()
	ann, eve, bob := New(first, "l"), New(other, "l"), New(grid.Client(), "l")
	held := locked(t, ctx, ann)
	ended := inLine(ctx, grid, eve, 1)
	second := inLine(ctx, grid, bob, 2)
	var answers []protocol.Code
	grid.Observe(func(q *protocol.Request, r structures.Result) {
		if q.Op == opLock {
			answers = append(answers, r.Code)
		}
	})
	grid.End(first, other)
	if held.Context().Err() == nil {
		t.Error("the context of what was held lives")
	}
	if got := <-ended; !errors.Is(got.err, quorate.ErrSessionLost) {
		t.Errorf("the Lock of the session that has ended: %v", got.err)
	}
	next := granted(t, second)
	if next.Token() <= held.Token() {
		t.Errorf("token %d after %d", next.Token(), held.Token())
	}
	if n := len(slices.DeleteFunc(answers, func(c protocol.Code) bool { return c != protocol.CodeOK })); n != 1 {
		t.Errorf("%d calls were granted the lock, want one", n)
	}
}

// TestDelay: after a hold that was not released nobody has the lock for the delay.
func TestDelay(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	c := grid.Client()
	ann, bob := New(c, "l"), New(grid.Client(), "l")
	if err := bob.Configure(ctx, Delay(15*time.Second)); err != nil {
		t.Fatal(err)
	}
	released(t, ctx, locked(t, ctx, ann))
	held := locked(t, ctx, bob) // at once: the one before was released
	released(t, ctx, held)

	locked(t, ctx, ann)
	waits := inLine(ctx, grid, bob, 1)
	c.End()
	grid.Advance(14 * time.Second)
	notGranted(t, waits)
	if _, ok, err := New(grid.Client(), "l").TryLock(ctx); ok || err != nil {
		t.Errorf("TryLock within the delay = %t, %v", ok, err)
	}
	grid.Advance(time.Second)
	held = granted(t, waits)

	if existed, err := bob.ForceUnlock(ctx, held.ID(), Now()); !existed || err != nil {
		t.Fatal(existed, err)
	}
	if _, ok, err := bob.TryLock(ctx); ok || err != nil {
		t.Errorf("TryLock after it was taken away = %t, %v", ok, err)
	}
	grid.Advance(15 * time.Second)
	if _, ok, err := bob.TryLock(ctx); !ok || err != nil {
		t.Errorf("TryLock after the delay = %t, %v", ok, err)
	}
}

// TestDelay_NotOvertaken: a hold that was revoked is due in the entry in which the wait of
// another call is over. Whoever waits behind that one is not granted the lock before the
// delay.
func TestDelay_NotOvertaken(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob, carol := New(grid.Client(), "l"), New(grid.Client(), "l"), New(grid.Client(), "l")
	if err := bob.Configure(ctx, Delay(15*time.Second)); err != nil {
		t.Fatal(err)
	}
	held := locked(t, ctx, ann)
	tried := make(chan error, 1)
	go func() {
		_, ok, err := bob.TryLock(ctx, Wait(time.Second))
		if ok {
			err = errors.New("granted")
		}
		tried <- err
	}()
	grid.AwaitWaiting(1)
	waits := inLine(ctx, grid, carol, 2)
	if existed, err := bob.ForceUnlock(ctx, held.ID(), Grace(2*time.Second)); !existed || err != nil {
		t.Fatal(existed, err)
	}
	grid.Advance(2 * time.Second)
	if err := <-tried; err != nil {
		t.Errorf("TryLock: %v", err)
	}
	notGranted(t, waits)
	grid.Advance(15 * time.Second)
	granted(t, waits)
}

// TestForceUnlock: a holder learns that its lock is taken away and why; the next has it when
// the holder has acknowledged and the grace is over. What names a hold that has gone harms
// nobody.
func TestForceUnlock(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob, admin := New(grid.Client(), "l"), New(grid.Client(), "l"), New(grid.Client(), "l")
	held := locked(t, ctx, ann)
	waits := inLine(ctx, grid, bob, 1)
	unlock := func(want bool, opts ...UnlockOption) {
		t.Helper()
		if existed, err := admin.ForceUnlock(ctx, held.ID(), opts...); existed != want || err != nil {
			t.Fatalf("ForceUnlock: %v, %v, want %v", existed, err, want)
		}
	}
	unlock(true, AskOnly())
	grid.Advance(time.Minute)
	select {
	case <-held.Asked():
	default:
		t.Error("the holder does not know that somebody asks")
	}
	unlock(true, Grace(10*time.Second), Reason("host gone"))
	grid.Advance(9 * time.Second)
	if cause := context.Cause(held.Context()); !errors.Is(cause, structures.ErrRevoked) || !strings.Contains(cause.Error(), "host gone") {
		t.Errorf("the context has ended because of %v, want ErrRevoked", cause)
	}
	notGranted(t, waits)
	grid.Advance(time.Second)
	next := granted(t, waits)
	if err := held.Release(ctx); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("the release of what was taken away: %v", err)
	}
	unlock(false, Now())
	grid.Advance(time.Second)
	if next.Context().Err() != nil {
		t.Error("what names an earlier hold has ended this one")
	}
	held = next
	unlock(true, Now())
	grid.Advance(time.Second)
	if cause := context.Cause(held.Context()); !errors.Is(cause, structures.ErrRevoked) {
		t.Errorf("the context has ended because of %v, want ErrRevoked", cause)
	}
}

// TestDo runs under the lock, and says so if it was lost on the way.
func TestDo(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	c := grid.Client()
	l, other := New(c, "l"), New(grid.Client(), "l")
	sentinel := errors.New("no")
	err := l.Do(ctx, func(ctx context.Context, token protocol.Token) error {
		i, err := other.Inspect(ctx)
		if err != nil || len(i.Holders) != 1 || i.Holders[0].Token != token || i.Holders[0].Note != "do" {
			t.Errorf("while it runs: %+v, %v", i, err)
		}
		if _, err := l.Lock(ctx); !errors.Is(err, ErrHeld) || !quorate.SafeToRetry(err) {
			t.Errorf("Lock inside: %v", err)
		}
		if err := l.Do(ctx, nil); !errors.Is(err, ErrHeld) {
			t.Errorf("Do inside: %v", err)
		}
		if _, ok, err := other.TryLock(ctx); ok || err != nil {
			t.Errorf("another client's TryLock inside: %v, %v", ok, err)
		}
		return sentinel
	}, Note("do"))
	if err != sentinel {
		t.Errorf("Do: %v", err)
	}

	// The context has ended when the lock is granted.
	held := locked(t, ctx, other)
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := held.Do(short, func(context.Context, protocol.Token) error { t.Error("it ran"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Do whose context has ended: %v", err)
	}
	released(t, ctx, held)

	func() {
		defer func() { _ = recover() }()
		_ = l.Do(ctx, func(context.Context, protocol.Token) error { panic("f panics") })
	}()
	released(t, ctx, locked(t, ctx, other))

	// It is lost on the way.
	err = l.Do(ctx, func(ctx context.Context, _ protocol.Token) error {
		i, err := other.Inspect(ctx)
		if err != nil {
			return err
		}
		if _, err := other.ForceUnlock(ctx, i.Holders[0].ID, Now()); err != nil {
			return err
		}
		grid.Advance(time.Second)
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, structures.ErrRevoked) || !strings.Contains(err.Error(), "lost on the way") {
		t.Errorf("Do under a lock that was taken away: %v", err)
	}
	err = l.Do(ctx, func(ctx context.Context, _ protocol.Token) error {
		c.End()
		<-ctx.Done()
		return sentinel
	})
	if !errors.Is(err, quorate.ErrSessionLost) || !errors.Is(err, sentinel) {
		t.Errorf("Do whose session is lost: %v", err)
	}
}

// TestLockAll: callers that name the same locks in any order never have half each.
func TestLockAll(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob := grid.Client(), grid.Client()
	locks := func(c structures.Invoker, names ...string) (list []*Lock) {
		for _, name := range names {
			list = append(list, New(c, name))
		}
		return list
	}
	mine := locks(ann, "b", "a", "b")
	all, err := LockAll(ctx, mine, Note("all"))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := all.Token(mine[1]), all.Token(mine[0]); a == 0 || b == 0 || all.Token(New(ann, "z")) != 0 || all.Held(mine[0]).Token() != b {
		t.Errorf("tokens %d, %d", a, b)
	}
	if _, err := mine[1].Lock(all.Context()); !errors.Is(err, ErrHeld) {
		t.Errorf("Lock of one of them: %v", err)
	}
	if _, ok, err := TryLockAll(ctx, locks(bob, "a0", "b", "c")); ok || err != nil {
		t.Errorf("TryLockAll with one that is held = %t, %v", ok, err)
	}
	if _, ok, err := New(ann, "a0").TryLock(ctx); !ok || err != nil {
		t.Errorf("one of those that could not all be had is held: %t, %v", ok, err)
	}
	done := make(chan *All, 1)
	go func() {
		got, err := LockAll(ctx, locks(bob, "a", "b"))
		if err != nil {
			t.Error(err)
		}
		done <- got
	}()
	grid.AwaitWaiting(1)
	if err := all.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if all.Context().Err() == nil {
		t.Error("the context lives after the release")
	}
	next := <-done
	if existed, err := mine[0].ForceUnlock(ctx, next.Held(mine[0]).ID(), Now()); !existed || err != nil {
		t.Fatal(existed, err)
	}
	grid.Advance(time.Second)
	<-next.Context().Done()
	if cause := context.Cause(next.Context()); !errors.Is(cause, structures.ErrRevoked) {
		t.Errorf("one was taken away, and the context of all has ended because of %v", cause)
	}
	if err := next.Release(ctx); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("Release: %v", err)
	}
	if _, err := LockAll(ctx, nil); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("no locks: %v", err)
	}
}

func TestDestroy(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	l := New(grid.Client(), "l")
	held := locked(t, ctx, l)
	waiting := inLine(ctx, grid, l, 1)
	if err := l.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; !errors.Is(got.err, quorate.ErrDestroyed) {
		t.Errorf("a waiting Lock: %v", got.err)
	}
	next := locked(t, ctx, l)
	if next.Token() <= held.Token() {
		t.Errorf("token %d after token %d of an earlier instance", next.Token(), held.Token())
	}
	if err := held.Release(ctx); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("Release of an earlier instance: %v", err)
	}
	grid.Advance(time.Second)
	if next.Context().Err() != nil {
		t.Error("the lock of the later instance was lost")
	}
}

func TestErrors(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	c := grid.Client()
	l := New(c, "l")
	locked(t, ctx, New(grid.Client(), "l"), Note("nightly"))
	for _, test := range []struct {
		name string
		do   func() error
		want error
		text string
	}{
		{"in vain", func() error { _, err := l.Lock(ctx, Wait(0)); return err }, quorate.ErrNotInTime, "lock lock l: not in time: session 2 holds it: nightly"},
		{"long note", func() error { _, err := l.Lock(ctx, Note(strings.Repeat("x", 256))); return err }, quorate.ErrTooLarge, "256 bytes"},
		{"bad note", func() error { _, _, err := l.TryLock(ctx, Note("\xff")); return err }, quorate.ErrInvalid, "UTF-8"},
		{"bad name", func() error { _, err := New(c, "").Lock(ctx); return err }, quorate.ErrInvalid, "name"},
		{"long delay", func() error { return l.Configure(ctx, Delay(MaxDelay+time.Millisecond)) }, quorate.ErrInvalid, "1m0s"},
		{"delay", func() error { return l.Configure(ctx, Delay(time.Second)) }, nil, ""},
		{"other delay", func() error { return l.Configure(ctx, Delay(2*time.Second)) }, quorate.ErrSettings, "1s"},
		{"no hold", func() error { _, err := l.ForceUnlock(ctx, 0); return err }, quorate.ErrInvalid, ""},
	} {
		err := test.do()
		if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %v %q", test.name, err, test.want, test.text)
		}
		if err != nil && !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v is not safe to retry", test.name, err)
		}
	}
	done := make(chan error, 1)
	go func() {
		_, _, err := l.TryLock(ctx, Wait(time.Second))
		done <- err
	}()
	grid.AwaitWaiting(1)
	grid.Advance(time.Second)
	if err := <-done; err != nil {
		t.Errorf("TryLock that waits in vain: %v", err)
	}
}
