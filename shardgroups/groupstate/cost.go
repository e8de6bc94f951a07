package groupstate

import (
	"slices"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// An entry's work is bounded by its cost, which every replica counts alike (APPLY-5,
// decision 0011). A row or a waiting call that is looked at, a row that is written, an
// event, a record, and each KiB of a value that is written or returned cost one each; a
// grant costs two. An entry of MaxEntryCost takes some ten milliseconds.
//
// A leader puts requests into an entry up to the most that they may cost. The grants of
// all requests beyond the first of each have one allowance for the whole entry; the
// rest continue in later entries, by a row that is due at once. Clean-up has a budget
// for each of its classes, in this order: what ended sessions held, waiting calls that
// time out and work that continues, rows that expire, rows of destroyed structures.
const (
	// MaxEntryCost bounds what the requests of an entry may cost together, unless it
	// has only one request.
	MaxEntryCost = 64 << 10

	// plainCost is the most that an operation costs, unless its kind says otherwise.
	plainCost = 16

	// maxSpent is the cost from which an entry's further requests are refused as not
	// entered. It can be reached, because what requests cost also depends on values
	// that a leader does not look at.
	maxSpent = 2 * MaxEntryCost

	// maxGrants bounds the grants of an entry's requests, beside one of each.
	maxGrants = 1000

	// grantCost is what a grant usually costs a Machine and the state.
	grantCost = 8

	// cleanupCost is the budget of each class of clean-up in an entry. It grows by
	// itemCost, which is what the clean-up of a row usually costs, for each row that
	// the entry has written for the class. So no backlog grows for ever.
	cleanupCost = 8 << 10
	itemCost    = 8

	// quantum is how much a session or a partition may spend before it is the next
	// one's turn.
	quantum = 1 << 10

	// maxPassed is how many due rows an iteration may skip.
	maxPassed = 1000

	// maxCounted is how many due rows at most are counted after an entry, so that
	// operations know how many there are.
	maxCounted = 64 << 10
)

// Work is the cost of the last entry.
type Work struct {
	Requests int
	Release  int // of what ended sessions held
	Timeouts int // of waiting calls, and work that goes on
	Expiry   int
	Garbage  int // of destroyed structures
}

// Total is the cost of the whole entry.
func (w Work) Total() int { return w.Requests + w.Release + w.Timeouts + w.Expiry + w.Garbage }

// work counts the cost while an entry is applied.
type work struct {
	spent    int // so far
	stop     int // where the class of clean-up that is at work stops
	cleaning bool
	grants   int  // of requests, beside one of each
	standing bool // the entry does not move time, because it is not of the present clock epoch

	// Rows that requests have written, by the class of clean-up that will remove them.
	owned, waits, due, rows int

	by Work
}

// turns says where clean-up continues. It is replicated.
type turns struct {
	session                   protocol.SessionID // that was last released from
	timeouts, expiry, garbage protocol.PartitionID
}

// Worked returns what the last entry has cost.
func (s *State) Worked() Work { return s.work.by }

// Cost returns the most that a checked request may cost, apart from the sizes of the
// values that it finds.
func Cost(kinds *Kinds, q *protocol.Request) int {
	cost := plainCost
	if q.Kind == protocol.KindTxn {
		cost += costOfTransaction(kinds, q.Body)
	} else if k := kinds[q.Kind]; k != nil && k.Cost != nil {
		cost += k.Cost(q.Op, q.Body)
	}
	return cost + kib(len(q.Body))
}

func kib(bytes int) int { return bytes >> 10 }

// overspent is the answer to a request that its entry cannot afford any more.
func overspent() structures.Result {
	p := protocol.Problem{Detail: "the requests before it cost more than an entry may", Wait: 1}
	return structures.Result{Code: protocol.CodeBusy, Body: p.Append(nil)}
}

// GrantsLeft implements structures.Env.
func (t *tx) GrantsLeft() int {
	t.reading()
	w := &t.s.work
	left := maxGrants - w.grants
	if w.cleaning {
		left = (w.stop - w.spent) / grantCost
	}
	return min(max(mutantGrantsLeft(left), 1), maxGrants)
}

// cleaner does the clean-up after an entry's requests: it releases what ended sessions
// held, ends what is due, and removes the rows of destroyed structures.
type cleaner struct{ applying }

// cleanUp does a bounded part of the clean-up that is left by now.
func (s cleaner) cleanUp() {
	w := &s.work
	w.by = Work{Requests: w.spent}
	if s.load != nil {
		return
	}
	w.cleaning = true
	if s.sessions.ending.Len() > 0 && (!mutants.On(mutants.ExpiryFirst) || s.nextDue > s.clock.Now) {
		w.by.Release = s.spend(w.owned, func() { s.release() })
	}
	if s.nextDue <= s.clock.Now {
		w.by.Timeouts = s.spend(w.waits, func() { s.inTurn(&s.turns.timeouts, s.timeOut) })
		w.by.Expiry = s.spend(w.due, func() { s.inTurn(&s.turns.expiry, s.expire) })
		s.setNextDue()
	}
	if s.garbage > 0 {
		w.by.Garbage = s.spend(w.rows, func() { s.inTurn(&s.turns.garbage, s.clearGarbage) })
	}
}

// spend runs a class of clean-up and returns its cost. written is how many rows the
// entry has written for the class.
func (s cleaner) spend(written int, run func()) int {
	w := &s.work
	before := w.spent
	w.stop = before + cleanupCost + itemCost*written
	run()
	return w.spent - before
}

// inTurn lets partitions do up to a quantum of work each, round after round, until the
// budget is spent or none has work left. It begins after the partition that worked
// last. A partition without work does not change the turn, because whether it was asked
// depends on state that is not replicated.
func (s cleaner) inTurn(turn *protocol.PartitionID, work func(*partition, int) bool) {
	w := &s.work
	n := len(s.partitions)
	at := int(*turn)
	for idle := 0; idle < n && w.spent < w.stop; idle++ {
		if at >= n {
			at = 0
		}
		p := s.partitions[at]
		at++
		if p != nil && work(p, min(w.stop, w.spent+quantum)) {
			*turn = protocol.PartitionID(at)
			idle = -1
		}
	}
}

// setNextDue looks up when the next row is due. If rows are due and left for the next
// entry, it counts them.
func (s cleaner) setNextDue() {
	next, count := never, maxCounted
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		next = min(next, p.next())
		if now := p.time(s.clock.Now); p.nextDue <= now {
			count -= p.countOverdue(now, count)
		}
	}
	s.nextDue = next
}

