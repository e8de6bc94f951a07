package leadership

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// A member that is told to end waits until the others can do without it. It
// asks all who vote with it; who says yes takes it for gone from then on, and
// does not go itself before it is back. Of two that ask each other the one with
// the lower number goes first.

const (
	leavePause = 100 * time.Millisecond // between two attempts to leave
	// leaveGrant is how long a member that may leave is taken for gone at least:
	// news of it may be older than the permission.
	leaveGrant = 5 * time.Second
)

// Leave announces that the member ends, and waits until every group that it
// votes in can do without it, or ctx ends. It does not wait if nobody else
// is there to stay.
func (c *Controller) Leave(ctx context.Context) {
	c.grid.SetState(func(s *gossip.State) { s.Closing = true })
	said := ""
	for c.grid.IsReady() {
		err := c.mayLeave(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			c.grid.Log.Warn("the member shuts down although the others cannot do without it", "reason", said)
			return
		}
		if said != err.Error() {
			said = err.Error()
			c.grid.Log.Info("the member waits before it shuts down", "reason", said)
		}
		select {
		case <-ctx.Done():
		case <-time.After(leavePause):
		}
	}
}

// mayLeave returns nil if the others can do without this member.
func (c *Controller) mayLeave(ctx context.Context) error {
	v, me := c.grid.View(), c.grid.Self()
	if v == nil || me == 0 {
		return nil
	}
	stays := func(o systemstate.Member) bool {
		return o.ID != me && !o.Gone && c.grid.Heard(o.Incarnation) && !c.grid.StateOf(o.Incarnation).Closing
	}
	if !slices.ContainsFunc(v.Members, stays) {
		return nil
	}
	shared := map[protocol.MemberID][]protocol.GroupID{}
	lacks := membership.MissingAtAll(v)
	for _, g := range v.Groups {
		voters := slices.DeleteFunc(slices.Clone(g.Replicas), func(r systemstate.Replica) bool { return r.NonVoting })
		if !slices.ContainsFunc(voters, func(r systemstate.Replica) bool { return r.Member == me }) {
			continue
		}
		for _, r := range voters {
			o, _ := v.Member(r.Member)
			switch {
			case r.Member == me:
			case o.Gone:
				return fmt.Errorf("the replica of %s in group %d is not replaced yet", o.Name, g.ID)
			case c.isLeaving(o):
				return fmt.Errorf("%s is about to shut down, or has not rejoined yet", o.Name)
			default:
				shared[r.Member] = append(shared[r.Member], g.ID)
			}
		}
		// A copy whose vote is to come is asked nothing, and those who vote are too
		// few without this one until then.
		if n := lacks[g.ID]; n > 0 {
			return fmt.Errorf("group %d misses %d", g.ID, n)
		}
	}
	// In one order, and no further than the first no: nobody keeps itself ready
	// for a member that cannot go.
	for _, id := range slices.Sorted(maps.Keys(shared)) {
		if err := c.askLeave(ctx, v, id, shared[id]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) askLeave(ctx context.Context, v *systemstate.ClusterState, id protocol.MemberID, groups []protocol.GroupID) error {
	o, _ := v.Member(id)
	address, ok := c.grid.AddressOf(id)
	if !ok {
		return fmt.Errorf("the address of %s is not known", o.Name)
	}
	q := peers.Leave{Cluster: v.Cluster, Member: c.grid.Self(), Groups: groups}
	var r *peers.Refusal
	switch err := c.grid.Ask(ctx, address, peers.AskLeave, q, nil); {
	case errors.As(err, &r):
		return fmt.Errorf("%s: %s", o.Name, r.Detail)
	case err != nil:
		return fmt.Errorf("%s does not answer", o.Name)
	}
	return nil
}

// isLeaving reports whether a member has this member's leave to end, or has
// said that it ends and goes first.
func (c *Controller) isLeaving(o systemstate.Member) bool {
	closing := c.grid.StateOf(o.Incarnation).Closing
	c.mu.Lock()
	at, granted := c.granted[o.ID]
	if granted && !closing && time.Since(at) > leaveGrant {
		delete(c.granted, o.ID) // it is back, or has not gone
		granted = false
	}
	c.mu.Unlock()
	return granted || closing && o.ID < c.grid.Self()
}

// OnLeave lets another member shut down, if this one stays and has all that both have.
func (c *Controller) OnLeave(ctx context.Context, h membership.Engine, q peers.Leave) error {
	v, me := c.grid.View(), c.grid.Self()
	busy := func(why string) error { return peers.Refuse(protocol.CodeBusy, "%s", why) }
	if v == nil {
		return peers.ErrAnotherCluster
	}
	if c.isClosing() && me < q.Member {
		return busy("it is shutting down itself")
	}
	lacks := membership.MissingAtAll(v)
	for _, id := range q.Groups {
		if n := lacks[id]; n > 0 {
			return busy(fmt.Sprintf("group %d misses %d", id, n))
		}
	}
	for _, o := range v.Members {
		if o.ID != q.Member && o.ID != me && !o.Gone && c.isGranted(o) && votesWith(v, o.ID, q.Groups) {
			return busy(o.Name + " is about to shut down, or has not rejoined yet")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, membership.CaughtUpTimeout)
	defer cancel()
	for _, id := range q.Groups {
		if err := h.CaughtUp(ctx, id); err != nil {
			return busy(fmt.Sprintf("its replica of group %d has not caught up", id))
		}
	}
	if !c.grant(q.Member, me) {
		return busy("it is shutting down itself")
	}
	c.grid.Stepped(tune.LeaveGranted, protocol.SystemGroup)
	return nil
}

// grant notes that a member may shut down, unless this one goes first. Leave announces
// that this member shuts down before it looks who may, so one of two sees the other.
func (c *Controller) grant(id, me protocol.MemberID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosing() && me < id {
		return false
	}
	c.granted[id] = time.Now()
	return true
}

// isClosing reports whether this member is shutting down.
func (c *Controller) isClosing() bool {
	return c.grid.StateOf(c.grid.Member().Incarnation).Closing
}

// isGranted reports whether a member has this member's leave to end.
func (c *Controller) isGranted(o systemstate.Member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.granted[o.ID]
	return ok && time.Since(at) < leaveGrant
}

// votesWith reports whether a member votes in one of the groups.
func votesWith(v *systemstate.ClusterState, id protocol.MemberID, groups []protocol.GroupID) bool {
	return slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool {
		return slices.Contains(groups, g.ID) && slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool {
			return r.Member == id && !r.NonVoting
		})
	})
}
