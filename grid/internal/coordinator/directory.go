package coordinator

import (
	"maps"
	"net"
	"slices"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// labelOf returns the label of the gossip that a member takes part in: the name of
// its cluster. Only that is known to all before the cluster is formed, and it stays.
// Members of clusters of different names do not hear of each other, whoever has
// whose address.
func (c *directory) labelOf(m *identity.Member) string {
	if m.Blank() {
		return c.Formation.clusterName()
	}
	return m.ClusterName
}

// startGossip announces the present incarnation; one before it is closed.
func (c *directory) startGossip() error {
	if old := c.gossip.Swap(nil); old != nil {
		old.Close()
	}
	m := c.member()
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	c.label = c.labelOf(&m)
	g, err := gossip.Start(gossip.Config{
		Label:       c.label,
		Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address, Cluster: m.Cluster, State: state,
		Network: c.cfg.Network, Packets: c.cfg.Packets, Logger: c.log,
		Seeds: c.targets, Changed: c.announced,
	})
	if err != nil {
		return err
	}
	c.gossip.Store(g)
	return nil
}

// SetState changes how this member announces itself.
func (c *directory) SetState(change func(*gossip.State)) {
	c.mu.Lock()
	change(&c.state)
	state := c.state
	c.mu.Unlock()
	if g := c.gossip.Load(); g != nil {
		g.SetState(state)
	}
}

// StateOf returns how an incarnation is, as it has last said itself; this
// member's own is what it announces.
func (c *directory) StateOf(u protocol.UUID) gossip.State {
	if c.member().Incarnation == u {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.state
	}
	return c.Peers.conditionOf(u)
}

// targets are the addresses at which others may be found.
func (c *directory) targets() []string {
	all := slices.Clone(c.cfg.Join)
	if g := c.gossip.Load(); g != nil {
		for _, h := range g.Hints() {
			if h.Alive {
				all = append(all, h.Address)
			}
		}
	}
	c.mu.Lock()
	for a, at := range c.callers {
		if time.Since(at) > callerTTL {
			delete(c.callers, a)
			continue
		}
		all = append(all, a)
	}
	for _, a := range c.known {
		all = append(all, a)
	}
	c.mu.Unlock()
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(a string) bool { return a == c.cfg.Address || a == "" })
}

// resolve returns the address of an incarnation: where it says that it is, else
// where it is heard, else where the tables say, or said before this member was
// started, else where it was heard last.
func (c *directory) resolve(u protocol.UUID) (string, bool) {
	heard, alive := c.heardAt(u)
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.told[u]; ok && t.heard == heard {
		return t.address, true
	}
	if alive {
		return heard, true
	}
	if a, ok := c.known[u]; ok {
		return a, true
	}
	return heard, heard != ""
}

func (c *directory) heardAt(u protocol.UUID) (address string, alive bool) {
	if g := c.gossip.Load(); g != nil {
		return g.Address(u)
	}
	return "", false
}

// noteKnown keeps where a member was said to be.
func (c *directory) noteKnown(all ...self) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range all {
		c.noteKnownLocked(s)
	}
}

// noteKnownLocked is noteKnown where mu is held.
func (c *directory) noteKnownLocked(s self) {
	if _, ok := c.known[s.Incarnation]; ok || len(c.known) < maxKnown {
		c.known[s.Incarnation] = s.Address
	}
}

// forgetUnlisted forgets where incarnations were that are no longer listed. A
// grid in memory has a new one with each start of a member.
func (c *directory) forgetUnlisted(v *systemstate.ClusterState) {
	listed := make(map[protocol.UUID]bool, len(v.Members))
	for _, o := range v.Members {
		listed[o.Incarnation] = true
	}
	unlisted := func(u protocol.UUID) bool { return !listed[u] }
	maps.DeleteFunc(c.Rejoin.runConfirmed, func(u protocol.UUID, _ bool) bool { return unlisted(u) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Peers.forgetConditions(unlisted)
	maps.DeleteFunc(c.known, func(u protocol.UUID, _ string) bool { return unlisted(u) })
	maps.DeleteFunc(c.told, func(u protocol.UUID, _ told) bool { return unlisted(u) })
}

func (c *directory) learn(s self) {
	heard, _ := c.heardAt(s.Incarnation)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteKnownLocked(s)
	if _, ok := c.told[s.Incarnation]; ok || len(c.told) < maxKnown {
		c.told[s.Incarnation] = told{s.Address, heard}
	}
}

func (c *directory) announced() {
	c.wake()
	c.Peers.toldOfState()
	c.cfg.Announced()
}

// ServeGossip takes over a gossip connection.
func (c *directory) ServeGossip(conn net.Conn) {
	if g := c.gossip.Load(); g != nil {
		g.Serve(conn)
		return
	}
	_ = conn.Close() // the peer tries again
}

// Heard reports whether an incarnation was heard of lately.
func (c *directory) Heard(u protocol.UUID) bool {
	g := c.gossip.Load()
	if g == nil {
		return false
	}
	h, ok := g.Hint(u)
	return ok && h.Alive
}
