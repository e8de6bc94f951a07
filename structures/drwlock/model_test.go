package drwlock

import (
	"cmp"
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
	structurestest.Run(t, Kind(), func() structurestest.Model { return &model{readers: MaxReaders} })
}

// TestConformance_FewReaders: as many read as may, the next one waits.
func TestConformance_FewReaders(t *testing.T) {
	structurestest.Run(t, kindFor(2), func() structurestest.Model { return &model{readers: 2} })
}

func FuzzMachine(f *testing.F) {
	structurestest.Fuzz(f, Kind(), lockOp(true, 0, ""), lockOp(false, 1500, "nightly"), tryOp(true, "ann"), tryOp(false, ""),
		holdOp(opRelease, 3), holdOp(opDowngrade, 3), holdOp(opUpgrade, 3))
}

func lockOp(write bool, ms int64, note string) structurestest.Op {
	l := locking{write, ms, note}
	return structurestest.Op{Op: opLock, Flags: protocol.FlagWait, Body: l.append(opLock, nil), Text: fmt.Sprintf("lock to %s %d %q", l.mode(), ms, note)}
}

func tryOp(write bool, note string) structurestest.Op {
	l := locking{write: write, note: note}
	return structurestest.Op{Op: opTryLock, Body: l.append(opTryLock, nil), Text: fmt.Sprintf("try to lock to %s %q", l.mode(), note)}
}

func holdOp(op protocol.Op, id protocol.HoldID) structurestest.Op {
	names := map[protocol.Op]string{opRelease: "release", opDowngrade: "downgrade", opUpgrade: "upgrade"}
	return structurestest.Op{Op: op, Body: structures.AppendHold(nil, id), Text: fmt.Sprint(names[op], " ", id)}
}

// model is a lock with slices.
type model struct {
	readers int // that may hold it
	marks   func(protocol.HoldID) (structures.HoldMark, protocol.LogTime)
	delay   time.Duration
	now     protocol.LogTime
	until   protocol.LogTime // nobody is granted it before; 0: no delay
	held    []*asker         // who holds
	line    []*asker         // who waits, in the order of arrival
	token   protocol.Token   // of the last grant
}

type asker struct {
	call     structurestest.CallID
	session  protocol.SessionID
	write    bool
	note     string
	deadline protocol.LogTime // of a wait; 0: none
	hold     protocol.HoldID  // 0: not told yet
	token    protocol.Token
}

func (m *model) Marks(f func(protocol.HoldID) (structures.HoldMark, protocol.LogTime)) { m.marks = f }

func (m *model) Generate(t *rapid.T) structurestest.Op {
	note := rapid.SampledFrom([]string{"", "nightly", "ann"}).Draw(t, "note")
	write := rapid.IntRange(0, 2).Draw(t, "write") == 0
	what := rapid.IntRange(0, 13).Draw(t, "operation")
	switch {
	case what < 5:
		return lockOp(write, rapid.SampledFrom([]int64{0, 0, 1, 60, 2000}).Draw(t, "wait"), note)
	case what < 7:
		return tryOp(write, note)
	}
	ids := []protocol.HoldID{12345}
	for _, h := range m.held {
		if h.hold != 0 {
			ids = append(ids, h.hold)
		}
	}
	op := []protocol.Op{opRelease, opRelease, opDowngrade, opUpgrade}[rapid.IntRange(0, 3).Draw(t, "of a hold")]
	return holdOp(op, rapid.SampledFrom(ids).Draw(t, "hold"))
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
	for _, h := range m.held {
		if h.hold != 0 {
			l := locking{write: h.write}
			holds = append(holds, structurestest.Hold{Call: h.call, ID: h.hold, Token: h.token, Amount: 1, Mode: l.mode(), Note: h.note})
		}
	}
	slices.SortFunc(holds, func(a, b structurestest.Hold) int { return cmp.Compare(a.ID, b.ID) })
	return holds
}

func (m *model) GiveBack(id protocol.HoldID) []structurestest.Answer {
	m.lost(func(h *asker) bool { return h.hold == id })
	return m.serve()
}

// lost ends holds that were not released.
func (m *model) lost(gone func(*asker) bool) {
	n := len(m.held)
	if m.held = slices.DeleteFunc(m.held, gone); len(m.held) < n && m.delay > 0 {
		m.until = m.now.Add(m.delay)
	}
}

