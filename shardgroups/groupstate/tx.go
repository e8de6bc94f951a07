package groupstate

import (
	"encoding/binary"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// reader is the structures.View of one structure in one partition. It is used for one
// operation at a time.
type reader struct {
	s        *State
	p        *partition
	id       uint64 // of the instance; 0: the structure does not exist
	instance instance
	key      []byte           // scratch for row keys
	now      protocol.LogTime // of the partition
	time     protocol.LogTime // see Reader.Time; the group's
	cost     int              // rows looked at, and in a tx also written
}

// open looks a structure up.
func (v *reader) open(s *State, p *partition, kind protocol.KindID, name string) {
	v.s, v.p, v.now = s, p, p.time(s.clock.Now)
	if p.lastID != 0 && p.last.kind == kind && p.last.name == name {
		v.id, v.instance = p.lastID, p.last
		return
	}
	v.id, v.instance = 0, instance{kind: kind, name: name}
	v.key = append(append(v.key[:0], byte(kind)), name...)
	if id, ok := p.names.Get(view(v.key)); ok {
		v.openInstance(s, p, id)
	}
}

// openInstance looks a structure up by its instance, which may have been destroyed.
func (v *reader) openInstance(s *State, p *partition, id uint64) bool {
	v.s, v.p, v.id, v.now = s, p, id, p.time(s.clock.Now)
	if id == p.lastID {
		v.instance = p.last
		return true
	}
	var ok bool
	v.instance, ok = p.instances.Get(id)
	return ok
}

func (v *reader) rowKey(rowType byte, key []byte) string {
	v.key = append(appendInstance(v.key[:0], v.id, rowType), key...)
	return view(v.key)
}

func (v *reader) live(row structures.Row) bool {
	return row.Deadline == 0 || row.Deadline > v.now || mutants.On(mutants.ExpiredVisible)
}

func (v *reader) Now() protocol.LogTime          { return v.now }
func (v *reader) Time() protocol.LogTime         { return v.p.time(max(v.time, v.s.clock.Now)) }
func (v *reader) Exists() bool                   { return v.id != 0 }
func (v *reader) Settings() *structures.Settings { return v.instance.settings }
func (v *reader) Limits() protocol.Limits        { return v.s.limits }
func (v *reader) Waiting() int                   { return v.instance.waiters }

func (v *reader) Get(key []byte) (structures.Row, bool) {
	if v.id == 0 {
		return structures.Row{}, false
	}
	v.cost++
	row, ok := v.p.rows.Get(v.rowKey(rowMachine, key))
	if !ok || !v.live(row) {
		return structures.Row{}, false
	}
	return row, true
}

func (v *reader) Ascend(from []byte, f func(key []byte, row structures.Row) bool) (rest []byte) {
	passed := 0
	v.ascend(rowMachine, from, func(key []byte, row structures.Row) bool {
		v.cost++
		switch {
		case v.live(row):
			return f(key, row)
		case passed == maxPassed:
			rest = key
			return false
		}
		passed++
		return true
	})
	return rest
}

// ascend calls f for the rows of a type from a key on, including those that are due.
func (v *reader) ascend(rowType byte, from []byte, f func(key []byte, row structures.Row) bool) {
	if v.id == 0 {
		return
	}
	pivot := string(append(appendInstance(nil, v.id, rowType), from...))
	prefix := pivot[:instanceSize]
	v.p.rows.Ascend(pivot, func(key string, row structures.Row) bool {
		return len(key) >= instanceSize && key[:instanceSize] == prefix && f(viewBytes(key[instanceSize:]), row)
	})
}

func (v *reader) Overdue() int {
	v.cost++
	if v.id == 0 || v.p.nextDue > v.now {
		return 0
	}
	n := v.p.overdue[v.id]
	v.p.dueAfter(v.p.counted, v.now, func(_ protocol.LogTime, id uint64) bool {
		if id == v.id {
			n++
		}
		return true
	})
	return n
}

func (v *reader) Waiters(f func(w structures.Waiter) bool) { v.waiters(f) }

// waiters calls f for the visible waiting calls. It returns an order below which all
// calls are hidden, and how many hidden calls it has skipped.
func (v *reader) waiters(f func(w structures.Waiter) bool) (first uint64, passed int) {
	if v.instance.waiters == 0 {
		return 0, 0
	}
	first = uint64(v.p.revision) + 1
	found := false
	v.ascend(rowWaiter, waiterKey(v.p.lines[v.id]), func(key []byte, row structures.Row) bool {
		// The calls of an ended session are hidden until they are withdrawn: nothing
		// may be granted to it.
		if _, gone := v.s.sessions.ending.Get(row.Owner); gone && !mutants.On(mutants.GrantToEnded) || !v.live(row) {
			if !found {
				passed++
			}
			return true
		}
		v.cost++
		w := readWaiter(key, row)
		if !found {
			found, first = true, w.Order
		}
		return f(w)
	})
	return first, passed
}

// A waiter's row: the key is its order, the value the call's slot, sequence and
// operation, when it began to wait and the Machine's payload, the owner its session.
const waiterHead = 2 + 8 + 1 + 8

// maxWaiterBytes bounds the bytes of one structure's waiting calls. Their number has a
// limit of its own, which is one of the cluster's.
const maxWaiterBytes = 16 << 20

func waiterValue(c protocol.Caller, op protocol.Op, since protocol.LogTime, payload []byte) []byte {
	b := make([]byte, 0, waiterHead+len(payload))
	b = binary.BigEndian.AppendUint16(b, c.Slot)
	b = binary.BigEndian.AppendUint64(b, c.Sequence)
	b = binary.BigEndian.AppendUint64(append(b, byte(op)), uint64(since))
	return append(b, payload...)
}

func readWaiter(key []byte, row structures.Row) structures.Waiter {
	return structures.Waiter{
		Caller: protocol.Caller{
			Session:  row.Owner,
			Slot:     binary.BigEndian.Uint16(row.Value),
			Sequence: binary.BigEndian.Uint64(row.Value[2:]),
		},
		Op:      protocol.Op(row.Value[10]),
		Since:   protocol.LogTime(binary.BigEndian.Uint64(row.Value[11:])),
		Until:   row.Deadline,
		Payload: row.Value[waiterHead:],
		Order:   binary.BigEndian.Uint64(key),
		Version: row.Version,
	}
}

func waiterKey(order uint64) []byte { return binary.BigEndian.AppendUint64(nil, order) }

// tx is the structures.Env of one mutation: what the Machine wrote, until
// commit.
type tx struct {
	reader
	caller protocol.Caller
	op     protocol.Op
	flags  protocol.Flags

	wrote     bool
	lastKey   []byte // of the last Put, as they were passed
	lastValue []byte
	destroyed bool
	settings  *structures.Settings
	writes    []write
	events    []event
	grants    []grant
	waitRow   string // of the waiter this call has become
	waitBytes int
}

type write struct {
	key    string
	row    structures.Row
	delete bool
}

type grant struct {
	waiter structures.Waiter
	result structures.Result
	row    string // reserved
}

var _ structures.Env = (*tx)(nil)

// begin starts a transaction; open or openInstance follows.
func (t *tx) begin(c protocol.Caller, op protocol.Op, flags protocol.Flags) {
	t.caller, t.op, t.flags, t.cost = c, op, flags, 0
	t.rollback()
}

// rollback discards the writes. Their cost stays.
func (t *tx) rollback() {
	clear(t.writes)
	clear(t.events)
	clear(t.grants)
	t.writes, t.events, t.grants = t.writes[:0], t.events[:0], t.grants[:0]
	t.wrote, t.destroyed, t.settings, t.waitRow = false, false, nil, ""
	t.lastKey, t.lastValue = nil, nil
}

// reading enforces the rule that a Machine decides before it writes.
func (t *tx) reading() {
	if t.wrote {
		panic("groupstate: bug: a Machine reads after it has written")
	}
}

// writing creates the structure's instance on the first write.
func (t *tx) writing() {
	t.wrote = true
	if t.id == 0 {
		t.id = uint64(t.p.revision) + 1
	}
}

func (t *tx) Get(key []byte) (structures.Row, bool) {
	t.reading()
	return t.reader.Get(key)
}

func (t *tx) Ascend(from []byte, f func(key []byte, row structures.Row) bool) []byte {
	t.reading()
	return t.reader.Ascend(from, f)
}

func (t *tx) Waiters(f func(w structures.Waiter) bool) {
	t.reading()
	if first, passed := t.reader.waiters(f); passed > 0 {
		if t.p.journal != nil { // if that is undone, they are passed over again
			old, had := t.p.lines[t.id]
			t.p.journal.note(change{what: changedLine, id: t.id, line: old, had: had})
			t.cost += passed
		}
		t.p.lines[t.id] = first
	}
}

func (t *tx) WasDue(key []byte) (structures.Row, bool) {
	t.reading()
	if t.id == 0 {
		return structures.Row{}, false
	}
	t.cost++
	row, ok := t.p.rows.Get(t.rowKey(rowMachine, key))
	if !ok || t.live(row) {
		return structures.Row{}, false
	}
	return row, true
}

func (t *tx) Caller() protocol.Caller   { return t.caller }
func (t *tx) Version() protocol.Version { return t.p.version(t.p.revision + 1) }

func (t *tx) Put(key []byte, row structures.Row) {
	t.writing()
	t.cost += 1 + kib(len(row.Value))
	k, v := newRow(t.id, rowMachine, key, row.Value)
	t.lastKey, t.lastValue = key, row.Value
	row.Value, row.Version = v, t.Version()
	t.writes = append(t.writes, write{key: k, row: row})
}

func (t *tx) Delete(key []byte) {
	t.writing()
	t.cost++
	k, _ := newRow(t.id, rowMachine, key, nil)
	t.writes = append(t.writes, write{key: k, delete: true})
}

func (t *tx) Destroy() {
	t.writing()
	t.cost++
	t.destroyed = true
}

// same reports whether two slices share their memory.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func (t *tx) Emit(e structures.Event) {
	if !t.s.watched(t.instance.kind) {
		return
	}
	t.writing()
	t.cost += 1 + kib(len(e.Old))
	v := event{typ: e.Type, previous: e.Previous, old: string(e.Old)}
	if n := len(t.writes); n > 0 && !t.writes[n-1].delete && same(e.Key, t.lastKey) && same(e.Value, t.lastValue) {
		w := &t.writes[n-1] // the event is about the row just put: it shares the copy
		v.key, v.value = w.key[instanceSize:], view(w.row.Value)
	} else {
		t.cost += kib(len(e.Value))
		b := append(append(make([]byte, 0, len(e.Key)+len(e.Value)), e.Key...), e.Value...)
		v.key, v.value = view(b[:len(e.Key)]), view(b[len(e.Key):])
	}
	t.events = append(t.events, v)
}

