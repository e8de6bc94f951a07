package coordinatortest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// group is a Raft group. The lock of its World guards it.
type group struct {
	w        *World
	key      groupKey
	last     int            // entries of the log, all committed
	commands map[int][]byte // of the system group, by entry
	term     uint64
	leader   protocol.ReplicaID // 0: none
	lost     time.Time          // since when
	replicas map[protocol.ReplicaID]*replica
}

// replica is one replica of a group.
type replica struct {
	g       *group
	id      protocol.ReplicaID
	owner   protocol.UUID // the incarnation
	listed  bool          // the group counts it
	votes   bool
	stored  bool // it was started once
	running bool
	begun   time.Time // when it was started
	held    int       // entries in its log
	highest int       // the most that others have seen it hold
	applied int
	state   *systemstate.State // of the system group
	known   shardgroups.Leader
}

func newGroup(w *World, key groupKey, initial map[protocol.ReplicaID]protocol.UUID) *group {
	g := &group{w: w, key: key, commands: map[int][]byte{}, lost: time.Now(), replicas: map[protocol.ReplicaID]*replica{}, last: 1}
	for id, u := range initial {
		g.replicas[id] = &replica{g: g, id: id, owner: u, listed: true, votes: true}
	}
	w.groups[key] = g
	w.order = append(w.order, g)
	return g
}

func (g *group) owner(id protocol.ReplicaID) protocol.UUID {
	if r := g.replicas[id]; r != nil {
		return r.owner
	}
	return protocol.UUID{}
}

// sorted returns the replicas in the order of their numbers.
func (g *group) sorted() []*replica {
	return slices.SortedFunc(maps.Values(g.replicas), func(a, b *replica) int { return cmp.Compare(a.id, b.id) })
}

// node returns where a replica runs, nil if it does not.
func (r *replica) node() *Node {
	if r == nil || !r.running {
		return nil
	}
	return r.g.w.nodeOf(r.owner)
}

func (r *replica) reaches(o *replica) bool { return r.g.w.reach(r.node(), o.node()) }

// hasMajority reports whether a replica reaches a majority of the voters.
func (g *group) hasMajority(r *replica) bool {
	voters, reached := 0, 0
	for _, o := range g.replicas {
		if o.listed && o.votes {
			voters++
			if r.reaches(o) {
				reached++
			}
		}
	}
	return reached > voters/2
}

// leading returns the leader if it can commit, else nil.
func (g *group) leading() *replica {
	r := g.replicas[g.leader]
	if r == nil || !r.listed || !r.votes || !g.hasMajority(r) {
		return nil
	}
	return r
}

// elect elects a leader if there has been none for the election timeout.
func (g *group) elect() {
	if g.leading() != nil {
		return
	}
	if g.leader != 0 {
		g.leader, g.lost = 0, time.Now()
	}
	if time.Since(g.lost) < electionTimeout {
		return
	}
	for _, r := range g.sorted() {
		// Before the first entry is held by anybody the log is empty.
		if r.listed && r.votes && (r.held == g.last || g.last == 1) && g.hasMajority(r) {
			g.leader = r.id
			g.term++
			return
		}
	}
}

// spread brings the log to the replicas that the leader reaches, and returns whom to tell
// of what has changed.
func (g *group) spread() (tell []func()) {
	leader := g.leading()
	for _, r := range g.sorted() {
		n := r.node()
		if n == nil {
			continue
		}
		known := r.known
		switch {
		case leader != nil && r.listed && r.reaches(leader):
			known = shardgroups.Leader{Replica: leader.id, Term: g.term, Self: leader == r}
			if r.votes || time.Since(r.begun) >= catchUpTime {
				r.held = g.last
			}
		case r.votes || !r.listed: // it thinks that it votes, and hears of no leader
			known.Replica, known.Self = 0, false
		}
		r.highest = max(r.highest, r.held)
		if known != r.known {
			r.known = known
			tell = append(tell, n.engine.cfg.LeaderChanged)
		}
		if r.apply() {
			tell = append(tell, n.engine.cfg.SystemChanged)
		}
	}
	return tell
}

// apply applies what the log of a replica holds.
func (r *replica) apply() (changed bool) {
	for ; r.applied < r.held; r.applied++ {
		if c := r.g.commands[r.applied+1]; c != nil {
			_, now, err := r.state.Apply(c)
			if err != nil {
				panic("coordinatortest: " + err.Error())
			}
			changed = changed || now
		}
	}
	return changed
}

// replay returns the state that the whole log makes.
func (g *group) replay() *systemstate.State {
	r := replica{g: g, state: systemstate.New(), held: g.last}
	r.apply()
	return r.state
}

// commit appends an entry, if there is a leader, and returns what applying it gives.
func (g *group) commit(command []byte) (answer []byte, ok bool, err error) {
	leader := g.leading()
	if leader == nil {
		return nil, false, nil
	}
	if command != nil {
		if answer, _, err = g.replay().Apply(command); err != nil {
			return nil, false, err
		}
		g.commands[g.last+1] = command
	}
	g.last++
	for _, r := range g.replicas {
		if r.listed && r.votes && r.reaches(leader) {
			r.held = g.last
			r.highest = max(r.highest, r.held)
			if r.state != nil {
				r.apply()
			}
		}
	}
	return answer, true, nil
}
