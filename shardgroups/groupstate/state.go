package groupstate

import (
	"fmt"
	"time"

	"github.com/tidwall/btree"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// MaxLevel is the highest level of state this version understands.
const MaxLevel = 1

// maxPartitions bounds the partitions of a cluster.
const maxPartitions = 1 << 20

// maxCleanup bounds the clean-up after an entry (rule 5).
const maxCleanup = 1000

// ringBytes is the budget of a group's event rings.
const ringBytes = 8 << 20

// Sink is told the outcomes of an entry while it is applied. Bodies must not be
// changed.
type Sink interface {
	// Replied gives the answer to the i-th request of the entry; a waiting result
	// means that Granted will follow, in this entry or a later one.
	Replied(i int, q *protocol.Request, r structures.Result, rev protocol.Revision)
	// Granted gives the answer to a call that was waiting.
	Granted(p protocol.PartitionID, c protocol.Caller, r structures.Result, rev protocol.Revision)
}

// State is the replicated state of one group.
type State struct {
	kinds [256]*structures.Kind

	maxLevel   uint32 // that this version understands; MaxLevel outside tests
	level      uint32
	limits     protocol.Limits
	clock      clock
	total      int          // partitions of the cluster; 0: not told yet
	partitions []*partition // by id; nil: not owned
	owned      int
	holdUntil  protocol.LogTime // until then kinds that hold are refused
	load       *load            // nil: the group has its state

	sessions *btree.Map[protocol.SessionID, session]
	ends     uint64                                 // number of the last ended session applied
	recent   *btree.Map[uint64, protocol.SessionID] // the last maxRecentEnds of them
	ended    *btree.Map[protocol.SessionID, uint64] // the same by session

	// Derived, not replicated.
	answered uint64           // repeats answered from records since the start
	nextDue  protocol.LogTime // not after the first deadline of any partition
	garbage  int              // destroyed lives that still have rows
	ending   *btree.Map[protocol.SessionID, struct{}]

	// lastKnown is a session that is known and lives, so that most requests need
	// no look-up.
	lastKnown protocol.SessionID

	tx tx
}

// New returns the state of a group before its first entry.
func New(kinds []structures.Kind) *State {
	s := &State{
		maxLevel: MaxLevel,
		level:    1,
		limits:   protocol.DefaultLimits(),
		sessions: new(btree.Map[protocol.SessionID, session]),
		recent:   new(btree.Map[uint64, protocol.SessionID]),
		ended:    new(btree.Map[protocol.SessionID, uint64]),
		ending:   new(btree.Map[protocol.SessionID, struct{}]),
		nextDue:  never,
	}
	for i := range kinds {
		s.kinds[kinds[i].ID] = &kinds[i]
	}
	return s
}

// SetMaxLevel makes the state that of an earlier or later version, for tests
// only.
func (s *State) SetMaxLevel(level uint32) { s.maxLevel = level }

// Clock returns the replicated clock.
func (s *State) Clock() Clock { return Clock(s.clock) }

// Owned returns how many partitions the group owns; none before it was told.
func (s *State) Owned() int { return s.owned }

// Ends returns the number of the last ended session the group knows of.
func (s *State) Ends() uint64 { return s.ends }

// Answered returns how many repeats this replica has answered from records
// since it was started.
func (s *State) Answered() uint64 { return s.answered }

// Level returns the level of the state.
func (s *State) Level() uint32 { return s.level }

// Limits returns the limits in force.
func (s *State) Limits() protocol.Limits { return s.limits }

// NextDue returns a log time not after the group's next deadline, and false
// where nothing is due. The end of a hold-off is a deadline.
func (s *State) NextDue() (protocol.LogTime, bool) {
	due := s.nextDue
	if s.holdUntil > s.clock.Now {
		due = min(due, s.holdUntil)
	}
	return due, due != never && s.load == nil
}

// Unfinished reports whether clean-up is left for the next entry.
func (s *State) Unfinished() bool { return s.load == nil && (s.garbage > 0 || s.ending.Len() > 0) }

func (s *State) ringBudget() int { return ringBytes / max(s.owned, 1) }

func (s *State) partition(id protocol.PartitionID) *partition {
	if int(id) >= len(s.partitions) {
		return nil
	}
	return s.partitions[id]
}

// Apply applies one entry of the log. Its error is a broken invariant: the
// replica must stop.
func (s *State) Apply(entry []byte, sink Sink) error {
	h, rest, err := ReadHeader(entry)
	if err != nil {
		return err
	}
	s.clock.advance(h)
	requests := 0
	for len(rest) > 0 {
		var c command
		var payload []byte
		if c, payload, rest, err = nextCommand(rest); err != nil {
			return err
		}
		if c == commandRequest {
			var q protocol.Request
			if err := q.Decode(payload); err != nil {
				return fmt.Errorf("%w: a request: %v", ErrEntry, err)
			}
			r, rev := s.applyRequest(&q, sink)
			sink.Replied(requests, &q, r, rev)
			requests++
			continue
		}
		if err := s.applyCommand(c, payload); err != nil {
			return err
		}
	}
	s.cleanUp(sink)
	return nil
}

func (s *State) applyCommand(c command, payload []byte) error {
	r := protocol.NewReader(payload)
	switch c {
	case commandClaim:
		if mutants.On(mutants.WaitersLost) {
			s.loseWaiters()
		}
		return s.clock.claim(payload)
	case commandAttach:
		s.attach(protocol.SessionID(r.Uint()), r.Uint())
	case commandEnds:
		from := r.Uint()
		ids := make([]protocol.SessionID, r.ArrayLen())
		for i := range ids {
			ids[i] = protocol.SessionID(r.Uint())
		}
		if r.Err() == nil {
			s.endSessions(from, ids)
		}
	case commandOwn:
		o, err := readOwnership(&r)
		if err != nil {
			return err
		}
		if r.Err() == nil {
			s.own(o)
		}
	case commandLoad:
		r.Array(2)
		offset, chunk := r.Uint(), r.Bytes()
		if r.Err() == nil {
			s.take(offset, chunk)
		}
	case commandLoaded:
		r.Array(2)
		length, sum := r.Uint(), r.Uint()
		if r.Err() == nil {
			s.finishLoad(length, sum)
		}
	case commandLevel:
		level := r.Uint32()
		if level > s.maxLevel {
			return fmt.Errorf("the group's state has level %d, this version knows %d: install a newer version", level, s.maxLevel)
		}
		s.level = max(s.level, level)
	default:
		return fmt.Errorf("%w: command %d", ErrEntry, c)
	}
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: command %d: %v", ErrEntry, c, err)
	}
	return nil
}

