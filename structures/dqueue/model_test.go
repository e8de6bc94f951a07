package dqueue

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), func() structurestest.Model { return new(model) })
}

func FuzzMachine(f *testing.F) {
	structurestest.Fuzz(f, Kind(),
		op(opConfigure, 0, protocol.AppendInts(nil, 1)),
		op(opPut, protocol.FlagWait, appendValues(nil, []byte("v"))),
		op(opOffer, 0, appendValues(nil, []byte("w"))),
		op(opPut, protocol.FlagWait, appendValues(nil, []byte("x"))),
		op(opPeek, protocol.FlagRead, protocol.AppendInts(nil)),
		op(opLen, protocol.FlagRead, protocol.AppendInts(nil)),
		op(opPoll, 0, protocol.AppendInts(nil)),
		op(opDrain, 0, protocol.AppendInts(nil, 2)),
		op(opTake, protocol.FlagWait, protocol.AppendInts(nil, 1500)),
		op(opClear, 0, protocol.AppendInts(nil, 0)),
		op(opDestroy, 0, protocol.AppendInts(nil)),
	)
}

func op(code protocol.Op, flags protocol.Flags, body []byte) structurestest.Op {
	names := map[protocol.Op]string{
		opPut: "put", opOffer: "offer", opTake: "take", opPoll: "poll", opPeek: "peek", opDrain: "drain",
		opLen: "len", opClear: "clear", opConfigure: "configure", opDestroy: "destroy",
	}
	return structurestest.Op{Op: code, Flags: flags, Body: body, Text: fmt.Sprintf("%s %q", names[code], body)}
}

// model is a queue with slices.
type model struct {
	configured bool
	capacity   int
	next       int
	free       []item // in the order of their numbers
	reserved   []item
	takes      []waiting // in the order of arrival
	puts       []waiting
}

type item struct {
	number int
	value  []byte
	call   structurestest.CallID // for which it is reserved
	owner  protocol.SessionID
}

type waiting struct {
	call     structurestest.CallID
	session  protocol.SessionID
	value    []byte           // of a put
	deadline protocol.LogTime // of a take; 0: none
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	value := appendValues(nil, []byte(rapid.StringMatching("[a-c]{1,2}").Draw(t, "value")))
	if !m.configured && rapid.IntRange(0, 2).Draw(t, "configure") == 2 {
		return op(opConfigure, 0, protocol.AppendInts(nil, rapid.Int64Range(0, 3).Draw(t, "capacity")))
	}
	switch rapid.IntRange(0, 19).Draw(t, "operation") {
	case 0, 1, 2, 3, 4, 5:
		return op(opPut, protocol.FlagWait, value)
	case 6, 7:
		return op(opOffer, 0, value)
	case 8, 9, 10, 11, 12:
		return op(opTake, protocol.FlagWait, protocol.AppendInts(nil, rapid.SampledFrom([]int64{0, 0, 1, 60, 2000}).Draw(t, "wait")))
	case 13:
		return op(opPoll, 0, protocol.AppendInts(nil))
	case 14:
		return op(opDrain, 0, protocol.AppendInts(nil, rapid.Int64Range(1, 3).Draw(t, "most")))
	case 15:
		if rapid.IntRange(0, 2).Draw(t, "clear") == 2 {
			return op(opClear, 0, protocol.AppendInts(nil, rapid.Int64Range(0, 9).Draw(t, "mark")))
		}
	case 16:
		if rapid.IntRange(0, 4).Draw(t, "destroy") == 4 {
			return op(opDestroy, 0, protocol.AppendInts(nil))
		}
	case 17:
		return op(opConfigure, 0, protocol.AppendInts(nil, rapid.Int64Range(0, 3).Draw(t, "capacity")))
	case 18:
		return op(opPeek, protocol.FlagRead, protocol.AppendInts(nil))
	}
	return op(opLen, protocol.FlagRead, protocol.AppendInts(nil))
}

func (m *model) Read(o structurestest.Op, _ protocol.LogTime) structurestest.Answer {
	switch {
	case o.Op == opLen:
		return structurestest.OK(0, protocol.AppendInts(nil, int64(len(m.free))))
	case len(m.free) == 0:
		return structurestest.Refused(0, codeEmpty)
	}
	return structurestest.OK(0, appendValues(nil, m.free[0].value))
}

func (m *model) Len(protocol.LogTime) int64 { return int64(len(m.free)) }

