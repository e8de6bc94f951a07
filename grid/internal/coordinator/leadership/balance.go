package leadership

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// settleTime is how long a group must have had its leader before that is moved,
// because a transfer must not fight an election; and how long nothing is moved
// after a transfer.
const settleTime = 2 * time.Second

// balance says which leadership is to be transferred next, so that leaders are
// spread evenly. A group without a leader, or whose leaders change all the time,
// holds up no other.
type balance struct {
	stood map[protocol.GroupID]standing
	moved time.Time // the last attempt
}

// standing says who leads a group, and since when it may be moved.
type standing struct {
	leader protocol.MemberID
	since  time.Time
}

// next returns the next transfer, if there is one for now.
func (b *balance) next(now time.Time, t *partition.Table, leaders map[protocol.GroupID]protocol.MemberID, able []protocol.MemberID) (partition.Transfer, bool) {
	if b.stood == nil {
		b.stood = map[protocol.GroupID]standing{}
	}
	for id, m := range leaders {
		if b.stood[id].leader != m {
			b.stood[id] = standing{m, now}
		}
	}
	maps.DeleteFunc(b.stood, func(id protocol.GroupID, s standing) bool { return leaders[id] == 0 })
	if now.Sub(b.moved) < settleTime {
		return partition.Transfer{}, false
	}
	// A group that is not to move counts for its leader, and could be led by nobody
	// else.
	pinned := &partition.Table{Epoch: t.Epoch, Partitions: t.Partitions, Members: t.Members}
	for _, g := range t.Groups {
		if leader := leaders[g.ID]; now.Sub(b.stood[g.ID].since) < settleTime {
			g.Replicas = slices.DeleteFunc(slices.Clone(g.Replicas), func(r partition.Replica) bool { return r.Member != leader })
		}
		pinned.Groups = append(pinned.Groups, g)
	}
	plan := partition.PlanLeaders(pinned, leaders, able)
	if len(plan) == 0 {
		return partition.Transfer{}, false
	}
	// Whatever comes of it, nothing moves again at once, and this group last.
	b.moved, b.stood[plan[0].Group] = now, standing{leaders[plan[0].Group], now.Add(settleTime)}
	return plan[0], true
}

// spreadLeaders asks one leader to hand over one group, if leaders are
// spread unevenly.
func (c *Controller) spreadLeaders(ctx context.Context, h membership.Engine, v *systemstate.ClusterState) error {
	leaders := c.grid.Leaders(v)
	t, ok := c.balance.next(time.Now(), membership.TableOf(v), leaders, c.able(v))
	if !ok {
		return nil
	}
	q := peers.Transfer{Cluster: v.Cluster, Group: t.Group, Replica: t.Replica}
	// A leader that is slow to log does not tell in time how far it is. The next
	// one is asked once more before anybody waits.
	if err := c.CaughtUp(ctx, t.To, q); err != nil && !c.isSlow(v, t.From) {
		return nil // a member that has just come back: later
	}
	c.grid.Log.Info("balancing leadership", "group", t.Group, "from", t.From, "to", t.To)
	if t.From == c.grid.Self() {
		return c.Transfer(ctx, h, q)
	}
	address, ok := c.grid.AddressOf(t.From)
	if !ok {
		return nil
	}
	return c.grid.Ask(ctx, address, peers.AskTransfer, q, nil)
}
