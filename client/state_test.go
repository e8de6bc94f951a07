package client

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

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
		var all []context.Context
		for range 100 {
			h := holdOf(t, c)
			all = append(all, h.Context())
			for range 100 {
				all = append(all, h.Bind(t.Context()))
			}
		}
		n.silent.Store(true)
		s := c.Session()
		<-s.Done()
		for i, ctx := range all {
			if ctx.Err() == nil {
				t.Fatalf("the session is lost, and context %d of what it held lives", i)
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

// TestSessionCloseWaitsForDo: closing the session waits for what runs under a hold, for the margin of
// holders at most, as closing the client does.
func TestSessionCloseWaitsForDo(t *testing.T) {
	const margin = 2 * time.Second
	for _, stops := range []time.Duration{0, time.Second, time.Hour} {
		inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
			var n numbered
			members[0].session = n.answer
			members[0].script(granting)
			c := dial(WithSessionTTL(20*time.Second), WithHoldMargin(margin))
			held := holdOf(t, c)
			done := make(chan error, 1)
			running := make(chan struct{})
			go func() {
				done <- held.Do(t.Context(), stopsAfter(stops, running))
			}()
			<-running
			begun := time.Now()
			if err := c.Session().Close(t.Context()); err != nil || n.closed.Load() != 1 {
				t.Errorf("session %d was closed: %v", n.closed.Load(), err)
			}
			if took, want := time.Since(begun), min(stops, margin); took != want {
				t.Errorf("a function that stops in %v: Close took %v, want %v", stops, took, want)
			}
			if err := <-done; !errors.Is(err, quorate.ErrClosed) {
				t.Errorf("Do: %v", err)
			}
		})
	}
}

// TestSessionEvents: the changes of the session come in order, a loss after the contexts
// of all that was held have ended, and before the next session is open.
func TestSessionEvents(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var n numbered
		members[0].session = func(c *fakeConn, q *protocol.SessionRequest) {
			if q.Action == protocol.SessionOpen {
				time.Sleep(time.Millisecond) // the receivers have taken the change before
			}
			n.answer(c, q)
		}
		members[0].script(granting)
		var held atomic.Pointer[structures.Held]
		called := make(chan SessionEvent, 100)
		c := dial(OnSession(func(e SessionEvent) {
			if h := held.Load(); e.State == SessionLost && h.Context().Err() == nil {
				t.Error("the session is lost, and the context of what it held lives")
			}
			called <- e
		}))
		var got []string
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for e := range c.SessionEvents(t.Context()) {
				got = append(got, e.String())
			}
		}()
		synctest.Wait()
		held.Store(holdOf(t, c))
		n.silent.Store(true)
		time.Sleep(5 * time.Second)
		n.silent.Store(false)
		time.Sleep(5 * time.Second)
		n.silent.Store(true)
		<-c.Session().Done()
		n.silent.Store(false)
		time.Sleep(10 * time.Second)
		if err := c.Session().Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		c.Close()
		<-watched
		want := []string{
			"opening", "session 1 open", "session 1 suspended", "session 1 open", "session 1 suspended", "session 1 lost",
			"session 2 open", "session 2 closed", "session 3 open", "session 3 closed",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the loop (-want +got):\n%s", diff)
		}
		close(called)
		got = []string{"opening"}
		for e := range called {
			got = append(got, e.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the function (-want +got):\n%s", diff)
		}
		for range c.SessionEvents(t.Context()) { // it ends at once
		}
	})
}

// TestSessionEvents_Slow: a receiver that is slow gets every loss, and the newest of what
// lies between.
func TestSessionEvents_Slow(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var n numbered
		members[0].session = n.answer
		members[0].script(granting)
		var got []string
		proceed := make(chan struct{})
		c := dial(OnSession(func(e SessionEvent) {
			<-proceed
			got = append(got, e.String())
		}))
		holdOf(t, c)
		for range 2 {
			n.silent.Store(true)
			<-c.Session().Done()
			n.silent.Store(false)
			time.Sleep(20 * time.Second)
		}
		close(proceed)
		c.Close()
		want := []string{"session 1 open", "session 1 lost", "session 2 lost", "session 3 closed"}
		// The first two are one after the other, or the function was called with the first
		// before it was overtaken.
		if len(got) > 0 && got[0] != want[0] {
			want = want[1:]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestKilledSession: a client whose session was killed learns that with the next
// heartbeat, ends what it held, and opens another.
func TestKilledSession(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var n numbered
		members[0].session = func(c *fakeConn, q *protocol.SessionRequest) {
			if q.Action == protocol.SessionHeartbeat && q.Session == 1 {
				c.session(q, q.Session, protocol.CodeSessionEnded)
				return
			}
			n.answer(c, q)
		}
		members[0].script(granting)
		c := dial()
		held := holdOf(t, c)
		began := time.Now()
		<-held.Context().Done()
		if took := time.Since(began); took > 3*time.Second || !errors.Is(context.Cause(held.Context()), quorate.ErrSessionLost) {
			t.Errorf("what was held ended after %v because of %v", took, context.Cause(held.Context()))
		}
		time.Sleep(time.Second)
		wantState(t, c, 2, SessionOpen)
	})
}
