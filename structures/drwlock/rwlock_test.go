package drwlock

import (
	"context"
	"errors"
	"strings"
	"sync"
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

// acquire is a method that acquires, such as (*RWLock).RLock.
type acquire func(l *RWLock, ctx context.Context, opts ...LockOption) (*structures.Held, error)

var (
	read  acquire = (*RWLock).RLock
	write acquire = (*RWLock).Lock
)

func locked(t *testing.T, ctx context.Context, f acquire, l *RWLock, opts ...LockOption) *structures.Held {
	t.Helper()
	held, err := f(l, ctx, opts...)
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

// outcome is what an acquisition in a goroutine came back with.
type outcome struct {
	held *structures.Held
	err  error
}

// inLine starts an acquisition and returns when it waits as the n-th.
func inLine(ctx context.Context, grid *structurestest.Local, f acquire, l *RWLock, n int, opts ...LockOption) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		held, err := f(l, ctx, opts...)
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
func notGranted(t *testing.T, chs ...<-chan outcome) {
	t.Helper()
	for i, ch := range chs {
		select {
		case got := <-ch:
			t.Errorf("call %d was granted the lock: %+v", i, got)
		default:
		}
	}
}

// TestReadersAndWriters: readers share the lock, a writer has it alone, and those that wait
// are served in the order of arrival. Readers that are let in together have one token, and
// each its hold; a writer's token is larger than all before it.
func TestReadersAndWriters(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob, eve := New(grid.Client(), "l"), New(grid.Client(), "l"), New(grid.Client(), "l")
	first := locked(t, ctx, read, ann, Note("nightly"))
	second, ok, err := bob.TryRLock(ctx)
	if !ok || err != nil {
		t.Fatalf("TryRLock beside a reader = %t, %v", ok, err)
	}
	if _, ok, err := eve.TryLock(ctx); ok || err != nil {
		t.Fatalf("TryLock beside readers = %t, %v", ok, err)
	}
	writer := inLine(ctx, grid, write, eve, 1, Note("eve"))
	third := inLine(ctx, grid, read, ann, 2)
	fourth := inLine(ctx, grid, read, bob, 3)
	last := inLine(ctx, grid, write, ann, 4)
	i, err := eve.Inspect(ctx)
	if err != nil || len(i.Holders) != 2 || i.Holders[0].Mode != Read || i.Holders[0].Note != "nightly" || i.Length != 2 ||
		len(i.Waiters) != 4 || i.Waiters[0].Mode != Write || i.Waiters[0].Note != "eve" || i.Waiters[1].Mode != Read {
		t.Errorf("%+v, %v", i, err)
	}
	released(t, ctx, first)
	notGranted(t, writer, third, fourth, last)
	released(t, ctx, second)
	w := granted(t, writer)
	notGranted(t, third, fourth, last)
	if _, ok, err := bob.TryRLock(ctx); ok || err != nil {
		t.Errorf("TryRLock beside a writer = %t, %v", ok, err)
	}
	released(t, ctx, w)
	c, d := granted(t, third), granted(t, fourth)
	notGranted(t, last)
	if c.Token() != d.Token() || c.ID() == d.ID() {
		t.Errorf("readers let in together have holds %d, %d and tokens %d, %d", c.ID(), d.ID(), c.Token(), d.Token())
	}
	released(t, ctx, d)
	released(t, ctx, c)
	e := granted(t, last)
	released(t, ctx, e)
	if first.Token() >= w.Token() || second.Token() >= w.Token() || w.Token() >= c.Token() || c.Token() >= e.Token() {
		t.Errorf("tokens %d, %d, writer %d, %d, writer %d do not grow", first.Token(), second.Token(), w.Token(), c.Token(), e.Token())
	}
	if i, err := eve.Inspect(ctx); err != nil || len(i.Holders) != 0 || i.Length != 0 || i.Bytes != 0 {
		t.Errorf("free, it is %+v, %v", i, err)
	}
}

// TestWriterIsNotStarved: readers come and go, one always reads, and a writer waits. The
// next reader waits behind it.
func TestWriterIsNotStarved(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob, eve := New(grid.Client(), "l"), New(grid.Client(), "l"), New(grid.Client(), "l")
	reading := locked(t, ctx, read, ann)
	writer := inLine(ctx, grid, write, bob, 1)
	if _, ok, err := eve.TryRLock(ctx); ok || err != nil {
		t.Fatalf("TryRLock passes a writer that waits: %t, %v", ok, err)
	}
	next := inLine(ctx, grid, read, eve, 2)
	released(t, ctx, reading)
	w := granted(t, writer)
	notGranted(t, next)
	released(t, ctx, w)
	released(t, ctx, granted(t, next))
}

// TestReadersAreNotStarved: writers wait one behind the other, and readers among them have
// their turn.
func TestReadersAreNotStarved(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob := New(grid.Client(), "l"), New(grid.Client(), "l")
	writing := locked(t, ctx, write, ann)
	reader := inLine(ctx, grid, read, bob, 1)
	writer := inLine(ctx, grid, write, ann, 2)
	released(t, ctx, writing)
	r := granted(t, reader)
	notGranted(t, writer)
	released(t, ctx, r)
	released(t, ctx, granted(t, writer))
}

// TestWriterWithdraws: a writer that waits gives up, times out or loses its session, and the
// readers behind it, which fit beside those that read, are let in.
func TestWriterWithdraws(t *testing.T) {
	for _, test := range []struct {
		name string
		wait time.Duration
		give func(cancel func(), grid *structurestest.Local, c *structurestest.Client)
	}{
		{"gives up", time.Hour, func(cancel func(), _ *structurestest.Local, _ *structurestest.Client) { cancel() }},
		{"times out", time.Second, func(_ func(), grid *structurestest.Local, _ *structurestest.Client) { grid.Advance(time.Second) }},
		{"ends", time.Hour, func(_ func(), grid *structurestest.Local, c *structurestest.Client) { c.End() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
			ann, eve := New(grid.Client(), "l"), New(grid.Client(), "l")
			c := grid.Client()
			reading := locked(t, ctx, read, ann)
			short, cancel := context.WithCancel(ctx)
			defer cancel()
			writer := inLine(short, grid, write, New(c, "l"), 1, Wait(test.wait))
			reader := inLine(ctx, grid, read, eve, 2)
			test.give(cancel, grid, c)
			if got := <-writer; got.err == nil {
				t.Error("the writer was granted the lock")
			}
			released(t, ctx, granted(t, reader))
			released(t, ctx, reading)
		})
	}
}

// TestManyReaders: more are let in than one mutation may grant. Those that are over wait for
// what continues, and nobody is forgotten.
func TestManyReaders(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob := New(grid.Client(), "l"), New(grid.Client(), "l")
	writing := locked(t, ctx, write, ann)
	const n = 2500
	var wg sync.WaitGroup
	tokens := make(chan protocol.Token, n)
	for i := range n {
		if i%250 == 0 {
			bob = New(grid.Client(), "l")
		}
		l := bob
		wg.Go(func() {
			held, err := l.RLock(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			tokens <- held.Token()
		})
	}
	grid.AwaitWaiting(n)
	released(t, ctx, writing)
	for range 10 {
		grid.Advance(time.Millisecond)
	}
	wg.Wait()
	close(tokens)
	different := map[protocol.Token]bool{}
	for token := range tokens {
		different[token] = true
	}
	if len(different) < 2 {
		t.Errorf("%d readers were let in by %d mutations", n, len(different))
	}
	if i, err := ann.Inspect(ctx); err != nil || i.Length != n {
		t.Errorf("%d read, %v, want %d", i.Length, err, n)
	}
}

// TestReadersAreBounded: one more reader than may read waits until one of them leaves.
func TestReadersAreBounded(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, kindFor(2))
	l := New(grid.Client(), "l")
	first, second := locked(t, ctx, read, l), locked(t, ctx, read, l)
	if _, ok, err := l.TryRLock(ctx); ok || err != nil {
		t.Errorf("TryRLock of one more = %t, %v", ok, err)
	}
	third := inLine(ctx, grid, read, l, 1)
	released(t, ctx, first)
	released(t, ctx, granted(t, third))
	released(t, ctx, second)
}

// TestDowngrade: a writer becomes a reader, the readers at the head of the line are let in
// beside it, and no writer comes between. What comes late for the write hold does not touch
// the new one.
func TestDowngrade(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob, eve := New(grid.Client(), "l"), New(grid.Client(), "l"), New(grid.Client(), "l")
	writing := locked(t, ctx, write, ann, Note("nightly"))
	reader := inLine(ctx, grid, read, bob, 1)
	writer := inLine(ctx, grid, write, eve, 2)
	reading, err := ann.Downgrade(ctx, writing)
	if err != nil {
		t.Fatal(err)
	}
	beside := granted(t, reader)
	notGranted(t, writer)
	if cause := context.Cause(writing.Context()); !errors.Is(cause, structures.ErrReleased) || reading.Context().Err() != nil {
		t.Errorf("the context of the former has ended because of %v, that of the new: %v", cause, reading.Context().Err())
	}
	if reading.ID() == writing.ID() || reading.Token() <= writing.Token() || beside.Token() != reading.Token() {
		t.Errorf("hold %d, token %d became hold %d, token %d, beside token %d", writing.ID(), writing.Token(), reading.ID(), reading.Token(), beside.Token())
	}
	late := ann.handle.Call("release", opRelease, 0, ann.handle.Partition(nil), structures.AppendHold(nil, writing.ID()))
	if _, err := ann.handle.Invoke(ctx, late); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("a late release: %v", err)
	}
	if err := writing.Release(ctx); err != nil {
		t.Errorf("the release of what was exchanged: %v", err)
	}
	if i, err := bob.Inspect(ctx); err != nil || len(i.Holders) != 2 || i.Holders[1].Mode != Read || i.Holders[1].Note != "nightly" {
		t.Errorf("%+v, %v", i, err)
	}
	released(t, ctx, beside)
	notGranted(t, writer)
	released(t, ctx, reading)
	released(t, ctx, granted(t, writer))
}

// TestDowngrade_NoGap: a writer waits at the head of the line while another one becomes a
// reader. It is not let in between.
func TestDowngrade_NoGap(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob := New(grid.Client(), "l"), New(grid.Client(), "l")
	writing := locked(t, ctx, write, ann)
	writer := inLine(ctx, grid, write, bob, 1)
	reading, err := ann.Downgrade(ctx, writing)
	if err != nil {
		t.Fatal(err)
	}
	if i, err := bob.Inspect(ctx); err != nil || len(i.Holders) != 1 || i.Holders[0].ID != reading.ID() {
		t.Errorf("%+v, %v", i, err)
	}
	notGranted(t, writer)
	released(t, ctx, reading)
	released(t, ctx, granted(t, writer))
}

// losing is a client that does not hear the replies to one operation. settle has its client
// know what came of it.
type losing struct {
	*structurestest.Client
	op     protocol.Op
	sent   func()
	settle func()
}

func (c *losing) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	if call.Op != c.op {
		return c.Client.Invoke(ctx, call)
	}
	c.sent()
	reply, err := c.Client.Invoke(ctx, call)
	c.settle = func() {
		if err == nil && reply.Code == protocol.CodeOK {
			call.Late(reply)
		}
	}
	return structures.Reply{}, &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: quorate.ErrUnavailable, Unknown: true}
}

