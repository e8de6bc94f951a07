package dbarrier

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
		op(opAwait, 2, 0), op(opAwait, 2, 1500), op(opAwait, 2, -1),
		enterOp(2, 0, "who"), enterOp(2, 0, ""), op(opLeft, 3, 0), releaseOp(3))
}

func op(code protocol.Op, args ...int64) structurestest.Op {
	return structurestest.Op{
		Op: code, Flags: protocol.FlagWait, Body: protocol.AppendInts(nil, args...), Text: fmt.Sprint(kind.OpName(code), args),
	}
}

func enterOp(n, ms int64, note string) structurestest.Op {
	return structurestest.Op{Op: opEnter, Flags: protocol.FlagWait, Body: appendEnter(nil, n, ms, note), Text: fmt.Sprint("enter ", n, ms, note)}
}

func releaseOp(id protocol.HoldID) structurestest.Op {
	return structurestest.Op{Op: opRelease, Body: structures.AppendHold(nil, id), Text: fmt.Sprint("release ", id)}
}

// model is a barrier with slices. The number of a round is not known before it is answered.
type model struct {
	rounds []*round
	within []*party
	line   []*party
}

type round struct{ number protocol.Version } // 0: not known yet

type party struct {
	call     structurestest.CallID
	session  protocol.SessionID
	op       protocol.Op
	n        int64
	note     string
	leaves   int64 // the round that it waits for
	round    *round
	deadline protocol.LogTime // of a wait; 0: none
	hold     protocol.HoldID  // 0: not told yet
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	n := rapid.SampledFrom([]int64{2, 3, 3, 3, 4}).Draw(t, "parties")
	ms := rapid.SampledFrom([]int64{0, 0, 0, 60, 2000, -1}).Draw(t, "wait")
	if want, ok := m.agreed(); ok && rapid.IntRange(0, 4).Draw(t, "fits") > 0 {
		n = want.n
		if want.op == opAwait {
			return op(opAwait, n, ms)
		}
	} else if rapid.IntRange(0, 2).Draw(t, "form") == 0 {
		return op(opAwait, n, ms)
	}
	rounds := []int64{12345}
	for _, r := range m.rounds {
		rounds = append(rounds, int64(r.number))
	}
	slices.Reverse(rounds)
	switch rapid.IntRange(0, 9).Draw(t, "operation") {
	case 0, 1:
		return op(opLeft, rapid.SampledFrom(rounds).Draw(t, "round"), ms)
	case 2, 3, 4:
		holds := []protocol.HoldID{12345}
		for _, p := range m.within {
			if p.hold != 0 {
				holds = append(holds, p.hold)
			}
		}
		slices.Reverse(holds)
		return releaseOp(rapid.SampledFrom(holds).Draw(t, "hold"))
	}
	return enterOp(n, ms, rapid.SampledFrom([]string{"", "host a"}).Draw(t, "note"))
}

// agreed returns a party that is inside or waits to arrive.
func (m *model) agreed() (*party, bool) {
	if len(m.within) > 0 {
		return m.within[0], true
	}
	i := slices.IndexFunc(m.line, func(p *party) bool { return p.op != opLeft })
	if i < 0 {
		return nil, false
	}
	return m.line[i], true
}

func (m *model) Read(structurestest.Op, protocol.LogTime) structurestest.Answer {
	panic("a barrier has no reads")
}

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	p := &party{call: call.ID, session: call.Session, op: call.Op.Op}
	refused := func(code protocol.Code) []structurestest.Answer {
		return []structurestest.Answer{structurestest.Refused(call.ID, code)}
	}
	var ms int64
	switch call.Op.Op {
	case opRelease:
		id, _ := structures.ReadHold(call.Body)
		i := slices.IndexFunc(m.within, func(p *party) bool { return p.hold == id && p.session == call.Session })
		if i < 0 {
			return refused(codeNotHeld)
		}
		m.within = slices.Delete(m.within, i, i+1)
		return append(m.serve(), structurestest.OK(call.ID, protocol.AppendInts(nil)))
	case opLeft:
		_ = protocol.ReadInts(call.Body, &p.leaves, &ms)
	case opAwait:
		_ = protocol.ReadInts(call.Body, &p.n, &ms)
	case opEnter:
		p.n, ms, p.note, _ = readEnter(call.Body)
	}
	if other, ok := m.agreed(); ok && p.op != opLeft && (other.op != p.op || other.n != p.n) {
		return refused(protocol.CodeSettings)
	}
	if ms > 0 {
		p.deadline = now + protocol.LogTime(ms*1e6)
	}
	m.line = append(m.line, p)
	answers := m.serve()
	if i := slices.Index(m.line, p); i >= 0 && ms == notAtAll {
		m.line = slices.Delete(m.line, i, i+1)
		return append(answers, structurestest.Refused(call.ID, protocol.CodeTimedOut))
	}
	return answers
}

