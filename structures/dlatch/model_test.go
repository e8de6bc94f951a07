package dlatch

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
		op(opSet, 0, 2),
		op(opAwait, protocol.FlagWait, 1500, 0),
		op(opAwait, protocol.FlagWait, 0, 1),
		op(opDown, 0, 1, 0),
		op(opDown, 0, 5, 2),
		holdOp(0, "who"),
		releaseOp(3),
		op(opCount, protocol.FlagRead),
	)
}

func op(code protocol.Op, flags protocol.Flags, args ...int64) structurestest.Op {
	return structurestest.Op{
		Op: code, Flags: flags, Body: protocol.AppendInts(nil, args...), Text: fmt.Sprint(kind.OpName(code), args),
	}
}

func holdOp(round int64, note string) structurestest.Op {
	return structurestest.Op{Op: opHold, Body: appendHold(nil, round, note), Text: fmt.Sprint("hold ", round, " ", note)}
}

func releaseOp(id protocol.HoldID) structurestest.Op {
	return structurestest.Op{Op: opRelease, Body: structures.AppendHold(nil, id), Text: fmt.Sprint("release ", id)}
}

// model is a latch with slices. The number of a round is not known before the answer to
// its set.
type model struct {
	rounds  []*round // of all instances
	first   int      // of this instance
	set     bool
	n       int64
	holders []*holder
	line    []*holder
}

type round struct{ number int64 } // 0: not known yet

type holder struct {
	call     structurestest.CallID
	session  protocol.SessionID
	round    *round
	note     string
	deadline protocol.LogTime // of a wait; 0: none
	hold     protocol.HoldID  // 0: not told yet
	token    protocol.Token
}

// present returns the round that is not over.
func (m *model) present() *round { return m.rounds[len(m.rounds)-1] }

func (m *model) Generate(t *rapid.T) structurestest.Op {
	if !m.set && rapid.IntRange(0, 3).Draw(t, "early") > 0 {
		return op(opSet, 0, rapid.Int64Range(1, 4).Draw(t, "count"))
	}
	rounds := []int64{0, 0, 0, 1 << 50}
	for _, r := range m.rounds {
		rounds = append(rounds, r.number)
	}
	number := rapid.SampledFrom(rounds).Draw(t, "round")
	switch rapid.IntRange(0, 14).Draw(t, "operation") {
	case 0, 1, 2, 3:
		return op(opAwait, protocol.FlagWait, rapid.SampledFrom([]int64{0, 0, 60, 2000}).Draw(t, "wait"), number)
	case 4, 5, 6:
		return op(opDown, 0, rapid.Int64Range(1, 3).Draw(t, "by"), number)
	case 7, 8:
		return holdOp(number, rapid.SampledFrom([]string{"", "host a"}).Draw(t, "note"))
	case 9, 10:
		holds := []protocol.HoldID{12345}
		for _, h := range m.holders {
			if h.hold != 0 {
				holds = append(holds, h.hold)
			}
		}
		return releaseOp(rapid.SampledFrom(holds).Draw(t, "hold"))
	case 11, 12, 13:
		return op(opSet, 0, rapid.Int64Range(1, 4).Draw(t, "count"))
	}
	return op(opCount, protocol.FlagRead)
}

func (m *model) Read(structurestest.Op, protocol.LogTime) structurestest.Answer {
	if !m.set {
		return structurestest.Refused(0, codeNotSet)
	}
	return structurestest.OK(0, protocol.AppendInts(nil, m.n, m.present().number, m.rounds[m.first].number))
}

