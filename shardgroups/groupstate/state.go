package groupstate

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/levels"
	"github.com/quorate/quorate/structures"
)

// MaxLevel is the highest level of state this version understands (APPLY-4).
const MaxLevel = levels.Max

// maxPartitions bounds the partitions of a cluster.
const maxPartitions = 1 << 20

// Sink receives the outcomes of an entry while it is applied. Bodies must not be
// changed.
type Sink interface {
	// Replied receives the answer to the i-th request of the entry, and the version of
	// its partition. A waiting result means that Granted will follow, in this entry or
	// a later one.
	Replied(i int, q *protocol.Request, r structures.Result, v protocol.Version)
	// Granted receives the answer to a call that was waiting.
	Granted(p protocol.PartitionID, c protocol.Caller, r structures.Result, v protocol.Version)
}

// Kinds are the kinds of structures by number; nil: there is none.
type Kinds [256]*structures.Kind

// State is the replicated state of one group.
type State struct {
	kinds *Kinds // an object of its own, so that a reference to it does not keep the state alive

	maxLevel   uint32 // that this version understands; MaxLevel outside tests
	level      uint32
	limits     protocol.Limits
	clock      clock
	total      int          // partitions of the cluster; 0: not known yet
	partitions []*partition // by id; nil: not owned
	owned      int
	holdUntil  protocol.LogTime // until then operations that hold are refused
	load       *load            // nil: the group has its state

	sessions Sessions
	turns    turns
	history  histories // its budget is replicated

	// Derived, not replicated.
	answered uint64           // repeats answered from records since the start
	nextDue  protocol.LogTime // not after the first deadline of any partition, in log time
	garbage  int              // destroyed instances that still have rows
	counts   *counts

	onPanic func(Panic) // nil: it is ignored

	tx   tx
	txn  txn
	work work // of the entry that is being applied
}

// KindsOf returns kinds of structures by number, and that of transactions.
func KindsOf(kinds []structures.Kind) *Kinds {
	by := new(Kinds)
	transactions := structures.Transactions()
	by[transactions.ID] = &transactions
	for i := range kinds {
		by[kinds[i].ID] = &kinds[i]
	}
	return by
}

// New returns the state of a group before its first entry.
func New(kinds []structures.Kind) *State {
	by := KindsOf(kinds)
	return &State{
		kinds:    by,
		counts:   newCounts(by),
		maxLevel: MaxLevel,
		level:    1,
		limits:   protocol.DefaultLimits(),
		sessions: newSessions(),
		nextDue:  never,
	}
}

// SetMaxLevel makes the state simulate an earlier or later version, for tests only.
func (s *State) SetMaxLevel(level uint32) { s.maxLevel = level }

// OnPanic makes f be called when a structure panics. Reads may call it from several
// goroutines at a time.
func (s *State) OnPanic(f func(Panic)) { s.onPanic = f }

func (s *State) report(p Panic) {
	if s.onPanic != nil {
		s.onPanic(p)
	}
}

// Gate returns the Gate of this state, without Partitions: it does not check the
// partition of a request.
func (s *State) Gate() Gate { return Gate{Kinds: s.kinds, Limits: s.limits, Level: s.level} }

// Partitions returns how many partitions the cluster has; 0: not known yet.
func (s *State) Partitions() int { return s.total }

// Clock returns the replicated clock.
func (s *State) Clock() Clock { return Clock(s.clock) }

// Owned returns how many partitions the group owns; 0 before it has its Ownership.
func (s *State) Owned() int { return s.owned }

// Answered returns how many repeats this replica has answered from records
// since it was started.
func (s *State) Answered() uint64 { return s.answered }

// Level returns the level of the state.
func (s *State) Level() uint32 { return s.level }

// Limits returns the limits in force.
func (s *State) Limits() protocol.Limits { return s.limits }