func (m *model) full() bool { return m.capacity > 0 && len(m.free) >= m.capacity }

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	var n int64
	var value []byte
	switch call.Op.Op {
	case opPut, opOffer:
		value, _ = readValue(call.Body)
	default:
		_ = protocol.ReadInts(call.Body, &n)
	}
	done := structurestest.OK(call.ID, protocol.AppendInts(nil))
	refused := func(code protocol.Code) []structurestest.Answer {
		return []structurestest.Answer{structurestest.Refused(call.ID, code)}
	}
	switch call.Op.Op {
	case opPut:
		m.puts = append(m.puts, waiting{call: call.ID, session: call.Session, value: value})
		return m.serve()
	case opOffer:
		if m.full() || len(m.puts) > 0 {
			return refused(codeFull)
		}
		m.puts = append(m.puts, waiting{call: call.ID, session: call.Session, value: value})
		return m.serve()
	case opTake, opPoll:
		if len(m.free) == 0 && call.Op.Op == opPoll {
			return refused(codeEmpty)
		}
		if len(m.free) == 0 {
			w := waiting{call: call.ID, session: call.Session}
			if n > 0 {
				w.deadline = now + protocol.LogTime(n*1e6)
			}
			m.takes = append(m.takes, w)
			return nil
		}
		done = structurestest.OK(call.ID, appendValues(nil, m.free[0].value))
		m.free = m.free[1:]
	case opDrain:
		k := min(int(n), len(m.free))
		var values [][]byte
		for _, e := range m.free[:k] {
			values = append(values, e.value)
		}
		m.free = m.free[k:]
		done = structurestest.OK(call.ID, appendValues(nil, values...))
	case opClear:
		m.free = slices.DeleteFunc(m.free, func(e item) bool { return n == 0 || e.number < int(n)-1 })
		done = structurestest.OK(call.ID, protocol.AppendInts(nil, 0))
	case opConfigure:
		if m.configured && int(n) != m.capacity {
			return refused(protocol.CodeSettings)
		}
		m.configured, m.capacity = true, int(n)
	case opDestroy:
		answers := []structurestest.Answer{done}
		for _, w := range append(m.takes, m.puts...) {
			answers = append(answers, structurestest.Refused(w.call, protocol.CodeDestroyed))
		}
		*m = model{}
		return answers
	}
	return append(m.serve(), done)
}

// serve lets in who waits to put while there is room, and gives elements to who
// waits to take.
func (m *model) serve() []structurestest.Answer {
	var answers []structurestest.Answer
	for {
		switch {
		case len(m.takes) > 0 && len(m.free) > 0:
			w, e := m.takes[0], m.free[0]
			m.takes, m.free = m.takes[1:], m.free[1:]
			e.call, e.owner = w.call, w.session
			m.reserved = append(m.reserved, e)
			answers = append(answers, structurestest.Answer{
				Call: w.call, Code: protocol.CodeReserved, Body: appendValues(nil, e.value),
			})
		case len(m.puts) > 0 && !m.full():
			w := m.puts[0]
			m.puts = m.puts[1:]
			m.free = append(m.free, item{number: m.next, value: w.value})
			m.next++
			answers = append(answers, structurestest.OK(w.call, protocol.AppendInts(nil)))
		default:
			return answers
		}
	}
}

// giveBack frees the reserved elements that gone tells.
func (m *model) giveBack(gone func(item) bool) []structurestest.Answer {
	for _, e := range m.reserved {
		if gone(e) {
			m.free = append(m.free, e)
		}
	}
	m.reserved = slices.DeleteFunc(m.reserved, gone)
	slices.SortFunc(m.free, func(a, b item) int { return a.number - b.number })
	return m.serve()
}

func (m *model) leave(gone func(waiting) bool) {
	m.takes = slices.DeleteFunc(m.takes, gone)
	m.puts = slices.DeleteFunc(m.puts, gone)
}

func (m *model) Withdraw(id structurestest.CallID) []structurestest.Answer {
	m.leave(func(w waiting) bool { return w.call == id })
	return m.giveBack(func(e item) bool { return e.call == id })
}

func (m *model) Confirm(id structurestest.CallID) {
	m.reserved = slices.DeleteFunc(m.reserved, func(e item) bool { return e.call == id })
}

func (m *model) End(session protocol.SessionID) []structurestest.Answer {
	m.leave(func(w waiting) bool { return w.session == session })
	return m.giveBack(func(e item) bool { return e.owner == session })
}

func (m *model) Advance(now protocol.LogTime) []structurestest.Answer {
	var answers []structurestest.Answer
	m.takes = slices.DeleteFunc(m.takes, func(w waiting) bool {
		due := w.deadline != 0 && w.deadline <= now
		if due {
			answers = append(answers, structurestest.Refused(w.call, protocol.CodeTimedOut))
		}
		return due
	})
	return answers
}
