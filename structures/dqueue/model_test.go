package dqueue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), func() structurestest.Model { return new(model) })
}

func FuzzMachine(f *testing.F) {
	structurestest.Fuzz(f, Kind(),
		op(opPut, protocol.FlagWait, appendPut(nil, opPut, []byte("v"), 0)),
		op(opOffer, 0, appendValues(nil, []byte("w"))),
		op(opPut, protocol.FlagWait, appendPut(nil, opPut, []byte("x"), time.Second)),
		op(opPutAll, 0, appendValues(nil, []byte("y"), []byte("z"))),
		op(opTakeN, protocol.FlagWait, protocol.AppendInts(nil, 2, 1500, 0)),
		op(opPeek, protocol.FlagRead, protocol.AppendInts(nil)),
		op(opPoll, 0, protocol.AppendInts(nil, 1)),
		op(opDrain, 0, protocol.AppendInts(nil, 2, 1)),
		op(opTake, protocol.FlagWait, protocol.AppendInts(nil, 1500, 0)),
		op(opClear, 0, protocol.AppendInts(nil, 0)),
	)
}

func op(code protocol.Op, flags protocol.Flags, body []byte) structurestest.Op {
	names := map[protocol.Op]string{
		opPut: "put", opOffer: "offer", opTake: "take", opPoll: "poll", opPeek: "peek", opDrain: "drain",
		opPutAll: "put all", opTakeN: "take n", opClear: "clear",
	}
	return structurestest.Op{Op: code, Flags: flags, Body: body, Text: fmt.Sprintf("%s %q", names[code], body)}
}

// model is a queue with slices.
type model struct {
	capacity int
	next     int
	free     []item    // in the order of their numbers
	reserved []item    // those of one call are together
	takes    []waiting // in the order of arrival
	puts     []waiting
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
	wants    int              // of a take: how many at most
	deadline protocol.LogTime // 0: none
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	value := []byte(rapid.StringMatching("[a-c]{1,2}").Draw(t, "value"))
	wait := rapid.SampledFrom([]int64{0, 0, 1, 60, 2000}).Draw(t, "wait")
	codec := rapid.SampledFrom([]int64{anyCodec, anyCodec, 'a', 'b'}).Draw(t, "codec")
	switch rapid.IntRange(0, 23).Draw(t, "operation") {
	case 0, 1, 2, 3, 4:
		return op(opPut, protocol.FlagWait, appendPut(nil, opPut, value, time.Duration(wait)*time.Millisecond))
	case 5, 6:
		return op(opOffer, 0, appendValues(nil, value))
	case 7, 8, 20:
		values := [][]byte{value}
		for range rapid.IntRange(0, 4).Draw(t, "more") {
			values = append(values, []byte(rapid.StringMatching("[a-c]{1,2}").Draw(t, "value")))
		}
		return op(opPutAll, 0, appendValues(nil, values...))
	case 9, 10, 11, 12:
		return op(opTake, protocol.FlagWait, protocol.AppendInts(nil, wait, codec))
	case 21, 22, 23:
		return op(opTakeN, protocol.FlagWait, protocol.AppendInts(nil, rapid.Int64Range(1, 4).Draw(t, "most"), wait, codec))
	case 13:
		return op(opPoll, 0, protocol.AppendInts(nil, codec))
	case 14:
		return op(opDrain, 0, protocol.AppendInts(nil, rapid.Int64Range(1, 3).Draw(t, "most"), codec))
	case 15:
		if rapid.IntRange(0, 2).Draw(t, "clear") == 2 {
			return op(opClear, 0, protocol.AppendInts(nil, rapid.SampledFrom([]int64{0, 1, 1 << 62}).Draw(t, "mark")))
		}
	}
	return op(opPeek, protocol.FlagRead, protocol.AppendInts(nil))
}

// Settings implements structurestest.Configured.
func (m *model) Settings(t *rapid.T) []structures.Setting {
	return []structures.Setting{Capacity(rapid.Int64Range(0, 3).Draw(t, "capacity"))}
}

// Configure implements structurestest.Configured.
func (m *model) Configure(s *structures.Settings) { m.capacity = int(s.Value(capacitySetting).Int) }

