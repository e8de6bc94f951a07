package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Before a member gets a copy of a data group it is asked for the memory to
// receive its state, since nothing stops that once it has begun: the state as
// the group's leader counts it, and in memory what is streamed lies there once
// more until it has been read. A member receives one group at a time, so what
// it has is not promised twice (LIMIT-3). Where it is not enough the place waits; it is
// asked again and again.
//
// The one that sends is not asked. Its copy of the trees shares all with them,
// and costs only what is overwritten meanwhile; above the watermark the group
// refuses operations that grow, overwriting among them. Nor is a member asked
// that has a replica already and was away: the engine brings it up by itself.

// noRoomError says that a member has no room for a copy.
type noRoomError struct{ detail string }

func (e *noRoomError) Error() string { return e.detail }

// hasRoom returns nil where a member has the memory to receive a group's state.
func (c *placement) hasRoom(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, g protocol.GroupID, o systemstate.Member) error {
	if c.Directory.StateOf(o.Incarnation).MemoryFull {
		return &noRoomError{o.Name + " is full"}
	}
	if g == protocol.SystemGroup {
		return nil // it is small
	}
	s, err := c.sizeOf(ctx, h, v, g)
	if err != nil {
		return err
	}
	q := roomQuery{Cluster: v.Cluster, Group: g, Member: o.Incarnation, Size: s}
	if o.ID == c.Self() {
		err = c.onRoom(q)
	} else {
		address, ok := c.AddressOf(o.ID)
		if !ok {
			return fmt.Errorf("the address of member %d is not known", o.ID)
		}
		err = ask(ctx, c.cfg.Network, address, askRoom, q, nil)
	}
	if isOlder(err) {
		return nil
	}
	if r := (*refusal)(nil); errors.As(err, &r) && r.code == protocol.CodeMemoryFull {
		return &noRoomError{r.detail}
	}
	return err
}

// sizeOf returns what a group's state takes, as its leader counts it.
func (c *placement) sizeOf(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, g protocol.GroupID) (size, error) {
	leader, _ := c.leader(v, g)
	switch leader {
	case 0:
		return size{}, fmt.Errorf("group %d has no leader", g)
	case c.Self():
		return sizeHere(h, g)
	}
	address, ok := c.AddressOf(leader)
	if !ok {
		return size{}, fmt.Errorf("the address of member %d is not known", leader)
	}
	var s size
	err := ask(ctx, c.cfg.Network, address, askSize, sizeQuery{Cluster: v.Cluster, Group: g}, &s)
	if isOlder(err) {
		return size{}, nil
	}
	return s, err
}

// sizeHere returns what the state of a group takes that is led here: a replica
// that lags counts too little.
func sizeHere(h *shardgroups.Host, id protocol.GroupID) (size, error) {
	g := h.Group(id)
	if g == nil || !g.Leader().Self {
		return size{}, &refusal{code: protocol.CodeNotLeader, detail: fmt.Sprintf("this member does not lead group %d", id)}
	}
	f := g.Footprint()
	return size{State: f.State, Stream: f.Stream}, nil
}

// onRoom returns nil where this member has the memory to receive a group's
// state.
func (c *placement) onRoom(q roomQuery) error {
	m := c.member()
	if m.Blank() || m.Cluster != q.Cluster {
		return errAnotherCluster
	}
	if m.Incarnation != q.Member {
		return &refusal{code: protocol.CodeInvalid, detail: "that incarnation is dead"}
	}
	need := q.Size.State
	if m.Durability == "memory" {
		need = saturated(need, q.Size.Stream)
	}
	room, known := c.cfg.Room(need)
	if !known || need <= room {
		return nil
	}
	return &refusal{code: protocol.CodeMemoryFull, detail: fmt.Sprintf(
		"group %d has %s and takes %s to receive, %s has headroom for %s",
		q.Group, mebibytes(q.Size.State), mebibytes(need), m.Name, mebibytes(room))}
}

// saturated adds two sizes that another member has told.
func saturated(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// setNoRoom notes which groups wait for room on a member, and why.
func (c *placement) setNoRoom(full map[target]string) {
	now := map[protocol.GroupID]string{}
	for t, why := range full {
		if now[t.group] == "" || why < now[t.group] {
			now[t.group] = why
		}
	}
	c.mu.Lock()
	was := c.noRoom
	c.noRoom = now
	c.mu.Unlock()
	for g, why := range now {
		if was[g] == "" {
			c.log.Warn("a member has no headroom for a replica of a group: it waits", "group", g, "detail", why)
		}
	}
}

// NoRoom returns why a group that misses a replica waits for room on a member,
// empty where it does not, or where this member does not lead the system group.
func (c *placement) NoRoom(g protocol.GroupID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noRoom[g]
}
