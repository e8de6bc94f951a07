package structures_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

// revoker is a grid that grants hold 5, and whose holds have a state.
type revoker struct {
	structurestest.Echo
	lease context.Context

	mu       sync.Mutex
	state    structures.HoldState
	asked    int       // for the state
	told     time.Time // when the revocation was acknowledged last
	tells    int
	lost     int // answers to acknowledgements that are lost
	released []protocol.HoldID
}

func (g *revoker) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id, _ := structures.ReadHold(call.Body)
	switch call.Op {
	case structures.OpHold:
		g.asked++
		return structures.Reply{Body: g.state.Append(nil)}, nil
	case structures.OpAcknowledge:
		if call.Lease != g.lease || id != 5 {
			return structures.Reply{}, errors.New("another hold, or under another lease")
		}
		g.told, g.tells = time.Now(), g.tells+1
		if g.lost > 0 {
			g.lost--
			return structures.Reply{}, quorate.ErrUnavailable
		}
		return structures.Reply{Body: protocol.AppendBool(protocol.AppendArray(nil, 1), true)}, nil
	case opRelease:
		g.released = append(g.released, id)
		return structures.Reply{Body: protocol.AppendArray(nil, 0)}, nil
	}
	r := structures.Granted(5, 7)
	if call.Late != nil && call.Verb == "late" {
		call.Late(structures.Reply{Body: r.Body, Lease: g.lease})
		return structures.Reply{}, quorate.ErrOutcomeUnknown
	}
	return structures.Reply{Body: r.Body, Lease: g.lease}, nil
}

func (g *revoker) InvokeAll(ctx context.Context, calls []structures.Call) ([]structures.Reply, []error) {
	replies, errs := make([]structures.Reply, len(calls)), make([]error, len(calls))
	for i := range calls {
		replies[i], errs[i] = g.Invoke(ctx, calls[i])
	}
	return replies, errs
}

const (
	every  = 2 * time.Second
	margin = time.Second
)

// keep runs a test with what is held of a revoker, inside a bubble.
func keep(t *testing.T, test func(t *testing.T, g *revoker, held *structures.Held)) {
	synctest.Test(t, func(t *testing.T) {
		g := &revoker{}
		k := structures.NewKeeper(g, every, margin)
		lease, end := context.WithCancelCause(k.Lease(context.Background()))
		g.lease = lease
		done := make(chan struct{})
		go func() { defer close(done); k.Run(lease) }()
		h := structures.NewHandle(g, kind, "s", nil)
		held, err := h.Acquire(t.Context(), h.Call("acquire", opHold, 0, 0, nil), opRelease)
		if err != nil {
			t.Fatal(err)
		}
		test(t, g, held)
		end(quorate.ErrClosed)
		<-done
	})
}

// be lets holds be in a state from now on.
func (g *revoker) be(mark structures.HoldMark) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = structures.HoldState{Mark: mark, Reason: "host gone"}
}

// acknowledged returns how often the revocation was acknowledged.
func (g *revoker) acknowledged() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tells
}

// TestKeeper_AcknowledgesAfterTheMargin: the context of a revoked hold ends first, and
// only when its holder has had the margin to stop is the grid told; also again, where
// the answer is lost.
func TestKeeper_AcknowledgesAfterTheMargin(t *testing.T) {
	keep(t, func(t *testing.T, g *revoker, held *structures.Held) {
		g.be(structures.HoldRevoked)
		g.lost = 1
		bound := held.Bind(context.Background())
		start := time.Now()
		<-bound.Done()
		ended := time.Now()
		if err := context.Cause(bound); !errors.Is(err, structures.ErrRevoked) || ended.Sub(start) > every {
			t.Errorf("ended because of %v after %v, want ErrRevoked within %v", err, ended.Sub(start), every)
		}
		time.Sleep(margin - 1)
		synctest.Wait()
		if g.acknowledged() != 0 {
			t.Error("acknowledged before the margin was over")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if g.acknowledged() != 1 {
			t.Error("not acknowledged when the margin was over")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := g.acknowledged(); n != 2 {
			t.Errorf("acknowledged %d times, want again after a lost answer, and no more", n)
		}
	})
}

// TestKeeper_NeverAcknowledgesWhatLives: a hold is never acknowledged whose context
// has not ended.
func TestKeeper_NeverAcknowledgesWhatLives(t *testing.T) {
	keep(t, func(t *testing.T, g *revoker, held *structures.Held) {
		g.be(structures.HoldRevoked)
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.tells != 1 || held.Context().Err() == nil {
			t.Errorf("acknowledged %d times, the context: %v", g.tells, context.Cause(held.Context()))
		}
	})
}

// TestKeeper_ReleasedMeanwhile: what is released within the margin is not acknowledged,
// and nobody asks for it any more.
func TestKeeper_ReleasedMeanwhile(t *testing.T) {
	keep(t, func(t *testing.T, g *revoker, held *structures.Held) {
		g.be(structures.HoldRevoked)
		<-held.Context().Done()
		if err := held.Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
		asked := g.asked
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.tells != 0 || g.asked != asked {
			t.Errorf("acknowledged %d times, asked for %d times more", g.tells, g.asked-asked)
		}
	})
}

// TestKeeper_AskedAndGone: who is asked holds on, and what has gone ends.
func TestKeeper_AskedAndGone(t *testing.T) {
	keep(t, func(t *testing.T, g *revoker, held *structures.Held) {
		g.be(structures.HoldAsked)
		<-held.Asked()
		if held.Context().Err() != nil {
			t.Error("asked for, and ended")
		}
		g.be(structures.HoldAbsent)
		<-held.Context().Done()
		if err := context.Cause(held.Context()); !errors.Is(err, structures.ErrRevoked) {
			t.Errorf("gone: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.acknowledged() != 0 {
			t.Error("what has gone was acknowledged")
		}
	})
}

// TestAcquire_LateGrantIsReleased: what is granted and does not reach the caller is
// given back.
func TestAcquire_LateGrantIsReleased(t *testing.T) {
	keep(t, func(t *testing.T, g *revoker, held *structures.Held) {
		h := structures.NewHandle(g, kind, "s", nil)
		if _, err := h.Acquire(t.Context(), h.Call("late", opHold, 0, 0, nil), opRelease); err == nil {
			t.Error("no error")
		}
		synctest.Wait()
		if len(g.released) != 1 || g.released[0] != 5 {
			t.Errorf("released %v, want hold 5", g.released)
		}
	})
}