func (m *model) Destroy() { *m = model{} }

func (m *model) Read(structurestest.Op, protocol.LogTime) structurestest.Answer {
	if len(m.free) == 0 {
		return structurestest.Refused(0, codeEmpty)
	}
	return structurestest.OK(0, appendValues(nil, m.free[0].value))
}

func (m *model) Len(protocol.LogTime) int64 { return int64(len(m.free)) }

func (m *model) full() bool { return m.capacity > 0 && len(m.free) >= m.capacity }

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	var n, ms, codec int64
	var values [][]byte
	switch call.Op.Op {
	case opPut, opOffer:
		var v []byte
		v, ms, _ = readPut(call.Op.Op, call.Body)
		values = [][]byte{v}
	case opPutAll:
		values, _ = readValues(call.Body)
	case opTake:
		n = 1
		_ = protocol.ReadInts(call.Body, &ms, &codec)
	case opTakeN:
		_ = protocol.ReadInts(call.Body, &n, &ms, &codec)
	case opDrain:
		_ = protocol.ReadInts(call.Body, &n, &codec)
	case opPoll:
		_ = protocol.ReadInts(call.Body, &codec)
	default:
		_ = protocol.ReadInts(call.Body, &n)
	}
	done := structurestest.OK(call.ID, protocol.AppendInts(nil))
	refused := func(code protocol.Code) []structurestest.Answer {
		return []structurestest.Answer{structurestest.Refused(call.ID, code)}
	}
	w := waiting{call: call.ID, session: call.Session, wants: int(n)}
	if ms > 0 {
		w.deadline = now + protocol.LogTime(ms*1e6)
	}
	other := func(e item) bool { return codec != anyCodec && int64(e.value[0]) != codec }
	switch call.Op.Op {
	case opPut:
		w.value = values[0]
		m.puts = append(m.puts, w)
		return m.serve()
	case opOffer, opPutAll:
		added := 0
		if len(m.puts) == 0 {
			// Those who wait to take do so beyond the capacity.
			wanted := 0
			for _, w := range m.takes {
				wanted += w.wants
			}
			for _, v := range values {
				if added >= wanted && m.capacity > 0 && len(m.free)-wanted >= m.capacity {
					break
				}
				m.free = append(m.free, item{number: m.next, value: v})
				m.next++
				added++
			}
		}
		if call.Op.Op == opPutAll {
			done.Body = protocol.AppendInts(nil, int64(added))
		} else if added == 0 {
			return refused(codeFull)
		}
	case opTake, opTakeN:
		if len(m.free) == 0 {
			m.takes = append(m.takes, w)
			return nil
		}
		fallthrough
	case opPoll, opDrain:
		k := min(int(max(n, 1)), len(m.free))
		switch i := slices.IndexFunc(m.free[:k], other); {
		case k == 0 && call.Op.Op == opPoll:
			return refused(codeEmpty)
		case i == 0:
			return refused(codeCodec)
		case i > 0:
			k = i
		}
		for _, e := range m.free[:k] {
			values = append(values, e.value)
		}
		m.free = m.free[k:]
		done = structurestest.OK(call.ID, appendValues(nil, values...))
	case opClear:
		if n != 1 { // the numbers of elements are larger
			m.free = nil
		}
		done = structurestest.OK(call.ID, protocol.AppendInts(nil, 0))
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
			w := m.takes[0]
			m.takes = m.takes[1:]
			var values [][]byte
			for range min(w.wants, len(m.free)) {
				e := m.free[0]
				m.free = m.free[1:]
				e.call, e.owner = w.call, w.session
				m.reserved = append(m.reserved, e)
				values = append(values, e.value)
			}
			answers = append(answers, structurestest.Answer{
				Call: w.call, Code: protocol.CodeReserved, Body: appendValues(nil, values...),
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
	m.leave(func(w waiting) bool {
		due := w.deadline != 0 && w.deadline <= now
		if due {
			answers = append(answers, structurestest.Refused(w.call, protocol.CodeTimedOut))
		}
		return due
	})
	return answers
}
