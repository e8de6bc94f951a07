package rejoin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// ErrNotAdmitted is the error of a member that its cluster does not list yet; what it
// waits for says more.
var ErrNotAdmitted = errors.New("not admitted yet")

// askToJoin asks the cluster to list this member and to give it a replica of
// the system group.
func (c *Controller) askToJoin(ctx context.Context, m *identity.Member) error {
	// All are asked at the same time: addresses that are silent must not use up
	// the time of the one that answers.
	type reply struct {
		by  string
		err error
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	targets := c.grid.Targets()
	replies := make(chan reply, len(targets))
	q := peers.Join{Cluster: m.Cluster, Incarnation: m.Incarnation, Name: m.Name, Address: c.grid.Address(), Level: c.grid.Level()}
	for _, address := range targets {
		go func() { replies <- reply{address, c.grid.Ask(asking, address, peers.AskJoin, q, nil)} }()
	}
	var said *peers.Refusal
	for range targets {
		a := <-replies
		if a.err == nil {
			c.refused.Store(false)
			c.grid.SetWaiting("the first replica of the system group")
			return nil
		}
		errors.As(a.err, &said)
		c.grid.Log.Debug("not admitted", "by", a.by, "err", a.err)
	}
	c.refused.Store(true)
	if said != nil {
		c.grid.SetWaiting("cluster %q to admit this member: %s", m.ClusterName, said.Detail)
	} else {
		c.grid.SetWaiting("cluster %q to admit this member", m.ClusterName)
	}
	return ErrNotAdmitted
}

// announceAddress tells everybody that this member is at another address than the
// tables say. Without it the others would send to the old one until they miss
// it there.
func (c *Controller) announceAddress(ctx context.Context, h membership.Engine, m *identity.Member) error {
	q := peers.Join{Cluster: m.Cluster, Incarnation: m.Incarnation, Name: m.Name, Address: c.grid.Address(), Level: c.grid.Level()}
	if h.System().Leader().Self {
		return membership.SetAddress(ctx, h, q)
	}
	targets := c.grid.Targets()
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, address := range targets {
		wg.Go(func() { errs[i] = c.grid.Ask(ctx, address, peers.AskAddress, q, nil) })
	}
	wg.Wait()
	if len(targets) > 0 && !slices.Contains(errs, nil) {
		return fmt.Errorf("tell the new address: %w", errors.Join(errs...))
	}
	return nil
}

// leaderlessTime is how long a member hears of no leader before it asks whether it was
// replaced. An election takes less, and a start must not wait for addresses that are silent.
const leaderlessTime = 3 * time.Second

// replacedLook is how often a member that was replaced asks whether it is needed, and one
// that hears of no leader whether it was replaced.
const replacedLook = time.Second

// replacedBy returns who says that this member was replaced, "" if nobody does. A member
// that is cut off hears of no leader, and what is agreed without it reaches it no more:
// its replicas were removed from their groups. Nobody notifies it, so it has to ask.
func (c *Controller) replacedBy(ctx context.Context, m *identity.Member) string {
	if m.Durability == "memory" {
		return "" // package formation looks for proof
	}
	if c.leaderless.IsZero() {
		c.leaderless = time.Now()
	}
	if time.Since(c.leaderless) < leaderlessTime || time.Since(c.lookedReplaced) < replacedLook {
		return ""
	}
	c.lookedReplaced = time.Now()
	replies := c.Runs.askAll(ctx, c.Runs.progressQuery(m), time.Second, func(protocol.UUID) bool { return true })
	for _, r := range believed(replies, m.Peers, c.grid.Join()) {
		if r.Led && !r.Listed && !r.Placed {
			return r.Self.Name
		}
	}
	return ""
}

// isNeeded reports whether a member that was replaced, and lives, is to go on: its
// end would take the data of a group's majority. The others drop its replicas
// once they have others for them, that of the system group first, so that it
// hears of the rest by asking.
func (c *Controller) isNeeded(ctx context.Context, m *identity.Member, v *systemstate.ClusterState, me protocol.MemberID) bool {
	votes := func(r systemstate.Replica) bool { return r.Member == me && !r.NonVoting }
	if !slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool {
		return v.LostMajority(g, nil) != nil && slices.ContainsFunc(g.Replicas, votes)
	}) {
		return false
	}
	if time.Since(c.lookedReplaced) < replacedLook {
		return true
	}
	c.lookedReplaced = time.Now()
	for _, r := range c.Runs.askAll(ctx, c.Runs.progressQuery(m), time.Second, func(protocol.UUID) bool { return true }) {
		if r.Led && !r.Placed {
			return false
		}
	}
	return true
}
