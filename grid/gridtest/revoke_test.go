package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// gate is the network of one client, which a test can close.
type gate struct {
	mu     sync.Mutex
	closed []string // addresses
	conns  map[net.Conn]string
}

func (g *gate) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Contains(g.closed, address) {
		_ = conn.Close()
		return nil, errors.New("the gate is closed")
	}
	if g.conns == nil {
		g.conns = map[net.Conn]string{}
	}
	g.conns[conn] = address
	return conn, nil
}

// close breaks the connections to some addresses, and lets nobody dial them. Without
// any the gate is open again.
func (g *gate) close(addresses ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = addresses
	for conn, address := range g.conns {
		if slices.Contains(addresses, address) {
			_ = conn.Close()
			delete(g.conns, conn)
		}
	}
}

// next acquires the permit for another client while somebody holds it. It returns at
// once, with what returns the grant: the context of who held before has ended by then.
func next(ctx context.Context, t *testing.T, other *dsemaphore.Semaphore, held *structures.Held) (granted func() *structures.Held) {
	t.Helper()
	done := make(chan *structures.Held, 1)
	go func() {
		defer close(done)
		next, err := other.Acquire(ctx, 1)
		if err != nil {
			t.Errorf("the next: %v", err)
			return
		}
		if held.Context().Err() == nil {
			t.Error("the next was granted the permit while the context of who held it before lives")
		}
		if next.Token() <= held.Token() {
			t.Errorf("token %d was granted after token %d", next.Token(), held.Token())
		}
		done <- next
	}()
	return func() *structures.Held {
		t.Helper()
		next := <-done
		if next == nil {
			t.FailNow()
		}
		return next
	}
}

