package formation

import (
	"slices"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
)

// OnState says where this member stands.
func (c *Controller) OnState(from peers.Self) (any, error) {
	m := c.grid.Member()
	if from.Incarnation != m.Incarnation && from.Address != "" && c.grid.NoteCaller(from.Address) {
		defer c.grid.Wake() // somebody new: look around at once
	}
	_, placed := m.Replica(protocol.SystemGroup)
	r := peers.StateReply{
		Self:    peers.Self{Incarnation: m.Incarnation, Name: m.Name, Address: c.grid.Address(), Level: c.grid.Level()},
		Cluster: m.Cluster, ClusterName: m.ClusterName, Formed: m.Formed && placed, Recovered: m.Recovered,
		Founder: m.Founder, FounderAddress: m.FounderAddress,
		Expect: uint32(c.cfg.Expect), Settings: settingsOf(&m), Known: c.grid.Targets(),
	}
	if m.Blank() {
		r.ClusterName, r.Settings = c.wantedName(), c.cfg.Settings.wanted()
	}
	if r.Settings.Durability == "memory" {
		r.Floor = c.grid.Floor.Now()
	}
	if e := c.grid.Engine(); e != nil {
		v := e.System().View()
		r.SystemApplied, r.Led = e.System().Applied(), c.isLed(e, v) && votesInSystem(v, m.Incarnation)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.GracePeriod = int64(c.lostTTL)
	for _, s := range c.seen {
		r.Seen = append(r.Seen, s.Self.Incarnation)
	}
	return r, nil
}

// OnEnlist has this blank member enlist with a founder. It is on disk before the answer.
func (c *Controller) OnEnlist(g peers.Enlistment) (any, error) {
	if err := c.agree(g.ClusterName, g.Settings); err != nil {
		return nil, peers.Refuse(protocol.CodeSettings, "%v", err)
	}
	return nil, c.grid.Decide(func(dir *identity.Dir) error {
		m := dir.Member()
		if m.Incarnation != g.Incarnation {
			return peers.Refuse(protocol.CodeInvalid, "another incarnation was meant, which is dead")
		}
		if m.Cluster == g.Cluster {
			return nil
		}
		if !m.Blank() {
			return peers.Refuse(protocol.CodeWrongGrid, "%s has enlisted with the founder at %s", m.Name, m.FounderAddress)
		}
		c.grid.NoteKnown(g.Founder)
		c.mu.Lock()
		c.founderName = g.Founder.Name
		c.mu.Unlock()
		c.grid.Wake()
		return dir.Update(func(m *identity.Member) {
			m.Cluster, m.ClusterName = g.Cluster, g.ClusterName
			m.Founder, m.FounderAddress = g.Founder.Incarnation, g.Founder.Address
			m.Durability, m.Partitions = g.Settings.Durability, g.Settings.Partitions
			m.Groups, m.Replicas = g.Settings.Groups, g.Settings.Replicas
			m.Peers = []identity.Peer{{Incarnation: g.Founder.Incarnation, Address: g.Founder.Address}}
		})
	})
}

// OnRelease undoes OnEnlist if the cluster was not formed. The next step does the
// work; until it has, the founder asks again.
func (c *Controller) OnRelease(r peers.Release) (any, error) {
	return nil, c.grid.Decide(func(dir *identity.Dir) error {
		m := dir.Member()
		switch {
		case m.Cluster != r.Cluster:
			return nil // released already, or never enlisted
		case m.Formed:
			return peers.Refuse(protocol.CodeWrongGrid, "the cluster is formed")
		}
		c.mu.Lock()
		c.released = r.Cluster
		c.mu.Unlock()
		c.grid.Wake()
		return peers.Refuse(protocol.CodeBusy, "being released")
	})
}

// OnStart notes this member's replica of the system group; the next step starts it.
func (c *Controller) OnStart(s peers.Start) (any, error) {
	return nil, c.grid.Decide(func(dir *identity.Dir) error {
		m := dir.Member()
		if m.Cluster != s.Cluster {
			return peers.ErrAnotherCluster
		}
		if m.Incarnation != s.Incarnation {
			return peers.Refuse(protocol.CodeInvalid, "the replica is that of another incarnation, which is dead")
		}
		c.grid.NoteKnown(slices.DeleteFunc(s.Peers, func(p peers.Self) bool { return p.Incarnation == m.Incarnation })...)
		if r, ok := m.Replica(protocol.SystemGroup); ok {
			if r.Replica != s.Replica {
				return peers.Refuse(protocol.CodeInvalid, "replica %d of the system group runs here", r.Replica)
			}
			return nil
		}
		c.grid.Wake()
		return dir.Update(func(m *identity.Member) {
			m.Started = append(m.Started, identity.Replica{Group: protocol.SystemGroup, Replica: s.Replica, NonVoting: true})
		})
	})
}
