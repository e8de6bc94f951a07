package rostertest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

// The operations, as docs/protocol.md has them.
const (
	register protocol.Op = 1 + iota
	report
	update
	deregister
	drain
	remove
	list

	replaced = protocol.CodeKindBase + 0
	unknown  = protocol.CodeKindBase + 1

	permanent = 1
	again     = 2
	drained   = 2

	critical = 2
)

// Seeds are one operation of each kind.
func Seeds() []structurestest.Op {
	return []structurestest.Op{
		registerOp("a", 7, "data", 1000, 2000, permanent, 0, ""),
		reportOp("a", 7, critical, "note"),
		op(update, "update a", text("a"), number(7), data("other")),
		op(deregister, "deregister a", text("a"), number(7)),
		op(drain, "drain a", text("a"), truth(true), text("repair")),
		op(remove, "remove a", text("a")),
		listOp("", 1<<20),
	}
}

type appender func(dst []byte) []byte

func text(s string) appender {
	return func(dst []byte) []byte { return protocol.AppendString(dst, s) }
}

func data(s string) appender {
	return func(dst []byte) []byte { return protocol.AppendBytes(dst, []byte(s)) }
}

func number(n uint64) appender {
	return func(dst []byte) []byte { return protocol.AppendUint(dst, n) }
}

func truth(v bool) appender {
	return func(dst []byte) []byte { return protocol.AppendBool(dst, v) }
}

func array(items ...appender) []byte {
	b := protocol.AppendArray(nil, len(items))
	for _, f := range items {
		b = f(b)
	}
	return b
}

func op(code protocol.Op, say string, items ...appender) structurestest.Op {
	o := structurestest.Op{Op: code, Body: array(items...), Text: say}
	if code == list {
		o.Flags = protocol.FlagRead
	}
	return o
}

func registerOp(id string, nonce uint64, d string, ttl, remove, flags, health uint64, note string) structurestest.Op {
	return op(register, fmt.Sprintf("register %s/%d %s ttl %d remove %d flags %d health %d", id, nonce, d, ttl, remove, flags, health),
		text(id), number(nonce), data(d), number(ttl), number(remove), number(flags), number(health), text(note))
}

func reportOp(id string, nonce, health uint64, note string) structurestest.Op {
	return op(report, fmt.Sprintf("report %s/%d %d %q", id, nonce, health, note), text(id), number(nonce), number(health), text(note))
}

func listOp(from string, most uint64) structurestest.Op {
	return op(list, fmt.Sprintf("list %q %d", from, most), text(from), number(most))
}

// New returns a model of a roster: a map.
func New() structurestest.Model {
	return &model{entries: map[string]*entry{}, drains: map[string]string{}}
}

type entry struct {
	nonce       uint64
	health      uint64
	note        string
	permanent   bool
	session     protocol.SessionID
	ttl, remove uint64
	since       protocol.LogTime
	data        string
	due         protocol.LogTime // when it becomes critical or is removed; 0: never
}

type model struct {
	entries map[string]*entry
	drains  map[string]string
}

// Generate implements structurestest.Model.
func (m *model) Generate(t *rapid.T) structurestest.Op {
	id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id")
	nonce := rapid.Uint64Range(1, 3).Draw(t, "nonce")
	if e := m.entries[id]; e != nil && rapid.IntRange(0, 2).Draw(t, "own nonce") > 0 {
		nonce = e.nonce
	}
	health := rapid.Uint64Range(0, 2).Draw(t, "health")
	note := rapid.SampledFrom([]string{"", "well"}).Draw(t, "note")
	switch rapid.IntRange(0, 9).Draw(t, "operation") {
	case 0, 1, 2:
		times := rapid.SampledFrom([]uint64{0, 1000, 2000})
		return registerOp(id, nonce, rapid.SampledFrom([]string{"x", "yy"}).Draw(t, "data"), times.Draw(t, "ttl"), times.Draw(t, "remove"),
			rapid.Uint64Range(0, 3).Draw(t, "flags"), health, note)
	case 3, 4:
		return reportOp(id, nonce, health, note)
	case 5:
		return op(update, fmt.Sprintf("update %s/%d", id, nonce), text(id), number(nonce), data("zzz"))
	case 6:
		return op(deregister, fmt.Sprintf("deregister %s/%d", id, nonce), text(id), number(nonce))
	case 7:
		on := rapid.Bool().Draw(t, "on")
		return op(drain, fmt.Sprintf("drain %s %t", id, on), text(id), truth(on), text(note))
	case 8:
		return op(remove, "remove "+id, text(id))
	}
	return listOp(rapid.SampledFrom([]string{"", "b"}).Draw(t, "from"), rapid.SampledFrom([]uint64{0, 1 << 20}).Draw(t, "most"))
}

// Read implements structurestest.Model.
func (m *model) Read(o structurestest.Op, now protocol.LogTime) structurestest.Answer {
	r := protocol.NewReader(o.Body)
	r.Array(2)
	from, most := r.String(), r.Uint()
	return structurestest.Answer{Match: func(body []byte, at protocol.Version) error { return m.matches(from, most, now, body, at) }}
}

