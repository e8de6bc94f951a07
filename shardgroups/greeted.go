package shardgroups

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
)

// A session that was opened with its client's Hello is kept by members, which renew it
// while its client sends anything at all. Such a client does not count the session's
// TTL, so it would not stop in time to use what a lost session has held. So under such
// a session operations that hold something are refused, until the client keeps the
// session by heartbeats of its own. This is decided before a request is logged. Once a
// client keeps its session it does so for ever, so the decision still holds when the
// request is applied.

// maxUnkept bounds the requests of a group that wait until it is known who keeps
// their sessions.
const maxUnkept = 4096

// GreetedSessions opens, or finds, the sessions of clients that ask for one with their
// Hello. This replica must lead. It returns one answer for each opening, in order.
func (s *System) GreetedSessions(ctx context.Context, opens []systemstate.Opening) ([]systemstate.Opened, error) {
	answers := make([]systemstate.Opened, len(opens))
	err := s.askAll(ctx, len(opens), func(i int, done func(protocol.Reply)) {
		o := &opens[i]
		q := protocol.SessionRequest{
			Action: sessionGreet, Client: o.Client, TTL: uint32(min(max(o.TTL, 0), time.Hour) / time.Millisecond),
		}
		s.session(sessionKey{action: sessionGreet, client: o.Client}, systemstate.Origin{Source: o.Source, Name: o.Name}, sessionCaller{q, done})
	}, func(i int, r protocol.Reply) error {
		switch r.Code {
		case protocol.CodeOK:
			var state protocol.SessionState
			if err := protocol.Decode(r.Body, &state); err != nil {
				return err
			}
			answers[i] = systemstate.Opened{Session: state.Session, TTL: time.Duration(state.TTL) * time.Millisecond}
			return nil
		case protocol.CodeBusy, protocol.CodeInvalid:
			var p protocol.Problem
			if err := p.Decode(r.Body); err != nil {
				return err
			}
			answers[i].Problem = cmp.Or(p.Detail, r.Code.Name())
			return nil
		}
		return errNotAsked
	})
	return answers, err
}

// RenewSessions renews sessions that members keep. This replica must lead. It returns
// those that members must not renew any more.
func (s *System) RenewSessions(ctx context.Context, ids []protocol.SessionID) ([]protocol.SessionID, error) {
	var dropped []protocol.SessionID
	err := s.askAll(ctx, len(ids), func(i int, done func(protocol.Reply)) {
		q := protocol.SessionRequest{Action: sessionRenew, Session: ids[i]}
		s.session(sessionKey{action: sessionRenew, session: ids[i]}, systemstate.Origin{}, sessionCaller{q, done})
	}, func(i int, r protocol.Reply) error {
		switch r.Code {
		case protocol.CodeSessionEnded:
			dropped = append(dropped, ids[i])
		case protocol.CodeOK:
		default:
			return errNotAsked
		}
		return nil
	})
	return dropped, err
}

// errNotAsked is the error of a request that the system group has not carried out.
var errNotAsked = errors.New("the sessions' group does not answer")

// numbered is the answer to one of several questions.
type numbered struct {
	i int
	r protocol.Reply
}

// askAll asks n questions and passes the answers on as they arrive. It returns when all
// are answered, or when ctx ends. It returns the first error.
func (s *System) askAll(ctx context.Context, n int, ask func(i int, done func(protocol.Reply)), answer func(int, protocol.Reply) error) error {
	answers := make(chan numbered, n)
	for i := range n {
		ask(i, func(r protocol.Reply) { answers <- numbered{i, r} })
	}
	var first error
	for range n {
		select {
		case a := <-answers:
			if err := answer(a.i, a.r); first == nil {
				first = err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return first
}

// keeper returns who keeps a session, as this member knows it.
func (s *System) keeper(id protocol.SessionID) systemstate.Keeper {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.Keeper(id)
}

// isKept reports whether this member knows that a session's client keeps it.
func (s *System) isKept(id protocol.SessionID) bool { return s.keeper(id) == systemstate.KeeperClient }

// gives reports whether an operation gives its caller something to hold, until the
// caller releases it or its session ends.
func (g *Group) gives(q *Request) bool {
	k := g.kinds[q.Kind]
	if k == nil || q.Flags&protocol.FlagRead != 0 {
		return false
	}
	op := k.Op(q.Op)
	return op != nil && op.Binds() && op.Right&structures.RightHold != 0
}

// askKeeper finds out whether the client keeps the session of a request that holds
// something, unless this member knows that it does. One confirmation by the majority
// that this member has applied everything agreed serves all requests that wait for it.
func (p *proposer) askKeeper(q *Request) {
	p.mu.Lock()
	start, ok := p.unkept.add(q, maxUnkept)
	p.mu.Unlock()
	switch {
	case !ok:
		q.busy("too many requests wait for what is known of their sessions", busyWaitHint)
	case start:
		p.host.spawn(p.resolveKeepers)
	}
}

// resolveKeepers queues the requests of unkept, or refuses them, until none is left.
func (p *proposer) resolveKeepers() {
	for {
		p.mu.Lock()
		requests := p.unkept.take() // before the system group is asked
		p.mu.Unlock()
		if len(requests) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(p.host.ctx, lookupTimeout)
		err := p.host.system.barrier(ctx)
		cancel()
		for _, q := range requests {
			switch {
			case err != nil:
				q.refuse(protocol.CodeSessionUnknown)
			case p.host.system.keeper(q.Caller.Session) == systemstate.KeeperMembers:
				why := protocol.Problem{Detail: "the session was opened with the client's hello and is kept by members: an operation that holds needs one that its client keeps, by heartbeats of its own"}
				q.turnDown(protocol.Reply{ID: q.ID, Code: protocol.CodeNotKept, Body: why.Append(nil)})
			default:
				p.enter(q)
			}
		}
		if err == nil {
			sleep(p.host.ctx) // requests that arrive during the pause share the next question
		}
	}
}
