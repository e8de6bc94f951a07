package formation

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// In memory a grid whose system group has lost a majority of its voters' data
// can never agree on anything again. A member that has proof of it logs
// that, becomes blank, and the grid is formed anew, empty, as at its first start.
//
// Proof is that for a majority of the voters somebody else answers: at an
// address there is one process, and a process has one incarnation for as long
// as its memory lasts.

const (
	lostAfter = 3 * time.Second // without a leader, before proof is looked for
	lostLook  = time.Second     // between two looks
)

// reform is what a member knows of the end of its cluster.
type reform struct {
	leaderless time.Time // since when no leader of the system group is known
	looked     time.Time
}

// Watch looks whether the cluster of a member that belongs to one, or is to join it,
// exists. It reports whether it is lost, and the member has to become blank; its error
// is fatal. admitted says that the cluster has not refused the member.
func (c *Controller) Watch(ctx context.Context, m *identity.Member, admitted bool) (lost bool, err error) {
	if err := c.checkRecovered(ctx, m); err != nil {
		return false, err
	}
	e := c.grid.Engine()
	if e == nil {
		return false, nil
	}
	if _, ok := m.Replica(protocol.SystemGroup); !ok {
		if admitted || !c.isNoMore(ctx, m) {
			return false, nil
		}
		c.grid.Log.Info("the cluster that was to be joined no longer exists", "cluster", m.Cluster)
		return true, nil
	}
	v := e.System().View()
	if v.Cluster != (protocol.UUID{}) {
		return c.isLost(ctx, e, m, v), nil
	}
	if lost = c.logNeverComes(ctx, m); lost {
		c.grid.Log.Warn("the log of the system group never arrives: its cluster no longer exists", "cluster", m.Cluster)
	}
	return lost, nil
}

// isLost reports whether the member's cluster is lost.
func (c *Controller) isLost(ctx context.Context, h membership.Engine, m *identity.Member, v *systemstate.ClusterState) bool {
	r := &c.reform
	now := time.Now()
	switch {
	case m.Durability != "memory" || c.isLed(h, v):
		r.leaderless = time.Time{}
		return false
	case r.leaderless.IsZero():
		r.leaderless = now
	}
	if now.Sub(r.leaderless) < lostAfter || now.Sub(r.looked) < lostLook {
		return false
	}
	r.looked = now
	replies := c.probe(ctx)
	led := func(s peers.StateReply) bool { return s.Cluster == m.Cluster && s.Led }
	if slices.ContainsFunc(replies, led) {
		return false // it is this member that sees too little
	}
	g, _ := v.Group(protocol.SystemGroup)
	systemVoters := membership.Voters(g)
	voters, lost := 0, []string{}
	// The group may count a vote that is not agreed yet: that of a copy whose
	// promotion was under way. Of more than one voter the others have a majority
	// without it. If nothing is formed nothing is lost by a step too many.
	promoted := !v.Formed || systemVoters == 1
	dead := c.deadOf(ctx, replies, m, v, g)
	for _, x := range g.Replicas {
		o, ok := v.Member(x.Member)
		switch {
		case !ok:
		case !x.NonVoting:
			voters++
			if dead[o.ID] {
				lost = append(lost, o.Name)
			}
		case promoted && dead[o.ID]:
			voters++
			lost = append(lost, o.Name)
		}
	}
	if 2*len(lost) < voters || voters == 0 {
		return false
	}
	if !v.Formed {
		c.grid.Log.Warn("a majority of the members that were to form the cluster have lost their memory: this one begins anew", "lost", lost)
		return true
	}
	c.mu.Lock()
	c.lostTTL = max(c.lostTTL, h.System().LongestTTL(), defaultGracePeriod)
	gracePeriod := c.lostTTL
	c.mu.Unlock()
	c.grid.Log.Error("the grid has lost the memory of a majority of its members, and with it everything: it is formed anew, empty",
		"cluster", m.Cluster, "lost", lost, "groups", len(v.Groups), "grace_period", gracePeriod)
	return true
}

// isLed reports whether the system group has a leader that is heard of. A replica
// without a vote takes the last leader that it had for one for ever.
func (c *Controller) isLed(h membership.Engine, v *systemstate.ClusterState) bool {
	l := h.System().Leader()
	if l.Replica == 0 || l.Self {
		return l.Self
	}
	o, ok := v.Member(v.MemberOf(protocol.SystemGroup, l.Replica))
	return !ok || c.grid.Heard(o.Incarnation)
}

