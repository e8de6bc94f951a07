package client

import (
	"errors"
	"maps"
	"slices"

	"github.com/quorate/quorate/protocol"
)

// routes is one version of the client's table. It is never changed: learn and
// hint replace it.
type routes struct {
	epoch   protocol.Epoch
	parts   []*group // by partition; nil: owned by no group that is known
	groups  map[protocol.GroupID]*group
	members map[protocol.MemberID]protocol.TableMember
	peers   map[protocol.MemberID]*member // those of members
	next    chan struct{}                 // closed when these routes are replaced
}

type group struct {
	id       protocol.GroupID
	term     uint64
	leader   *member // nil: not known
	replicas []protocol.MemberID
}

// of returns the group that owns a partition, nil where it is not known.
func (r *routes) of(p protocol.PartitionID) *group {
	if uint64(p) >= uint64(len(r.parts)) {
		return nil
	}
	return r.parts[p]
}

func (c *Client) epoch() protocol.Epoch { return c.routes.Load().epoch }

func (c *Client) address(id protocol.MemberID) string { return c.routes.Load().members[id].Address }

// view is what routes are made of.
type view struct {
	epoch      protocol.Epoch
	partitions []protocol.GroupID
	groups     map[protocol.GroupID]protocol.TableGroup
	members    map[protocol.MemberID]protocol.TableMember
}

// merge takes what is newer in t: the partitions, members and places of a
// later epoch, and per group the leader of a later term. It reports whether
// anything changed. Within a term there is one leader, so a view of the same
// term counts only where no leader is known: the leader may have been taken
// back by an answer that is newer than t.
func (v *view) merge(t *protocol.Table) bool {
	changed := false
	if t.Epoch > v.epoch || v.partitions == nil {
		changed = true
		v.epoch = t.Epoch
		v.partitions = t.Partitions
		v.members = make(map[protocol.MemberID]protocol.TableMember, len(t.Members))
		for _, m := range t.Members {
			v.members[m.ID] = m
		}
		old := v.groups
		v.groups = make(map[protocol.GroupID]protocol.TableGroup, len(t.Groups))
		for _, g := range t.Groups {
			o := old[g.ID]
			if _, stays := v.members[o.Leader]; o.Term > g.Term || o.Term == g.Term && stays {
				g.Term, g.Leader = o.Term, o.Leader
			}
			v.groups[g.ID] = g
		}
		return true
	}
	for _, g := range t.Groups {
		o, ok := v.groups[g.ID]
		if !ok || g.Term < o.Term || g.Term == o.Term && (o.Leader != 0 || g.Leader == 0) {
			continue
		}
		changed = changed || o.Leader != g.Leader
		o.Term, o.Leader = g.Term, g.Leader
		v.groups[g.ID] = o
	}
	return changed
}

// learn takes what is newer in the table of a member of the grid that is meant.
func (c *Client) learn(of *life, t *protocol.Table) {
	if len(t.Partitions) == 0 && t.Epoch == 0 {
		return // of a member that serves nothing yet
	}
	if t.Cluster != (protocol.UUID{}) && t.Cluster != of.cluster {
		c.log.Error("ignored a table of another cluster", "have", of.cluster.String(), "got", t.Cluster.String())
		return
	}
	c.routeMu.Lock()
	if of != c.life.Load() {
		c.routeMu.Unlock()
		return // of a grid that is no more
	}
	if c.partitions != 0 && len(t.Partitions) != c.partitions {
		c.routeMu.Unlock()
		c.log.Error("ignored a table with another number of partitions", "have", c.partitions, "got", len(t.Partitions))
		return
	}
	before := c.view.epoch
	if c.view.merge(t) {
		c.publish()
	}
	after := c.view.epoch
	c.routeMu.Unlock()
	if after != before {
		c.dropStrangers()
	}
}

// dropStrangers closes the connections to members that are not in the table.
func (c *Client) dropStrangers() {
	r := c.routes.Load()
	for _, n := range c.connections() {
		if _, ok := r.peers[n.link.member]; !ok && n.link.member != 0 {
			n.fail(errors.New("the member has left the table"))
		}
	}
}

// hint takes what the member from said when it was asked as the group's
// leader: that leader leads, or, with 0, that it does not know who does.
func (c *Client) hint(id protocol.GroupID, from, leader protocol.MemberID) {
	c.routeMu.Lock()
	defer c.routeMu.Unlock()
	g, ok := c.view.groups[id]
	if !ok || g.Leader != from || g.Leader == leader {
		return
	}
	if _, known := c.view.members[leader]; !known {
		leader = 0
	}
	g.Leader = leader
	c.view.groups[id] = g
	c.publish()
}

// publish makes routes of the view. The caller holds routeMu.
func (c *Client) publish() {
	v := &c.view
	r := &routes{
		epoch:   v.epoch,
		parts:   make([]*group, len(v.partitions)),
		groups:  make(map[protocol.GroupID]*group, len(v.groups)),
		members: maps.Clone(v.members),
		peers:   make(map[protocol.MemberID]*member, len(v.members)),
		next:    make(chan struct{}),
	}
	old := c.routes.Load()
	for id := range v.members {
		m := old.peers[id]
		if m == nil {
			m = newMember(c, id)
		}
		r.peers[id] = m
	}
	for id, g := range v.groups {
		r.groups[id] = &group{id: id, term: g.Term, leader: r.peers[g.Leader], replicas: g.Replicas}
	}
	for p, id := range v.partitions {
		r.parts[p] = r.groups[id]
	}
	c.routes.Store(r)
	close(old.next)
}

// Table returns the client's routing table.
func (c *Client) Table() protocol.Table {
	c.routeMu.Lock()
	defer c.routeMu.Unlock()
	v := &c.view
	t := protocol.Table{Type: protocol.TypeTable, Epoch: v.epoch, Partitions: slices.Clone(v.partitions), Cluster: c.Cluster()}
	for _, id := range slices.Sorted(maps.Keys(v.groups)) {
		g := v.groups[id]
		g.Replicas = slices.Clone(g.Replicas)
		t.Groups = append(t.Groups, g)
	}
	for _, id := range slices.Sorted(maps.Keys(v.members)) {
		t.Members = append(t.Members, v.members[id])
	}
	return t
}