// NextDue returns a lower bound of the group's next deadline, and false if there is no
// deadline. The end of a grace period is a deadline.
func (s *State) NextDue() (protocol.LogTime, bool) {
	due := s.nextDue
	if s.holdUntil > s.clock.Now {
		due = min(due, s.holdUntil)
	}
	return due, due != never && s.load == nil
}

// Unfinished reports whether clean-up is left for the next entry.
func (s *State) Unfinished() bool {
	return s.load == nil && (s.garbage > 0 || s.sessions.ending.Len() > 0 || s.nextDue <= s.clock.Now)
}

// partition returns a partition that the group owns, nil if it does not (OWN-1).
func (s *State) partition(id protocol.PartitionID) *partition {
	if int(id) >= len(s.partitions) {
		return nil
	}
	return s.partitions[id]
}

// Apply applies one entry of the log. An error means a broken invariant: the replica
// must stop, and would stop again at each restart. So nothing that Apply refuses may be
// logged (TestBuiltIsApplied, FuzzAccepted). It refuses
//
//   - what is not an entry of this version, or a command that is not whole, not known,
//     or of another form than Builder gives it: only a Builder makes entries;
//   - a request that cannot be decoded: the member that proposes it has decoded these
//     very bytes when they came, with the same function;
//   - an ownership out of bounds: the leader asks Ownership.Check;
//   - a level above what this version knows. It is logged when the system group has
//     taken it on, which it does once every member understands it.
//
// Everything else that a request can cause is its reply (APPLY-1, APPLY-2).
func (s *State) Apply(entry []byte, sink Sink) error {
	h, rest, err := ReadHeader(entry)
	if err == nil {
		err = levels.Known("a log entry of the group", uint64(h.Level), s.maxLevel)
	}
	if err != nil {
		return err
	}
	s.clock.advance(h)
	s.work = work{standing: h.ClockEpoch != s.clock.Epoch}
	a := applying{s, sink}
	requests := 0
	plantTxnTestedEarly(a, rest)
	for len(rest) > 0 {
		var c command
		var payload []byte
		if c, payload, rest, err = nextCommand(rest); err != nil {
			return err
		}
		if c == commandRequest {
			var q protocol.Request
			if err := q.DecodeExact(payload); err != nil {
				return fmt.Errorf("%w: a request: %v", ErrEntry, err)
			}
			r, v := a.applyRequest(&q)
			sink.Replied(requests, &q, r, v)
			requests++
			continue
		}
		if err := s.applyCommand(c, payload, h.Level); err != nil {
			return err
		}
	}
	cleaner{a}.cleanUp()
	return nil
}

func (s *State) applyCommand(c command, payload []byte, level uint32) error {
	switch c {
	case commandClaim:
		plantWaitersLost(s)
		return shaped(c, payload, level, s.clock.claim)
	case commandAttach:
		return shaped(c, payload, level, func(v attach) { s.sessions.attach(v.Session, v.End) })
	case commandEnds:
		return shaped(c, payload, level, func(v ends) { s.sessions.end(v.From, v.IDs) })
	case commandPass:
		return shaped(c, payload, level, func(v passOver) { s.sessions.passOver(v.End, v.Next) })
	case commandEnded:
		return shaped(c, payload, level, s.sessions.endChecked)
	case commandOwn:
		var o Ownership
		err := decode(c, payload, level, &o)
		if err == nil {
			if err = o.Check(); err == nil {
				s.own(o)
			}
		}
		return err
	case commandLoad:
		return shaped(c, payload, level, func(v frame) {
			s.take(v.N, archive.Frame{Type: archive.FrameType(v.Type), Content: v.Content})
		})
	case commandLevel:
		var v raise
		err := decode(c, payload, level, &v)
		if err == nil {
			if err = levels.Known("the group's state", uint64(max(v.Level, 1)), s.maxLevel); err == nil {
				s.level = max(s.level, v.Level)
			}
		}
		return err
	}
	return fmt.Errorf("%w: command %d", ErrEntry, c)
}

