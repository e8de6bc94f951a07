package client

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
)

// granting answers every call with a hold, and releases.
func granting(c *fakeConn, q *protocol.Request) {
	c.reply(q, protocol.CodeOK, structures.Granted(protocol.HoldID(q.Caller.Sequence), 9).Body)
}

// holdOf acquires something of a thing under the client's session.
func holdOf(t *testing.T, c *Client) *structures.Held {
	t.Helper()
	h := structures.NewHandle(c, &structures.Kind{ID: 2, Name: "thing"}, "x", nil)
	held, err := h.Acquire(t.Context(), h.Call("acquire", 1, 0, 3, nil), 2)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// numbered opens session 1, 2, and so on, and answers heartbeats unless it is silent.
type numbered struct {
	opened, closed atomic.Int32
	silent         atomic.Bool
}

func (n *numbered) answer(c *fakeConn, q *protocol.SessionRequest) {
	switch {
	case n.silent.Load():
	case q.Action == protocol.SessionOpen:
		c.session(q, protocol.SessionID(n.opened.Add(1)), protocol.CodeOK)
	case q.Action == protocol.SessionClose:
		n.closed.Store(int32(q.Session))
		c.session(q, q.Session, protocol.CodeOK)
	default:
		c.session(q, q.Session, protocol.CodeOK)
	}
}

func wantState(t *testing.T, c *Client, id protocol.SessionID, state SessionState) Session {
	t.Helper()
	s := c.Session()
	if s.ID != id || s.State != state || (s.Err() == nil) != (state < SessionLost) {
		t.Errorf("session %d is %v (%v), want session %d to be %v", s.ID, s.State, s.Err(), id, state)
	}
	return s
}

// TestSessionStates: a session is opened by the first mutation, suspended while
// heartbeats are overdue, open again when one comes, lost when they have been for
// too long, and followed by another.
func TestSessionStates(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var n numbered
		members[0].session = n.answer
		members[0].script(granting)
		c := dial()
		before := wantState(t, c, 0, SessionOpening)
		held := holdOf(t, c)
		s := wantState(t, c, 1, SessionOpen)
		if s.TTL != 10*time.Second || s.Left != holdFor(s.TTL, time.Second) {
			t.Errorf("TTL %v, left %v", s.TTL, s.Left)
		}
		n.silent.Store(true)
		time.Sleep(5 * time.Second)
		if s := wantState(t, c, 1, SessionSuspended); s.Left <= 0 || s.Left > 5*time.Second || held.Context().Err() != nil {
			t.Errorf("left %v, the context %v", s.Left, held.Context().Err())
		}
		n.silent.Store(false)
		time.Sleep(5 * time.Second)
		wantState(t, c, 1, SessionOpen)
		n.silent.Store(true)
		<-s.Done()
		wantState(t, c, 1, SessionLost)
		if s.Err() != quorate.ErrSessionLost || context.Cause(held.Context()) != quorate.ErrSessionLost || s.State != SessionOpen {
			t.Errorf("lost because of %v, the context because of %v", s.Err(), context.Cause(held.Context()))
		}
		n.silent.Store(false)
		time.Sleep(10 * time.Second)
		s = wantState(t, c, 2, SessionOpen)
		if err := before.Err(); err != nil {
			t.Errorf("what had not begun has ended: %v", err)
		}
		c.Close()
		<-before.Done()
		wantState(t, c, 2, SessionClosed)
		if s.Err() != quorate.ErrClosed || before.Err() != quorate.ErrClosed {
			t.Errorf("closed because of %v, %v", s.Err(), before.Err())
		}
	})
}

// TestLostAfterHeld: whoever hears that the session is lost may acquire again, so
// the contexts of all that was held have ended by then.
func TestLostAfterHeld(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var n numbered
		members[0].session = n.answer
		members[0].script(granting)
		c := dial()
		var all []*structures.Held
		for range 100 {
			all = append(all, holdOf(t, c))
		}
		n.silent.Store(true)
		s := c.Session()
		<-s.Done()
		for i, h := range all {
			if h.Context().Err() == nil {
				t.Fatalf("the session is lost, and the context of hold %d lives", i)
			}
		}
	})
}

// TestSessionClose: what was held goes back at once, and the client goes on under
// another session.
func TestSessionClose(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var n numbered
		members[0].session = n.answer
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			if q.Caller.Session == protocol.SessionID(n.closed.Load()) {
				c.reply(q, protocol.CodeSessionEnded, nil)
				return
			}
			granting(c, q)
		})
		c := dial()
		if err := c.Session().Close(t.Context()); err != nil {
			t.Errorf("there is none, and Close says %v", err)
		}
		held := holdOf(t, c)
		s := c.Session()
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n.closed.Load() != 1 || s.Err() != quorate.ErrClosed || context.Cause(held.Context()) != quorate.ErrClosed {
			t.Errorf("session %d was closed at the grid, ended because of %v", n.closed.Load(), s.Err())
		}
		if err := held.Release(t.Context()); !errors.Is(err, quorate.ErrClosed) {
			t.Errorf("a release after it: %v", err)
		}
		wantState(t, c, 2, SessionOpen)
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("the second Close: %v", err)
		}
		holdOf(t, c)
		if seen := members[0].seen(); seen[len(seen)-1].Caller.Session != 2 {
			t.Errorf("the next call went under %+v", seen[len(seen)-1].Caller)
		}

		n.silent.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Session().Close(ctx)
		if !errors.Is(err, quorate.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, quorate.ErrUnavailable) {
			t.Errorf("Close that nobody answers: %v", err)
		}
		wantState(t, c, 2, SessionClosed)
		synctest.Wait()
	})
}