// awaitFree waits until nobody holds a lock.
func awaitFree(t *testing.T, ctx context.Context, l *RWLock) {
	t.Helper()
	for {
		i, err := l.Inspect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(i.Holders) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestDowngrade_ReplyLost: it is applied and the reply is lost. The context of the writer has
// ended before it was sent, so it does not write among readers, and what was granted goes
// back.
func TestDowngrade_ReplyLost(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	c := &losing{Client: grid.Client(), op: opDowngrade}
	ann, bob := New(c, "l"), New(grid.Client(), "l")
	writing := locked(t, ctx, write, ann)
	reader := inLine(ctx, grid, read, bob, 1)
	c.sent = func() {
		if writing.Context().Err() == nil {
			t.Error("it is sent while the context of the writer lives")
		}
		notGranted(t, reader)
	}
	if _, err := ann.Downgrade(ctx, writing); !errors.Is(err, quorate.ErrOutcomeUnknown) {
		t.Fatalf("Downgrade: %v", err)
	}
	released(t, ctx, granted(t, reader))
	c.settle()
	awaitFree(t, ctx, bob)
}

// TestTryUpgrade: the only reader becomes a writer and passes those that wait; beside other
// readers it does not, and waits for nobody. Its token is larger than all before.
func TestTryUpgrade(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob, eve := New(grid.Client(), "l"), New(grid.Client(), "l"), New(grid.Client(), "l")
	first, second := locked(t, ctx, read, ann), locked(t, ctx, read, bob)
	for l, h := range map[*RWLock]*structures.Held{ann: first, bob: second} { // both at once: neither waits for the other
		if _, ok, err := l.TryUpgrade(ctx, h); ok || err != nil {
			t.Fatalf("TryUpgrade beside another reader = %t, %v", ok, err)
		}
		if h.Context().Err() != nil {
			t.Error("the context has ended although it still reads")
		}
	}
	writer := inLine(ctx, grid, write, eve, 1)
	released(t, ctx, second)
	writing, ok, err := ann.TryUpgrade(ctx, first)
	if !ok || err != nil {
		t.Fatalf("TryUpgrade of the only reader = %t, %v", ok, err)
	}
	notGranted(t, writer)
	if first.Context().Err() == nil || writing.Context().Err() != nil || writing.ID() == first.ID() || writing.Token() <= first.Token() {
		t.Errorf("hold %d, token %d became hold %d, token %d", first.ID(), first.Token(), writing.ID(), writing.Token())
	}
	late := ann.handle.Call("release", opRelease, 0, ann.handle.Partition(nil), structures.AppendHold(nil, first.ID()))
	if _, err := ann.handle.Invoke(ctx, late); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("a late release of the read hold: %v", err)
	}
	if i, err := bob.Inspect(ctx); err != nil || len(i.Holders) != 1 || i.Holders[0].Mode != Write {
		t.Errorf("%+v, %v", i, err)
	}
	released(t, ctx, writing)
	next := granted(t, writer)
	if next.Token() <= writing.Token() {
		t.Errorf("token %d after %d", next.Token(), writing.Token())
	}
}

// TestTryUpgrade_Shared: a reader that has read is refused to write while another reads. It
// releases, the other one writes, and it learns from the token that others wrote meanwhile.
func TestTryUpgrade_Shared(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob := New(grid.Client(), "l"), New(grid.Client(), "l")
	first, second := locked(t, ctx, read, ann), locked(t, ctx, read, bob)
	if _, ok, err := ann.TryUpgrade(ctx, first); ok || err != nil {
		t.Fatalf("TryUpgrade beside another reader = %t, %v", ok, err)
	}
	released(t, ctx, first)
	writing, ok, err := bob.TryUpgrade(ctx, second)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	released(t, ctx, writing)
	again := locked(t, ctx, write, ann)
	if again.Token() <= writing.Token() || writing.Token() <= first.Token() {
		t.Errorf("tokens %d, %d, %d", first.Token(), writing.Token(), again.Token())
	}
}

// TestTryUpgrade_ReplyLost: what was granted goes back, and the reader's context ends when its
// client knows; if it was refused the reader goes on.
func TestTryUpgrade_ReplyLost(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	c := &losing{Client: grid.Client(), op: opUpgrade, sent: func() {}}
	ann, bob := New(c, "l"), New(grid.Client(), "l")
	reading, other := locked(t, ctx, read, ann), locked(t, ctx, read, bob)
	upgrade := func() {
		t.Helper()
		if _, ok, err := ann.TryUpgrade(ctx, reading); ok || !errors.Is(err, quorate.ErrOutcomeUnknown) {
			t.Fatalf("TryUpgrade: %t, %v", ok, err)
		}
		if reading.Context().Err() != nil {
			t.Error("the context has ended before the outcome is known")
		}
		c.settle()
	}
	upgrade()
	if reading.Context().Err() != nil {
		t.Error("it was refused, and the context has ended")
	}
	released(t, ctx, other)
	upgrade()
	<-reading.Context().Done()
	awaitFree(t, ctx, bob)
	if err := reading.Release(ctx); err != nil && !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("Release: %v", err)
	}
}

