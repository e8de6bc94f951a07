package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// sessionsQuery asks the leader of the system group to open and renew sessions that
// members keep.
type sessionsQuery struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Opens   []opening
	Renews  []protocol.SessionID
}

// opening is a systemstate.Opening as it goes from member to member: that one has
// the shape of the log.
type opening struct {
	_      struct{} `cbor:",toarray"`
	Client protocol.UUID
	TTL    time.Duration
	Source string
	Greets bool
}

// sessionsReply answers a sessionsQuery.
type sessionsReply struct {
	_       struct{}             `cbor:",toarray"`
	Opened  []systemstate.Opened // in the order of Opens
	Dropped []protocol.SessionID // of Renews: not to be renewed any more
}

// OpenSessions opens, or finds, sessions that members keep, wherever the system group
// of the cluster is led. Its answers are in the order of what is opened.
func (c *peerServer) OpenSessions(ctx context.Context, cluster protocol.UUID, opens []systemstate.Opening) ([]systemstate.Opened, error) {
	q := sessionsQuery{Cluster: cluster}
	for _, o := range opens {
		q.Opens = append(q.Opens, opening{Client: o.Client, TTL: o.TTL, Source: o.Source, Greets: o.Greets})
	}
	r, err := c.askSessions(ctx, q)
	return r.Opened, err
}

// RenewSessions renews sessions that members keep, as OpenSessions opens them. It
// returns those that are not to be renewed any more. Those of another cluster than
// the member's are none of its business.
func (c *peerServer) RenewSessions(ctx context.Context, cluster protocol.UUID, ids []protocol.SessionID) ([]protocol.SessionID, error) {
	r, err := c.askSessions(ctx, sessionsQuery{Cluster: cluster, Renews: ids})
	var refused *refusal
	if errors.As(err, &refused) && refused.code == protocol.CodeWrongGrid {
		return ids, nil
	}
	return r.Dropped, err
}

func (c *peerServer) askSessions(ctx context.Context, q sessionsQuery) (sessionsReply, error) {
	h, err := c.leading(q.Cluster)
	if err == nil {
		return sessionsHere(ctx, h, q)
	}
	var r *refusal
	if !errors.As(err, &r) || r.code != protocol.CodeNotLeader || r.leader == c.Self() {
		return sessionsReply{}, err
	}
	address, ok := c.AddressOf(r.leader)
	if !ok {
		return sessionsReply{}, err
	}
	var reply sessionsReply
	err = ask(ctx, c.cfg.Network, address, askSessions, q, &reply)
	return reply, err
}

func (c *peerServer) onSessions(ctx context.Context, q sessionsQuery) (any, error) {
	h, err := c.leading(q.Cluster)
	if err != nil {
		return nil, err
	}
	return sessionsHere(ctx, h, q)
}

func sessionsHere(ctx context.Context, h *shardgroups.Host, q sessionsQuery) (r sessionsReply, err error) {
	opens := make([]systemstate.Opening, len(q.Opens))
	for i, o := range q.Opens {
		opens[i] = systemstate.Opening{Client: o.Client, TTL: o.TTL, Source: o.Source, Greets: o.Greets}
	}
	if r.Opened, err = h.System().GreetedSessions(ctx, opens); err != nil {
		return r, err
	}
	r.Dropped, err = h.System().RenewSessions(ctx, q.Renews)
	return r, err
}