// hold returns the semaphore of a client, with its only permit acquired.
func hold(ctx context.Context, t *testing.T, s *dsemaphore.Semaphore) *structures.Held {
	t.Helper()
	if err := s.Init(ctx, 1); err != nil {
		t.Fatal(err)
	}
	held, err := s.Acquire(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// ended waits until the context of a hold has ended, and checks why.
func ended(ctx context.Context, t *testing.T, held *structures.Held, want error) {
	t.Helper()
	select {
	case <-held.Context().Done():
	case <-ctx.Done():
		t.Fatalf("the context of the hold has not ended, want %v", want)
	}
	if cause := context.Cause(held.Context()); !errors.Is(cause, want) {
		t.Fatalf("the context of the hold has ended because of %v, want %v", cause, want)
	}
}

// revoke takes a hold away by another client, which finds it by Inspect.
func revoke(ctx context.Context, t *testing.T, admin *dsemaphore.Semaphore, held *structures.Held, grace time.Duration) {
	t.Helper()
	if h := shown(ctx, t, admin); h.ID != held.ID() || h.Token != held.Token() || h.Mark != structures.HoldUnmarked {
		t.Errorf("the holder is shown as %+v, want hold %d with token %d", h, held.ID(), held.Token())
	}
	existed, err := admin.Revoke(ctx, held.ID(), structures.Grace(grace), structures.Reason("maintenance"))
	if !existed || err != nil {
		t.Fatalf("revoke: %v, %v", existed, err)
	}
}

// shown returns who holds, as Inspect shows it; the zero Holder if nobody does.
func shown(ctx context.Context, t *testing.T, s *dsemaphore.Semaphore) structures.Holder {
	t.Helper()
	i, err := s.Inspect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(i.Holders) != 1 {
		return structures.Holder{}
	}
	return i.Holders[0]
}

// TestRevoke: who holds a permit learns within the grace, which log time under the
// test's control keeps from ending, that another client has revoked it, and its client
// acknowledges; the next has the permit when the grace is over, and not before.
func TestRevoke(t *testing.T) {
	t.Parallel()
	const grace = 4 * time.Second // less than the time to live of a session, which must not end
	c := gridtest.Start(t, 3, gridtest.WithClock(), gridtest.WithMemoryDisks())
	ctx := testContext(t)
	s, admin := dsemaphore.New(c.Client(t), "writers"), dsemaphore.New(c.Client(t), "writers")

	held := hold(ctx, t, s)
	granted := next(ctx, t, admin, held)
	revoke(ctx, t, admin, held, grace)
	ended(ctx, t, held, structures.ErrRevoked)
	c.Eventually("the client acknowledges", func() bool { return shown(ctx, t, admin).Mark == structures.HoldAcknowledged })
	c.Advance(grace - time.Millisecond)
	if _, ok, err := admin.TryAcquire(ctx, 1); ok || err != nil {
		t.Errorf("within the grace another was granted the permit: %v, %v", ok, err)
	}
	if h := shown(ctx, t, admin); h.ID != held.ID() || h.Left != time.Millisecond {
		t.Errorf("the holder is shown as %+v, want hold %d with a millisecond left", h, held.ID())
	}
	c.Advance(time.Millisecond)
	after := granted()
	if err := held.Release(ctx); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("the release of what was revoked: %v, want ErrNotHeld", err)
	}
	if err := after.Context().Err(); err != nil {
		t.Errorf("the context of the next has ended, too: %v", context.Cause(after.Context()))
	}
	if err := after.Release(ctx); err != nil {
		t.Error(err)
	}
	if n, err := s.Available(ctx); n != 1 || err != nil {
		t.Errorf("%d permits are free at the end, %v, want 1", n, err)
	}
}

// TestRevoke_CutOff: who does not know of the revocation keeps what it holds, whatever
// the grace: one that cannot reach the group, while its heartbeats reach the system
// group, until it can; one that can reach nobody until its session has ended.
func TestRevoke_CutOff(t *testing.T) {
	t.Parallel()
	const grace = 500 * time.Millisecond
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	way := new(gate)
	defer way.close()
	cl, other := c.Client(t, client.WithDialer(way.dial)), c.Client(t)

	system := c.LeaderOf(protocol.SystemGroup)
	name := "" // of a semaphore in a group that the leader of the system group does not lead
	for i := 0; name == "" || c.Leader(other, name, nil) == system; i++ {
		name = fmt.Sprint("writers-", i)
	}
	s, admin := dsemaphore.New(cl, name), dsemaphore.New(other, name)

	held := hold(ctx, t, s)
	session := cl.Session().ID
	way.close(c.Addrs()[c.Leader(other, name, nil)])
	granted := next(ctx, t, admin, held)
	revoke(ctx, t, admin, held, grace)
	c.Eventually("the grace is over", func() bool {
		if err := admin.AddPermits(ctx, 0); err != nil { // so that log time moves on
			t.Fatal(err)
		}
		return shown(ctx, t, admin).Left == 0
	})
	if h := shown(ctx, t, admin); h.Mark != structures.HoldRevoked || h.ID != held.ID() {
		t.Errorf("the holder is shown as %+v, want hold %d, revoked", h, held.ID())
	}
	way.close()
	ended(ctx, t, held, structures.ErrRevoked)
	after := granted()
	if now := cl.Session().ID; now != session {
		t.Errorf("the session is %d, want still %d", now, session)
	}
	if err := after.Release(ctx); err != nil {
		t.Error(err)
	}

	s = dsemaphore.New(c.Client(t, client.WithDialer(way.dial), client.WithSessionTTL(4*time.Second)), name)
	held = hold(ctx, t, s)
	granted = next(ctx, t, admin, held)
	way.close(c.Addrs()...)
	revoke(ctx, t, admin, held, grace)
	after = granted()
	ended(ctx, t, held, quorate.ErrSessionLost)
	way.close()
	if err := held.Release(ctx); !errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("the release of what went with the session: %v, want ErrSessionLost", err)
	}
	if err := after.Release(ctx); err != nil {
		t.Error(err)
	}
}
