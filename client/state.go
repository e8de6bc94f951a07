package client

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
)

// SessionState is the state of a client's session.
type SessionState int

// The states of sessions.
const (
	// SessionOpening: there is none yet. The first mutation opens it.
	SessionOpening SessionState = iota
	// SessionOpen: it is kept alive, and what it holds is held.
	SessionOpen
	// SessionSuspended: a heartbeat is overdue. What it holds is still held.
	SessionSuspended
	// SessionLost: it has ended, or may have ended. The contexts of all that it held
	// ended before. The client opens another.
	SessionLost
	// SessionClosed: it was closed, alone or with its client.
	SessionClosed
)

// String names the state: "open".
func (s SessionState) String() string {
	switch s {
	case SessionOpening:
		return "opening"
	case SessionOpen:
		return "open"
	case SessionSuspended:
		return "suspended"
	case SessionLost:
		return "lost"
	case SessionClosed:
		return "closed"
	}
	return "unknown"
}

// SessionEvent is a change of the state of a client's session.
type SessionEvent struct {
	Session protocol.SessionID // 0 while Opening, and if the client was closed before it had one
	State   SessionState
	// Err is why the session is Lost or Closed, as [Session.Err] returns it; nil otherwise.
	Err error
}

// String describes the event: "session 17 suspended".
func (e SessionEvent) String() string {
	text := e.State.String()
	if e.Session != 0 {
		text = fmt.Sprintf("session %d %s", e.Session, e.State)
	}
	return text
}

// SessionEvents returns the state of the client's session now, and then each change of
// it, in order, until ctx ends or the client is closed, whose event is the last. If the
// loop is slower than the changes, those in between are left out, but never a loss: when
// SessionLost comes, the contexts of all that the session held have ended.
func (c *Client) SessionEvents(ctx context.Context) iter.Seq[SessionEvent] {
	return func(yield func(SessionEvent) bool) {
		q := c.sessions.events.subscribe()
		defer c.sessions.events.remove(q)
		for {
			e, ok := q.next(ctx.Done())
			if !ok || !yield(e) {
				return
			}
		}
	}
}

// sessionEvents passes the changes of the client's sessions on to receivers.
type sessionEvents struct {
	mu     sync.Mutex
	queues []*eventQueue
	last   SessionEvent
	closed bool // last is the final event
}

// publish passes a change on. Its caller holds the lock of the session, so that the
// changes of one come in order.
func (s *sessionEvents) publish(e SessionEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.last = e
	for _, q := range s.queues {
		q.put(e)
	}
}