func (t *tx) Wait(payload []byte, timeout time.Duration) structures.Result {
	switch {
	case t.flags&protocol.FlagWait == 0:
		return structures.Refuse(protocol.CodeInvalid, "this call cannot wait")
	case t.instance.waiters >= int(t.s.limits.Waiters), t.instance.waiterBytes+len(payload) > maxWaiterBytes:
		return structures.Refuse(protocol.CodeWaiters, "too many calls wait for this structure")
	}
	t.writing()
	var deadline protocol.LogTime
	if timeout > 0 {
		deadline = t.now.Add(timeout)
	}
	order := uint64(t.p.revision) + 1
	k, v := newRow(t.id, rowWaiter, waiterKey(order), waiterValue(t.caller, t.op, t.now, payload))
	t.waitRow, t.waitBytes = k, len(v)
	t.cost += 1 + kib(len(v))
	t.writes = append(t.writes, write{key: k, row: structures.Row{
		Value: v, Version: t.Version(), Deadline: deadline, Owner: t.caller.Session,
	}})
	return structures.Waiting()
}

func (t *tx) Grant(w structures.Waiter, r structures.Result) {
	t.writing()
	t.cost += 2 + kib(len(r.Body))
	t.grants = append(t.grants, grant{waiter: w, result: r})
}

