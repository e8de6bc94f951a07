package coordinator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/coordinator/placement"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
)

// Peer answers another member's question. ctx ends when nobody waits for the answer any
// more.
func (c *Coordinator) Peer(ctx context.Context, q protocol.PeerRequest) protocol.Reply {
	answer, err := c.answer(ctx, q)
	if err != nil {
		code, p := protocol.CodeBusy, protocol.Problem{Detail: err.Error()}
		var r *peers.Refusal
		if errors.As(err, &r) {
			code, p.Leader = r.Code, r.Leader
		}
		return protocol.Reply{Code: code, Body: p.Append(nil)}
	}
	if answer == nil {
		return protocol.Reply{}
	}
	return protocol.Reply{Body: protocol.Encode(answer)}
}

func (c *Coordinator) answer(ctx context.Context, q protocol.PeerRequest) (any, error) {
	if !isStillAsked(ctx, q.What) {
		return nil, errWithdrawn
	}
	switch q.What {
	case peers.AskState:
		return with(q, c.Formation.OnState)
	case peers.AskEnlist:
		return with(q, c.Formation.OnEnlist)
	case peers.AskRelease:
		return with(q, c.Formation.OnRelease)
	case peers.AskStart:
		return with(q, c.Formation.OnStart)
	case peers.AskJoin:
		return with(q, func(j peers.Join) (any, error) { return nil, c.Admission.OnJoin(ctx, q, j) })
	case peers.AskAddress:
		return with(q, func(j peers.Join) (any, error) { return nil, c.Admission.OnAddress(ctx, q, j) })
	case peers.AskObserved:
		return with(q, func(w peers.ProgressQuery) (any, error) { return c.Rejoin.OnObserved(ctx, w) })
	case peers.AskRun:
		return with(q, func(l peers.RunQuery) (any, error) { return nil, c.Rejoin.Runs.OnRun(l) })
	case peers.AskWithout:
		return with(q, func(w peers.Without) (any, error) { return nil, c.Rejoin.OnWithout(ctx, w) })
	case peers.AskHeadroom:
		return with(q, func(x peers.HeadroomQuery) (any, error) { return nil, c.Placement.OnHeadroom(x) })
	case peers.AskChange:
		return withEngine(c, q, func(e membership.Engine, x peers.Change) (any, error) { return nil, c.Placement.MakeChange(ctx, e, x) })
	case peers.AskSize:
		return withEngine(c, q, func(e membership.Engine, x peers.SizeQuery) (any, error) { return placement.SizeHere(e, x.Group) })
	case peers.AskTransfer:
		return withEngine(c, q, func(e membership.Engine, t peers.Transfer) (any, error) { return nil, c.Leadership.Transfer(ctx, e, t) })
	case peers.AskLeave:
		return withEngine(c, q, func(e membership.Engine, x peers.Leave) (any, error) { return nil, c.Leadership.OnLeave(ctx, e, x) })
	case peers.AskApplied:
		return with(q, func(a peers.Applied) (any, error) { return nil, c.Leadership.OnApplied(ctx, a) })
	case peers.AskCaughtUp:
		return with(q, func(t peers.Transfer) (any, error) { return nil, c.onCaughtUp(ctx, t) })
	case peers.AskLeaders:
		return with(q, func(peers.LeadersQuery) (any, error) { return c.onLeaders(), nil })
	case peers.AskCondition:
		return with(q, c.OnCondition)
	case peers.AskSessions:
		return with(q, func(x peers.SessionsQuery) (any, error) { return c.onSessions(ctx, x) })
	}
	return nil, peers.Refuse(protocol.CodeUnsupported, "unknown question %q", q.What)
}

// withdrawnAfter is how long a question that changes something waits for news that it
// is withdrawn.
const withdrawnAfter = 2 * time.Millisecond

var errWithdrawn = peers.Refuse(protocol.CodeBusy, "the question is withdrawn")

// isStillAsked reports whether a question is still of use: ctx ends when it is withdrawn,
// or its asker closes the connection. One that has waited for a process that was paused
// would change something for a member that has asked others since, or is no more.
func isStillAsked(ctx context.Context, what string) bool {
	switch what {
	case peers.AskEnlist, peers.AskRelease, peers.AskStart, peers.AskJoin, peers.AskAddress, peers.AskTransfer, peers.AskLeave, peers.AskChange:
		select {
		case <-ctx.Done():
		case <-time.After(withdrawnAfter):
		}
	}
	return ctx.Err() == nil
}

// with decodes the arguments of a question.
func with[T any](q protocol.PeerRequest, f func(T) (any, error)) (any, error) {
	var v T
	if err := protocol.Decode(q.Args, &v); err != nil {
		return nil, peers.Refuse(protocol.CodeInvalid, "the arguments of the question: %v", err)
	}
	return f(v)
}

// withEngine is with for a question to members of one cluster.
func withEngine[T interface{ Of() protocol.UUID }](c *Coordinator, q protocol.PeerRequest, f func(membership.Engine, T) (any, error)) (any, error) {
	return with(q, func(v T) (any, error) {
		e, err := c.EngineOf(v.Of())
		if err != nil {
			return nil, err
		}
		return f(e, v)
	})
}

func (c *Coordinator) onCaughtUp(ctx context.Context, t peers.Transfer) error {
	e, err := c.EngineWith(t.Cluster, t.Group, t.Replica)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, membership.CaughtUpTimeout)
	defer cancel()
	return e.CaughtUp(ctx, t.Group)
}

// onLeaders answers with what the replicas here know, not with what others have
// said: two members must not keep up each other's belief.
func (c *Coordinator) onLeaders() peers.LeadersReply {
	e, v := c.Engine(), c.View()
	var known peers.LeadersReply
	if e == nil || v == nil {
		return known
	}
	for _, id := range slices.Sorted(maps.Keys(e.Running())) {
		if id != protocol.SystemGroup {
			member, term := membership.LeadsHere(e, v, id)
			known.Leaders = append(known.Leaders, peers.LeaderOf{Group: id, Term: term, Member: member})
		}
	}
	return known
}