// finish ends the queues with an event, unless it was published already.
func (s *sessionEvents) finish(e SessionEvent) {
	if s.state() != e {
		s.publish(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, q := range s.queues {
		q.end()
	}
}

// state returns the last event.
func (s *sessionEvents) state() SessionEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// subscribe returns a queue that begins with the present state.
func (s *sessionEvents) subscribe() *eventQueue {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &eventQueue{wake: make(chan struct{}, 1)}
	s.queues = append(s.queues, q)
	q.put(s.last)
	if s.closed {
		q.end()
	}
	return q
}

// remove ends a queue.
func (s *sessionEvents) remove(q *eventQueue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues = slices.DeleteFunc(s.queues, func(o *eventQueue) bool { return o == q })
}

// eventQueue holds what one receiver has not taken yet: losses, and the newest event.
type eventQueue struct {
	wake chan struct{} // of capacity 1: there is something to take

	mu      sync.Mutex
	pending []SessionEvent
	ended   bool // nothing more comes
}

// put adds an event, in the place of the one before unless that is a loss.
func (q *eventQueue) put(e SessionEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.pending); n > 0 && q.pending[n-1].State != SessionLost {
		q.pending = q.pending[:n-1]
	}
	q.pending = append(q.pending, e)
	q.notify()
}

// end says that nothing more comes.
func (q *eventQueue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.notify()
}

func (q *eventQueue) notify() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for the next event; false: there is none any more, or done is closed.
func (q *eventQueue) next(done <-chan struct{}) (SessionEvent, bool) {
	for {
		q.mu.Lock()
		if len(q.pending) > 0 {
			e := q.pending[0]
			q.pending = q.pending[1:]
			q.mu.Unlock()
			return e, true
		}
		ended := q.ended
		q.mu.Unlock()
		if ended {
			return SessionEvent{}, false
		}
		select {
		case <-q.wake:
		case <-done:
			return SessionEvent{}, false
		}
	}
}

// deliver calls f with each event but the first state, Opening.
func (q *eventQueue) deliver(f func(SessionEvent)) {
	for {
		e, ok := q.next(nil)
		if !ok {
			return
		}
		if e.State != SessionOpening {
			f(e)
		}
	}
}

// Session is one session of a client, as it was when Client.Session was called. A
// client holds things by its session, and no longer than the session lives. A client
// has one session at a time: the first mutation opens it, and when it is lost the
// client opens another. It is safe for concurrent use.
type Session struct {
	ID    protocol.SessionID // as structures.Inspection shows it; 0 while Opening
	State SessionState
	TTL   time.Duration // how long the grid keeps it after the last heartbeat
	// Left is how much longer the session's holds last if no further heartbeat is
	// acknowledged.
	Left time.Duration

	client *Client
	s      *session // nil: Opening
}

// Session returns the client's session. After a loss it returns the lost session until
// another is open.
func (c *Client) Session() Session {
	s := c.sessions.current.Load()
	if s == nil {
		v := Session{TTL: c.cfg.sessionTTL, client: c}
		if c.ctx.Err() != nil {
			v.State = SessionClosed
		}
		return v
	}
	v := Session{ID: s.id, State: SessionOpen, TTL: s.ttl, client: c, s: s}
	s.mu.Lock()
	silence := since(s.acked, time.Now())
	s.mu.Unlock()
	select {
	case <-s.lost:
		v.State = SessionLost
		if context.Cause(s.lease) == quorate.ErrClosed {
			v.State = SessionClosed
		}
		return v
	default:
	}
	v.Left = max(holdFor(s.ttl, c.cfg.holdMargin)-silence, 0)
	if s.overdue(silence) {
		v.State = SessionSuspended
	}
	return v
}

// Done returns a channel that is closed when the session is lost or closed, after the
// contexts of all that it held have ended. For a Session that was SessionOpening it is
// closed with the client.
func (s Session) Done() <-chan struct{} {
	if s.s == nil {
		return s.client.ctx.Done()
	}
	return s.s.lost
}

// Err returns nil until Done is closed, and then the reason: what Is
// quorate.ErrSessionLost, with the reason of an operator who killed the session;
// quorate.ErrGridLost, which also Is quorate.ErrSessionLost; or quorate.ErrClosed.
func (s Session) Err() error {
	select {
	case <-s.Done():
		if s.s == nil {
			return quorate.ErrClosed
		}
		return context.Cause(s.s.lease)
	default:
		return nil
	}
}

// Close ends the session and releases at once all that it holds. The client continues
// with another session. Close first ends the contexts of what is held, with
// quorate.ErrClosed as their cause, and waits until the functions that run under them
// (structures.Held.Do) have returned, for the hold margin at most. Then it asks the grid to
// end the session, and returns when it has: from then on others can be granted what it held.
// Calls in flight may fail with quorate.ErrSessionLost, and waiting calls with
// quorate.ErrClosed.
//
// If ctx ends first the error Is quorate.ErrOutcomeUnknown, ctx's error and its cause.
// Nothing is held any more in this case either, and the grid ends the session after its
// TTL at the latest. For a session that is over Close returns nil.
func (s Session) Close(ctx context.Context) error {
	if s.s == nil || !s.s.giveUp(quorate.ErrClosed) {
		return nil
	}
	m := &s.client.sessions
	ready := m.open() // mutations continue under another
	s.s.keeper.AwaitRunning(ctx)
	for {
		select {
		case <-ready:
		case <-ctx.Done():
		}
		// Each request waits a short time only, because the leader may change.
		a := m.request(ctx, s.s.cluster, protocol.SessionRequest{Action: protocol.SessionClose, Session: s.s.id}, patience(s.TTL))
		switch {
		case a.definite(), s.s.cluster != s.client.table.cluster.Load():
			return nil
		case s.client.ctx.Err() != nil:
			return &quorate.Error{Op: "close", Object: fmt.Sprintf("session %d", s.ID), Cause: quorate.ErrClosed, Unknown: true}
		case ctx.Err() != nil:
			return &quorate.Error{
				Op: "close", Object: fmt.Sprintf("session %d", s.ID), Cause: contexts.Unanswered(ctx), Unknown: true,
				Detail: "nothing is held any more; the grid ends the session at the latest when its time to live has run",
			}
		}
	}
}