func (m *model) matches(from string, most uint64, now protocol.LogTime, body []byte, at protocol.Version) error {
	r := protocol.NewReader(body)
	n := r.ArrayLen()
	changed, time, next := protocol.Version(r.Uint()), protocol.LogTime(r.Uint()), r.String()
	ids := slices.DeleteFunc(slices.Sorted(maps.Keys(m.entries)), func(id string) bool { return id < from })
	want := ""
	if most == 0 && len(ids) > 1 { // a page has one at least
		want, ids = ids[1], ids[:1]
	}
	if changed > at || time != now || next != want || n != 3+4*len(ids) {
		return fmt.Errorf("changed %d at %d, time %d, next %q, %d items; want time %d, next %q, %v", changed, at, time, next, n, now, want, ids)
	}
	for _, id := range ids {
		e := m.entries[id]
		got, session, version, value := r.String(), protocol.SessionID(r.Uint()), protocol.Version(r.Uint()), r.Bytes()
		if got != id || session != e.session || version > changed || string(value) != string(m.row(id, e)) {
			return fmt.Errorf("%s of session %d, version %d: %x; want %s of %d: %x", got, session, version, value, id, e.session, m.row(id, e))
		}
	}
	return r.Done()
}

// row is the entry as it is stored.
func (m *model) row(id string, e *entry) []byte {
	flags := uint64(0)
	if e.permanent {
		flags |= permanent
	}
	reason, is := m.drains[id]
	if is {
		flags |= drained
	}
	return array(number(e.nonce), number(e.health), text(e.note), number(flags), text(reason), number(e.ttl), number(e.remove),
		number(uint64(e.since)), data(e.data))
}

// Apply implements structurestest.Model.
func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	return []structurestest.Answer{m.apply(call, now)}
}

func (m *model) apply(call structurestest.Call, now protocol.LogTime) structurestest.Answer {
	ok := structurestest.OK(call.ID, array())
	r := protocol.NewReader(call.Body)
	r.ArrayLen()
	id := r.String()
	e := m.entries[id]
	switch call.Op.Op {
	case drain:
		on, reason := r.Bool(), r.String()
		was, is := m.drains[id]
		if delete(m.drains, id); on {
			m.drains[id] = reason
		}
		return structurestest.OK(call.ID, array(truth(is != on || on && was != reason)))
	case remove:
		delete(m.entries, id)
		return structurestest.OK(call.ID, array(truth(e != nil)))
	}
	nonce := r.Uint()
	if call.Op.Op == register {
		next := &entry{nonce: nonce, data: string(r.Bytes()), ttl: r.Uint(), remove: r.Uint(), since: now}
		flags := r.Uint()
		next.health, next.note = r.Uint(), r.String()
		if flags&again != 0 && e != nil {
			if e.nonce != nonce {
				return structurestest.Refused(call.ID, replaced)
			}
			if next.health == e.health {
				next.since = e.since
			}
		}
		if next.permanent = flags&permanent != 0; !next.permanent {
			next.session = call.Session
		}
		next.time(now)
		m.entries[id] = next
		return ok
	}
	switch {
	case e == nil:
		return structurestest.Refused(call.ID, unknown)
	case e.nonce != nonce:
		return structurestest.Refused(call.ID, replaced)
	}
	switch call.Op.Op {
	case report:
		health, note := r.Uint(), r.String()
		if health != critical || e.health != critical {
			defer e.time(now)
		}
		if health != e.health {
			e.since = now
		}
		e.health, e.note = health, note
	case update:
		e.data = string(r.Bytes())
	case deregister:
		delete(m.entries, id)
	}
	return ok
}

// time starts the timer anew.
func (e *entry) time(now protocol.LogTime) {
	ms := e.ttl
	if e.health == critical {
		ms = e.remove
	}
	if e.due = 0; ms != 0 {
		e.due = now.Add(time.Duration(ms) * time.Millisecond)
	}
}

// Destroy implements structurestest.Model.
func (m *model) Destroy() { clear(m.entries); clear(m.drains) }

// Withdraw implements structurestest.Model.
func (m *model) Withdraw(structurestest.CallID) []structurestest.Answer {
	panic("rostertest: bug: no call waits")
}

// Confirm implements structurestest.Model.
func (m *model) Confirm(structurestest.CallID) { panic("rostertest: bug: nothing is reserved") }

// End implements structurestest.Model.
func (m *model) End(session protocol.SessionID) []structurestest.Answer {
	maps.DeleteFunc(m.entries, func(_ string, e *entry) bool { return e.session == session })
	return nil
}

// Advance implements structurestest.Model.
func (m *model) Advance(now protocol.LogTime) []structurestest.Answer {
	for id, e := range m.entries {
		switch {
		case e.due == 0 || e.due > now:
		case e.health == critical:
			delete(m.entries, id)
		default:
			e.health, e.note, e.since = critical, fmt.Sprintf("no report within %v", time.Duration(e.ttl)*time.Millisecond), now
			e.time(now)
		}
	}
	return nil
}

// Len implements structurestest.Model.
func (m *model) Len(protocol.LogTime) int64 { return int64(len(m.entries)) }
