package groupstate

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// session is what a group knows of a client's session. A session is known from
// Attach until it has ended and all it held here is released.
type session struct {
	ended bool
}

// maxRecentEnds is how far back the ring of ended sessions reaches.
const maxRecentEnds = 64 << 10

// attach makes a session known, unless it may have ended since it was read to
// live at end number (rule 14).
func (s *State) attach(id protocol.SessionID, end uint64) {
	if id == 0 {
		return
	}
	if _, ok := s.sessions.Get(id); ok {
		return
	}
	if end < s.ends && !mutants.On(mutants.AttachAfterEnd) {
		oldest, _, ok := s.recent.Min()
		if !ok || end+1 < oldest {
			return // the ring does not reach back: read again
		}
		if _, gone := s.ended.Get(id); gone {
			return
		}
	}
	s.sessions.Set(id, session{})
}

// Knows reports whether mutations of a session are applied.
func (s *State) Knows(id protocol.SessionID) bool {
	sess, ok := s.sessions.Get(id)
	return ok && !sess.ended
}

// KnowsAny reports whether any of the sessions is known.
func (s *State) KnowsAny(ids []protocol.SessionID) bool {
	for _, id := range ids {
		if _, ok := s.sessions.Get(id); ok {
			return true
		}
	}
	return false
}

// endSessions marks sessions ended; what they held is released in chunks.
func (s *State) endSessions(from uint64, ids []protocol.SessionID) {
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
		if sess, ok := s.sessions.Get(id); ok && !sess.ended {
			s.sessions.Set(id, session{ended: true})
			s.lastKnown = 0
			s.ending.Set(id, struct{}{})
		}
	}
}

// cleanUp does a bounded piece of the work that entries leave behind: due
// rows, what ended sessions held, rows of destroyed structures.
func (s *State) cleanUp(sink Sink) {
	if s.load != nil {
		return
	}
	budget := maxCleanup
	if s.nextDue <= s.clock.Now {
		s.sweep(&budget, sink)
	}
	if s.ending.Len() > 0 {
		s.release(&budget, sink)
	}
	if s.garbage > 0 {
		s.clearGarbage(&budget, sink)
	}
}

// sweep handles rows whose deadline has come.
func (s *State) sweep(budget *int, sink Sink) {
	next := never
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		for p.nextDue <= s.clock.Now {
			k, _, ok := p.due.Min()
			if !ok {
				p.nextDue = never
				break
			}
			at, key := splitIndexKey(k)
			if p.nextDue = protocol.LogTime(at); p.nextDue > s.clock.Now || *budget == 0 {
				break
			}
			*budget--
			s.expire(p, key, k, sink)
		}
		next = min(next, p.nextDue)
	}
	s.nextDue = next
}

// expire handles one due row.
func (s *State) expire(p *partition, key, indexed string, sink Sink) {
	row, ok := p.rows.Get(key)
	if !ok {
		p.due.Delete(indexed)
		return
	}
	id, rowType, k := splitRowKey(key)
	if rowType == rowWaiter {
		w := readWaiter(viewBytes(k), row)
		s.answerWaiter(p, w.Caller, record{seq: w.Caller.Sequence, state: stateDone, code: protocol.CodeTimedOut}, sink)
		s.withdraw(p, key, sink)
		return
	}
	s.callback(p, id, sink, func(m structures.Machine, t *tx) { m.Due(t, viewBytes(k), row) })
	if left, ok := p.rows.Get(key); ok && left.Deadline == row.Deadline {
		p.deleteRow(key)
	}
}

// release gives back what ended sessions held, and forgets them when all is
// given back.
func (s *State) release(budget *int, sink Sink) {
	for *budget > 0 {
		id, _, ok := s.ending.Min()
		if !ok {
			return
		}
		for _, p := range s.partitions {
			if p != nil {
				s.releaseIn(p, id, budget, sink)
			}
			if *budget == 0 {
				return
			}
		}
		s.sessions.Delete(id)
		s.ending.Delete(id)
	}
}

func (s *State) releaseIn(p *partition, id protocol.SessionID, budget *int, sink Sink) {
	// What is given back may be granted to a call of the same session that still
	// waits, so look again until it owns nothing.
	for *budget > 0 && s.releaseRows(p, id, budget, sink) > 0 {
	}
	var records []uint64
	p.records.Ascend(recordKey(id, 0), func(k uint64, _ record) bool {
		if k>>slotBits != uint64(id) || len(records) == *budget {
			return false
		}
		records = append(records, k)
		return true
	})
	*budget -= len(records)
	for _, k := range records {
		p.deleteRecord(k)
	}
}

// releaseRows gives back rows an ended session owns, and returns how many.
func (s *State) releaseRows(p *partition, id protocol.SessionID, budget *int, sink Sink) int {
	var rows []string
	p.owned.Ascend(indexKey(uint64(id), ""), func(k string, _ struct{}) bool {
		n, key := splitIndexKey(k)
		if n != uint64(id) || len(rows) == *budget {
			return false
		}
		rows = append(rows, key)
		return true
	})
	*budget -= len(rows)
	for _, key := range rows {
		row, ok := p.rows.Get(key)
		if !ok || row.Owner != id {
			continue
		}
		_, rowType, k := splitRowKey(key)
		if rowType == rowWaiter {
			w := readWaiter(viewBytes(k), row)
			s.answerWaiter(p, w.Caller, record{seq: w.Caller.Sequence, state: stateDone, code: protocol.CodeSessionEnded}, sink)
			s.withdraw(p, key, sink)
			continue
		}
		s.settleRow(p, key, row, mutants.On(mutants.DeadTakerConsumes), sink)
	}
	return len(rows)
}

// clearGarbage removes rows of destroyed structures. Their waiting calls are
// answered.
func (s *State) clearGarbage(budget *int, sink Sink) {
	for _, p := range s.partitions {
		for p != nil && p.garbage.Len() > 0 {
			if *budget == 0 {
				return
			}
			id, _, _ := p.garbage.Min()
			var keys []string
			p.rows.Ascend(string(appendLife(nil, id, 0)), func(k string, _ structures.Row) bool {
				if n, _, _ := splitRowKey(k); n != id || len(keys) == *budget {
					return false
				}
				keys = append(keys, k)
				return true
			})
			if len(keys) == 0 {
				p.garbage.Delete(id)
				s.garbage--
				continue
			}
			*budget -= len(keys)
			for _, key := range keys {
				row, _ := p.deleteRow(key)
				if _, rowType, k := splitRowKey(key); rowType == rowWaiter {
					w := readWaiter(viewBytes(k), row)
					s.answerWaiter(p, w.Caller, record{seq: w.Caller.Sequence, state: stateDone, code: protocol.CodeDestroyed}, sink)
				}
			}
		}
	}
}

// NumberOfSessions returns how many sessions the group knows.
func (s *State) NumberOfSessions() int { return s.sessions.Len() }

// SessionIDs returns the sessions the group knows that have not ended, in
// their order.
func (s *State) SessionIDs() []protocol.SessionID {
	var ids []protocol.SessionID
	s.sessions.Scan(func(id protocol.SessionID, v session) bool {
		if !v.ended {
			ids = append(ids, id)
		}
		return true
	})
	return ids
}