// TestDelay: after a hold that was not released nobody new has the lock for the delay; those
// that read go on.
func TestDelay(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	c := grid.Client()
	ann, bob := New(c, "l"), New(grid.Client(), "l")
	if err := bob.Configure(ctx, Delay(15*time.Second)); err != nil {
		t.Fatal(err)
	}
	locked(t, ctx, read, ann)
	reading := locked(t, ctx, read, bob)
	c.End()
	if _, ok, err := bob.TryRLock(ctx); ok || err != nil {
		t.Errorf("TryRLock within the delay = %t, %v", ok, err)
	}
	if _, ok, err := bob.TryUpgrade(ctx, reading); ok || err != nil || reading.Context().Err() != nil {
		t.Errorf("TryUpgrade within the delay = %t, %v", ok, err)
	}
	waits := inLine(ctx, grid, read, bob, 1)
	grid.Advance(14 * time.Second)
	notGranted(t, waits)
	grid.Advance(time.Second)
	released(t, ctx, granted(t, waits))
	writing, ok, err := bob.TryUpgrade(ctx, reading)
	if !ok || err != nil {
		t.Fatalf("TryUpgrade after the delay = %t, %v", ok, err)
	}
	if existed, err := bob.ForceUnlock(ctx, writing.ID(), Now()); !existed || err != nil {
		t.Fatal(existed, err)
	}
	if _, ok, err := bob.TryRLock(ctx); ok || err != nil {
		t.Errorf("TryRLock after it was taken away = %t, %v", ok, err)
	}
	grid.Advance(15 * time.Second)
	released(t, ctx, locked(t, ctx, write, bob))
}

