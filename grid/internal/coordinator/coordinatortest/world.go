// Package coordinatortest is what lies outside a coordinator, in memory: Raft groups, the
// gossip and the questions between members. A script runs whole coordinators on it, in the
// virtual time of testing/synctest.
//
// Groups do what coordinators rely on. An entry is committed if a majority of the voters
// is up and reached by the leader; a group without a leader elects one after a second; a
// learner has caught up some time after it was started; a voter that lacks an entry is not
// elected. What an incarnation has stored outlives its process unless it is in memory.
package coordinatortest

import (
	"context"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

const (
	tick            = 20 * time.Millisecond
	electionTimeout = time.Second
	catchUpTime     = 100 * time.Millisecond // of a learner
	hearTime        = 200 * time.Millisecond // until the gossip tells of a change
	suspectTime     = 3 * time.Second        // until a member that is not heard counts as failed
	roundTrip       = time.Millisecond
)

// World is all that the coordinators of a script share. It is safe for concurrent use.
type World struct {
	mu     sync.Mutex // guards what follows, and all that lies below
	nodes  map[string]*Node
	groups map[groupKey]*group
	order  []*group // in the order in which they were made
}

type groupKey struct {
	cluster protocol.UUID
	id      protocol.GroupID
}

// NewWorld returns a World, which works until ctx ends.
func NewWorld(ctx context.Context) *World {
	w := &World{nodes: map[string]*Node{}, groups: map[groupKey]*group{}}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(tick):
			}
			for _, tell := range w.step() {
				tell()
			}
		}
	}()
	return w
}

// step lets a tick pass, and returns whom to tell of changes.
func (w *World) step() (tell []func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.order {
		g.elect()
		tell = append(tell, g.spread()...)
	}
	for _, n := range w.nodes {
		if n.gossip != nil && n.gossip.hear() {
			tell = append(tell, n.gossip.cfg.Changed)
		}
	}
	return tell
}

// reach reports whether two nodes reach each other. mu is held.
func (w *World) reach(a, b *Node) bool {
	return a != nil && b != nil && a.up && b.up && (a == b || !a.cut && !b.cut)
}

// nodeOf returns the node at which an incarnation runs, nil if it runs nowhere. mu is
// held.
func (w *World) nodeOf(u protocol.UUID) *Node {
	for _, n := range w.nodes {
		if n.up && n.incarnation() == u {
			return n
		}
	}
	return nil
}

// Cluster returns what is agreed in the cluster of most entries, as its log has it; nil if
// there is none.
func (w *World) Cluster() *systemstate.ClusterState {
	w.mu.Lock()
	defer w.mu.Unlock()
	var longest *group
	for _, g := range w.order {
		if g.key.id == protocol.SystemGroup && (longest == nil || g.last >= longest.last) {
			longest = g
		}
	}
	if longest == nil {
		return nil
	}
	return longest.replay().ClusterState()
}

// Leader returns the address of a group's leader, "" if it has none.
func (w *World) Leader(cluster protocol.UUID, id protocol.GroupID) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := w.groups[groupKey{cluster, id}]; g != nil {
		if n := w.nodeOf(g.owner(g.leader)); n != nil {
			return n.Address
		}
	}
	return ""
}
