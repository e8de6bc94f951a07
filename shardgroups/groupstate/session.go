package groupstate

import (
	"slices"

	"github.com/tidwall/btree"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// session is what a group knows of a client's session. A session is known from Attach
// until it has ended and everything it held here is released.
type session struct {
	ended bool
}

// Sessions are the sessions that a group knows, and how far the group has followed the
// list of ended sessions. The zero value is not usable.
type Sessions struct {
	known  *btree.Map[protocol.SessionID, session]
	ends   uint64                                 // number of the last ended session applied
	recent *btree.Map[uint64, protocol.SessionID] // the last maxRecentEnds of them
	ended  *btree.Map[protocol.SessionID, uint64] // the same by session
	check  check

	// Derived, not replicated.
	endings uint64                                   // see Endings
	ending  *btree.Map[protocol.SessionID, struct{}] // that have ended and still have something here
	// touched are the partitions where a session has a record or a row, ascending.
	touched map[protocol.SessionID][]protocol.PartitionID
	// last is a known session that has not ended, cached so that most requests need no
	// look-up; 0: none.
	last protocol.SessionID
}

func newSessions() Sessions {
	return Sessions{
		known:   new(btree.Map[protocol.SessionID, session]),
		recent:  new(btree.Map[uint64, protocol.SessionID]),
		ended:   new(btree.Map[protocol.SessionID, uint64]),
		ending:  new(btree.Map[protocol.SessionID, struct{}]),
		touched: map[protocol.SessionID][]protocol.PartitionID{},
	}
}

// Sessions returns the sessions that the group knows.
func (s *State) Sessions() *Sessions { return &s.sessions }

// Ends returns the number of the last ended session the group knows of.
func (s *Sessions) Ends() uint64 { return s.ends }

// maxRecentEnds is how far back the ring of ended sessions reaches.
const maxRecentEnds = 64 << 10

// attach makes a session known, unless it may have ended since the system group was
// read, when end was the number of the last ended session (SESSION-2).
func (s *Sessions) attach(id protocol.SessionID, end uint64) {
	if id == 0 {
		return
	}
	if _, ok := s.known.Get(id); ok {
		return
	}
	if end < s.ends && !mutants.On(mutants.AttachAfterEnd) {
		oldest, _, ok := s.recent.Min()
		if !ok || end+1 < oldest {
			return // the ring does not reach back far enough: the system group must be read again
		}
		if _, gone := s.ended.Get(id); gone {
			return
		}
	}
	s.known.Set(id, session{})
}

// admits says whether a mutation of a session may be applied.
func (s *Sessions) admits(id protocol.SessionID) protocol.Code {
	if id == s.last && id != 0 {
		return protocol.CodeOK
	}
	v, ok := s.known.Get(id)
	switch {
	case !ok:
		return protocol.CodeSessionUnknown
	case v.ended:
		return protocol.CodeSessionEnded
	}
	s.last = id
	return protocol.CodeOK
}

// Knows reports whether mutations of a session are applied.
func (s *Sessions) Knows(id protocol.SessionID) bool {
	sess, ok := s.known.Get(id)
	return ok && !sess.ended
}

// KnowsAny reports whether any of the sessions is known.
func (s *Sessions) KnowsAny(ids []protocol.SessionID) bool {
	for _, id := range ids {
		if _, ok := s.known.Get(id); ok {
			return true
		}
	}
	return false
}

// end marks sessions ended; what they held is released in chunks.
func (s *Sessions) end(from uint64, ids []protocol.SessionID) {
	if from != s.ends && !mutants.On(mutants.EndsOutOfOrder) {
		return
	}
	for _, id := range ids {
		s.ends++
		s.recent.Set(s.ends, id)
		s.ended.Set(id, s.ends)
		if s.recent.Len() > maxRecentEnds {
			_, old, _ := s.recent.PopMin()
			s.ended.Delete(old)
		}
		s.endOne(id)
	}
}

func (s *Sessions) endOne(id protocol.SessionID) {
	if sess, ok := s.known.Get(id); ok && !sess.ended {
		s.known.Set(id, session{ended: true})
		s.last = 0
		s.ending.Set(id, struct{}{})
		s.endings++
	}
}

// Endings counts the known sessions that have ended since this replica was started or
// restored from a snapshot.
func (s *Sessions) Endings() uint64 { return s.endings }

// check is what is left to look up after ends were passed over: a range of the sessions
// that were known then. It is zero if nothing is left.
//
// A group falls off the list of ended sessions if more sessions end than are listed
// while it does not follow. Then passOver moves it to an end E, together with N, the
// first session that was not given out when E was the last end. After that endChecked
// tells, range by range, which of the sessions below N that the group knew have ended.
// Both are logged by a leader, from the system group's state as its own member knows
// it, which may be old, but not older than E. These are the interleavings:
//
//   - Of a session below N that the system group does not list any more it is true
//     for ever that it has ended: ids are given out once, in order. So a part that
//     is applied late, again, or after another leader's, ends nobody who lives.
//   - A session that ended with a number up to E is not listed in any state that has
//     seen E, so the parts find it, whichever member makes them. One that ends later
//     has a number above E, which the group, whose cursor is at E, is told of as
//     ever, also before the parts are done.
//   - A session that was attached before passOver is known to whoever makes the
//     parts, since they are made of a state that has applied it. One that is attached
//     after it was read to live at an end not below E: what was read before is
//     refused, because passOver empties the ring, which reaches back no further than
//     E from then on. It needs no part, and one that names it is true.
//   - A session N or above was opened after E. It has not ended up to E.
//   - Ends that an older leader logged from another cursor than E are not applied.
//   - If the group falls off the list again before the parts are done, passOver
//     begins anew, with another end and all it knows by then. A part names the end it
//     was made for, so that one from before, which may lack who has ended since, is
//     not applied.
type check struct {
	end       uint64 // that the cursor was moved to
	at, below protocol.SessionID
}

// passOver moves the cursor to an end, over ends that are no longer listed.
func (s *Sessions) passOver(end uint64, next protocol.SessionID) {
	if end <= s.ends {
		return
	}
	s.ends = end
	s.recent = new(btree.Map[uint64, protocol.SessionID])
	s.ended = new(btree.Map[protocol.SessionID, uint64])
	s.check = check{}
	if next > 0 && !mutants.On(mutants.EndsPassedOver) {
		s.check = check{end: end, below: next}
	}
}

// endChecked ends the sessions of a range that have ended.
func (s *Sessions) endChecked(c Checked) {
	if s.check.below == 0 || c.End != s.check.end || c.From != s.check.at || c.To <= c.From {
		return
	}
	for _, id := range c.IDs {
		s.endOne(id)
	}
	if s.check.at = c.To; c.To >= s.check.below {
		s.check = check{}
	}
}

// Checked is a range of the sessions that a group knows, for the look-up of those that
// have ended after ends were passed over.
type Checked struct {
	End      uint64 // that the cursor was moved to
	From, To protocol.SessionID
	IDs      []protocol.SessionID
}

// Unchecked returns the next sessions to look up after ends were passed over, at most
// limit. It is false if there is nothing to look up.
func (s *Sessions) Unchecked(limit int) (Checked, bool) {
	c := Checked{End: s.check.end, From: s.check.at, To: s.check.below}
	if c.To == 0 {
		return c, false
	}
	s.known.Ascend(c.From, func(id protocol.SessionID, v session) bool {
		switch {
		case id >= s.check.below:
			return false
		case len(c.IDs) == limit:
			c.To = id
			return false
		case !v.ended:
			c.IDs = append(c.IDs, id)
		}
		return true
	})
	return c, true
}

// Len returns how many sessions the group knows.
func (s *Sessions) Len() int { return s.known.Len() }

// IDs returns the sessions that the group knows and that have not ended, in order.
func (s *Sessions) IDs() []protocol.SessionID {
	var ids []protocol.SessionID
	s.known.Scan(func(id protocol.SessionID, v session) bool {
		if !v.ended {
			ids = append(ids, id)
		}
		return true
	})
	return ids
}

// nextEnding returns the ended session whose turn it is, after another.
func (s *Sessions) nextEnding(after protocol.SessionID) (id protocol.SessionID, ok bool) {
	s.ending.Ascend(after+1, func(next protocol.SessionID, _ struct{}) bool {
		id, ok = next, true
		return false
	})
	if !ok {
		id, _, ok = s.ending.Min()
	}
	return id, ok
}

// touch records that a session has a record or a row in a partition.
func (s *Sessions) touch(id protocol.SessionID, p protocol.PartitionID) {
	parts := s.touched[id]
	if i, ok := slices.BinarySearch(parts, p); !ok {
		s.touched[id] = slices.Insert(parts, i, p)
	}
}

// forget removes an ended session that has nothing left here.
func (s *Sessions) forget(id protocol.SessionID) {
	s.known.Delete(id)
	s.ending.Delete(id)
	delete(s.touched, id)
}

// restoreEnded adds a session that has ended and owns something here.
func (s *Sessions) restoreEnded(id protocol.SessionID) {
	s.known.Set(id, session{ended: true})
	s.ending.Set(id, struct{}{})
}

// clear removes all sessions, and keeps how far the ends were followed.
func (s *Sessions) clear() {
	n := newSessions()
	s.known, s.ending, s.touched, s.last = n.known, n.ending, n.touched, 0
}

// copy returns a copy of the replicated fields, which shares the trees.
func (s *Sessions) copy() Sessions {
	return Sessions{known: s.known.Copy(), ends: s.ends, recent: s.recent.Copy(), check: s.check}
}

// sessions writes the sessions and the last of those that have ended.
func (e *encoder) sessions(s *Sessions) {
	e.uint(uint64(s.known.Len()))
	s.known.Scan(func(id protocol.SessionID, v session) bool {
		e.uint(uint64(id))
		e.bool(v.ended)
		return e.end()
	})
	e.uint(uint64(s.recent.Len()))
	s.recent.Scan(func(n uint64, id protocol.SessionID) bool {
		e.uint(n)
		e.uint(uint64(id))
		return e.end()
	})
}

// sessions reads what encoder.sessions wrote.
func (d *decoder) sessions(s *Sessions) {
	for range d.count(1 << 32) {
		id := protocol.SessionID(d.uint())
		v := session{ended: d.bool()}
		d.end()
		s.known.Load(id, v)
		if v.ended {
			s.ending.Load(id, struct{}{})
		}
		if !d.ok() {
			break
		}
	}
	for range d.count(maxRecentEnds) {
		n, id := d.uint(), protocol.SessionID(d.uint())
		d.end()
		s.recent.Load(n, id)
		s.ended.Set(id, n)
	}
}
