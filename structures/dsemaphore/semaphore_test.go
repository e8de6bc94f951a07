package dsemaphore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/structurestest"
)

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func initialized(t *testing.T, n int64) (context.Context, *structurestest.Local, *structurestest.Client, *dsemaphore.Semaphore) {
	t.Helper()
	ctx := bounded(t)
	grid := structurestest.NewLocal(t, dsemaphore.Kind())
	c := grid.Client()
	s := dsemaphore.New(c, "writers")
	if err := s.Init(ctx, n); err != nil {
		t.Fatal(err)
	}
	return ctx, grid, c, s
}

func acquire(t *testing.T, ctx context.Context, s *dsemaphore.Semaphore, n int64) *structures.Held {
	t.Helper()
	held, err := s.Acquire(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func wantAvailable(t *testing.T, ctx context.Context, s *dsemaphore.Semaphore, want int64) {
	t.Helper()
	if n, err := s.Available(ctx); err != nil || n != want {
		t.Errorf("Available = %d, %v, want %d", n, err, want)
	}
}

// outcome is what an Acquire in a goroutine came back with.
type outcome struct {
	held *structures.Held
	err  error
}

// inLine starts an Acquire and returns when it waits as the n-th.
func inLine(ctx context.Context, grid *structurestest.Local, s *dsemaphore.Semaphore, permits int64, n int, opts ...dsemaphore.AcquireOption) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		held, err := s.Acquire(ctx, permits, opts...)
		done <- outcome{held, err}
	}()
	grid.AwaitWaiting(n)
	return done
}

func TestErrors(t *testing.T) {
	ctx, _, c, s := initialized(t, 2)
	fresh := dsemaphore.New(c, "fresh")
	for _, test := range []struct {
		name string
		do   func() error
		want error
		text string
	}{
		{"before Init", func() error { _, err := fresh.Available(ctx); return err }, dsemaphore.ErrNotInitialized, ""},
		{"acquire before Init", func() error { _, err := fresh.Acquire(ctx, 1); return err }, dsemaphore.ErrNotInitialized, ""},
		{"same Init", func() error { return s.Init(ctx, 2) }, nil, ""},
		{"other Init", func() error { return s.Init(ctx, 3) }, quorate.ErrSettings, "2 permits"},
		{"more than there are", func() error { _, err := s.Acquire(ctx, 3); return err }, dsemaphore.ErrTooMany, "acquire semaphore writers: too many permits: the semaphore has 2"},
		{"none", func() error { _, err := s.Acquire(ctx, 0); return err }, quorate.ErrInvalid, "0 permits"},
		{"long note", func() error { _, err := s.Acquire(ctx, 1, dsemaphore.Note(strings.Repeat("x", 256))); return err }, quorate.ErrTooLarge, "256 bytes"},
		{"bad note", func() error { _, _, err := s.TryAcquire(ctx, 1, dsemaphore.Note("\xff")); return err }, quorate.ErrInvalid, "UTF-8"},
		{"negative Init", func() error { return s.Init(ctx, -1) }, quorate.ErrInvalid, ""},
		{"huge", func() error { return s.AddPermits(ctx, dsemaphore.MaxPermits) }, quorate.ErrInvalid, "out of range"},
		{"bad name", func() error { return dsemaphore.New(c, "").Init(ctx, 1) }, quorate.ErrInvalid, "name"},
	} {
		err := test.do()
		if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %v %q", test.name, err, test.want, test.text)
		}
		if err != nil && !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v is not safe to retry", test.name, err)
		}
	}
}