// TestForceUnlock: one reader of two is taken away, and the other one goes on. What is revoked
// cannot be exchanged, or it would not end.
func TestForceUnlock(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	ann, bob, admin := New(grid.Client(), "l"), New(grid.Client(), "l"), New(grid.Client(), "l")
	first, second := locked(t, ctx, read, ann), locked(t, ctx, read, bob)
	writer := inLine(ctx, grid, write, admin, 1)
	if existed, err := admin.ForceUnlock(ctx, first.ID(), Now(), Reason("host gone")); !existed || err != nil {
		t.Fatal(existed, err)
	}
	grid.Advance(time.Second)
	if cause := context.Cause(first.Context()); !errors.Is(cause, structures.ErrRevoked) || second.Context().Err() != nil {
		t.Errorf("the contexts have ended because of %v, %v", cause, context.Cause(second.Context()))
	}
	notGranted(t, writer)
	if existed, err := admin.ForceUnlock(ctx, second.ID(), Grace(10*time.Second), Reason("maintenance")); !existed || err != nil {
		t.Fatal(existed, err)
	}
	if _, ok, err := bob.TryUpgrade(ctx, second); ok || !errors.Is(err, structures.ErrRevoked) || !strings.Contains(err.Error(), "maintenance") {
		t.Errorf("TryUpgrade of what is revoked: %t, %v", ok, err)
	}
	grid.Advance(10 * time.Second)
	writing := granted(t, writer)
	if existed, err := admin.ForceUnlock(ctx, writing.ID(), Grace(10*time.Second)); !existed || err != nil {
		t.Fatal(existed, err)
	}
	if _, err := admin.Downgrade(ctx, writing); !errors.Is(err, structures.ErrRevoked) {
		t.Errorf("Downgrade of what is revoked: %v", err)
	}
	awaitFree(t, ctx, bob) // it is released
}

