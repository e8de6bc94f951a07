package client

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/protocol"
)

// routes is one version of the client's table. It is immutable: learn and hint replace
// it.
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

// of returns the group that owns a partition; nil: it is not known.
func (r *routes) of(p protocol.PartitionID) *group {
	if uint64(p) >= uint64(len(r.parts)) {
		return nil
	}
	return r.parts[p]
}

// view is what the client has learned, from which routes are made.
type view struct {
	epoch      protocol.Epoch
	partitions []protocol.GroupID
	groups     map[protocol.GroupID]protocol.TableGroup
	members    map[protocol.MemberID]protocol.TableMember
}

// merge takes what is newer in t: the partitions, members and replicas of a later epoch,
// and for each group the leader of a later term. It reports whether anything changed.
// Within a term there is one leader, so a leader in t of the same term is taken only if
// none is known; there is none if a newer answer has removed it, see hint.
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

// table is the client's routing table: what it has learned, and the routes made of
// it. Calls load the routes without a lock.
type table struct {
	client  *Client
	cluster atomic.Pointer[cluster] // of the members in the table; replaced under mu
	current atomic.Pointer[routes]  // replaced under mu

	mu   sync.Mutex
	view view
}

func (t *table) init(c *Client) {
	t.client = c
	t.current.Store(&routes{next: make(chan struct{})})
}

func (t *table) routes() *routes { return t.current.Load() }

func (t *table) epoch() protocol.Epoch { return t.routes().epoch }

func (t *table) address(id protocol.MemberID) string { return t.routes().members[id].Address }

// learn merges the table of a member of the given cluster.
func (t *table) learn(of *cluster, got *protocol.Table) {
	if len(got.Partitions) == 0 && got.Epoch == 0 {
		return // the table of a member that serves nothing yet
	}
	c := t.client
	if got.Cluster != (protocol.UUID{}) && got.Cluster != of.id {
		c.log.Error("ignored a table of another cluster", "have", of.id.String(), "got", got.Cluster.String())
		return
	}
	t.mu.Lock()
	if of != t.cluster.Load() {
		t.mu.Unlock()
		return // the client has switched to another cluster
	}
	if c.partitions != 0 && len(got.Partitions) != c.partitions {
		t.mu.Unlock()
		c.log.Error("ignored a table with another number of partitions", "have", c.partitions, "got", len(got.Partitions))
		return
	}
	before := t.view.epoch
	if t.view.merge(got) {
		t.publish()
	}
	after := t.view.epoch
	t.mu.Unlock()
	if after != before {
		t.dropRemoved()
	}
}

// dropRemoved closes the connections to members that are not in the table.
func (t *table) dropRemoved() {
	r := t.routes()
	for _, n := range t.client.conns.all() {
		if _, ok := r.peers[n.link.member]; !ok && n.link.member != 0 {
			n.fail(errors.New("the member has left the table"))
		}
	}
}

// replace replaces the view by the table of a new cluster.
func (t *table) replace(by *cluster, got *protocol.Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cluster.Store(by)
	t.view = view{}
	t.view.merge(got)
	t.publish()
}

// hint records the answer of a member that was taken for the group's leader: that
// another member leads, or, with 0, that it does not know who does.
func (t *table) hint(id protocol.GroupID, from, leader protocol.MemberID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := t.view.groups[id]
	if !ok || g.Leader != from || g.Leader == leader {
		return
	}
	if _, known := t.view.members[leader]; !known {
		leader = 0
	}
	g.Leader = leader
	t.view.groups[id] = g
	t.publish()
}

// publish makes new routes from the view. mu is held.
func (t *table) publish() {
	v := &t.view
	r := &routes{
		epoch:   v.epoch,
		parts:   make([]*group, len(v.partitions)),
		groups:  make(map[protocol.GroupID]*group, len(v.groups)),
		members: maps.Clone(v.members),
		peers:   make(map[protocol.MemberID]*member, len(v.members)),
		next:    make(chan struct{}),
	}
	old := t.routes()
	for id := range v.members {
		m := old.peers[id]
		if m == nil {
			m = newMember(t.client, id)
		}
		r.peers[id] = m
	}
	for id, g := range v.groups {
		r.groups[id] = &group{id: id, term: g.Term, leader: r.peers[g.Leader], replicas: g.Replicas}
	}
	for p, id := range v.partitions {
		r.parts[p] = r.groups[id]
	}
	t.current.Store(r)
	close(old.next)
}

// export returns a copy of the table as members send it.
func (t *table) export() protocol.Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := &t.view
	got := protocol.Table{Type: protocol.TypeTable, Epoch: v.epoch, Partitions: slices.Clone(v.partitions), Cluster: t.cluster.Load().id}
	for _, id := range slices.Sorted(maps.Keys(v.groups)) {
		g := v.groups[id]
		g.Replicas = slices.Clone(g.Replicas)
		got.Groups = append(got.Groups, g)
	}
	for _, id := range slices.Sorted(maps.Keys(v.members)) {
		got.Members = append(got.Members, v.members[id])
	}
	return got
}
