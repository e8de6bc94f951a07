package client

import (
	"context"
	"fmt"
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
	if silence > 2*s.ttl/5 { // heartbeats come every fifth of the TTL
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

// Err returns nil until Done is closed, and then the reason: quorate.ErrSessionLost;
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
// quorate.ErrClosed as their cause, then asks the grid to end the session, and returns
// when it has: from then on others can be granted what it held. Calls in flight may
// fail with quorate.ErrSessionLost, and waiting calls with quorate.ErrClosed.
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
