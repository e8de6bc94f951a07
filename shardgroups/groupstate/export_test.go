package groupstate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// What tests outside the package measure.
const (
	CleanupCost = cleanupCost
	ItemCost    = itemCost
	Quantum     = quantum
	MaxSpent    = maxSpent
	MaxGrants   = maxGrants
	GrantCost   = grantCost
)

// Derived describes the indexes that a restored state builds anew, but for
// bounds that may be loose.
func (s *State) Derived() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.sessions.touched)) {
		fmt.Fprintf(&b, "session %d touches %d\n", id, s.sessions.touched[id])
	}
	fmt.Fprintf(&b, "states %v\n", s.counts.ofStates())
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		fmt.Fprintf(&b, "partition %d: kept %d, due %d, urgent %d, owned %d, bytes %d\n",
			p.id, p.kept.Len(), p.due.Len(), p.urgent.Len(), p.owned.Len(), p.rowBytes)
	}
	return b.String()
}

// Take takes a frame of an archive, without the clean-up that follows in an entry.
func (s *State) Take(n uint64, f archive.Frame) { s.take(n, f) }

// PassedOver returns how many waiting calls a Machine's look at a line passes
// over because they are out of sight.
func (s *State) PassedOver(id protocol.PartitionID, kind protocol.KindID, name string) int {
	t := &s.tx
	t.begin(protocol.Caller{}, 0, 0)
	t.open(s, s.partition(id), kind, name)
	_, passed := t.reader.waiters(func(structures.Waiter) bool { return false })
	t.Waiters(func(structures.Waiter) bool { return false })
	return passed
}

// SetOffset sets how far the partitions are ahead of the group's log time.
func (s *State) SetOffset(offset protocol.LogTime) {
	for _, p := range s.partitions {
		if p != nil {
			p.offset = offset
		}
	}
}

// Rows describes all rows, with their times.
func (s *State) Rows() string {
	var b strings.Builder
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		p.rows.Scan(func(key string, row structures.Row) bool {
			fmt.Fprintf(&b, "%d %x %x %d %d %d\n", p.id, key, row.Value, row.Version, row.Deadline, row.Owner)
			return true
		})
	}
	return b.String()
}

// Touch notes that a session has something in a partition.
func (s *State) Touch(id protocol.SessionID, p protocol.PartitionID) { s.sessions.touch(id, p) }