// own gives a new group its partitions.
func (s *State) own(o Ownership) {
	if s.total != 0 {
		return
	}
	s.total, s.limits, s.ends = o.Partitions, o.Limits, o.Ends
	s.partitions = make([]*partition, o.Partitions)
	l := load{generation: o.Generation, revision: o.Revision, holdOff: o.HoldOff}
	for _, id := range o.Owned {
		if int(id) < o.Partitions && s.partitions[id] == nil {
			s.partitions[id] = l.empty(id)
			s.owned++
		}
	}
	if o.Loading {
		s.load = &l
		return
	}
	if o.HoldOff > 0 && !mutants.On(mutants.HoldOffForgotten) {
		s.holdUntil = s.clock.Now.Add(o.HoldOff)
	}
}

// HoldsBack reports whether the group refuses, for now, mutations of a kind,
// and says why: its state is being loaded, or it is a kind that hands out what
// a session holds and the group's hold-off is not over.
func (s *State) HoldsBack(kind protocol.KindID) (structures.Result, bool) {
	if s.load != nil {
		return frozen("the group's data is being loaded", time.Second), true
	}
	if left := s.holdUntil - s.clock.Now; left > 0 && s.kinds[kind] != nil && s.kinds[kind].Holds {
		return frozen(holdOffDetail, time.Duration(left)), true
	}
	return structures.Result{}, false
}

// Holding reports whether HoldsBack holds anything back.
func (s *State) Holding() bool { return s.load != nil || s.holdUntil > s.clock.Now }

