package formation

import (
	"context"
	"slices"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// await is the step of a member that has enlisted with a founder.
func (c *Controller) await(ctx context.Context, m *identity.Member) error {
	if c.isReleased() {
		c.grid.Log.Info("released by the founder")
		return c.forget()
	}
	h, err := c.cfg.Replicas.OpenEngine(m)
	if err != nil {
		return err
	}
	c.grid.SetWaiting("the founder at %s to form the cluster", m.FounderAddress)
	replies := c.probe(ctx) // so that a founder that has moved finds us
	r, ok := m.Replica(protocol.SystemGroup)
	if !ok {
		formed := func(s peers.StateReply) bool { return s.Formed && s.Cluster == m.Cluster }
		if slices.ContainsFunc(replies, formed) {
			return c.markFormed() // without this member, which is to ask for its replica now
		}
		return c.giveUpFounder(m, replies)
	}
	if err := c.cfg.Replicas.StartReplica(h, shardgroups.GroupSpec{Group: r.Group, Replica: r.Replica, NonVoting: r.NonVoting}); err != nil {
		return err
	}
	v := h.System().View()
	if v.Formed {
		return c.markFormed()
	}
	if v.Cluster == (protocol.UUID{}) {
		return c.giveUpFounder(m, replies)
	}
	if c.isLost(ctx, h, m, v) {
		return c.BecomeBlank()
	}
	if !h.System().Leader().Self {
		return nil
	}
	// The founder is down, or does not lead any more: the members that it has
	// brought in are a majority, and go on.
	if v, err = h.System().Refresh(ctx); err != nil {
		return err
	}
	return c.form(ctx, h, m, v)
}

// giveUpFounder makes a member in memory blank again whose founder is dead, as
// another incarnation at its address, or under its name, proves, before this one has got anything of
// the cluster's log. It holds nothing and votes nowhere: whatever becomes of that
// cluster, it can join it as a new incarnation.
func (c *Controller) giveUpFounder(m *identity.Member, replies []peers.StateReply) error {
	c.mu.Lock()
	name := c.founderName
	c.mu.Unlock()
	there := func(s peers.StateReply) bool {
		return s.Self.Incarnation == m.Founder || s.Formed && s.Cluster == m.Cluster
	}
	other := func(s peers.StateReply) bool {
		return s.Self.Address == m.FounderAddress || s.Self.Name == name && !c.grid.Heard(m.Founder)
	}
	if m.Durability != "memory" || slices.ContainsFunc(replies, there) || !slices.ContainsFunc(replies, other) {
		return nil
	}
	c.grid.Log.Warn("the founder has lost its memory before the cluster was formed: the member looks for another", "founder", m.FounderAddress)
	return c.BecomeBlank()
}

// isReleased reports whether the founder has released this member.
func (c *Controller) isReleased() bool {
	m := c.grid.Member()
	c.mu.Lock()
	defer c.mu.Unlock()
	return !m.Blank() && !m.Formed && m.Cluster == c.released
}
