package coordinator

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// View returns what is agreed as this member knows it, nil before it knows.
func (c *Coordinator) View() *systemstate.Agreement {
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
	if a, ok := c.resolve(o.Incarnation); ok {
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

func (c *Coordinator) leader(v *systemstate.Agreement, g protocol.GroupID) (protocol.MemberID, uint64) {
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
	if r := c.remote[g]; r.Term > term || r.Term == term && m == 0 {
		return r.Member, r.Term
	}
	return m, term
}

// leadsHere returns who leads a group, and in which term, as its replica here
// knows it.
func leadsHere(h *shardgroups.Host, v *systemstate.Agreement, g protocol.GroupID) (protocol.MemberID, uint64) {
	l := h.LeaderOf(g)
	return v.MemberOf(g, l.Replica), l.Term
}

// leaders returns the leader of every group that has a known one.
func (c *Coordinator) leaders(v *systemstate.Agreement) map[protocol.GroupID]protocol.MemberID {
	leaders := map[protocol.GroupID]protocol.MemberID{}
	for _, g := range v.Groups {
		if m, _ := c.leader(v, g.ID); m != 0 {
			leaders[g.ID] = m
		}
	}
	return leaders
}

// learnLeaders asks other members who leads the groups whose leader is not
// known here, or is not heard of: a copy that its group does not know yet never
// hears of the next leader, and it is the leader who is to add it. What they say
// replaces what they have said before: a leader that nobody knows any more is
// none.
func (c *Coordinator) learnLeaders(ctx context.Context, h *shardgroups.Host, v *systemstate.Agreement) {
	self := c.Self()
	heard := func(id protocol.MemberID) bool {
		o, ok := v.Member(id)
		return ok && c.Heard(o.Incarnation)
	}
	asked := map[protocol.MemberID]bool{}
	for _, g := range v.Groups {
		m, _ := leadsHere(h, v, g.ID)
		if g.ID == protocol.SystemGroup || m != 0 && (m == self || heard(m)) {
			continue
		}
		for _, r := range g.Replicas {
			if r.Member != self && heard(r.Member) {
				asked[r.Member] = true
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	remote := map[protocol.GroupID]leaderOf{}
	var mu sync.Mutex // guards remote
	var asking sync.WaitGroup
	for id := range asked {
		address, ok := c.AddressOf(id)
		if !ok {
			continue
		}
		asking.Go(func() {
			var known []leaderOf
			if err := ask(ctx, c.cfg.Network, address, askLeaders, nil, &known); err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, l := range known {
				// This member knows best what it leads itself.
				if l.Member != 0 && l.Member != self && l.Term > remote[l.Group].Term {
					remote[l.Group] = l
				}
			}
		})
	}
	asking.Wait()
	c.mu.Lock()
	changed := !maps.Equal(c.remote, remote)
	c.remote = remote
	c.mu.Unlock()
	if changed {
		c.cfg.Changed()
	}
}

// Table returns the table as clients get it, empty before the member serves.
func (c *Coordinator) Table() protocol.Table {
	t := protocol.Table{Type: protocol.TypeTable}
	v := c.View()
	if v == nil || len(v.Partitions) == 0 || !c.IsReady() {
		return t
	}
	t.Epoch, t.Partitions = v.Epoch, v.Partitions
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
func tableOf(v *systemstate.Agreement) *partition.Table {
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
