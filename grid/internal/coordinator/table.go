package coordinator

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// View returns what is agreed as this member knows it, nil before it knows.
func (c *Coordinator) View() *systemstate.ClusterState {
	h := c.host.Load()
	if h == nil {
		return nil
	}
	v := h.System().View()
	if v.Cluster == (protocol.UUID{}) {
		return nil
	}
	return v
}

// Self returns this member's number, 0 before it is listed.
func (c *Coordinator) Self() protocol.MemberID {
	v := c.View()
	if v == nil {
		return 0
	}
	o, _ := v.Incarnation(c.member().Incarnation)
	return o.ID
}

// AddressOf returns where a member is.
func (c *Coordinator) AddressOf(id protocol.MemberID) (string, bool) {
	v := c.View()
	if v == nil || id == 0 {
		return "", false
	}
	o, ok := v.Member(id)
	if !ok {
		return "", false
	}
	if a, ok := c.Directory.resolve(o.Incarnation); ok {
		return a, true
	}
	return o.Address, true
}

// LeaderOf returns who leads a group, 0 if that is not known.
func (c *Coordinator) LeaderOf(g protocol.GroupID) protocol.MemberID {
	member, _ := c.leader(c.View(), g)
	return member
}

// Leader returns who leads a group and the term of that knowledge.
func (c *Coordinator) Leader(g protocol.GroupID) (protocol.MemberID, uint64) {
	return c.leader(c.View(), g)
}

func (c *Coordinator) leader(v *systemstate.ClusterState, g protocol.GroupID) (protocol.MemberID, uint64) {
	h := c.host.Load()
	if h == nil || v == nil {
		return 0, 0
	}
	m, term := leadsHere(h, v, g)
	if g == protocol.SystemGroup {
		return m, term
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.Leadership.remote[g]; r.Term > term || r.Term == term && m == 0 {
		return r.Member, r.Term
	}
	return m, term
}

// leadsHere returns who leads a group, and in which term, as its replica here
// knows it.
func leadsHere(h *shardgroups.Host, v *systemstate.ClusterState, g protocol.GroupID) (protocol.MemberID, uint64) {
	l := h.LeaderOf(g)
	return v.MemberOf(g, l.Replica), l.Term
}

// leaders returns the leader of every group that has a known one.
func (c *Coordinator) leaders(v *systemstate.ClusterState) map[protocol.GroupID]protocol.MemberID {
	leaders := map[protocol.GroupID]protocol.MemberID{}
	for _, g := range v.Groups {
		if m, _ := c.leader(v, g.ID); m != 0 {
			leaders[g.ID] = m
		}
	}
	return leaders
}

// Table returns the table as clients get it, empty before the member serves.
func (c *Coordinator) Table() protocol.Table {
	t := protocol.Table{Type: protocol.TypeTable}
	v := c.View()
	if v == nil || len(v.Partitions) == 0 || !c.IsReady() {
		return t
	}
	t.Epoch, t.Partitions, t.Cluster = v.Epoch, v.Partitions, v.Cluster
	for _, g := range v.Groups {
		leader, term := c.leader(v, g.ID)
		group := protocol.TableGroup{ID: g.ID, Term: term, Leader: leader}
		for _, r := range g.Replicas {
			if o, _ := v.Member(r.Member); !o.Gone { // nobody is there to be asked
				group.Replicas = append(group.Replicas, r.Member)
			}
		}
		t.Groups = append(t.Groups, group)
	}
	for _, o := range v.Members {
		if o.Gone {
			continue
		}
		address, _ := c.AddressOf(o.ID)
		t.Members = append(t.Members, protocol.TableMember{ID: o.ID, Name: o.Name, Address: address})
	}
	return mutants.Previous(mutants.StaleTable, c, t)
}

// tableOf returns the table as the planners take it.
func tableOf(v *systemstate.ClusterState) *partition.Table {
	t := &partition.Table{Epoch: v.Epoch, Partitions: v.Partitions}
	for _, g := range v.Groups {
		group := partition.Group{ID: g.ID}
		for _, r := range g.Replicas {
			group.Replicas = append(group.Replicas, partition.Replica{ID: r.ID, Member: r.Member, NonVoting: r.NonVoting})
		}
		t.Groups = append(t.Groups, group)
	}
	for _, o := range v.Members {
		t.Members = append(t.Members, o.ID)
	}
	return t
}
