package leadership

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Controller decides who leads which group, and who may shut down. Its steps are for
// one goroutine; everything else is safe for concurrent use.
type Controller struct {
	grid *membership.Grid

	// Of the goroutine of the steps.
	balance balance
	search  search

	mu      sync.Mutex                      // guards what follows
	granted map[protocol.MemberID]time.Time // who may shut down, and since when
}

// New returns the Controller of a member.
func New(grid *membership.Grid) *Controller {
	return &Controller{grid: grid, granted: map[protocol.MemberID]time.Time{}}
}

// Forget forgets the cluster, to which the member does not belong any more.
func (c *Controller) Forget() {
	c.balance, c.search = balance{}, search{}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.granted)
}

// Step learns who leads the groups, and on the member that leads the system group
// spreads the leaders evenly.
func (c *Controller) Step(ctx context.Context, e membership.Engine, v *systemstate.ClusterState) error {
	c.learnLeaders(ctx, e, v)
	if !v.Formed || len(v.Partitions) == 0 || !e.System().Leader().Self {
		return nil
	}
	return c.spreadLeaders(ctx, e, v)
}

// WithSpace returns the members, this one left out, that are heard of, have free space
// on their disks, and are not shutting down.
func (c *Controller) WithSpace(v *systemstate.ClusterState) []protocol.MemberID {
	me := c.grid.Self()
	var ids []protocol.MemberID
	for _, o := range v.Members {
		if s := c.grid.StateOf(o.Incarnation); o.ID != me && c.grid.Heard(o.Incarnation) && !s.DiskFull && !s.Closing {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

func (c *Controller) isSlow(v *systemstate.ClusterState, id protocol.MemberID) bool {
	o, _ := v.Member(id)
	return c.grid.StateOf(o.Incarnation).DiskSlow
}

// CaughtUp asks the member that is to lead a group whether its replica has caught up. A
// replica that lags does not campaign, and until the transfer is given up nobody writes.
func (c *Controller) CaughtUp(ctx context.Context, to protocol.MemberID, q peers.Transfer) error {
	if to == c.grid.Self() {
		e, err := c.grid.EngineOf(q.Cluster)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, membership.CaughtUpTimeout)
		defer cancel()
		return e.CaughtUp(ctx, q.Group)
	}
	address, ok := c.grid.AddressOf(to)
	if !ok {
		return fmt.Errorf("the address of member %d is not known", to)
	}
	return c.grid.Ask(ctx, address, peers.AskCaughtUp, q, nil)
}

// able are the members that may lead: this one and those heard of, but none
// that is shutting down, short of free space, or has a slow disk, while another is not;
// the first of these counts most.
func (c *Controller) able(v *systemstate.ClusterState) []protocol.MemberID {
	var ids []protocol.MemberID
	for _, o := range v.Members {
		if o.ID == c.grid.Self() || c.grid.Heard(o.Incarnation) {
			ids = append(ids, o.ID)
		}
	}
	for _, unfit := range []func(gossip.State) bool{
		func(s gossip.State) bool { return s.Closing },
		func(s gossip.State) bool { return s.DiskFull },
		func(s gossip.State) bool { return s.DiskSlow },
	} {
		fit := slices.DeleteFunc(slices.Clone(ids), func(id protocol.MemberID) bool {
			o, _ := v.Member(id)
			return unfit(c.grid.StateOf(o.Incarnation))
		})
		if len(fit) > 0 {
			ids = fit
		}
	}
	return ids
}
