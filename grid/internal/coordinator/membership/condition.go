package membership

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/peers"
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

// Conditions knows how the other members are, as they say themselves. It is safe for
// concurrent use.
type Conditions struct {
	grid      *Grid
	toConfirm chan struct{} // of capacity 1: something is announced of a member
	asking    sync.WaitGroup

	mu         sync.Mutex // guards what follows
	conditions map[protocol.UUID]*condition
}

func newConditions(g *Grid) *Conditions {
	return &Conditions{grid: g, toConfirm: make(chan struct{}, 1), conditions: map[protocol.UUID]*condition{}}
}

// OnCondition answers another member that asks how this one is.
func (c *Conditions) OnCondition(q peers.ConditionQuery) (any, error) {
	m := c.grid.Member()
	if m.Blank() || m.Cluster != q.Cluster {
		return nil, peers.ErrAnotherCluster
	}
	if m.Incarnation != q.Incarnation {
		return nil, peers.Refuse(protocol.CodeInvalid, "that incarnation is dead")
	}
	return peers.ConditionReply{Flags: c.grid.StateOf(m.Incarnation).Flags()}, nil
}

// Confirm asks members how they are, whenever something else is announced of them
// than they have said, until ctx ends.
func (c *Conditions) Confirm(ctx context.Context) {
	defer c.asking.Wait()
	for {
		var again <-chan time.Time
		if wait := c.confirmOnce(ctx, time.Now()); wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.toConfirm:
		case <-again:
		}
	}
}

// confirmOnce begins the questions that are due, and returns when the next is;
// 0: none.
func (c *Conditions) confirmOnce(ctx context.Context, now time.Time) (next time.Duration) {
	v := c.grid.View()
	if v == nil {
		return 0
	}
	self := c.grid.Member().Incarnation
	for _, o := range v.Members {
		h, ok := c.grid.hint(o.Incarnation)
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
			c.asking.Go(func() { c.askCondition(ctx, v.Cluster, o, h.State) })
			in = conditionAgain
		}
		if in > 0 && (next == 0 || in < next) {
			next = in
		}
	}
	return next
}

// askCondition asks a member how it is. If it does not answer, what it has said
// before counts on.
func (c *Conditions) askCondition(ctx context.Context, cluster protocol.UUID, o systemstate.Member, announced gossip.State) {
	ctx, cancel := context.WithTimeout(ctx, peers.AskTimeout)
	defer cancel()
	var r peers.ConditionReply
	err := c.grid.Ask(ctx, o.Address, peers.AskCondition, peers.ConditionQuery{Cluster: cluster, Incarnation: o.Incarnation}, &r)
	state := gossip.StateOf(r.Flags)
	if peers.IsUnknown(err) {
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
		c.grid.Log.Debug("a member does not say how it is", "name", o.Name, "err", err)
	}
	if err == nil && state != announced {
		c.grid.Log.Info("a member is not in the condition that was announced", "name", o.Name, "address", o.Address)
	}
	if changed {
		c.grid.Wake()
		c.grid.cfg.Announced()
	}
}

// conditionOf returns how a member is, as far as it has said so itself. Of one that
// has said nothing only that it may be behind.
func (c *Conditions) conditionOf(u protocol.UUID) gossip.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.conditions[u]; k != nil && k.confirmed {
		return k.state
	}
	return gossip.State{Behind: true}
}

// forgetConditions forgets those that are not listed any more.
func (c *Conditions) forgetConditions(unlisted func(protocol.UUID) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.conditions, func(u protocol.UUID, _ *condition) bool { return unlisted(u) })
}

// ConfirmSoon has what is announced confirmed.
func (c *Conditions) ConfirmSoon() {
	select {
	case c.toConfirm <- struct{}{}:
	default:
	}
}
