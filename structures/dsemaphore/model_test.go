package dsemaphore

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
		op(opInit, 0, 2),
		tryOp(1, "ann"),
		acquireOp(2, 1500, "nightly"),
		op(opAddPermits, 0, -3),
		op(opAddPermits, 0, 4),
		releaseOp(3),
		op(opAvailable, protocol.FlagRead),
		op(opDrain, 0),
	)
}

func op(code protocol.Op, flags protocol.Flags, args ...int64) structurestest.Op {
	names := map[protocol.Op]string{
		opInit: "init", opAvailable: "available", opDrain: "drain", opAddPermits: "add permits",
	}
	return structurestest.Op{
		Op: code, Flags: flags, Body: protocol.AppendInts(nil, args...), Text: fmt.Sprint(names[code], args),
	}
}

func acquireOp(n, ms int64, note string) structurestest.Op {
	body := appendAcquire(nil, n, ms, note)
	return structurestest.Op{Op: opAcquire, Flags: protocol.FlagWait, Body: body, Text: fmt.Sprintf("acquire %d %d %q", n, ms, note)}
}

func tryOp(n int64, note string) structurestest.Op {
	return structurestest.Op{Op: opTryAcquire, Body: appendTryAcquire(nil, n, note), Text: fmt.Sprintf("try to acquire %d %q", n, note)}
}

func releaseOp(id protocol.HoldID) structurestest.Op {
	return structurestest.Op{Op: opRelease, Body: structures.AppendHold(nil, id), Text: fmt.Sprint("release ", id)}
}

// model is a semaphore with slices.
type model struct {
	initialized bool
	init, free  int64
	holders     []*holder // who holds, and who has held
	line        []*holder // who waits, in the order of arrival
	last        holder    // the last that was granted
}

type holder struct {
	call     structurestest.CallID
	session  protocol.SessionID
	permits  int64
	note     string
	deadline protocol.LogTime // of a wait; 0: none
	hold     protocol.HoldID  // 0: not told yet
	token    protocol.Token
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	if !m.initialized && rapid.IntRange(0, 3).Draw(t, "early") > 0 {
		return op(opInit, 0, rapid.SampledFrom([]int64{3, 4, 2, 0}).Draw(t, "init"))
	}
	n := rapid.SampledFrom([]int64{1, 2, 3, 1, 2, 4, 5}).Draw(t, "permits")
	note := rapid.SampledFrom([]string{"", "nightly", "ann"}).Draw(t, "note")
	switch rapid.IntRange(0, 16).Draw(t, "operation") {
	case 0, 1, 2, 3, 4, 5, 6:
		ms := rapid.SampledFrom([]int64{0, 0, 1, 60, 2000}).Draw(t, "wait")
		return acquireOp(n, ms, note)
	case 7, 8:
		return tryOp(n, note)
	case 9, 10, 11:
		holds := []protocol.HoldID{12345}
		for _, h := range m.holders {
			if h.hold != 0 {
				holds = append(holds, h.hold)
			}
		}
		return releaseOp(rapid.SampledFrom(holds).Draw(t, "hold"))
	case 12:
		return op(opDrain, 0)
	case 13, 14:
		return op(opAddPermits, 0, rapid.Int64Range(-4, 4).Draw(t, "add"))
	case 15:
		return op(opInit, 0, m.init+rapid.Int64Range(0, 1).Draw(t, "init"))
	}
	return op(opAvailable, protocol.FlagRead)
}

func (m *model) Read(structurestest.Op, protocol.LogTime) structurestest.Answer {
	if !m.initialized {
		return structurestest.Refused(0, codeNotInitialized)
	}
	return structurestest.OK(0, protocol.AppendInts(nil, m.free))
}

func (m *model) Holds() (holds []structurestest.Hold) {
	for _, h := range m.holders {
		if h.hold != 0 {
			holds = append(holds, structurestest.Hold{Call: h.call, ID: h.hold, Token: h.token, Amount: h.permits, Note: h.note})
		}
	}
	return holds
}

func (m *model) GiveBack(id protocol.HoldID) []structurestest.Answer {
	m.back(slices.IndexFunc(m.holders, func(h *holder) bool { return h.hold == id }))
	return m.serve()
}

func (m *model) Wanted(op structurestest.Op) (w structures.WaitingCall) {
	var ms int64
	w.Amount, ms, w.Note, _ = readAcquire(op.Body)
	w.Left = time.Duration(ms) * time.Millisecond
	return w
}

func (m *model) Destroy() { *m = model{last: m.last} }