// TestDo runs under the lock, to read and to write.
func TestDo(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	l, other := New(grid.Client(), "l"), New(grid.Client(), "l")
	sentinel := errors.New("no")
	err := l.RDo(ctx, func(ctx context.Context, token protocol.Token) error {
		for _, f := range []acquire{read, write} {
			if _, err := f(l, ctx); !errors.Is(err, ErrHeld) || !quorate.SafeToRetry(err) {
				t.Errorf("acquired inside: %v", err)
			}
		}
		return other.RDo(ctx, func(_ context.Context, other protocol.Token) error {
			if other <= token {
				t.Errorf("tokens %d, %d", token, other)
			}
			return sentinel
		})
	})
	if err != sentinel {
		t.Errorf("RDo: %v", err)
	}
	err = l.Do(ctx, func(ctx context.Context, _ protocol.Token) error {
		if _, ok, err := other.TryRLock(ctx); ok || err != nil {
			t.Errorf("TryRLock while it writes: %t, %v", ok, err)
		}
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
	held := locked(t, ctx, write, other)
	for _, do := range []func(context.Context, func(context.Context, protocol.Token) error, ...LockOption) error{l.Do, l.RDo} {
		if err := do(ctx, nil, Wait(0)); !errors.Is(err, quorate.ErrNotInTime) {
			t.Errorf("in vain: %v", err)
		}
	}
	released(t, ctx, held)
}

// TestEndedWaiterIsPassedOver: the writer that holds and the reader that is the first to wait
// end in one entry. The lock goes to the next.
func TestEndedWaiterIsPassedOver(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	first, other := grid.Client(), grid.Client()
	ann, eve, bob := New(first, "l"), New(other, "l"), New(grid.Client(), "l")
	held := locked(t, ctx, write, ann)
	ended := inLine(ctx, grid, read, eve, 1)
	next := inLine(ctx, grid, write, bob, 2)
	grid.End(first, other)
	if held.Context().Err() == nil {
		t.Error("the context of what was held lives")
	}
	if got := <-ended; !errors.Is(got.err, quorate.ErrSessionLost) {
		t.Errorf("the RLock of the session that has ended: %v", got.err)
	}
	released(t, ctx, granted(t, next))
}

func TestDestroy(t *testing.T) {
	ctx, grid := bounded(t), structurestest.NewLocal(t, Kind())
	l := New(grid.Client(), "l")
	held := locked(t, ctx, read, l)
	waiting := inLine(ctx, grid, write, l, 1)
	if err := l.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; !errors.Is(got.err, quorate.ErrDestroyed) {
		t.Errorf("a waiting Lock: %v", got.err)
	}
	next := locked(t, ctx, write, l)
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
	holder := New(grid.Client(), "l")
	writing := locked(t, ctx, write, holder, Note("nightly"))
	stranger := locked(t, ctx, read, New(c, "other"))
	gone := locked(t, ctx, read, New(c, "k"))
	released(t, ctx, gone)
	try := func(l *RWLock, h *structures.Held) error { _, _, err := l.TryUpgrade(ctx, h); return err }
	for _, test := range []struct {
		name string
		do   func() error
		want error
		text string
	}{
		{"in vain", func() error { _, err := l.RLock(ctx, Wait(0)); return err }, quorate.ErrNotInTime, "lock to read rwlock l: not in time: session 2 has it to write: nightly"},
		{"long note", func() error { _, err := l.Lock(ctx, Note(strings.Repeat("x", 256))); return err }, quorate.ErrTooLarge, "256 bytes"},
		{"bad note", func() error { _, _, err := l.TryRLock(ctx, Note("\xff")); return err }, quorate.ErrInvalid, "UTF-8"},
		{"bad name", func() error { _, err := New(c, "").Lock(ctx); return err }, quorate.ErrInvalid, "name"},
		{"long delay", func() error { return l.Configure(ctx, Delay(MaxDelay+time.Millisecond)) }, quorate.ErrInvalid, "1m0s"},
		{"delay", func() error { return l.Configure(ctx, Delay(time.Second)) }, nil, ""},
		{"other delay", func() error { return l.Configure(ctx, Delay(2*time.Second)) }, quorate.ErrSettings, "1s"},
		{"no hold", func() error { return try(l, nil) }, quorate.ErrInvalid, "no hold"},
		{"no hold to downgrade", func() error { _, err := l.Downgrade(ctx, nil); return err }, quorate.ErrInvalid, "no hold"},
		{"a hold of another", func() error { return try(l, stranger) }, quorate.ErrInvalid, "rwlock other"},
		{"another's to downgrade", func() error { _, err := l.Downgrade(ctx, stranger); return err }, quorate.ErrInvalid, "rwlock other"},
		{"upgrade of one that writes", func() error { return try(holder, writing) }, structures.ErrNotHeld, "writes already"},
		{"upgrade of what was released", func() error { return try(New(c, "k"), gone) }, structures.ErrNotHeld, ""},
		{"downgrade of what was released", func() error { _, err := New(c, "k").Downgrade(ctx, gone); return err }, structures.ErrNotHeld, "released"},
	} {
		err := test.do()
		if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %v %q", test.name, err, test.want, test.text)
		}
		if err != nil && !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v is not safe to retry", test.name, err)
		}
	}
	if stranger.Context().Err() != nil || writing.Context().Err() != nil {
		t.Error("a hold has ended that was refused")
	}
	if _, err := New(c, "other").Downgrade(ctx, stranger); !errors.Is(err, structures.ErrNotHeld) || stranger.Context().Err() == nil {
		t.Errorf("Downgrade of one that reads: %v", err)
	}
}