// named returns the round that a request names; nil: there is no such round of this
// instance.
func (m *model) named(number int64) *round {
	if number == 0 {
		return m.present()
	}
	for _, r := range m.rounds[m.first:] {
		if r.number == number {
			return r
		}
	}
	return nil
}

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	refused := func(code protocol.Code) []structurestest.Answer {
		return []structurestest.Answer{structurestest.Refused(call.ID, code)}
	}
	var n, ms, number int64
	switch call.Op.Op {
	case opSet:
		_ = protocol.ReadInts(call.Body, &n)
		if m.n > 0 {
			return refused(codeNotZero)
		}
		if !m.set {
			m.set, m.first = true, len(m.rounds)
		}
		r := &round{}
		m.rounds, m.n = append(m.rounds, r), n
		return []structurestest.Answer{{Call: call.ID, Match: func(body []byte, at protocol.Version) error {
			if protocol.ReadInts(body, &r.number) != nil || r.number != int64(at) {
				return fmt.Errorf("round %x of the mutation %d", body, at)
			}
			return nil
		}}}
	case opRelease:
		id, _ := structures.ReadHold(call.Body)
		i := slices.IndexFunc(m.holders, func(h *holder) bool { return h.hold == id && h.session == call.Session })
		if i < 0 {
			return refused(codeNotHeld)
		}
		m.back(i)
		return append(m.serve(), structurestest.OK(call.ID, protocol.AppendInts(nil)))
	}
	if !m.set {
		return refused(codeNotSet)
	}
	h := &holder{call: call.ID, session: call.Session}
	switch call.Op.Op {
	case opDown:
		_ = protocol.ReadInts(call.Body, &n, &number)
	case opAwait:
		_ = protocol.ReadInts(call.Body, &ms, &number)
	case opHold:
		number, h.note, _ = readHold(call.Body)
	}
	h.round = m.named(number)
	if h.round == nil || call.Op.Op != opAwait && h.round != m.present() {
		return refused(codeRound)
	}
	switch call.Op.Op {
	case opDown:
		m.n = max(m.n-n, 0)
		return append(m.serve(), structurestest.OK(call.ID, protocol.AppendInts(nil, m.n)))
	case opHold:
		if m.n == 0 {
			return refused(codeDone)
		}
		m.n++
		m.holders = append(m.holders, h)
		return []structurestest.Answer{{Call: call.ID, Match: h.granted}}
	}
	if ms > 0 {
		h.deadline = now + protocol.LogTime(ms*1e6)
	}
	m.line = append(m.line, h)
	return m.serve()
}

// granted looks at the answer to a hold by the mutation at a version.
func (h *holder) granted(body []byte, at protocol.Version) error {
	r := protocol.NewReader(body)
	r.Array(2)
	h.hold, h.token = protocol.HoldID(r.Uint()), protocol.Token(r.Uint())
	switch {
	case r.Done() != nil:
		return r.Err()
	case protocol.Version(h.token) != at || uint64(h.hold) != uint64(h.token) || int64(h.token) <= h.round.number:
		return fmt.Errorf("hold %d and token %d of the mutation %d, in round %d", h.hold, h.token, at, h.round.number)
	}
	return nil
}

// back ends a hold.
func (m *model) back(i int) {
	if m.holders[i].round == m.present() {
		m.n = max(m.n-1, 0)
	}
	m.holders = slices.Delete(m.holders, i, i+1)
}

// serve lets those go whose round has ended.
func (m *model) serve() []structurestest.Answer {
	var answers []structurestest.Answer
	m.line = slices.DeleteFunc(m.line, func(h *holder) bool {
		if h.round == m.present() && m.n > 0 {
			return false
		}
		answers = append(answers, structurestest.Answer{Call: h.call, Match: func(body []byte, _ protocol.Version) error {
			var got int64
			if protocol.ReadInts(body, &got) != nil || got != h.round.number {
				return fmt.Errorf("round %x, want %d", body, h.round.number)
			}
			return nil
		}})
		return true
	})
	return answers
}

func (m *model) Holds() (holds []structurestest.Hold) {
	for _, h := range m.holders {
		if h.hold != 0 {
			holds = append(holds, structurestest.Hold{Call: h.call, ID: h.hold, Token: h.token, Amount: 1, Note: h.note})
		}
	}
	return holds
}

func (m *model) GiveBack(id protocol.HoldID) []structurestest.Answer {
	m.back(slices.IndexFunc(m.holders, func(h *holder) bool { return h.hold == id }))
	return m.serve()
}

func (m *model) Wanted(op structurestest.Op) (w structures.WaitingCall) {
	var ms, number int64
	_ = protocol.ReadInts(op.Body, &ms, &number)
	w.Left = time.Duration(ms) * time.Millisecond
	return w
}

func (m *model) Destroy() { *m = model{rounds: m.rounds} }

func (m *model) Len(protocol.LogTime) int64 { return m.n }

func (m *model) Withdraw(id structurestest.CallID) []structurestest.Answer {
	m.line = slices.DeleteFunc(m.line, func(h *holder) bool { return h.call == id })
	return nil
}

func (m *model) Confirm(structurestest.CallID) { panic("a latch reserves nothing") }

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
	m.line = slices.DeleteFunc(m.line, func(h *holder) bool {
		if h.deadline == 0 || h.deadline > now {
			return false
		}
		answers = append(answers, structurestest.Refused(h.call, protocol.CodeTimedOut))
		return true
	})
	return answers
}