func (m *model) Len(protocol.LogTime) int64 { return m.free }

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	var n, ms int64
	var note string
	switch call.Op.Op {
	case opAcquire:
		n, ms, note, _ = readAcquire(call.Body)
	case opTryAcquire:
		n, note, _ = readTryAcquire(call.Body)
	default:
		_ = protocol.ReadInts(call.Body, &n)
	}
	done := structurestest.OK(call.ID, protocol.AppendInts(nil))
	refused := func(code protocol.Code) []structurestest.Answer {
		return []structurestest.Answer{structurestest.Refused(call.ID, code)}
	}
	switch call.Op.Op {
	case opInit:
		if m.initialized && m.init != n {
			return refused(protocol.CodeSettings)
		}
		if !m.initialized {
			m.initialized, m.init, m.free = true, n, n
		}
		return []structurestest.Answer{done}
	case opRelease:
		id, _ := structures.ReadHold(call.Body)
		i := slices.IndexFunc(m.holders, func(h *holder) bool { return h.hold == id && h.session == call.Session })
		if i < 0 {
			return refused(codeNotHeld)
		}
		m.back(i)
		return append(m.serve(), done)
	}
	if !m.initialized {
		return refused(codeNotInitialized)
	}
	switch call.Op.Op {
	case opDrain:
		drained := max(m.free, 0)
		m.free -= drained
		return append(m.serve(), structurestest.OK(call.ID, protocol.AppendInts(nil, drained)))
	case opAddPermits:
		m.free += n
		return append(m.serve(), done)
	}
	if n > m.most() {
		return refused(codeTooMany)
	}
	h := &holder{call: call.ID, session: call.Session, permits: n, note: note}
	if call.Op.Op == opTryAcquire && (len(m.line) > 0 || n > m.free) {
		return refused(codeNone)
	}
	if ms > 0 {
		h.deadline = now + protocol.LogTime(ms*1e6)
	}
	m.line = append(m.line, h)
	return m.serve()
}

func (m *model) most() int64 {
	all := m.free
	for _, h := range m.holders {
		all += h.permits
	}
	return max(m.init, all)
}

// back takes a holder's permits back.
func (m *model) back(i int) {
	m.free += m.holders[i].permits
	m.holders = slices.Delete(m.holders, i, i+1)
}

// serve grants to the head of the line for as long as it fits.
func (m *model) serve() []structurestest.Answer {
	var answers []structurestest.Answer
	for len(m.line) > 0 {
		h := m.line[0]
		if h.permits > m.most() {
			answers = append(answers, structurestest.Refused(h.call, codeTooMany))
			m.line = m.line[1:]
			continue
		}
		if h.permits > m.free {
			break
		}
		m.line = m.line[1:]
		m.free -= h.permits
		m.holders = append(m.holders, h)
		answers = append(answers, structurestest.Answer{Call: h.call, Match: func(body []byte, at protocol.Version) error {
			return m.granted(h, body, at)
		}})
	}
	return answers
}

// granted looks at the answer to a grant by the mutation at a revision: holds grow
// in the order of grants, because nobody is overtaken.
func (m *model) granted(h *holder, body []byte, at protocol.Version) error {
	r := protocol.NewReader(body)
	r.Array(2)
	h.hold, h.token = protocol.HoldID(r.Uint()), protocol.Token(r.Uint())
	switch last := m.last; {
	case r.Done() != nil:
		return r.Err()
	case h.hold <= last.hold:
		return fmt.Errorf("hold %d after hold %d", h.hold, last.hold)
	case h.token < last.token || protocol.Version(h.token) != at:
		return fmt.Errorf("token %d of the mutation %d, after token %d", h.token, at, last.token)
	}
	m.last = *h
	return nil
}

func (m *model) leave(gone func(*holder) bool) []structurestest.Answer {
	m.line = slices.DeleteFunc(m.line, gone)
	return m.serve()
}

func (m *model) Withdraw(id structurestest.CallID) []structurestest.Answer {
	return m.leave(func(h *holder) bool { return h.call == id })
}

func (m *model) Confirm(structurestest.CallID) { panic("a semaphore reserves nothing") }

func (m *model) End(session protocol.SessionID) []structurestest.Answer {
	m.line = slices.DeleteFunc(m.line, func(h *holder) bool { return h.session == session })
	for i := len(m.holders) - 1; i >= 0; i-- {
		if m.holders[i].session == session {
			m.back(i)
		}
	}
	return m.serve()
}

func (m *model) Advance(now protocol.LogTime) []structurestest.Answer {
	var answers []structurestest.Answer
	for _, h := range m.line {
		if h.deadline != 0 && h.deadline <= now {
			answers = append(answers, structurestest.Refused(h.call, protocol.CodeTimedOut))
		}
	}
	return append(answers, m.leave(func(h *holder) bool { return h.deadline != 0 && h.deadline <= now })...)
}
