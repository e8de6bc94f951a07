package placement

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Before a member gets a copy of a data group it is asked for the memory to
// receive its state, since nothing stops that once it has begun: the state as
// the group's leader counts it, and in memory what is streamed lies there once
// more until it has been read. A member receives one group at a time, so what
// it has is not promised twice (LIMIT-3). If it is not enough the replica waits; the member is
// asked again and again.
//
// The one that sends is not asked. Its copy of the trees shares all with them,
// and costs only what is overwritten meanwhile; above the watermark the group
// refuses operations that grow, overwriting among them. Nor is a member asked
// that has a replica already and was away: the engine brings it up by itself.

// noHeadroomError says that a member has no memory for a copy.
type noHeadroomError struct{ detail string }

func (e *noHeadroomError) Error() string { return e.detail }

// hasHeadroom returns nil if a member has the memory to receive a group's state.
func (c *Controller) hasHeadroom(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, g protocol.GroupID, o systemstate.Member) error {
	if c.grid.StateOf(o.Incarnation).MemoryFull {
		return &noHeadroomError{o.Name + " is full"}
	}
	if g == protocol.SystemGroup {
		return nil // it is small
	}
	s, err := c.sizeOf(ctx, h, v, g)
	if err != nil {
		return err
	}
	q := peers.HeadroomQuery{Cluster: v.Cluster, Group: g, Member: o.Incarnation, Size: s}
	if o.ID == c.grid.Self() {
		err = c.OnHeadroom(q)
	} else {
		address, ok := c.grid.AddressOf(o.ID)
		if !ok {
			return fmt.Errorf("the address of member %d is not known", o.ID)
		}
		err = c.grid.Ask(ctx, address, peers.AskHeadroom, q, nil)
	}
	if peers.IsUnknown(err) {
		return nil
	}
	if r := (*peers.Refusal)(nil); errors.As(err, &r) && r.Code == protocol.CodeMemoryFull {
		return &noHeadroomError{r.Detail}
	}
	return err
}

// sizeOf returns what a group's state takes, as its leader counts it.
func (c *Controller) sizeOf(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, g protocol.GroupID) (peers.Size, error) {
	leader, _ := c.grid.LeaderIn(v, g)
	switch leader {
	case 0:
		return peers.Size{}, fmt.Errorf("group %d has no leader", g)
	case c.grid.Self():
		return SizeHere(h, g)
	}
	address, ok := c.grid.AddressOf(leader)
	if !ok {
		return peers.Size{}, fmt.Errorf("the address of member %d is not known", leader)
	}
	var s peers.Size
	err := c.grid.Ask(ctx, address, peers.AskSize, peers.SizeQuery{Cluster: v.Cluster, Group: g}, &s)
	if peers.IsUnknown(err) {
		return peers.Size{}, nil
	}
	return s, err
}

// SizeHere returns what the state of a group takes that is led here: a replica
// that lags counts too little.
func SizeHere(h membership.Engine, id protocol.GroupID) (peers.Size, error) {
	g := h.Group(id)
	if g == nil || !g.Leader().Self {
		return peers.Size{}, peers.Refuse(protocol.CodeNotLeader, "this member does not lead group %d", id)
	}
	f := g.Footprint()
	return peers.Size{State: f.State, Stream: f.Stream}, nil
}

// OnHeadroom returns nil if this member has the memory to receive a group's
// state.
func (c *Controller) OnHeadroom(q peers.HeadroomQuery) error {
	m := c.grid.Member()
	if m.Blank() || m.Cluster != q.Cluster {
		return peers.ErrAnotherCluster
	}
	if m.Incarnation != q.Member {
		return peers.Refuse(protocol.CodeInvalid, "that incarnation is dead")
	}
	need := q.Size.State
	if m.Durability == "memory" {
		need = saturated(need, q.Size.Stream)
	}
	free, known := c.cfg.Headroom(need)
	if !known || need <= free {
		return nil
	}
	return peers.Refuse(protocol.CodeMemoryFull,
		"group %d has %s and takes %s to receive, %s has headroom for %s",
		q.Group, mebibytes(q.Size.State), mebibytes(need), m.Name, mebibytes(free))
}

// saturated adds two sizes that another member has stated.
func saturated(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// setNoHeadroom notes which groups wait for memory on a member, and why.
func (c *Controller) setNoHeadroom(full map[target]string) {
	now := map[protocol.GroupID]string{}
	for t, why := range full {
		if now[t.group] == "" || why < now[t.group] {
			now[t.group] = why
		}
	}
	c.mu.Lock()
	was := c.noHeadroom
	c.noHeadroom = now
	c.mu.Unlock()
	for g, why := range now {
		if was[g] == "" {
			c.grid.Log.Warn("a member has no headroom for a replica of a group: it waits", "group", g, "detail", why)
		}
	}
}

// NoHeadroom returns why a group that misses a replica waits for memory on a member,
// empty if it does not, or if this member does not lead the system group.
func (c *Controller) NoHeadroom(g protocol.GroupID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noHeadroom[g]
}