// votesInSystem reports whether an incarnation has a vote in the system group. Only
// those who have are asked whether it is led: the others learn of a leader, and
// never that there is none.
func votesInSystem(v *systemstate.ClusterState, u protocol.UUID) bool {
	o, ok := v.Incarnation(u)
	g, _ := v.Group(protocol.SystemGroup)
	return ok && slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return r.Member == o.ID && !r.NonVoting })
}

// defaultGracePeriod is how long permits are held back at least if the sessions
// of the lost cluster are not known to the last.
const defaultGracePeriod = 10 * time.Second

// deadOf returns which of the others with a replica of a group are proved to be over.
// All are asked at the same time: each may be silent for as long as a question waits.
func (c *Controller) deadOf(ctx context.Context, replies []peers.StateReply, m *identity.Member, v *systemstate.ClusterState, g systemstate.Group) map[protocol.MemberID]bool {
	dead := map[protocol.MemberID]bool{}
	var mu sync.Mutex // guards dead
	var asking sync.WaitGroup
	for _, x := range g.Replicas {
		o, ok := v.Member(x.Member)
		if !ok || o.Incarnation == m.Incarnation {
			continue
		}
		asking.Go(func() {
			if c.isDead(ctx, replies, o) {
				mu.Lock()
				dead[o.ID] = true
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	return dead
}

// isDead reports whether an incarnation in memory is proved to be over.
func (c *Controller) isDead(ctx context.Context, replies []peers.StateReply, o systemstate.Member) bool {
	var r peers.StateReply
	if err := c.grid.Ask(ctx, o.Address, peers.AskState, c.grid.Me(), &r); err == nil {
		return r.Self.Incarnation != o.Incarnation
	}
	// Nobody is at its address: it may have been started elsewhere.
	return !c.grid.Heard(o.Incarnation) && (o.Gone || slices.ContainsFunc(replies, func(s peers.StateReply) bool {
		return s.Self.Name == o.Name && s.Self.Incarnation != o.Incarnation
	}))
}

// BecomeBlank begins anew, in a process that has served before. Nothing else works for
// the cluster any more.
func (c *Controller) BecomeBlank() error {
	m := c.grid.Member()
	c.mu.Lock()
	c.past = past{name: m.ClusterName, addresses: c.grid.KnownAddresses()}
	c.mu.Unlock()
	if err := c.forget(); err != nil {
		return err
	}
	if c.grid.IsReady() {
		c.grid.SetNotReady()
	}
	c.cfg.Reset()
	c.reform.leaderless = time.Time{}
	c.grid.SetWaiting("the grid to be formed anew")
	return nil
}

// isNoMore reports whether a cluster in memory is there no more, as far as a
// member sees that has nothing of it: nobody who answers belongs to it.
func (c *Controller) isNoMore(ctx context.Context, m *identity.Member) bool {
	if m.Durability != "memory" || time.Since(c.reform.looked) < lostLook {
		return false
	}
	c.reform.looked = time.Now()
	there := func(s peers.StateReply) bool { return s.Cluster == m.Cluster && s.Formed }
	return !slices.ContainsFunc(c.probe(ctx), there)
}

// logNeverComes reports whether a replica of the system group, of a member in
// memory, waits for a log that no longer exists: those who were to send it have
// lost their memory, or take this member for one of a formed cluster and wait for
// it. The replica has nothing, so it has no vote either.
func (c *Controller) logNeverComes(ctx context.Context, m *identity.Member) bool {
	r := &c.reform
	if r.leaderless.IsZero() {
		r.leaderless = time.Now()
	}
	return time.Since(r.leaderless) >= lostAfter && c.isNoMore(ctx, m)
}

// GracePeriod returns how long the groups of a cluster that is formed hand out
// nothing that a session holds, because a cluster before it was lost.
func (c *Controller) GracePeriod() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	longest := c.lostTTL
	for _, r := range c.seen {
		longest = max(longest, time.Duration(r.GracePeriod))
	}
	return longest
}

// forget makes the member blank again.
func (c *Controller) forget() error {
	if e := c.grid.SetEngine(nil); e != nil {
		if err := e.Close(); err != nil {
			return err
		}
	}
	c.grid.SetRemoteLeaders(map[protocol.GroupID]peers.LeaderOf{})
	c.cfg.Forgotten()
	if err := c.grid.Decide((*identity.Dir).Forget); err != nil {
		return err
	}
	m := c.grid.Member()
	return c.grid.StartGossip(c.Label(&m))
}