// shaped decodes a command's payload and passes it to do.
func shaped[T any](c command, payload []byte, level uint32, do func(T)) error {
	var v T
	if err := decode(c, payload, level, &v); err != nil {
		return err
	}
	do(v)
	return nil
}

func decode(c command, payload []byte, level uint32, v any) error {
	if err := levels.Decode(payload, v, level); err != nil {
		return fmt.Errorf("%w: command %d: %v", ErrEntry, c, err)
	}
	return nil
}

// own gives a new group its partitions.
func (s *State) own(o Ownership) {
	if s.total != 0 {
		return
	}
	s.total, s.limits, s.sessions.ends = o.Partitions, o.Limits, o.Ends
	s.history.budget = o.History
	s.partitions = make([]*partition, o.Partitions)
	l := load{generation: o.Generation, revision: o.Revision, gracePeriod: o.GracePeriod}
	for _, id := range o.Owned {
		if int(id) < o.Partitions && s.partitions[id] == nil {
			s.partitions[id] = l.empty(id, s.counts)
			s.owned++
		}
	}
	if o.Loading {
		s.load = &l
		return
	}
	if o.GracePeriod > 0 && !mutants.On(mutants.GracePeriodForgotten) {
		s.holdUntil = s.clock.Now.Add(o.GracePeriod)
	}
}

// Refuses reports whether the group refuses an operation for now (OWN-3), with the
// reason: its state is being loaded, or the operation holds something and the group's
// grace period is not over (HOLD-3).
func (s *State) Refuses(kind protocol.KindID, op protocol.Op) (structures.Result, bool) {
	if s.load != nil {
		return frozen("the group's data is being loaded", time.Second), true
	}
	if left := s.holdUntil - s.clock.Now; left > 0 && s.holding(kind, op) {
		return frozen(gracePeriodDetail, time.Duration(left)), true
	}
	return structures.Result{}, false
}

// holding reports whether an operation gives its caller something to hold.
func (s *State) holding(kind protocol.KindID, op protocol.Op) bool {
	k := s.kinds[kind]
	if k == nil {
		return false
	}
	info := k.Op(op)
	return info != nil && info.Binds()
}

// Refusing reports whether Refuses refuses any operation.
func (s *State) Refusing() bool { return s.load != nil || s.holdUntil > s.clock.Now }

const gracePeriodDetail = "the group is in its grace period, since its majority's data was lost: it grants nothing until every former holder must know"

func frozen(detail string, wait time.Duration) structures.Result {
	p := protocol.Problem{Detail: detail, Wait: uint32(min(max(wait, time.Millisecond), time.Second) / time.Millisecond)}
	return structures.Result{Code: protocol.CodeFrozen, Body: p.Append(nil)}
}

// applying is the state while an entry is applied, and the sink for its answers.
type applying struct {
	*State
	sink Sink
}

// applyRequest applies one mutation exactly once.
func (s applying) applyRequest(q *protocol.Request) (structures.Result, protocol.Version) {
	plantNotOwnedServed(s.State, q.Partition)
	p := s.partition(q.Partition)
	if p == nil {
		return structures.Result{Code: protocol.CodeNotOwner}, 0
	}
	if s.load != nil {
		r, _ := s.Refuses(q.Kind, q.Op)
		return r, p.current()
	}
	if code := s.sessions.admits(q.Caller.Session); code != protocol.CodeOK {
		return structures.Result{Code: code}, p.current()
	}
	if q.Kind == protocol.KindControl {
		return s.control(p, q)
	}
	if s.holdUntil > s.clock.Now {
		if r, held := s.Refuses(q.Kind, q.Op); held {
			return r, p.current()
		}
	}
	key := recordKey(q.Caller.Session, q.Caller.Slot)
	s.work.spent++
	old, used := p.records.Get(key)
	used = used && !mutants.On(mutants.RepeatsApplied) && !(q.Kind == protocol.KindTxn && mutants.On(mutants.TxnRepeatDecides))
	switch {
	case used && q.Caller.Sequence == old.seq:
		s.answered++
		return old.answer(), p.version(old.revision)
	case used && q.Caller.Sequence < old.seq && !mutants.On(mutants.LowerSequence):
		return structures.Refuse(protocol.CodeStale, "a later call has used the slot"), p.current()
	case s.work.spent > maxSpent:
		return overspent(), p.current()
	case used:
		s.abandon(p, q.Caller, &old)
	}
	r, row := s.mutate(p, q)
	rec := record{seq: q.Caller.Sequence, state: s.done(q.Kind, q.Op), code: r.Code, revision: p.revision, reply: r.Body}
	if r.IsWaiting() {
		rec.state, rec.row = stateWaiting, row
	}
	if !p.setRecord(key, rec) {
		s.sessions.touch(q.Caller.Session, p.id)
	}
	p.trimAbove(q.Caller.Session, q.Highest)
	return r, p.current()
}

