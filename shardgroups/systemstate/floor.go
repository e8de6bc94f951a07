package systemstate

import "github.com/quorate/quorate/protocol"

// Floor is a time on the hybrid clock of a grid in memory, from which its numbers
// start: the versions of partitions, and with them fencing tokens, and sessions. It is
// counted in ticks of 1/TicksPerSecond, so short that numbers are not given out faster.
// So numbers that start at the present Floor are above all numbers given out before,
// however much data was lost. Of two Floors the larger counts. On disk, where nothing
// is lost with a process, it is zero.
type Floor uint64

// TicksPerSecond is how many versions a partition can hand out in a second before
// it outruns the clock; of sessions it is a 256th.
const TicksPerSecond = 1 << 24

// MaxFloor is far above the time on any clock. A session number that starts there still
// fits into 64 bits together with a slot.
const MaxFloor Floor = 1 << 61

// floorBits is the number of bits for the ticks of a generation, 97 days. A revision
// has one bit more, so that a partition that starts at the end of a generation can go
// on.
const floorBits = 47

// FloorOf returns the Floor at which a partition with that generation and revision
// starts.
func FloorOf(generation uint16, r protocol.Revision) Floor {
	return min(Floor(generation)<<floorBits+Floor(r), MaxFloor)
}

// Generation returns the generation of partitions that start at f.
func (f Floor) Generation() uint16 { return uint16(min(f, MaxFloor) >> floorBits) }

// Revision returns the first revision of partitions that start at f.
func (f Floor) Revision() protocol.Revision {
	return protocol.Revision(min(f, MaxFloor) & (1<<floorBits - 1))
}

// Session returns the first session number at f.
func (f Floor) Session() protocol.SessionID { return protocol.SessionID(min(f, MaxFloor) >> 8) }

// raise makes the cluster start above a Floor that is known of other clusters.
func (s *State) raise(a *ClusterState, f Floor) {
	a.Floor = max(a.Floor, f)
	s.next = max(s.next, f.Session())
}

// Highest returns the highest Floor from which this cluster has started anything.
func (s *State) Highest() Floor {
	f := s.cluster.Floor
	for _, g := range s.cluster.Groups {
		f = max(f, FloorOf(g.Generation, g.Revision))
	}
	return f
}