// TestNote: who holds and who waits is shown with its note, also what was granted to a call
// that waited, and a note has as many bytes as a hold keeps.
func TestNote(t *testing.T) {
	ctx, grid, _, s := initialized(t, 2)
	long := strings.Repeat("x", structures.MaxNote)
	tried, ok, err := s.TryAcquire(ctx, 2, dsemaphore.Note("nightly"))
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	waited := inLine(ctx, grid, s, 2, 1, dsemaphore.Note(long))
	i, err := s.Inspect(ctx)
	if err != nil || len(i.Holders) != 1 || i.Holders[0].Note != "nightly" || len(i.Waiters) != 1 || i.Waiters[0].Note != long {
		t.Errorf("inspected %+v, %v", i, err)
	}
	if err := tried.Release(ctx); err != nil {
		t.Fatal(err)
	}
	got := <-waited
	if got.err != nil {
		t.Fatal(got.err)
	}
	if i, err := s.Inspect(ctx); err != nil || len(i.Holders) != 1 || i.Holders[0].Note != long || i.Holders[0].ID != got.held.ID() {
		t.Errorf("inspected %+v, %v", i, err)
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	ctx, grid, _, s := initialized(t, 3)
	first := acquire(t, ctx, s, 2)
	large := inLine(ctx, grid, s, 3, 1)
	small := inLine(ctx, grid, s, 1, 2)
	if _, ok, err := s.TryAcquire(ctx, 1); ok || err != nil {
		t.Fatalf("TryAcquire = %t, %v: it passed the line", ok, err)
	}
	if err := first.Release(ctx); err != nil {
		t.Fatal(err)
	}
	second := <-large
	if second.err != nil {
		t.Fatal(second.err)
	}
	wantAvailable(t, ctx, s, 0)
	if err := second.held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	third := <-small
	if third.err != nil {
		t.Fatal(third.err)
	}
	if a, b, c := first.Token(), second.held.Token(), third.held.Token(); a >= b || b >= c {
		t.Errorf("tokens %d, %d, %d do not grow", a, b, c)
	}
	wantAvailable(t, ctx, s, 2)
}

func TestWithdrawnAcquireLetsOthersPass(t *testing.T) {
	ctx, grid, _, s := initialized(t, 2)
	acquire(t, ctx, s, 1)
	cancelled, cancel := context.WithCancel(ctx)
	large := inLine(cancelled, grid, s, 2, 1)
	small := inLine(ctx, grid, s, 1, 2)
	cancel()
	if got := <-large; !errors.Is(got.err, context.Canceled) || errors.Is(got.err, quorate.ErrOutcomeUnknown) {
		t.Errorf("a cancelled Acquire: %v", got.err)
	}
	if got := <-small; got.err != nil {
		t.Error(got.err)
	}
}

// TestWait: an Acquire with Wait waits for that long, and with Wait(0) not at all.
func TestWait(t *testing.T) {
	ctx, grid, _, s := initialized(t, 1)
	held := acquire(t, ctx, s, 1)
	notInTime := func(err error) {
		t.Helper()
		if !errors.Is(err, quorate.ErrNotInTime) || !quorate.SafeToRetry(err) {
			t.Errorf("%v, want %v", err, quorate.ErrNotInTime)
		}
	}
	_, err := s.Acquire(ctx, 1, dsemaphore.Wait(0))
	notInTime(err)
	_, err = s.Acquire(ctx, 1, dsemaphore.Wait(-time.Second))
	notInTime(err)
	done := make(chan error, 1)
	go func() {
		_, err := s.Acquire(ctx, 1, dsemaphore.Wait(time.Second))
		done <- err
	}()
	grid.AwaitWaiting(1)
	grid.Advance(time.Second)
	notInTime(<-done)
	go func() {
		held, err := s.Acquire(ctx, 1, dsemaphore.Wait(time.Second))
		if err == nil {
			err = held.Release(ctx)
		}
		done <- err
	}()
	grid.AwaitWaiting(1)
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	again, err := s.Acquire(ctx, 1, dsemaphore.Wait(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(ctx); err != nil {
		t.Error(err)
	}
}

// TestSeen: reads tell the version of what they saw, stale ones too.
func TestSeen(t *testing.T) {
	ctx, _, _, s := initialized(t, 2)
	var before, after, stale dsemaphore.Version
	if _, err := s.Available(ctx, dsemaphore.Seen(&before)); err != nil || before == 0 {
		t.Fatalf("version %d, %v", before, err)
	}
	if err := s.AddPermits(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Available(ctx, dsemaphore.Seen(&after)); n != 3 || err != nil || after <= before {
		t.Errorf("%d permits at %d, after %d: %v", n, after, before, err)
	}
	if n, err := s.Available(ctx, dsemaphore.Stale(), dsemaphore.Seen(&stale)); n != 3 || err != nil || stale != after {
		t.Errorf("stale: %d permits at %d, want %d: %v", n, stale, after, err)
	}
}

func TestSessionEndGivesBack(t *testing.T) {
	ctx, grid, c, s := initialized(t, 2)
	other := dsemaphore.New(grid.Client(), "writers")
	held := acquire(t, ctx, s, 2)
	own := inLine(ctx, grid, s, 1, 1) // of the session that ends
	waiting := inLine(ctx, grid, other, 2, 2)
	c.End()
	if held.Context().Err() == nil {
		t.Error("the context of what was held lives")
	}
	if got := <-own; !errors.Is(got.err, quorate.ErrSessionLost) {
		t.Errorf("the own Acquire: %v", got.err)
	}
	if got := <-waiting; got.err != nil {
		t.Error(got.err)
	}
	if err := held.Release(ctx); !errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("Release after the end: %v", err)
	}
	wantAvailable(t, ctx, other, 0)
}

func TestAddPermitsAndDrain(t *testing.T) {
	ctx, _, _, s := initialized(t, 2)
	held := acquire(t, ctx, s, 2)
	if err := s.AddPermits(ctx, -1); err != nil {
		t.Fatal(err)
	}
	wantAvailable(t, ctx, s, -1)
	if _, ok, err := s.TryAcquire(ctx, 1); ok || err != nil {
		t.Errorf("TryAcquire below zero = %t, %v", ok, err)
	}
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Drain(ctx); n != 1 || err != nil {
		t.Errorf("Drain = %d, %v, want 1", n, err)
	}
	if err := s.AddPermits(ctx, 5); err != nil {
		t.Fatal(err)
	}
	acquire(t, ctx, s, 5)
}

func TestDestroy(t *testing.T) {
	ctx, grid, _, s := initialized(t, 1)
	held := acquire(t, ctx, s, 1)
	waiting := inLine(ctx, grid, s, 1, 1)
	if err := s.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; !errors.Is(got.err, quorate.ErrDestroyed) {
		t.Errorf("a waiting Acquire: %v", got.err)
	}
	if err := s.Init(ctx, 4); err != nil {
		t.Fatal(err)
	}
	if err := held.Release(ctx); !errors.Is(err, structures.ErrNotHeld) || errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("Release of an earlier instance: %v", err)
	}
	wantAvailable(t, ctx, s, 4)
	if next := acquire(t, ctx, s, 1); next.Token() <= held.Token() {
		t.Errorf("token %d after token %d of an earlier instance", next.Token(), held.Token())
	}
}

// TestManyGrants lets more through at once than one mutation may do.
func TestManyGrants(t *testing.T) {
	const n = 2500
	ctx, grid, _, s := initialized(t, n)
	held := acquire(t, ctx, s, n)
	holds := make(chan *structures.Held, n)
	var clients []*dsemaphore.Semaphore // a client has 1,024 calls in flight at most
	for range 3 {
		clients = append(clients, dsemaphore.New(grid.Client(), "writers"))
	}
	for i := range n {
		go func() {
			got, err := clients[i%len(clients)].Acquire(ctx, 1)
			if err != nil {
				t.Error(err)
				got = new(structures.Held)
			}
			holds <- got
		}()
	}
	grid.AwaitWaiting(n)
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	grid.AwaitWaiting(n - 1000)
	for range 2 {
		grid.Advance(100 * time.Millisecond)
	}
	seen, tokens := map[protocol.HoldID]bool{}, map[protocol.Token]bool{}
	for range n {
		got := <-holds
		seen[got.ID()], tokens[got.Token()] = true, true
	}
	// A mutation grants a thousand at most, and those have its version as token.
	if len(seen) != n || len(tokens) < 3 || len(tokens) > 10 {
		t.Errorf("%d different holds and %d tokens for %d grants", len(seen), len(tokens), n)
	}
	wantAvailable(t, ctx, s, 0)
}