func (t *tx) Reserve(w structures.Waiter, r structures.Result, key []byte) {
	t.writing()
	t.cost += 2 + kib(len(r.Body))
	k, _ := newRow(t.id, rowMachine, key, nil)
	r.Code = protocol.CodeReserved
	t.grants = append(t.grants, grant{waiter: w, result: r, row: k})
}

// commit applies the writes. It cannot fail.
func (t *tx) commit(sink Sink) {
	if !t.wrote {
		return
	}
	p := t.p
	if p.journal == nil || !mutants.On(mutants.TxnOneRevision) {
		p.revision++
	}
	known := t.id == p.lastID
	if !known {
		_, known = p.instances.Get(t.id)
	}
	if !known && !t.destroyed {
		name := string(append([]byte{byte(t.instance.kind)}, t.instance.name...))
		t.instance.name, t.instance.bytes = name[1:], new(int)
		p.setName(name, t.id)
		p.setInstance(t.id, t.instance)
	}
	if t.settings != nil {
		t.instance.settings = t.settings
	}
	waiters := t.instance.waiters
	puts := 0
	for i := range t.writes {
		w := &t.writes[i]
		if w.delete {
			p.deleteRow(w.key)
			continue
		}
		puts++
		p.setRow(w.key, w.row)
		if w.row.Deadline != 0 {
			t.s.work.due++
		}
		if w.row.Owner != 0 {
			t.s.work.owned++
			t.s.sessions.touch(w.row.Owner, p.id)
		}
	}
	t.s.work.rows += puts
	if t.waitRow != "" {
		t.instance.waiters++
		t.instance.waiterBytes += t.waitBytes
		t.s.work.waits++
	}
	if n := len(t.grants); n > 1 {
		t.s.work.grants += n - 1
	}
	for i := range t.grants {
		t.grant(&t.grants[i], sink)
	}
	if t.destroyed && known && t.s.watched(t.instance.kind) && !mutants.On(mutants.DestroyUntold) {
		t.events = append(t.events, event{typ: structures.EventDestroyed})
	}
	t.publish()
	t.s.nextDue = min(t.s.nextDue, p.next())
	switch {
	case t.destroyed && known:
		p.endInstance(t.id, t.instance)
		p.garbage.Set(t.id, t.instance.kind)
		t.s.garbage++
		if p.journal != nil {
			p.journal.note(change{what: changedGarbage, id: t.id})
		}
		plantTokenReused(p)
	case t.settings != nil || waiters != t.instance.waiters:
		p.setInstance(t.id, t.instance)
	}
	if puts == 0 && !t.destroyed {
		p.vanish(t.id)
	}
}

