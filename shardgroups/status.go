package shardgroups

import (
	"context"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// GroupStatus is what a member knows of one of its groups.
type GroupStatus struct {
	Group   protocol.GroupID
	Replica protocol.ReplicaID
	Leader  Leader
	Applied uint64
	// Compacted is the index up to which the log may be removed.
	Compacted uint64
	State     groupstate.Totals
	Waiting   int // calls of this member's clients that wait for a grant
	// In the queue of a replica that leads:
	QueuedRequests, QueuedBytes int
	// Counted since the member was started. Snapshots are those that were written; in
	// memory, those that were streamed to another member.
	Entries, Writes, Reads, Piggybacked, Repeats, Snapshots uint64
}

// ID returns the group's id.
func (g *Group) ID() protocol.GroupID { return g.id }

// Replica returns the id of this member's replica.
func (g *Group) Replica() protocol.ReplicaID { return g.replica }

// Applied returns the index of the last entry applied.
func (g *Group) Applied() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.applied
}

// Status returns what the member knows of the group.
func (g *Group) Status() GroupStatus {
	g.proposer.mu.Lock()
	queued, bytes := len(g.proposer.writes)+len(g.proposer.reads), g.proposer.queuedBytes
	g.proposer.mu.Unlock()
	g.mu.RLock()
	defer g.mu.RUnlock()
	return GroupStatus{
		QueuedRequests: queued, QueuedBytes: bytes,
		Group: g.id, Replica: g.replica, Leader: g.Leader(), Applied: g.applied,
		Compacted: g.log.compacted(),
		State:     g.state.Totals(), Waiting: len(g.waiting),
		Entries: g.stats.Entries.Load(), Writes: g.stats.Writes.Load(), Reads: g.stats.Reads.Load(),
		Piggybacked: g.stats.Piggybacked.Load(), Repeats: g.stats.Repeats.Load() + g.answered(), Snapshots: g.stats.Snapshots.Load(),
	}
}

// Sizes calls f with the bytes of each partition that the group owns.
func (g *Group) Sizes(f func(id protocol.PartitionID, bytes int)) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	g.state.Sizes(f)
}

// Owned is what sessions own in a group, as a replica of it knows.
type Owned struct{ g *Group }

// Owned returns what sessions own.
func (g *Group) Owned() Owned { return Owned{g} }

// By returns rows that a session owns, and the cursor to continue with, as
// groupstate.OwnedBy has them, after all that was committed when it was called.
func (o Owned) By(ctx context.Context, id protocol.SessionID, cursor string, most int) ([]groupstate.Owned, string, error) {
	g := o.g
	if err := g.host.CaughtUp(ctx, g.id); err != nil {
		return nil, "", err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return groupstate.OwnedBy(g.state, id, cursor, most, g.logTimeNow())
}

// Count returns how many rows each of some sessions owns.
func (o Owned) Count(ids []protocol.SessionID) []uint64 {
	counts := make([]uint64, len(ids))
	o.g.mu.RLock()
	defer o.g.mu.RUnlock()
	for i, id := range ids {
		counts[i] = uint64(groupstate.CountOwned(o.g.state, id))
	}
	return counts
}

// answered returns how many repeats were answered from records. mu is held.
func (g *Group) answered() uint64 { return g.state.Answered() }

// Hash returns a hash of the replicated state and the index it belongs to. It reads the
// whole state, while further entries are applied.
func (g *Group) Hash(context.Context) (applied, hash uint64, err error) {
	g.mu.Lock()
	snapshot, index := g.state.Prepare(), g.applied
	g.mu.Unlock()
	return index, snapshot.Hash(), nil
}

// SlowOperations returns how many operations took longer than Config.SlowOp.
func (h *Host) SlowOperations() uint64 {
	if h.slow == nil {
		return 0
	}
	return h.slow.count.Load()
}
