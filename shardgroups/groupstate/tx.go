package groupstate

import (
	"encoding/binary"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// reader is the structures.View of one structure in one partition. It is used
// for one operation at a time; Group reads have one each.
type reader struct {
	s    *State
	p    *partition
	id   uint64 // of the life; 0: the structure does not exist
	life life
	key  []byte // scratch for row keys
}

// open looks a structure up.
func (v *reader) open(s *State, p *partition, kind protocol.KindID, name string) {
	v.s, v.p = s, p
	if p.lastID != 0 && p.last.kind == kind && p.last.name == name {
		v.id, v.life = p.lastID, p.last
		return
	}
	v.id, v.life = 0, life{kind: kind, name: name}
	v.key = append(append(v.key[:0], byte(kind)), name...)
	if id, ok := p.names.Get(view(v.key)); ok {
		v.openLife(s, p, id)
	}
}

// openLife looks a structure up by its life, which may have been destroyed.
func (v *reader) openLife(s *State, p *partition, id uint64) bool {
	v.s, v.p, v.id = s, p, id
	if id == p.lastID {
		v.life = p.last
		return true
	}
	var ok bool
	v.life, ok = p.lives.Get(id)
	return ok
}

func (v *reader) rowKey(rowType byte, key []byte) string {
	v.key = append(appendLife(v.key[:0], v.id, rowType), key...)
	return view(v.key)
}

func (v *reader) live(row structures.Row) bool {
	return row.Deadline == 0 || row.Deadline > v.s.clock.Now || mutants.On(mutants.ExpiredVisible)
}

func (v *reader) Now() protocol.LogTime   { return v.s.clock.Now }
func (v *reader) Exists() bool            { return v.id != 0 }
func (v *reader) Settings() []byte        { return v.life.settings }
func (v *reader) Limits() protocol.Limits { return v.s.limits }
func (v *reader) Waiting() int            { return v.life.waiters }

func (v *reader) Get(key []byte) (structures.Row, bool) {
	if v.id == 0 {
		return structures.Row{}, false
	}
	row, ok := v.p.rows.Get(v.rowKey(rowMachine, key))
	if !ok || !v.live(row) {
		return structures.Row{}, false
	}
	return row, true
}

func (v *reader) Ascend(from []byte, f func(key []byte, row structures.Row) bool) {
	v.ascend(rowMachine, from, f)
}

func (v *reader) ascend(rowType byte, from []byte, f func(key []byte, row structures.Row) bool) {
	if v.id == 0 {
		return
	}
	pivot := string(append(appendLife(nil, v.id, rowType), from...))
	prefix := pivot[:lifeSize]
	v.p.rows.Ascend(pivot, func(key string, row structures.Row) bool {
		if len(key) < lifeSize || key[:lifeSize] != prefix {
			return false
		}
		return !v.live(row) || f(viewBytes(key[lifeSize:]), row)
	})
}

func (v *reader) Overdue() int {
	n := 0
	if v.id == 0 || v.p.nextDue > v.s.clock.Now {
		return n
	}
	v.p.due.Scan(func(indexed string, _ struct{}) bool {
		at, key := splitIndexKey(indexed)
		if protocol.LogTime(at) > v.s.clock.Now {
			return false
		}
		if id, rowType, _ := splitRowKey(key); id == v.id && rowType == rowMachine {
			n++
		}
		return true
	})
	return n
}

func (v *reader) Waiters(f func(w structures.Waiter) bool) {
	if v.life.waiters == 0 {
		return
	}
	v.ascend(rowWaiter, nil, func(key []byte, row structures.Row) bool {
		// The calls of an ended session are out of sight until they are withdrawn:
		// nothing may be granted to it.
		if _, gone := v.s.ending.Get(row.Owner); gone {
			return true
		}
		return f(readWaiter(key, row))
	})
}

// A waiter's row: the key is its order, the value the call's slot and
// sequence and the Machine's payload, the owner its session.
const waiterHead = 2 + 8

// maxWaiterBytes bounds the waiting calls of one structure, beside their
// number, which is one of the limits of the cluster.
const maxWaiterBytes = 16 << 20

func waiterValue(c protocol.Caller, payload []byte) []byte {
	b := make([]byte, 0, waiterHead+len(payload))
	b = binary.BigEndian.AppendUint16(b, c.Slot)
	b = binary.BigEndian.AppendUint64(b, c.Sequence)
	return append(b, payload...)
}

func readWaiter(key []byte, row structures.Row) structures.Waiter {
	return structures.Waiter{
		Caller: protocol.Caller{
			Session:  row.Owner,
			Slot:     binary.BigEndian.Uint16(row.Value),
			Sequence: binary.BigEndian.Uint64(row.Value[2:]),
		},
		Payload: row.Value[waiterHead:],
		Order:   binary.BigEndian.Uint64(key),
	}
}

func waiterKey(order uint64) []byte { return binary.BigEndian.AppendUint64(nil, order) }

// tx is the structures.Env of one mutation: what the Machine wrote, until
// commit.
type tx struct {
	reader
	caller protocol.Caller
	flags  protocol.Flags

	wrote     bool
	lastKey   []byte // of the last Put, as they were passed
	lastValue []byte
	destroyed bool
	settings  []byte
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

// begin starts a transaction; open or openLife follows.
func (t *tx) begin(c protocol.Caller, flags protocol.Flags) {
	t.caller, t.flags = c, flags
	t.rollback()
}

// rollback forgets what was written.
func (t *tx) rollback() {
	clear(t.writes)
	clear(t.events)
	clear(t.grants)
	t.writes, t.events, t.grants = t.writes[:0], t.events[:0], t.grants[:0]
	t.wrote, t.destroyed, t.settings, t.waitRow = false, false, nil, ""
	t.lastKey, t.lastValue = nil, nil
}

// reading holds a Machine to the rule that decisions come before writes.
func (t *tx) reading() {
	if t.wrote {
		panic("groupstate: bug: a Machine reads after it has written")
	}
}

// writing opens the structure's life on the first write.
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

func (t *tx) Ascend(from []byte, f func(key []byte, row structures.Row) bool) {
	t.reading()
	t.reader.Ascend(from, f)
}

func (t *tx) Waiters(f func(w structures.Waiter) bool) {
	t.reading()
	t.reader.Waiters(f)
}

func (t *tx) WasDue(key []byte) (structures.Row, bool) {
	t.reading()
	if t.id == 0 {
		return structures.Row{}, false
	}
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
	k, v := newRow(t.id, rowMachine, key, row.Value)
	t.lastKey, t.lastValue = key, row.Value
	row.Value, row.Version = v, t.Version()
	t.writes = append(t.writes, write{key: k, row: row})
}

func (t *tx) Delete(key []byte) {
	t.writing()
	k, _ := newRow(t.id, rowMachine, key, nil)
	t.writes = append(t.writes, write{key: k, delete: true})
}

func (t *tx) SetSettings(b []byte) {
	t.writing()
	t.settings = append([]byte{}, b...)
}

func (t *tx) Destroy() {
	t.writing()
	t.destroyed = true
}

// same reports whether two slices are one.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func (t *tx) Emit(e structures.Event) {
	t.writing()
	if n := len(t.writes); n > 0 && !t.writes[n-1].delete && same(e.Key, t.lastKey) && same(e.Value, t.lastValue) {
		w := &t.writes[n-1] // the event is of the row just put: it shares the copy
		e.Key, e.Value = viewBytes(w.key[lifeSize:]), w.row.Value
		t.events = append(t.events, event{Event: e})
		return
	}
	b := make([]byte, 0, len(e.Key)+len(e.Value))
	b = append(append(b, e.Key...), e.Value...)
	e.Key, e.Value = b[:len(e.Key):len(e.Key)], b[len(e.Key):]
	t.events = append(t.events, event{Event: e})
}

func (t *tx) Wait(payload []byte, timeout time.Duration) structures.Result {
	switch {
	case t.flags&protocol.FlagWait == 0:
		return structures.Refuse(protocol.CodeInvalid, "this call cannot wait")
	case t.life.waiters >= int(t.s.limits.Waiters), t.life.waiterBytes+len(payload) > maxWaiterBytes:
		return structures.Refuse(protocol.CodeWaiters, "too many calls wait for this structure")
	}
	t.writing()
	var deadline protocol.LogTime
	if timeout > 0 {
		deadline = t.s.clock.Now.Add(timeout)
	}
	order := uint64(t.p.revision) + 1
	k, v := newRow(t.id, rowWaiter, waiterKey(order), waiterValue(t.caller, payload))
	t.waitRow, t.waitBytes = k, len(v)
	t.writes = append(t.writes, write{key: k, row: structures.Row{
		Value: v, Version: t.Version(), Deadline: deadline, Owner: t.caller.Session,
	}})
	return structures.Waiting()
}

func (t *tx) Grant(w structures.Waiter, r structures.Result) {
	t.writing()
	t.grants = append(t.grants, grant{waiter: w, result: r})
}

func (t *tx) Reserve(w structures.Waiter, r structures.Result, key []byte) {
	t.writing()
	k, _ := newRow(t.id, rowMachine, key, nil)
	r.Code = protocol.CodeReserved
	t.grants = append(t.grants, grant{waiter: w, result: r, row: k})
}

// commit makes what was written true. It cannot fail.
func (t *tx) commit(sink Sink) {
	if !t.wrote {
		return
	}
	p := t.p
	p.revision++
	known := t.id == p.lastID
	if !known {
		_, known = p.lives.Get(t.id)
	}
	if !known && !t.destroyed {
		name := string(append([]byte{byte(t.life.kind)}, t.life.name...))
		t.life.name = name[1:]
		p.names.Set(name, t.id)
		p.setLife(t.id, t.life)
	}
	if t.settings != nil {
		t.life.settings = t.settings
	}
	waiters := t.life.waiters
	for i := range t.writes {
		w := &t.writes[i]
		if w.delete {
			p.deleteRow(w.key)
		} else {
			p.setRow(w.key, w.row)
		}
	}
	if t.waitRow != "" {
		t.life.waiters++
		t.life.waiterBytes += t.waitBytes
	}
	for i := range t.grants {
		t.grant(&t.grants[i], sink)
	}
	for _, e := range t.events {
		e.revision, e.life = p.revision, t.id
		p.ring.append(e, t.s.ringBudget())
	}
	t.s.nextDue = min(t.s.nextDue, p.nextDue)
	switch {
	case t.destroyed && known:
		p.names.Delete(string(append([]byte{byte(t.life.kind)}, t.life.name...)))
		p.lives.Delete(t.id)
		p.lastID = 0
		p.garbage.Set(t.id, t.life.kind)
		t.s.garbage++
		if mutants.On(mutants.TokenReused) {
			p.revision = 0
		}
	case t.settings != nil || waiters != t.life.waiters:
		p.setLife(t.id, t.life)
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
	t.life.waiters--
	t.life.waiterBytes -= len(row.Value)
	state := stateDone
	if g.row != "" {
		state = stateReserved
	}
	t.s.answerWaiter(p, w.Caller, record{
		seq: w.Caller.Sequence, state: state, code: g.result.Code, reply: g.result.Body, row: g.row,
	}, sink)
}

// answerWaiter turns a waiting call's record into an answered one and tells
// the sink.
func (s *State) answerWaiter(p *partition, c protocol.Caller, rec record, sink Sink) {
	key := recordKey(c.Session, c.Slot)
	if old, ok := p.records.Get(key); !ok || old.seq != c.Sequence || old.state != stateWaiting {
		return
	}
	rec.revision = p.revision
	p.setRecord(key, rec)
	sink.Granted(p.id, c, structures.Result{Code: rec.code, Body: rec.reply}, p.revision)
}