// serve lets go who can.
func (m *model) serve() []structurestest.Answer {
	var answers []structurestest.Answer
	m.line = slices.DeleteFunc(m.line, func(p *party) bool {
		// No round is 0, which here is one whose answer has not been looked at yet.
		if p.op != opLeft || p.leaves != 0 && len(m.within) > 0 && int64(m.within[0].round.number) == p.leaves {
			return false
		}
		answers = append(answers, structurestest.OK(p.call, protocol.AppendInts(nil)))
		return true
	})
	var all []*party
	for _, p := range m.line {
		if p.op != opLeft && (len(all) == 0 || int64(len(all)) < all[0].n) {
			all = append(all, p)
		}
	}
	if len(all) == 0 || int64(len(all)) < all[0].n || len(m.within) > 0 {
		return answers
	}
	r := &round{}
	m.rounds = append(m.rounds, r)
	m.line = slices.DeleteFunc(m.line, func(p *party) bool { return slices.Contains(all, p) })
	for i, p := range all {
		p.round = r
		if p.op == opEnter {
			m.within = append(m.within, p)
		}
		answers = append(answers, structurestest.Answer{Call: p.call, Match: func(body []byte, at protocol.Version) error { return p.met(i, body, at) }})
	}
	return answers
}

// met looks at the answer to a party that has met the others as the i-th.
func (p *party) met(i int, body []byte, at protocol.Version) error {
	r := protocol.NewReader(body)
	r.Array(2)
	a, b := r.Uint(), r.Uint()
	if p.round.number == 0 {
		p.round.number = at
	}
	want := [2]uint64{uint64(at), uint64(i)}
	if p.op == opEnter {
		p.hold = protocol.HoldID(a)
		want = [2]uint64{a, uint64(at)}
	}
	if r.Done() != nil || a != want[0] || b != want[1] || at != p.round.number || a == 0 {
		return fmt.Errorf("%x as number %d of round %d, by the mutation %d", body, i, p.round.number, at)
	}
	return nil
}

func (m *model) Holds() (holds []structurestest.Hold) {
	for _, p := range m.within {
		if p.hold != 0 {
			holds = append(holds, structurestest.Hold{Call: p.call, ID: p.hold, Token: protocol.Token(p.round.number), Amount: p.n, Note: p.note})
		}
	}
	return holds
}

func (m *model) GiveBack(id protocol.HoldID) []structurestest.Answer {
	m.within = slices.DeleteFunc(m.within, func(p *party) bool { return p.hold == id })
	return m.serve()
}

func (m *model) Wanted(op structurestest.Op) (w structures.WaitingCall) {
	var n, ms int64
	_ = protocol.ReadInts(op.Body, &n, &ms)
	if op.Op == opEnter {
		w.Amount, ms, w.Note, _ = readEnter(op.Body)
	}
	w.Left = time.Duration(ms) * time.Millisecond
	return w
}

func (m *model) Destroy() { *m = model{rounds: m.rounds} }

func (m *model) Len(protocol.LogTime) int64 { return int64(len(m.within)) }

func (m *model) Withdraw(id structurestest.CallID) []structurestest.Answer {
	m.line = slices.DeleteFunc(m.line, func(p *party) bool { return p.call == id })
	return nil
}

func (m *model) Confirm(structurestest.CallID) { panic("a barrier reserves nothing") }

func (m *model) End(session protocol.SessionID) []structurestest.Answer {
	gone := func(p *party) bool { return p.session == session }
	m.line, m.within = slices.DeleteFunc(m.line, gone), slices.DeleteFunc(m.within, gone)
	return m.serve()
}

func (m *model) Advance(now protocol.LogTime) []structurestest.Answer {
	var answers []structurestest.Answer
	m.line = slices.DeleteFunc(m.line, func(p *party) bool {
		if p.deadline == 0 || p.deadline > now {
			return false
		}
		answers = append(answers, structurestest.Refused(p.call, protocol.CodeTimedOut))
		return true
	})
	return answers
}