// mutate carries a request out, and returns the row of the waiting call that it has become,
// if it has.
func (s applying) mutate(p *partition, q *protocol.Request) (r structures.Result, row string) {
	if q.Kind == protocol.KindTxn {
		return s.transact(p, q), ""
	}
	t := &s.tx
	t.begin(q.Caller, q.Op, q.Flags)
	t.open(s.State, p, q.Kind, q.Name)
	if t.id != 0 {
		p.lastID, p.last = t.id, t.instance
	}
	r = s.runMachine(t, q)
	if r.Code == protocol.CodePanic {
		t.rollback()
	}
	row = t.waitRow
	s.work.spent += t.cost + kib(len(r.Body))
	t.commit(s.sink)
	return r, row
}

// done returns the state of the record of a call that is answered.
func (s *State) done(kind protocol.KindID, op protocol.Op) recordState {
	if s.holding(kind, op) {
		return stateHolds
	}
	return stateDone
}

// watched reports whether the changes of a kind's structures are events.
func (s *State) watched(kind protocol.KindID) bool {
	k := s.kinds[kind]
	return k != nil && k.Watch == structures.WatchEntries
}

// runMachine runs the structure's Machine. A panic becomes a reply, and changes
// nothing, since nothing is committed yet.
func (s applying) runMachine(t *tx, q *protocol.Request) (r structures.Result) {
	defer func() {
		if e := recover(); e != nil {
			s.report(Panic{q.Kind, q.Name, q.Op, e})
			r = panicked()
		}
	}()
	k := s.kinds[q.Kind]
	if k == nil {
		return structures.Refuse(protocol.CodeUnsupported, "unknown kind of structure")
	}
	if q.Op >= structures.FirstGeneric {
		return t.applyGeneric(k, q.Op, q.Body)
	}
	return k.Machine.Apply(t, q.Op, q.Body)
}

// control carries out a control operation, which acts on the record of a call (WAIT-2,
// WAIT-3). An answer from the record has the record's revision.
func (s applying) control(p *partition, q *protocol.Request) (structures.Result, protocol.Version) {
	c := q.Caller
	key := recordKey(c.Session, c.Slot)
	s.work.spent++
	rec, ok := p.records.Get(key)
	switch {
	case ok && c.Sequence < rec.seq:
		return structures.Refuse(protocol.CodeStale, "a later call has used the slot"), p.current()
	case q.Op == protocol.OpConfirm:
		if !ok || c.Sequence > rec.seq {
			return structures.Result{Code: protocol.CodeCancelled}, p.current()
		}
		if rec.state == stateReserved {
			s.settle(p, &rec, true)
			rec.state, rec.row, rec.code, rec.revision = stateDone, "", protocol.CodeOK, p.revision
			p.setRecord(key, rec)
		}
		if rec.state == stateDropped {
			return structures.Result{}, p.version(rec.revision) // the client that confirms has the reply
		}
		return rec.answer(), p.version(rec.revision)
	case q.Op != protocol.OpCancel:
		return structures.Refuse(protocol.CodeUnsupported, "unknown control operation"), p.current()
	}
	if ok && c.Sequence == rec.seq && rec.state != stateWaiting && rec.state != stateReserved {
		return rec.answer(), p.version(rec.revision)
	}
	if ok {
		s.abandon(p, c, &rec)
	}
	p.setRecord(key, record{seq: c.Sequence, state: stateCancelled, revision: p.revision})
	s.sessions.touch(c.Session, p.id)
	plantCancelForgotten(p, key, ok)
	return structures.Result{Code: protocol.CodeCancelled}, p.current()
}

