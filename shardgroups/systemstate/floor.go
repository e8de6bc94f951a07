package systemstate

import "github.com/quorate/quorate/protocol"

// Floor is a moment on the clock by which a grid in memory numbers what it hands
// out: the versions of a partition, and with them fencing tokens, and sessions. It
// is counted in ticks, TicksPerSecond of them a second, so many that nothing is
// handed out faster. So whatever begins at the Floor of now begins above all that
// was handed out before, however much of it is lost. Of two, the larger counts; on
// disk, where nothing is lost with a process, it is zero.
type Floor uint64

// TicksPerSecond is how many versions a partition can hand out in a second before
// it outruns the clock; of sessions it is a 256th.
const TicksPerSecond = 1 << 24

// MaxFloor is far above what any clock says. A session that begins there still has
// room for a slot beside it in 64 bits.
const MaxFloor Floor = 1 << 61

// floorBits are the ticks of a generation, 97 days. A revision has a bit more,
// so that a partition that begins at the end of them has room.
const floorBits = 47

// FloorOf returns the moment at which a partition with that generation and
// revision begins.
func FloorOf(generation uint16, r protocol.Revision) Floor {
	return min(Floor(generation)<<floorBits+Floor(r), MaxFloor)
}

// Generation returns the generation of partitions that begin then.
func (f Floor) Generation() uint16 { return uint16(min(f, MaxFloor) >> floorBits) }

// Revision returns where the revisions of partitions that begin then begin.
func (f Floor) Revision() protocol.Revision {
	return protocol.Revision(min(f, MaxFloor) & (1<<floorBits - 1))
}

// Session returns the first session that is opened then, or later.
func (f Floor) Session() protocol.SessionID { return protocol.SessionID(min(f, MaxFloor) >> 8) }

// raise has the cluster begin above what is known of others.
func (s *State) raise(a *ClusterState, f Floor) {
	a.Floor = max(a.Floor, f)
	s.next = max(s.next, f.Session())
}

// Highest returns where the newest of what this cluster has handed out begins.
func (s *State) Highest() Floor {
	f := s.cluster.Floor
	for _, g := range s.cluster.Groups {
		f = max(f, FloorOf(g.Generation, g.Revision))
	}
	return f
}
