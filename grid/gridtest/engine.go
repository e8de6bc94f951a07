package gridtest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// WithClock puts log time under the test's control: it stands until Advance
// moves it.
func WithClock() Option { return func(o *options) { o.clock = new(atomic.Int64) } }

// Advance moves the clock of all members. It needs WithClock. Log time follows with the
// next entry, which a leader logs at once if something has become due. A new leader
// claims the clock with its first entry: time that passed before that does not count in
// its groups. Clients count their own time: a session ends if its TTL passes on this
// clock between two of its client's heartbeats.
func (c *Cluster) Advance(d time.Duration) {
	c.t.Helper()
	if c.clock == nil {
		c.t.Fatal("the cluster was started without WithClock")
	}
	c.clock.Add(int64(d))
}

// MoveLeader transfers the leadership of a group to a member that has a voter of it,
// and returns when all members know. The grid may balance its leaders again later.
func (c *Cluster) MoveLeader(g protocol.GroupID, to int) {
	c.t.Helper()
	c.Eventually(fmt.Sprintf("member %d leads group %d", to, g), func() bool {
		from := c.agreedLeader(g)
		if from < 0 || from == to {
			return from == to
		}
		return transfer(c.nodes[from].host.Load(), to, g) == nil && c.agreedLeader(g) == to
	})
}

// transfer transfers the leadership of a group that a host leads to a member.
func transfer(h *shardgroups.Host, to int, id protocol.GroupID) error {
	view := h.System().View()
	g, _ := view.Group(id)
	at := slices.IndexFunc(g.Replicas, func(r systemstate.Replica) bool {
		m, _ := view.Member(r.Member)
		return m.Name == memberName(to) && !r.NonVoting
	})
	if at < 0 {
		return fmt.Errorf("member %d has no voter of group %d", to, id)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if id == protocol.SystemGroup {
		return h.System().TransferLeader(ctx, g.Replicas[at].ID, nil)
	}
	return h.Group(id).TransferLeader(ctx, g.Replicas[at].ID, nil)
}

// Snapshot makes a member take a snapshot of each of its replicas, and compact the log
// before it: a replica that is behind then is sent the snapshot.
func (c *Cluster) Snapshot(i int) {
	c.t.Helper()
	h := c.host(i)
	ids := []protocol.GroupID{protocol.SystemGroup}
	for _, g := range h.Groups() {
		ids = append(ids, g.ID())
	}
	for _, id := range ids {
		if err := h.Snapshot(id); err != nil {
			c.t.Fatalf("snapshot of group %d at member %d: %v", id, i, err)
		}
	}
}

// Watches returns how many watches a member serves.
func (c *Cluster) Watches(i int) (n int) {
	for _, g := range c.host(i).Groups() {
		n += g.Hub().Stats().Watches
	}
	return n
}
