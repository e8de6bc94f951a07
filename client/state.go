package client

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
)

// SessionState says how it is with a client's session.
type SessionState int

// The states of sessions.
const (
	// SessionOpening: there is none yet. The first mutation opens it.
	SessionOpening SessionState = iota
	// SessionOpen: it is kept alive, and what it holds is held.
	SessionOpen
	// SessionSuspended: a heartbeat is overdue. What it holds is still held.
	SessionSuspended
	// SessionLost: it has ended, or may have. The contexts of all that it held have
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

// Session is one session of a client, as it was when Client.Session was called. What
// a client holds, it holds by its session, and has it no longer than that. A client
// has one session at a time; it is opened by the first mutation, and another
// follows when it is lost. It is safe for concurrent use.
type Session struct {
	ID    protocol.SessionID // as structures.Inspection shows it; 0 while Opening
	State SessionState
	TTL   time.Duration // how long the grid keeps it after the last sign of life
	// Left is how long what is held is held unless a heartbeat is acknowledged.
	Left time.Duration

	client *Client
	s      *session // nil: Opening
}

// Session returns the client's session. One that was lost is returned until another
// is open.
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

// Done returns a channel that is closed when the session is lost or closed, after
// the contexts of all that it held have ended. Of a Session that was Opening it is
// closed with the client.
func (s Session) Done() <-chan struct{} {
	if s.s == nil {
		return s.client.ctx.Done()
	}
	return s.s.lost
}

// Err returns nil until Done is closed, and then why: quorate.ErrSessionLost,
// quorate.ErrGridLost, which Is that, or quorate.ErrClosed.
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

// Close gives back all that the session holds, at once, and ends it; the client goes
// on with another. It ends the contexts of what is held, with quorate.ErrClosed as
// their cause, before it tells the grid, and returns when the grid has ended the
// session: who waits for what it held is served then. Calls in flight may fail with
// quorate.ErrSessionLost, those that wait with quorate.ErrClosed.
//
// Where ctx ends first the error Is quorate.ErrOutcomeUnknown, ctx's error and its
// cause: nothing is held any more, and the grid ends the session when its TTL has
// run, if not before. Of a session that is over Close is nil.
func (s Session) Close(ctx context.Context) error {
	if s.s == nil || !s.s.giveUp(quorate.ErrClosed) {
		return nil
	}
	m := &s.client.sessions
	ready := m.open() // mutations go on under another
	for {
		select {
		case <-ready:
		case <-ctx.Done():
		}
		// Not for long at a time: whoever leads may change.
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