const holdOffDetail = "the group has lost its majority's data: it hands out nothing until all who held something know that it is lost"

func frozen(detail string, wait time.Duration) structures.Result {
	p := protocol.Problem{Detail: detail, Wait: uint32(min(max(wait, time.Millisecond), time.Second) / time.Millisecond)}
	return structures.Result{Code: protocol.CodeFrozen, Body: p.Append(nil)}
}

// applyRequest applies one mutation exactly once.
func (s *State) applyRequest(q *protocol.Request, sink Sink) (structures.Result, protocol.Revision) {
	p := s.partition(q.Partition)
	if p == nil {
		if !mutants.On(mutants.NotOwnedServed) || int(q.Partition) >= len(s.partitions) {
			return structures.Result{Code: protocol.CodeNotOwner}, 0
		}
		p = newPartition(q.Partition)
		s.partitions[q.Partition] = p
	}
	if s.load != nil {
		r, _ := s.HoldsBack(q.Kind)
		return r, p.revision
	}
	if q.Caller.Session != s.lastKnown || s.lastKnown == 0 {
		sess, ok := s.sessions.Get(q.Caller.Session)
		switch {
		case !ok:
			return structures.Result{Code: protocol.CodeSessionUnknown}, p.revision
		case sess.ended:
			return structures.Result{Code: protocol.CodeSessionEnded}, p.revision
		}
		s.lastKnown = q.Caller.Session
	}
	if q.Kind == protocol.KindControl {
		r := s.control(p, q, sink)
		return r, p.revision
	}
	if s.holdUntil > s.clock.Now {
		if r, held := s.HoldsBack(q.Kind); held {
			return r, p.revision
		}
	}
	key := recordKey(q.Caller.Session, q.Caller.Slot)
	if rec, ok := p.records.Get(key); ok && !mutants.On(mutants.RepeatsApplied) {
		switch {
		case q.Caller.Sequence == rec.seq:
			s.answered++
			return rec.answer(), p.revision
		case q.Caller.Sequence < rec.seq && !mutants.On(mutants.LowerSequence):
			return structures.Refuse(protocol.CodeStale, "a later call has used the slot"), p.revision
		}
		s.abandon(p, q.Caller, &rec, sink)
	}
	t := &s.tx
	t.begin(q.Caller, q.Flags)
	t.open(s, p, q.Kind, q.Name)
	if t.id != 0 {
		p.lastID, p.last = t.id, t.life
	}
	r := s.runMachine(t, q)
	if r.Code == protocol.CodePanic {
		t.rollback()
	}
	row := t.waitRow
	t.commit(sink)
	rec := record{seq: q.Caller.Sequence, state: stateDone, code: r.Code, revision: p.revision, reply: r.Body}
	if r.IsWaiting() {
		rec.state, rec.row = stateWaiting, row
	}
	p.setRecord(key, rec)
	p.trimAbove(q.Caller.Session, q.Highest)
	return r, p.revision
}

// runMachine lets the structure decide. A panic is a reply, and changes
// nothing, since nothing has been committed.
func (s *State) runMachine(t *tx, q *protocol.Request) (r structures.Result) {
	defer func() {
		if e := recover(); e != nil {
			r = structures.Refuse(protocol.CodePanic, fmt.Sprint(e))
		}
	}()
	k := s.kinds[q.Kind]
	if k == nil {
		return structures.Refuse(protocol.CodeUnsupported, "unknown kind of structure")
	}
	return k.Machine.Apply(t, q.Op, q.Body)
}

