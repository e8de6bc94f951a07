package leadership

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// handOverPause is between two attempts to hand over what a member leads.
const handOverPause = 20 * time.Millisecond

// HandOver gives the groups this member leads to others, until it leads none
// that another could lead, or ctx ends. One whose transfer failed is given to
// somebody else next.
func (c *Controller) HandOver(ctx context.Context) {
	h := c.grid.Engine()
	if h == nil {
		return
	}
	avoid := map[protocol.MemberID]bool{}
	for v := c.grid.View(); v != nil && ctx.Err() == nil; v = c.grid.View() {
		plan := c.planHandOver(v, avoid)
		if len(plan) == 0 {
			return
		}
		failed := c.carryOut(ctx, h, v, plan)
		if len(failed) == 0 {
			continue
		}
		if len(avoid) > 0 {
			clear(avoid) // whoever is asked next, all have been
		} else {
			avoid = failed
		}
		select {
		case <-ctx.Done():
		case <-time.After(handOverPause):
		}
	}
}

// carryOut makes transfers, all at once, and returns to whom one has failed.
func (c *Controller) carryOut(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, plan []partition.Transfer) map[protocol.MemberID]bool {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failed
	failed := map[protocol.MemberID]bool{}
	for _, t := range plan {
		wg.Go(func() {
			err := c.Transfer(ctx, h, peers.Transfer{Cluster: v.Cluster, Group: t.Group, Replica: t.Replica})
			if err == nil {
				return
			}
			c.grid.Log.Info("leadership not transferred", "group", t.Group, "member", t.To, "err", err)
			mu.Lock()
			defer mu.Unlock()
			failed[t.To] = true
		})
	}
	wg.Wait()
	return failed
}

// planHandOver plans where the groups led here go when this member leaves, or
// is short of free space. Nobody to avoid gets one, if there is somebody else.
func (c *Controller) planHandOver(v *systemstate.ClusterState, avoid map[protocol.MemberID]bool) []partition.Transfer {
	me := c.grid.Self()
	able := c.WithSpace(v)
	if len(able) == 0 {
		able = slices.DeleteFunc(c.able(v), func(id protocol.MemberID) bool { return id == me })
	}
	others := slices.DeleteFunc(slices.Clone(able), func(id protocol.MemberID) bool { return avoid[id] })
	if len(others) > 0 {
		able = others
	}
	plan := partition.PlanLeaders(membership.TableOf(v), c.grid.Leaders(v), able)
	return slices.DeleteFunc(plan, func(t partition.Transfer) bool { return t.From != me })
}

// Transfer transfers the leadership of one group, which this member leads.
func (c *Controller) Transfer(ctx context.Context, e membership.Engine, q peers.Transfer) error {
	err := c.transfer(ctx, e, q)
	if err == nil {
		c.grid.Stepped(tune.Transferred, q.Group)
	}
	return err
}

// transfer is Transfer. Before anybody is kept waiting for it, the next leader has caught
// up, and the connection to it is open: what is left to ask while nobody may write takes
// one round trip.
func (c *Controller) transfer(ctx context.Context, h membership.Engine, q peers.Transfer) error {
	ctx, cancel := context.WithTimeout(ctx, peers.AskTimeout)
	defer cancel()
	var to protocol.MemberID
	if v := c.grid.View(); v != nil {
		to = v.MemberOf(q.Group, q.Replica)
	}
	address, ok := c.grid.AddressOf(to)
	if !ok {
		return fmt.Errorf("nobody is known to have replica %d of group %d", q.Replica, q.Group)
	}
	if err := c.grid.Ask(ctx, address, peers.AskCaughtUp, q, nil); err != nil && !h.SlowDisk() {
		return fmt.Errorf("the next leader has not caught up: %w", err)
	}
	ready := func(ctx context.Context, index uint64) error {
		err := c.grid.Ask(ctx, address, peers.AskApplied, peers.Applied{Cluster: q.Cluster, Group: q.Group, Replica: q.Replica, Index: index}, nil)
		if peers.IsUnknown(err) {
			return nil
		}
		return err
	}
	if q.Group == protocol.SystemGroup {
		return h.System().TransferLeader(ctx, q.Replica, ready)
	}
	g := h.Group(q.Group)
	if g == nil || !g.Leader().Self {
		return peers.Refuse(protocol.CodeNotLeader, "this member does not lead group %d", q.Group)
	}
	return g.TransferLeader(ctx, q.Replica, ready)
}

// OnApplied waits until the replica here has applied what the group's leader has, so
// that it campaigns when it is told to.
func (c *Controller) OnApplied(ctx context.Context, q peers.Applied) error {
	h, err := c.grid.EngineWith(q.Cluster, q.Group, q.Replica)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, membership.CaughtUpTimeout)
	defer cancel()
	return h.AwaitApplied(ctx, q.Group, q.Index)
}