// abandon withdraws what a record's call waits for or has reserved, in favour of c, a
// later call in the same slot or a cancel.
func (s applying) abandon(p *partition, c protocol.Caller, rec *record) {
	switch rec.state {
	case stateWaiting:
		c.Sequence = rec.seq
		s.sink.Granted(p.id, c, structures.Result{Code: protocol.CodeCancelled}, p.current())
		if id, ok := s.unqueue(p, rec.row); ok {
			s.withdrawn(p, id)
		}
	case stateReserved:
		s.settle(p, rec, mutants.On(mutants.CancelConsumes))
	}
}

// leave answers a waiting call that gets nothing, and removes its row. The caller calls
// withdrawn afterwards, once for any number of calls that leave a structure.
func (s applying) leave(p *partition, key string, code protocol.Code) {
	row, ok := p.rows.Get(key)
	if !ok {
		return
	}
	_, _, k := splitRowKey(key)
	w := readWaiter(viewBytes(k), row)
	s.answerWaiter(p, w.Caller, record{seq: w.Caller.Sequence, state: stateDone, code: code})
	s.unqueue(p, key)
}

// unqueue removes a waiting call's row, and returns the structure's instance, if it has
// not been destroyed. The caller changes the record, within the same entry.
func (s applying) unqueue(p *partition, row string) (id uint64, ok bool) {
	id, _, _ = splitRowKey(row)
	s.work.spent += 2
	old, ok := p.deleteRow(row)
	if !ok {
		return id, false
	}
	l, ok := p.instances.Get(id)
	if !ok {
		return id, false
	}
	l.waiters--
	l.waiterBytes -= len(old.Value)
	p.setInstance(id, l)
	return id, true
}

// withdrawn lets a structure grant to calls that were behind those that have left it.
func (s applying) withdrawn(p *partition, id uint64) {
	s.callback(p, id, func(m structures.Machine, t *tx) { m.Withdrawn(t) })
	p.vanish(id)
}

// settle ends a reservation: it is confirmed, or given back.
func (s applying) settle(p *partition, rec *record, confirmed bool) {
	row, ok := p.rows.Get(rec.row)
	if !ok {
		return
	}
	s.settleRow(p, rec.row, row, confirmed)
}

func (s applying) settleRow(p *partition, key string, row structures.Row, confirmed bool) {
	id, _, k := splitRowKey(key)
	left := structures.EventSessionEnded
	if confirmed {
		left = structures.EventRemoved
	}
	s.callback(p, id, func(m structures.Machine, t *tx) {
		if confirmed {
			m.Confirmed(t, viewBytes(k), row)
		} else {
			m.Ended(t, viewBytes(k), row)
		}
	})
	s.drop(p, key, row, left)
}

// callback runs a Machine's hook in a transaction of its own. A hook that
// panics has changed nothing.
func (s applying) callback(p *partition, id uint64, f func(structures.Machine, *tx)) {
	t := &s.tx
	t.begin(protocol.Caller{}, 0, 0)
	if !t.openInstance(s.State, p, id) || s.kinds[t.instance.kind] == nil {
		return
	}
	func() {
		defer func() {
			if e := recover(); e != nil {
				s.report(Panic{Kind: t.instance.kind, Name: t.instance.name, Value: e})
				t.rollback()
			}
		}()
		f(s.kinds[t.instance.kind].Machine, t)
	}()
	s.work.spent += mutantCost(t.cost)
	t.commit(s.sink)
}
