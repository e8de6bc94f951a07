package coordinator

import (
	"context"
	"errors"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// OpenSessions opens, or finds, sessions that members keep, wherever the system group
// of the cluster is led. Its answers are in the order of what is opened.
func (c *Coordinator) OpenSessions(ctx context.Context, cluster protocol.UUID, opens []systemstate.Opening) ([]systemstate.Opened, error) {
	q := peers.SessionsQuery{Cluster: cluster}
	for _, o := range opens {
		q.Opens = append(q.Opens, peers.Opening{Client: o.Client, TTL: o.TTL, Source: o.Source, Name: o.Name, Greets: o.Greets})
	}
	r, err := c.askSessions(ctx, q)
	return r.Opened, err
}

// RenewSessions renews sessions that members keep, as OpenSessions opens them. It
// returns those that are not to be renewed any more. Those of another cluster than
// the member's are none of its business.
func (c *Coordinator) RenewSessions(ctx context.Context, cluster protocol.UUID, ids []protocol.SessionID) ([]protocol.SessionID, error) {
	r, err := c.askSessions(ctx, peers.SessionsQuery{Cluster: cluster, Renews: ids})
	if peers.IsRefused(err, protocol.CodeWrongGrid) {
		return ids, nil
	}
	return r.Dropped, err
}

func (c *Coordinator) askSessions(ctx context.Context, q peers.SessionsQuery) (peers.SessionsReply, error) {
	h, err := c.Leading(q.Cluster)
	if err == nil {
		return sessionsHere(ctx, h, q)
	}
	var r *peers.Refusal
	if !errors.As(err, &r) || r.Code != protocol.CodeNotLeader || r.Leader == c.Self() {
		return peers.SessionsReply{}, err
	}
	address, ok := c.AddressOf(r.Leader)
	if !ok {
		return peers.SessionsReply{}, err
	}
	var reply peers.SessionsReply
	err = c.Ask(ctx, address, peers.AskSessions, q, &reply)
	return reply, err
}

func (c *Coordinator) onSessions(ctx context.Context, q peers.SessionsQuery) (any, error) {
	h, err := c.Leading(q.Cluster)
	if err != nil {
		return nil, err
	}
	return sessionsHere(ctx, h, q)
}

func sessionsHere(ctx context.Context, h membership.Engine, q peers.SessionsQuery) (r peers.SessionsReply, err error) {
	opens := make([]systemstate.Opening, len(q.Opens))
	for i, o := range q.Opens {
		opens[i] = systemstate.Opening{Client: o.Client, TTL: o.TTL, Source: o.Source, Name: o.Name, Greets: o.Greets}
	}
	if r.Opened, err = h.System().GreetedSessions(ctx, opens); err != nil {
		return r, err
	}
	r.Dropped, err = h.System().RenewSessions(ctx, q.Renews)
	return r, err
}
