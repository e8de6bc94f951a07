package coordinator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// handOverPause is between two attempts to hand over what a member leads.
const handOverPause = 20 * time.Millisecond

// HandOver gives the groups this member leads to others, until it leads none
// that another could lead, or ctx ends. One whose transfer failed is given to
// somebody else next.
func (c *leadership) HandOver(ctx context.Context) {
	h := c.host.Load()
	if h == nil {
		return
	}
	avoid := map[protocol.MemberID]bool{}
	for v := c.View(); v != nil && ctx.Err() == nil; v = c.View() {
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
func (c *leadership) carryOut(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, plan []partition.Transfer) map[protocol.MemberID]bool {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failed
	failed := map[protocol.MemberID]bool{}
	for _, t := range plan {
		wg.Go(func() {
			err := c.handOver(ctx, h, transfer{Cluster: v.Cluster, Group: t.Group, Replica: t.Replica})
			if err == nil {
				return
			}
			c.log.Info("leadership not transferred", "group", t.Group, "member", t.To, "err", err)
			mu.Lock()
			defer mu.Unlock()
			failed[t.To] = true
		})
	}
	wg.Wait()
	return failed
}

// planHandOver plans where the groups led here go when this member leaves, or
// is short of room. Nobody to avoid gets one, where there is somebody else.
func (c *leadership) planHandOver(v *systemstate.ClusterState, avoid map[protocol.MemberID]bool) []partition.Transfer {
	me := c.Self()
	able := c.Rejoin.roomy(v, me)
	if len(able) == 0 {
		able = slices.DeleteFunc(c.able(v), func(id protocol.MemberID) bool { return id == me })
	}
	others := slices.DeleteFunc(slices.Clone(able), func(id protocol.MemberID) bool { return avoid[id] })
	if len(others) > 0 {
		able = others
	}
	plan := partition.PlanLeaders(tableOf(v), c.leaders(v), able)
	return slices.DeleteFunc(plan, func(t partition.Transfer) bool { return t.From != me })
}

// handOver hands one group over. Before anybody is kept waiting for it, the
// next leader has caught up, and the line to it is open: what is left to ask
// while nobody may write takes one round trip.
func (c *leadership) handOver(ctx context.Context, h *shardgroups.Host, q transfer) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var to protocol.MemberID
	if v := c.View(); v != nil {
		to = v.MemberOf(q.Group, q.Replica)
	}
	address, ok := c.AddressOf(to)
	if !ok {
		return fmt.Errorf("nobody is known to have replica %d of group %d", q.Replica, q.Group)
	}
	l, err := dialPeer(ctx, c.cfg.Network, address)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.ask(ctx, 1, askCaughtUp, q, nil); err != nil && !h.SlowDisk() {
		return fmt.Errorf("the next leader has not caught up: %w", err)
	}
	ready := func(ctx context.Context, index uint64) error {
		err := l.ask(ctx, 1, askApplied, applied{Cluster: q.Cluster, Group: q.Group, Replica: q.Replica, Index: index}, nil)
		if isOlder(err) {
			return nil
		}
		return err
	}
	if q.Group == protocol.SystemGroup {
		return h.System().TransferLeader(ctx, q.Replica, ready)
	}
	g := h.Group(q.Group)
	if g == nil || !g.Leader().Self {
		return &refusal{code: protocol.CodeNotLeader, detail: fmt.Sprintf("this member does not lead group %d", q.Group)}
	}
	return g.TransferLeader(ctx, q.Replica, ready)
}

// onApplied waits until the replica here has applied what the group's leader
// has, so that it stands when it is told to.
func (c *leadership) onApplied(ctx context.Context, q applied) error {
	h, err := c.Peers.hostWith(q.Cluster, q.Group, q.Replica)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, caughtUpTimeout)
	defer cancel()
	return h.AwaitApplied(ctx, q.Group, q.Index)
}