// timeOut handles a partition's waiting calls whose time has run out, and the rows by
// which work continues. It reports whether there were any.
func (s cleaner) timeOut(p *partition, stop int) bool {
	worked, now := false, p.time(s.clock.Now)
	var lines []uint64 // that calls have left
	for s.work.spent < stop {
		indexed, key, ok := p.firstDue(p.urgent, &p.nextUrgent, now)
		if !ok {
			break
		}
		worked = true
		s.work.spent++
		id, rowType, _ := splitRowKey(key)
		if rowType != rowWaiter {
			s.expireRow(p, key, indexed)
			continue
		}
		s.leave(p, key, protocol.CodeTimedOut)
		if !slices.Contains(lines, id) {
			lines = append(lines, id)
		}
	}
	for _, id := range lines {
		s.withdrawn(p, id)
	}
	return worked
}

// expire handles a partition's rows whose deadline has come (TIME-2), and reports
// whether there were any.
func (s cleaner) expire(p *partition, stop int) bool {
	worked, now := false, p.time(s.clock.Now)
	for s.work.spent < stop {
		indexed, key, ok := p.firstDue(p.due, &p.nextDue, now)
		if !ok {
			break
		}
		worked = true
		s.work.spent++
		s.expireRow(p, key, indexed)
	}
	return worked
}

// expireRow handles one row of a Machine that is due.
func (s cleaner) expireRow(p *partition, key, indexed string) {
	row, ok := p.rows.Get(key)
	if !ok {
		p.due.Delete(indexed)
		p.urgent.Delete(indexed)
		return
	}
	id, _, k := splitRowKey(key)
	s.callback(p, id, func(m structures.Machine, t *tx) { s.due(m, t, viewBytes(k), row) })
	s.drop(p, key, row, structures.EventExpired)
}

// drop removes a row that a Machine's hook has left as it was, or could not handle.
// That is a mutation of its own, and an event for watchers.
func (s applying) drop(p *partition, key string, row structures.Row, what structures.EventType) {
	left, ok := p.rows.Get(key)
	if !ok || left.Version != row.Version || left.Deadline != row.Deadline || left.Owner != row.Owner {
		return
	}
	id, _, k := splitRowKey(key)
	t := &s.tx
	t.begin(protocol.Caller{}, 0, 0)
	if !t.openInstance(s.State, p, id) {
		p.deleteRow(key) // of a structure that is destroyed
		return
	}
	t.Delete(viewBytes(k))
	t.Emit(structures.Event{Type: what, Key: viewBytes(k), Previous: row.Version})
	s.work.spent += t.cost
	t.commit(s.sink)
}

