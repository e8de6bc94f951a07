package coordinator

import (
	"context"
	"maps"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// What the gossip says of a member anybody may have sent, and groups refuse writes
// for it, or let another member end. So it is only the occasion to ask the member
// itself, at the address that is agreed: what that answers counts, until it answers
// otherwise.

const (
	conditionPause = 100 * time.Millisecond // between two questions to a member
	conditionAgain = time.Second            // for as long as it does not say what is announced of it
)

// condition is how a member is.
type condition struct {
	confirmed bool
	state     gossip.State // as the member has said itself
	announced gossip.State // as it was announced when it was asked last
	asked     time.Time
	asking    bool
}

// due reports whether the member is to be asked now because of what is announced
// of it, or else when to look again; 0: not before something else is announced.
func (k *condition) due(now time.Time, announced gossip.State) (ask bool, in time.Duration) {
	if k.asking || k.confirmed && k.state == announced {
		return false, 0
	}
	pause := conditionPause
	if !k.asked.IsZero() && k.announced == announced {
		pause = conditionAgain
	}
	if wait := pause - now.Sub(k.asked); wait > 0 {
		return false, wait
	}
	return true, 0
}

// conditionQuery asks a member how it is.
type conditionQuery struct {
	_           struct{} `cbor:",toarray"`
	Cluster     protocol.UUID
	Incarnation protocol.UUID // who is meant
}

// conditionReply says how a member is.
type conditionReply struct {
	_     struct{} `cbor:",toarray"`
	Flags uint64   // gossip.State
}

func (c *peerServer) onCondition(q conditionQuery) (any, error) {
	m := c.member()
	if m.Blank() || m.Cluster != q.Cluster {
		return nil, errAnotherCluster
	}
	if m.Incarnation != q.Incarnation {
		return nil, &refusal{code: protocol.CodeInvalid, detail: "that incarnation is dead"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return conditionReply{Flags: c.Directory.state.Flags()}, nil
}

// confirm asks members how they are, whenever something else is announced of them
// than they have said, until the Coordinator is stopped.
func (c *peerServer) confirm() {
	for {
		var again <-chan time.Time
		if wait := c.confirmOnce(time.Now()); wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-c.ctx.Done():
			return
		case <-c.toConfirm:
		case <-again:
		}
	}
}

// confirmOnce begins the questions that are due, and returns when the next is;
// 0: none.
func (c *peerServer) confirmOnce(now time.Time) (next time.Duration) {
	v, g := c.View(), c.gossip.Load()
	if v == nil || g == nil {
		return 0
	}
	self := c.member().Incarnation
	for _, o := range v.Members {
		h, ok := g.Hint(o.Incarnation)
		if !ok || !h.Alive || o.Gone || o.Incarnation == self {
			continue
		}
		c.mu.Lock()
		k := c.conditions[o.Incarnation]
		if k == nil {
			k = &condition{}
			c.conditions[o.Incarnation] = k
		}
		ask, in := k.due(now, h.State)
		if ask {
			k.announced, k.asked, k.asking = h.State, now, true
		}
		c.mu.Unlock()
		if ask {
			c.wg.Go(func() { c.askCondition(v.Cluster, o, h.State) })
			in = conditionAgain
		}
		if in > 0 && (next == 0 || in < next) {
			next = in
		}
	}
	return next
}

// askCondition asks a member how it is. Where it does not answer, what it has said
// before counts on.
func (c *peerServer) askCondition(cluster protocol.UUID, o systemstate.Member, announced gossip.State) {
	ctx, cancel := context.WithTimeout(c.ctx, askTimeout)
	defer cancel()
	var r conditionReply
	err := ask(ctx, c.cfg.Network, o.Address, askCondition, conditionQuery{Cluster: cluster, Incarnation: o.Incarnation}, &r)
	state := gossip.StateOf(r.Flags)
	if isOlder(err) {
		state, err = announced, nil
	}
	c.mu.Lock()
	k := c.conditions[o.Incarnation]
	changed := false
	if k != nil { // else it is not listed any more
		k.asking = false
		if err == nil {
			changed = !k.confirmed || k.state != state
			k.confirmed, k.state = true, state
		}
	}
	c.mu.Unlock()
	if err != nil {
		c.log.Debug("a member does not say how it is", "name", o.Name, "err", err)
	}
	if err == nil && state != announced {
		c.log.Info("a member is not in the condition that was announced", "name", o.Name, "address", o.Address)
	}
	if changed {
		c.wake()
		c.cfg.Announced()
	}
}

// conditionOf returns how a member is, as far as it has said so itself. Of one that
// has said nothing only that it may be behind.
func (c *peerServer) conditionOf(u protocol.UUID) gossip.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.conditions[u]; k != nil && k.confirmed {
		return k.state
	}
	return gossip.State{Behind: true}
}

// forgetConditions forgets those that are not listed any more. mu is held.
func (c *peerServer) forgetConditions(unlisted func(protocol.UUID) bool) {
	maps.DeleteFunc(c.conditions, func(u protocol.UUID, _ *condition) bool { return unlisted(u) })
}

// toldOfState has what is announced confirmed.
func (c *peerServer) toldOfState() {
	select {
	case c.toConfirm <- struct{}{}:
	default:
	}
}