func (m *model) Wanted(op structurestest.Op) structures.WaitingCall {
	l, _ := readLocking(op.Op, op.Body)
	return structures.WaitingCall{Amount: 1, Mode: l.mode(), Note: l.note, Left: time.Duration(l.ms) * time.Millisecond}
}

func (m *model) Destroy() { *m = model{readers: m.readers, marks: m.marks, now: m.now, token: m.token} }

func (m *model) Len(protocol.LogTime) int64 { return int64(len(m.held)) }

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	m.now = now
	h := &asker{call: call.ID, session: call.Session}
	refused := func(code protocol.Code) []structurestest.Answer {
		return []structurestest.Answer{structurestest.Refused(call.ID, code)}
	}
	if call.Op.Op == opLock || call.Op.Op == opTryLock {
		l, _ := readLocking(call.Op.Op, call.Body)
		h.write, h.note = l.write, l.note
		if l.ms > 0 {
			h.deadline = now + protocol.LogTime(l.ms*1e6)
		}
		if call.Op.Op == opTryLock && (len(m.line) > 0 || !m.fits(h)) {
			return refused(codeHeld)
		}
		m.line = append(m.line, h)
		return m.serve()
	}
	id, _ := structures.ReadHold(call.Body)
	i := slices.IndexFunc(m.held, func(h *asker) bool { return h.hold == id && h.session == call.Session })
	if i < 0 {
		return refused(codeNotHeld)
	}
	if call.Op.Op == opRelease {
		m.held = slices.Delete(m.held, i, i+1)
		return append(m.serve(), structurestest.OK(call.ID, protocol.AppendArray(nil, 0)))
	}
	former := m.held[i]
	h.write, h.note = !former.write, former.note
	mark, _ := m.marks(id)
	switch {
	case h.write == (call.Op.Op == opDowngrade):
		return refused(codeNotHeld)
	case mark >= structures.HoldRevoked:
		return refused(codeRevoked)
	case h.write && (len(m.held) > 1 || m.until != 0):
		return refused(codeHeld)
	}
	m.held[i] = h
	return append(m.serve(), m.granted(h))
}

// fits reports whether the lock can be granted beside those that hold it.
func (m *model) fits(h *asker) bool {
	if m.until != 0 {
		return false
	}
	return len(m.held) == 0 || !h.write && !m.held[0].write && len(m.held) < m.readers
}

// serve grants to the head of the line for as long as it fits.
func (m *model) serve() (answers []structurestest.Answer) {
	for len(m.line) > 0 && m.fits(m.line[0]) {
		h := m.line[0]
		m.held, m.line = append(m.held, h), m.line[1:]
		answers = append(answers, m.granted(h))
	}
	return answers
}

// granted is the answer to a grant. Tokens never fall, and a writer's grows.
func (m *model) granted(h *asker) structurestest.Answer {
	return structurestest.Answer{Call: h.call, Match: func(body []byte, at protocol.Version) error {
		r := protocol.NewReader(body)
		r.Array(2)
		h.hold, h.token = protocol.HoldID(r.Uint()), protocol.Token(r.Uint())
		switch {
		case r.Done() != nil:
			return r.Err()
		case h.token < m.token || h.write && h.token == m.token || protocol.Version(h.token) != at || uint64(h.hold) > uint64(h.token):
			return fmt.Errorf("hold %d with token %d of the mutation %d, after token %d", h.hold, h.token, at, m.token)
		}
		m.token = h.token
		return nil
	}}
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
	of := func(h *asker) bool { return h.session == session }
	answers := m.leave(of) // what waits goes first: readers behind it fit beside its own hold
	m.lost(of)
	return append(answers, m.serve()...)
}

// Advance ends what is due, all of it before anybody is granted the lock: the delay of a hold
// that is due begins, whatever else is over by then (LOCK-5).
func (m *model) Advance(now protocol.LogTime) (answers []structurestest.Answer) {
	m.now = now
	m.line = slices.DeleteFunc(m.line, func(h *asker) bool {
		late := h.deadline != 0 && h.deadline <= now
		if late {
			answers = append(answers, structurestest.Refused(h.call, protocol.CodeTimedOut))
		}
		return late
	})
	if m.until <= now {
		m.until = 0
	}
	m.lost(func(h *asker) bool {
		mark, until := m.marks(h.hold)
		return h.hold != 0 && mark == structures.HoldAcknowledged && until <= now
	})
	return append(answers, m.serve()...)
}