// control acts on the record of a call: rules 18 and 19.
func (s *State) control(p *partition, q *protocol.Request, sink Sink) structures.Result {
	c := q.Caller
	key := recordKey(c.Session, c.Slot)
	rec, ok := p.records.Get(key)
	switch {
	case ok && c.Sequence < rec.seq:
		return structures.Refuse(protocol.CodeStale, "a later call has used the slot")
	case q.Op == protocol.OpConfirm:
		if !ok || c.Sequence > rec.seq {
			return structures.Result{Code: protocol.CodeCancelled}
		}
		if rec.state == stateReserved {
			s.settle(p, &rec, true, sink)
			rec.state, rec.row, rec.code = stateDone, "", protocol.CodeOK
			p.setRecord(key, rec)
		}
		return rec.answer()
	case q.Op != protocol.OpCancel:
		return structures.Refuse(protocol.CodeUnsupported, "unknown control operation")
	}
	if ok && c.Sequence == rec.seq && rec.state != stateWaiting && rec.state != stateReserved {
		return rec.answer()
	}
	if ok {
		s.abandon(p, c, &rec, sink)
	}
	if ok || !mutants.On(mutants.CancelForgotten) {
		p.setRecord(key, record{seq: c.Sequence, state: stateCancelled, revision: p.revision})
	}
	return structures.Result{Code: protocol.CodeCancelled}
}

// abandon withdraws what a record's call waits for or has reserved, in favour
// of c, which came after it in the same slot or cancels it.
func (s *State) abandon(p *partition, c protocol.Caller, rec *record, sink Sink) {
	switch rec.state {
	case stateWaiting:
		c.Sequence = rec.seq
		sink.Granted(p.id, c, structures.Result{Code: protocol.CodeCancelled}, p.revision)
		s.withdraw(p, rec.row, sink)
	case stateReserved:
		s.settle(p, rec, mutants.On(mutants.CancelConsumes), sink)
	}
}

// withdraw removes a waiting call's row and lets the structure look at those
// behind it. The record is the caller's to change, and already is no longer
// waiting or will not be when this entry is done.
func (s *State) withdraw(p *partition, row string, sink Sink) {
	id, _, _ := splitRowKey(row)
	old, ok := p.deleteRow(row)
	if !ok {
		return
	}
	l, ok := p.lives.Get(id)
	if !ok {
		return
	}
	l.waiters--
	l.waiterBytes -= len(old.Value)
	p.setLife(id, l)
	s.callback(p, id, sink, func(m structures.Machine, t *tx) { m.Withdrawn(t) })
}

// settle ends a reservation: confirmed, or given back.
func (s *State) settle(p *partition, rec *record, confirmed bool, sink Sink) {
	row, ok := p.rows.Get(rec.row)
	if !ok {
		return
	}
	s.settleRow(p, rec.row, row, confirmed, sink)
}

func (s *State) settleRow(p *partition, key string, row structures.Row, confirmed bool, sink Sink) {
	id, _, k := splitRowKey(key)
	s.callback(p, id, sink, func(m structures.Machine, t *tx) {
		if confirmed {
			m.Confirmed(t, viewBytes(k), row)
		} else {
			m.Ended(t, viewBytes(k), row)
		}
	})
	// What the Machine left, or could not handle, ends here all the same.
	if left, ok := p.rows.Get(key); ok && left.Owner == row.Owner && left.Version == row.Version {
		p.deleteRow(key)
	}
}

// callback runs a Machine's hook in a transaction of its own. A hook that
// panics has changed nothing.
func (s *State) callback(p *partition, id uint64, sink Sink, f func(structures.Machine, *tx)) {
	t := &s.tx
	t.begin(protocol.Caller{}, 0)
	if !t.openLife(s, p, id) || s.kinds[t.life.kind] == nil {
		return
	}
	func() {
		defer func() {
			if e := recover(); e != nil {
				t.rollback()
			}
		}()
		f(s.kinds[t.life.kind].Machine, t)
	}()
	t.commit(sink)
}

// loseWaiters is a planted bug: rows of waiting calls go, their records stay.
func (s *State) loseWaiters() {
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		var lost []string
		p.rows.Scan(func(key string, _ structures.Row) bool {
			if key[lifeSize-1] == rowWaiter {
				lost = append(lost, key)
			}
			return true
		})
		for _, key := range lost {
			row, _ := p.deleteRow(key)
			id, _, _ := splitRowKey(key)
			if l, ok := p.lives.Get(id); ok {
				l.waiters--
				l.waiterBytes -= len(row.Value)
				p.setLife(id, l)
			}
		}
	}
}
