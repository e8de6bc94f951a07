package coordinator

import (
	"context"
	"slices"
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
func (c *Coordinator) mayReform(ctx context.Context, h *shardgroups.Host, m *identity.Member, v *systemstate.Agreement) (bool, error) {
	r := &c.reform
	now := time.Now()
	switch {
	case m.Durability != "memory" || h.System().Leader().Replica != 0:
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
	voters, lost := 0, []string{}
	for _, x := range g.Replicas {
		o, ok := v.Member(x.Member)
		if x.NonVoting || !ok {
			continue
		}
		voters++
		if o.Gone || o.Incarnation != m.Incarnation && c.isDead(ctx, replies, o) {
			lost = append(lost, o.Name)
		}
	}
	if 2*len(lost) < voters || voters == 0 {
		return false, nil
	}
	c.mu.Lock()
	c.lostTTL = max(c.lostTTL, h.System().LongestTTL(), defaultHoldOff)
	holdOff := c.lostTTL
	c.mu.Unlock()
	c.log.Error("the grid has lost the memory of a majority of its members, and with it everything: it is formed anew, empty",
		"cluster", m.Cluster, "lost", lost, "groups", len(v.Groups), "hold_off", holdOff)
	return true, c.becomeBlank()
}

// defaultHoldOff is how long permits are held back at least where the sessions
// of the lost cluster are not known to the last.
const defaultHoldOff = 10 * time.Second

// isDead reports whether an incarnation in memory is proved to be over.
func (c *Coordinator) isDead(ctx context.Context, replies []stateReply, o systemstate.Member) bool {
	var r stateReply
	if err := ask(ctx, c.cfg.Network, o.Address, askState, c.self(), &r); err == nil {
		return r.Self.Incarnation != o.Incarnation
	}
	// Nobody is at its address: it may have been started elsewhere.
	return !c.Heard(o.Incarnation) && slices.ContainsFunc(replies, func(s stateReply) bool {
		return s.Self.Name == o.Name && s.Self.Incarnation != o.Incarnation
	})
}

// becomeBlank begins anew, in a process that has served before.
func (c *Coordinator) becomeBlank() error {
	if err := c.forget(); err != nil {
		return err
	}
	c.mu.Lock()
	clear(c.remote)
	clear(c.granted)
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
// that is there no more: nobody who answers belongs to it.
func (c *Coordinator) giveUpJoining(ctx context.Context, m *identity.Member) (bool, error) {
	if m.Durability != "memory" || time.Since(c.reform.looked) < lostLook {
		return false, nil
	}
	c.reform.looked = time.Now()
	there := func(s stateReply) bool { return s.Cluster == m.Cluster && s.Formed }
	if slices.ContainsFunc(c.probe(ctx), there) {
		return false, nil
	}
	c.log.Info("the cluster that was to be joined is there no more", "cluster", m.Cluster)
	return true, c.becomeBlank()
}

// heldOff returns how long the groups of a cluster that is formed hand out
// nothing that a session holds, because a cluster before it was lost.
func (c *Coordinator) heldOff() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	longest := c.lostTTL
	for _, r := range c.seen {
		longest = max(longest, time.Duration(r.HoldOff))
	}
	return longest
}
