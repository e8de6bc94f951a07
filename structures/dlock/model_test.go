package dlock

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delay"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), func() structurestest.Model { return new(model) })
}

func FuzzMachine(f *testing.F) {
	structurestest.Fuzz(f, Kind(), lockOp(0, ""), lockOp(1500, "nightly"), tryOp("ann"), releaseOp(3))
}

func lockOp(ms int64, note string) structurestest.Op {
	return structurestest.Op{Op: opLock, Flags: protocol.FlagWait, Body: appendLock(nil, ms, note), Text: fmt.Sprintf("lock %d %q", ms, note)}
}

func tryOp(note string) structurestest.Op {
	return structurestest.Op{Op: opTryLock, Body: appendTryLock(nil, note), Text: fmt.Sprintf("try to lock %q", note)}
}

func releaseOp(id protocol.HoldID) structurestest.Op {
	return structurestest.Op{Op: opRelease, Body: structures.AppendHold(nil, id), Text: fmt.Sprint("release ", id)}
}

// model is a lock with a slice.
type model struct {
	delay time.Duration
	now   protocol.LogTime
	until protocol.LogTime // nobody is granted it before; 0: no delay
	held  *asker           // who holds
	line  []*asker         // who waits, in the order of arrival
	token protocol.Token   // of the last grant
}

type asker struct {
	call     structurestest.CallID
	session  protocol.SessionID
	note     string
	deadline protocol.LogTime // of a wait; 0: none
	hold     protocol.HoldID  // 0: not told yet
	token    protocol.Token
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	note := rapid.SampledFrom([]string{"", "nightly", "ann"}).Draw(t, "note")
	switch rapid.IntRange(0, 9).Draw(t, "operation") {
	case 0, 1, 2, 3:
		return lockOp(rapid.SampledFrom([]int64{0, 0, 1, 60, 2000}).Draw(t, "wait"), note)
	case 4, 5:
		return tryOp(note)
	}
	if m.held != nil && m.held.hold != 0 && rapid.IntRange(0, 4).Draw(t, "known") > 0 {
		return releaseOp(m.held.hold)
	}
	return releaseOp(12345)
}

func (m *model) Settings(t *rapid.T) []structures.Setting {
	return []structures.Setting{Delay(rapid.SampledFrom([]time.Duration{50 * time.Millisecond, time.Second, 0}).Draw(t, "delay"))}
}

func (m *model) Configure(s *structures.Settings) {
	m.delay = time.Duration(s.Value(&delay.Infos[0]).Int) * time.Millisecond
}

func (m *model) Read(structurestest.Op, protocol.LogTime) structurestest.Answer {
	panic("a lock has no reads of its own")
}

func (m *model) Holds() (holds []structurestest.Hold) {
	if h := m.held; h != nil && h.hold != 0 {
		holds = append(holds, structurestest.Hold{Call: h.call, ID: h.hold, Token: h.token, Amount: 1, Note: h.note})
	}
	return holds
}

func (m *model) GiveBack(protocol.HoldID) []structurestest.Answer {
	m.lost()
	return m.serve()
}

// lost ends a hold that was not released.
func (m *model) lost() {
	m.held = nil
	if m.delay > 0 {
		m.until = m.now.Add(m.delay)
	}
}

func (m *model) Wanted(op structurestest.Op) structures.WaitingCall {
	ms, note, _ := readLock(op.Body)
	return structures.WaitingCall{Amount: 1, Note: note, Left: time.Duration(ms) * time.Millisecond}
}

func (m *model) Destroy() { *m = model{now: m.now, token: m.token} }

func (m *model) Len(protocol.LogTime) int64 {
	if m.held != nil {
		return 1
	}
	return 0
}

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	m.now = now
	h := &asker{call: call.ID, session: call.Session}
	switch call.Op.Op {
	case opRelease:
		id, _ := structures.ReadHold(call.Body)
		if m.held == nil || m.held.hold != id || m.held.session != call.Session {
			return []structurestest.Answer{structurestest.Refused(call.ID, codeNotHeld)}
		}
		m.held = nil
		return append(m.serve(), structurestest.OK(call.ID, protocol.AppendArray(nil, 0)))
	case opTryLock:
		h.note, _ = readTryLock(call.Body)
		if m.held != nil || m.until != 0 || len(m.line) > 0 {
			return []structurestest.Answer{structurestest.Refused(call.ID, codeHeld)}
		}
	case opLock:
		ms, note, _ := readLock(call.Body)
		h.note = note
		if ms > 0 {
			h.deadline = now + protocol.LogTime(ms*1e6)
		}
	}
	m.line = append(m.line, h)
	return m.serve()
}

// serve grants to the head of the line.
func (m *model) serve() []structurestest.Answer {
	if m.held != nil || m.until != 0 || len(m.line) == 0 {
		return nil
	}
	h := m.line[0]
	m.held, m.line = h, m.line[1:]
	return []structurestest.Answer{{Call: h.call, Match: func(body []byte, at protocol.Version) error {
		r := protocol.NewReader(body)
		r.Array(2)
		h.hold, h.token = protocol.HoldID(r.Uint()), protocol.Token(r.Uint())
		switch {
		case r.Done() != nil:
			return r.Err()
		case h.token <= m.token || protocol.Version(h.token) != at || uint64(h.hold) > uint64(h.token):
			return fmt.Errorf("hold %d with token %d of the mutation %d, after token %d", h.hold, h.token, at, m.token)
		}
		m.token = h.token
		return nil
	}}}
}

func (m *model) leave(gone func(*asker) bool) []structurestest.Answer {
	m.line = slices.DeleteFunc(m.line, gone)
	return m.serve()
}

func (m *model) Withdraw(id structurestest.CallID) []structurestest.Answer {
	return m.leave(func(h *asker) bool { return h.call == id })
}

func (m *model) Confirm(structurestest.CallID) { panic("a lock reserves nothing") }

func (m *model) End(session protocol.SessionID) []structurestest.Answer {
	if m.held != nil && m.held.session == session {
		m.lost()
	}
	return m.leave(func(h *asker) bool { return h.session == session })
}

func (m *model) Advance(now protocol.LogTime) []structurestest.Answer {
	m.now = now
	if m.until <= now {
		m.until = 0
	}
	late := func(h *asker) bool { return h.deadline != 0 && h.deadline <= now }
	var answers []structurestest.Answer
	for _, h := range m.line {
		if late(h) {
			answers = append(answers, structurestest.Refused(h.call, protocol.CodeTimedOut))
		}
	}
	return append(answers, m.leave(late)...)
}