// publish adds the events to the history, or to those of the transaction that the mutation
// is part of.
func (t *tx) publish() {
	if len(t.events) == 0 {
		return
	}
	p := t.p
	before := p.history.bytes
	for i := range t.events {
		e := &t.events[i]
		e.version, e.end, e.kind, e.name = p.current(), p.current(), t.instance.kind, t.instance.name
		if p.journal != nil {
			t.s.txn.events = append(t.s.txn.events, *e)
			continue
		}
		p.history.append(e)
	}
	if p.journal == nil {
		t.s.appended(p, p.history.bytes-before)
	}
}

// grant answers a waiting call.
func (t *tx) grant(g *grant, sink Sink) {
	p, w := t.p, &g.waiter
	k, _ := newRow(t.id, rowWaiter, waiterKey(w.Order), nil)
	row, ok := p.deleteRow(k)
	if !ok {
		return
	}
	t.instance.waiters--
	t.instance.waiterBytes -= len(row.Value)
	state := t.s.done(t.instance.kind, w.Op)
	if g.row != "" {
		state = stateReserved
	}
	applying{t.s, sink}.answerWaiter(p, w.Caller, record{
		seq: w.Caller.Sequence, state: state, code: g.result.Code, reply: g.result.Body, row: g.row,
	})
}

// answerWaiter turns a waiting call's record into an answered one, and passes the
// answer to the sink.
func (s applying) answerWaiter(p *partition, c protocol.Caller, rec record) {
	key := recordKey(c.Session, c.Slot)
	if old, ok := p.records.Get(key); !ok || old.seq != c.Sequence || old.state != stateWaiting {
		return
	}
	rec.revision = p.revision
	s.work.spent++
	p.setRecord(key, rec)
	s.sink.Granted(p.id, c, structures.Result{Code: rec.code, Body: rec.reply}, p.current())
}
