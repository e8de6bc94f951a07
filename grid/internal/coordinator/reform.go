package coordinator

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// In memory a grid whose system group has lost a majority of its voters' data
// can never agree on anything again. A member that has proof of it becomes
// blank, loudly, and the grid is formed anew, empty, as at its first start.
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

// mayReform makes the member blank where its cluster is lost. It reports
// whether it did.
func (c *formation) mayReform(ctx context.Context, h *shardgroups.Host, m *identity.Member, v *systemstate.ClusterState) (bool, error) {
	r := &c.reform
	now := time.Now()
	switch {
	case m.Durability != "memory" || c.isLed(h, v):
		r.leaderless = time.Time{}
		return false, nil
	case r.leaderless.IsZero():
		r.leaderless = now
	}
	if now.Sub(r.leaderless) < lostAfter || now.Sub(r.looked) < lostLook {
		return false, nil
	}
	r.looked = now
	replies := c.probe(ctx)
	led := func(s stateReply) bool { return s.Cluster == m.Cluster && s.Led }
	if slices.ContainsFunc(replies, led) {
		return false, nil // it is this member that sees too little
	}
	g, _ := v.Group(protocol.SystemGroup)
	systemVoters := voters(g)
	voters, lost := 0, []string{}
	// The group may count a vote that is not agreed yet: that of a copy whose
	// promotion was under way. Of more than one voter the others have a majority
	// without it. Where nothing is formed nothing is lost by a step too many.
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
		return false, nil
	}
	if !v.Formed {
		c.log.Warn("a majority of the members that were to form the cluster have lost their memory: this one begins anew", "lost", lost)
		return true, c.becomeBlank()
	}
	c.mu.Lock()
	c.lostTTL = max(c.lostTTL, h.System().LongestTTL(), defaultGracePeriod)
	gracePeriod := c.lostTTL
	c.mu.Unlock()
	c.log.Error("the grid has lost the memory of a majority of its members, and with it everything: it is formed anew, empty",
		"cluster", m.Cluster, "lost", lost, "groups", len(v.Groups), "grace_period", gracePeriod)
	return true, c.becomeBlank()
}

// isLed reports whether the system group has a leader that is heard of. A replica
// without a vote takes the last leader that it had for one for ever.
func (c *formation) isLed(h *shardgroups.Host, v *systemstate.ClusterState) bool {
	l := h.System().Leader()
	if l.Replica == 0 || l.Self {
		return l.Self
	}
	o, ok := v.Member(v.MemberOf(protocol.SystemGroup, l.Replica))
	return !ok || c.Directory.Heard(o.Incarnation)
}

// votesInSystem reports whether an incarnation has a vote in the system group. Only
// those who have are asked whether it is led: the others are told of a leader, and
// never that there is none.
func votesInSystem(v *systemstate.ClusterState, u protocol.UUID) bool {
	o, ok := v.Incarnation(u)
	g, _ := v.Group(protocol.SystemGroup)
	return ok && slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return r.Member == o.ID && !r.NonVoting })
}

// defaultGracePeriod is how long permits are held back at least where the sessions
// of the lost cluster are not known to the last.
const defaultGracePeriod = 10 * time.Second

// deadOf returns which of the others with a replica of a group are proved to be over.
// All are asked at the same time: each may be silent for as long as a question waits.
func (c *formation) deadOf(ctx context.Context, replies []stateReply, m *identity.Member, v *systemstate.ClusterState, g systemstate.Group) map[protocol.MemberID]bool {
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
func (c *formation) isDead(ctx context.Context, replies []stateReply, o systemstate.Member) bool {
	var r stateReply
	if err := ask(ctx, c.cfg.Network, o.Address, askState, c.self(), &r); err == nil {
		return r.Self.Incarnation != o.Incarnation
	}
	// Nobody is at its address: it may have been started elsewhere.
	return !c.Directory.Heard(o.Incarnation) && (o.Gone || slices.ContainsFunc(replies, func(s stateReply) bool {
		return s.Self.Name == o.Name && s.Self.Incarnation != o.Incarnation
	}))
}

// becomeBlank begins anew, in a process that has served before.
func (c *formation) becomeBlank() error {
	m := c.member()
	c.mu.Lock()
	c.past.name = m.ClusterName
	c.past.addresses = slices.Sorted(maps.Values(c.Directory.known))
	c.mu.Unlock()
	if err := c.forget(); err != nil {
		return err
	}
	c.mu.Lock()
	clear(c.Leadership.remote)
	clear(c.Leadership.granted)
	c.mu.Unlock()
	if c.IsReady() {
		ready := make(chan struct{})
		c.ready.Store(&ready)
	}
	c.cfg.Reset()
	c.reform.leaderless = time.Time{}
	c.setWaiting("the grid to be formed anew")
	return nil
}

// giveUpJoining makes a member blank again that was to join a cluster in memory
// that is there no more.
func (c *formation) giveUpJoining(ctx context.Context, m *identity.Member) (bool, error) {
	if !c.isNoMore(ctx, m) {
		return false, nil
	}
	c.log.Info("the cluster that was to be joined no longer exists", "cluster", m.Cluster)
	return true, c.becomeBlank()
}

// isNoMore reports whether a cluster in memory is there no more, as far as a
// member sees that has nothing of it: nobody who answers belongs to it.
func (c *formation) isNoMore(ctx context.Context, m *identity.Member) bool {
	if m.Durability != "memory" || time.Since(c.reform.looked) < lostLook {
		return false
	}
	c.reform.looked = time.Now()
	there := func(s stateReply) bool { return s.Cluster == m.Cluster && s.Formed }
	return !slices.ContainsFunc(c.probe(ctx), there)
}

// logNeverComes reports whether a replica of the system group, of a member in
// memory, waits for a log that nobody has any more: those who were to send it have
// lost their memory, or take this member for one of a formed cluster and wait for
// it. The replica has nothing, so it has no vote either.
func (c *formation) logNeverComes(ctx context.Context, m *identity.Member) bool {
	r := &c.reform
	if r.leaderless.IsZero() {
		r.leaderless = time.Now()
	}
	return time.Since(r.leaderless) >= lostAfter && c.isNoMore(ctx, m)
}

// gracePeriod returns how long the groups of a cluster that is formed hand out
// nothing that a session holds, because a cluster before it was lost.
func (c *formation) gracePeriod() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	longest := c.lostTTL
	for _, r := range c.seen {
		longest = max(longest, time.Duration(r.GracePeriod))
	}
	return longest
}