// release releases what ended sessions held, one session after the other in turn, and
// forgets sessions with nothing left.
func (s cleaner) release() {
	w := &s.work
	for w.spent < w.stop {
		id, ok := s.sessions.nextEnding(s.turns.session)
		if !ok {
			return
		}
		s.turns.session = id
		s.releaseSome(id, min(w.stop, w.spent+quantum))
	}
}

// releaseSome releases what an ended session held, up to a cost.
func (s cleaner) releaseSome(id protocol.SessionID, stop int) {
	for {
		parts := s.sessions.touched[id]
		// A partition where nothing is left is skipped before the cost is checked,
		// because a restored replica does not know of it.
		for len(parts) > 0 && !s.partitions[parts[0]].has(id) {
			parts = parts[1:]
		}
		s.sessions.touched[id] = parts
		if len(parts) == 0 {
			s.work.spent++
			s.sessions.forget(id)
			return
		}
		if s.work.spent >= stop {
			return
		}
		s.releaseIn(s.partitions[parts[0]], id, stop)
	}
}

// has reports whether a session has a row or a record in the partition.
func (p *partition) has(id protocol.SessionID) bool {
	found := false
	p.owned.Ascend(indexKey(uint64(id), ""), func(k string, _ struct{}) bool {
		n, _ := splitIndexKey(k)
		found = n == uint64(id)
		return false
	})
	if !found {
		p.records.Ascend(recordKey(id, 0), func(k uint64, _ record) bool {
			found = k>>slotBits == uint64(id)
			return false
		})
	}
	return found
}

// releaseIn releases what an ended session held in a partition, up to a cost.
func (s cleaner) releaseIn(p *partition, id protocol.SessionID, stop int) {
	// A hook may have written further rows for the session, so repeat this until it
	// owns nothing.
	for s.releaseRows(p, id, stop) > 0 {
		if s.work.spent >= stop {
			return
		}
	}
	var keys []uint64
	p.records.Ascend(recordKey(id, 0), func(k uint64, _ record) bool {
		if k>>slotBits == uint64(id) {
			keys = append(keys, k)
		}
		return k>>slotBits == uint64(id)
	})
	for i, k := range keys {
		if s.work.spent >= stop && i > 0 {
			return
		}
		s.work.spent++
		p.deleteRecord(k)
	}
}

// releaseBatch is how many rows are looked up at a time.
const releaseBatch = 64

// releaseRows releases rows that an ended session owns, up to a cost, and returns how
// many.
func (s cleaner) releaseRows(p *partition, id protocol.SessionID, stop int) int {
	var rows []string
	p.owned.Ascend(indexKey(uint64(id), ""), func(k string, _ struct{}) bool {
		n, key := splitIndexKey(k)
		if n != uint64(id) || len(rows) == releaseBatch {
			return false
		}
		rows = append(rows, key)
		return true
	})
	var line uint64 // that calls have left; 0: none
	for i, key := range rows {
		if s.work.spent >= stop && i > 0 {
			break
		}
		s.work.spent++
		instance, rowType, _ := splitRowKey(key)
		if line != 0 && (instance != line || rowType != rowWaiter) {
			s.withdrawn(p, line)
			line = 0
		}
		if rowType == rowWaiter {
			s.leave(p, key, protocol.CodeSessionEnded)
			line = instance
			continue
		}
		if row, ok := p.rows.Get(key); ok && row.Owner == id {
			s.settleRow(p, key, row, mutants.On(mutants.DeadTakerConsumes))
		}
	}
	if line != 0 {
		s.withdrawn(p, line)
	}
	return len(rows)
}

// clearGarbage removes rows of a partition's destroyed structures, up to a
// cost, and reports whether there were any. Their waiting calls are answered.
func (s cleaner) clearGarbage(p *partition, stop int) bool {
	id, _, ok := p.garbage.Min()
	if !ok {
		return false
	}
	var keys []string
	most := max((stop-s.work.spent)/2, 1)
	p.rows.Ascend(string(appendInstance(nil, id, 0)), func(k string, _ structures.Row) bool {
		if n, _, _ := splitRowKey(k); n != id || len(keys) == most {
			return false
		}
		keys = append(keys, k)
		return true
	})
	s.work.spent++
	if len(keys) < most {
		p.garbage.Delete(id)
		s.garbage--
	}
	for _, key := range keys {
		s.work.spent += 2
		row, _ := p.deleteRow(key)
		if _, rowType, k := splitRowKey(key); rowType == rowWaiter {
			w := readWaiter(viewBytes(k), row)
			s.answerWaiter(p, w.Caller, record{seq: w.Caller.Sequence, state: stateDone, code: protocol.CodeDestroyed})
		}
	}
	return true
}
