package leadership

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

const (
	searchEvery = time.Second // between two rounds of questions for the same groups
	searchAsks  = 8           // members in one round
)

// search is how a member looks for leaders that it does not know: what it has
// asked, and when. A group may be without a leader for long, and each question is
// a connection.
type search struct {
	groups []protocol.GroupID // of the last round
	at     time.Time
	turn   int // where the next round begins among those who may know
}

// next returns whom to ask now for the leaders of groups; of more members than are
// asked in one round each has its turn. If nobody needs to be asked, or not
// yet, ok is false.
func (s *search) next(now time.Time, groups []protocol.GroupID, mayKnow []protocol.MemberID) (ask []protocol.MemberID, ok bool) {
	same := slices.Equal(s.groups, groups)
	if same && now.Sub(s.at) < searchEvery {
		return nil, false
	}
	s.groups, s.at = groups, now
	n := min(len(mayKnow), searchAsks)
	for i := range n {
		ask = append(ask, mayKnow[(s.turn+i)%len(mayKnow)])
	}
	s.turn += n
	return ask, true
}

// learnLeaders asks other members who leads the groups whose leader is not
// known here, or is not heard of: a copy that its group does not know yet never
// hears of the next leader, and it is the leader who is to add it. What they say
// of a group replaces what others have said before: a leader that nobody knows any
// more is none.
func (c *Controller) learnLeaders(ctx context.Context, h membership.Engine, v *systemstate.ClusterState) {
	self := c.grid.Self()
	heard := func(id protocol.MemberID) bool {
		o, ok := v.Member(id)
		return ok && c.grid.Heard(o.Incarnation)
	}
	var groups []protocol.GroupID
	mayKnow := map[protocol.MemberID]bool{}
	for _, g := range v.Groups {
		m, _ := membership.LeadsHere(h, v, g.ID)
		if g.ID == protocol.SystemGroup || m != 0 && (m == self || heard(m)) {
			continue
		}
		groups = append(groups, g.ID)
		for _, r := range g.Replicas {
			if r.Member != self && heard(r.Member) {
				mayKnow[r.Member] = true
			}
		}
	}
	asked, ok := c.search.next(time.Now(), groups, slices.Sorted(maps.Keys(mayKnow)))
	if !ok {
		return
	}
	if c.grid.SetRemoteLeaders(c.askLeaders(ctx, v, groups, asked, c.grid.RemoteLeaders())) {
		c.grid.Changed()
	}
}

// askLeaders returns who leads the groups: as those say who are asked, or, of a
// group of which none of them has a replica, as others have said before.
func (c *Controller) askLeaders(ctx context.Context, v *systemstate.ClusterState, groups []protocol.GroupID, asked []protocol.MemberID, before map[protocol.GroupID]peers.LeaderOf) map[protocol.GroupID]peers.LeaderOf {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	self := c.grid.Self()
	remote := map[protocol.GroupID]peers.LeaderOf{}
	for _, id := range groups {
		g, _ := v.Group(id)
		if l, ok := before[id]; ok && !slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return slices.Contains(asked, r.Member) }) {
			remote[id] = l
		}
	}
	var mu sync.Mutex // guards remote
	var asking sync.WaitGroup
	for _, id := range asked {
		address, ok := c.grid.AddressOf(id)
		if !ok {
			continue
		}
		asking.Go(func() {
			var known peers.LeadersReply
			if err := c.grid.Ask(ctx, address, peers.AskLeaders, peers.LeadersQuery{}, &known); err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, l := range known.Leaders {
				// This member knows best what it leads itself.
				if l.Member != 0 && l.Member != self && l.Term > remote[l.Group].Term {
					remote[l.Group] = l
				}
			}
		})
	}
	asking.Wait()
	return remote
}
