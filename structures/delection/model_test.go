package delection

import (
	"bytes"
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
		campaignOp(opTry, campaign{value: []byte{3, 'a'}}),
		campaignOp(opCampaign, campaign{priority: 2, value: []byte{3, 'b'}, note: "host b", wait: 1500 * time.Millisecond}),
		campaignOp(opCampaign, campaign{priority: -1, value: []byte{3, 'c'}}),
		transferOp(3, 5, 100),
		proclaimOp(3, "d"),
		op(opLeader, protocol.FlagRead),
		candidatesOp(0, 1000),
		resignOp(3),
	)
}

func op(code protocol.Op, flags protocol.Flags) structurestest.Op {
	return structurestest.Op{Op: code, Flags: flags, Body: protocol.AppendArray(nil, 0), Text: kind.OpName(code)}
}

func campaignOp(code protocol.Op, c campaign) structurestest.Op {
	o := structurestest.Op{Op: code, Body: c.append(nil, code), Text: fmt.Sprintf("%s %+v", kind.OpName(code), c)}
	if code == opCampaign {
		o.Flags = protocol.FlagWait
	}
	return o
}

func resignOp(id protocol.HoldID) structurestest.Op {
	return structurestest.Op{Op: opResign, Body: structures.AppendHold(nil, id), Text: fmt.Sprint("resign ", id)}
}

func proclaimOp(id protocol.HoldID, value string) structurestest.Op {
	p := proclamation{hold: id, value: []byte("\x03" + value)}
	return structurestest.Op{Op: opProclaim, Body: p.append(nil), Text: fmt.Sprintf("proclaim %d %q", id, value)}
}

func transferOp(from, to protocol.HoldID, grace int64) structurestest.Op {
	t := transfer{Revocation: structures.Revocation{Hold: from, Grace: grace, Reason: "maintenance"}, candidate: to}
	return structurestest.Op{Op: opTransfer, Body: t.append(nil), Text: fmt.Sprintf("transfer %+v", t)}
}

func candidatesOp(from protocol.HoldID, most uint64) structurestest.Op {
	q := structures.InspectRequest{From: from, Most: most}
	return structurestest.Op{Op: opCandidates, Flags: protocol.FlagRead, Body: q.Append(nil), Text: fmt.Sprintf("candidates %+v", q)}
}

// model is an election with a slice.
type model struct {
	revoke func(structures.Revocation) // for the suite: a Transfer revokes, too
	leader *runner
	line   []*runner // who waits, in the order of arrival
	named  *runner   // who is to succeed the leader
	token  protocol.Token
	now    protocol.LogTime
}

// runner is a candidate, and later a leader.
type runner struct {
	campaign
	call    structurestest.CallID
	session protocol.SessionID
	began   protocol.LogTime
	elected protocol.LogTime
	hold    protocol.HoldID // 0: not told yet
	token   protocol.Token
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	holds := []protocol.HoldID{12345}
	for _, c := range append(slices.Clone(m.line), m.leader) {
		if c != nil && c.hold != 0 {
			holds = append(holds, c.hold)
		}
	}
	hold := func(what string) protocol.HoldID { return rapid.SampledFrom(holds).Draw(t, what) }
	leading := func() protocol.HoldID {
		if m.leader != nil && m.leader.hold != 0 && rapid.IntRange(0, 5).Draw(t, "leader") > 0 {
			return m.leader.hold
		}
		return hold("hold")
	}
	switch rapid.IntRange(0, 15).Draw(t, "operation") {
	case 0, 1, 2, 3, 4, 5:
		return campaignOp(opCampaign, campaign{
			priority: rapid.Int64Range(-1, 1).Draw(t, "priority"),
			value:    []byte("\x03" + rapid.SampledFrom([]string{"a", "b", "long"}).Draw(t, "value")),
			note:     rapid.SampledFrom([]string{"", "host"}).Draw(t, "note"),
			wait:     time.Duration(rapid.SampledFrom([]int64{0, 0, 1, 60, 2000}).Draw(t, "wait")) * time.Millisecond,
		})
	case 6:
		return campaignOp(opTry, campaign{value: []byte("\x03try")})
	case 7:
		return proclaimOp(leading(), rapid.SampledFrom([]string{"", "new"}).Draw(t, "value"))
	case 8, 9:
		return resignOp(leading())
	case 10:
		return op(opLeader, protocol.FlagRead)
	case 11, 12:
		from := protocol.HoldID(0)
		if rapid.IntRange(0, 3).Draw(t, "from") == 0 {
			from = hold("from")
		}
		return candidatesOp(from, rapid.SampledFrom([]uint64{1000, 1 << 60, 1, 2}).Draw(t, "most"))
	}
	return transferOp(leading(), hold("candidate"), rapid.SampledFrom([]int64{0, 0, -1, 100}).Draw(t, "grace"))
}

func (m *model) Read(op structurestest.Op, now protocol.LogTime) structurestest.Answer {
	if op.Op == opCandidates {
		return m.candidates(op, now)
	}
	if m.leader == nil {
		return structurestest.Refused(0, codeNone)
	}
	l := leader{
		hold: m.leader.hold, token: m.leader.token, session: m.leader.session, note: m.leader.note,
		since: time.Duration(now - m.leader.elected), value: m.leader.value,
	}
	return structurestest.OK(0, l.append(nil, true))
}

// candidates tells the model the holds of those who wait, too.
func (m *model) candidates(op structurestest.Op, now protocol.LogTime) structurestest.Answer {
	var q structures.InspectRequest
	_ = q.Read(op.Body)
	most := min(q.Most, uint64(protocol.DefaultLimits().PageEntries))
	return structurestest.Answer{Match: func(body []byte, _ protocol.Version) error {
		var got page
		if err := got.read(body); err != nil {
			return err
		}
		var want page
		if m.named != nil {
			want.named = m.named.hold
		}
		waiting := m.line
		if q.From != 0 {
			// Without their holds nobody can tell where a page begins.
			waiting = slices.DeleteFunc(slices.Clone(waiting), func(c *runner) bool { return c.hold == 0 || c.hold < q.From })
			if len(got.list) != min(len(waiting), int(most)) && len(waiting) == len(m.line) {
				return fmt.Errorf("%d candidates from %d on, want %d", len(got.list), q.From, len(waiting))
			}
			return nil
		}
		for _, c := range waiting {
			if uint64(len(want.list)) == most {
				break
			}
			i := len(want.list)
			if i < len(got.list) && c.hold == 0 {
				c.hold = got.list[i].hold
			}
			shown := candidate{hold: c.hold, session: c.session, priority: c.priority, note: c.note, waits: time.Duration(now - c.began), value: c.value}
			if c.wait > 0 {
				shown.left = c.wait - shown.waits
			}
			want.list = append(want.list, shown)
		}
		if len(waiting) > len(want.list) {
			if want.next = waiting[len(want.list)].hold; want.next == 0 {
				want.next = got.next
			}
		}
		if m.named != nil && m.named.hold == 0 || !bytes.Equal(got.append(nil), want.append(nil)) {
			return fmt.Errorf("%+v, want %+v", got, want)
		}
		return nil
	}}
}

func (m *model) Holds() (holds []structurestest.Hold) {
	if l := m.leader; l != nil && l.hold != 0 && l.token != 0 {
		holds = append(holds, structurestest.Hold{Call: l.call, ID: l.hold, Token: l.token, Amount: 1, Note: l.note})
	}
	return holds
}

func (m *model) GiveBack(protocol.HoldID) []structurestest.Answer { return m.succeed(nil) }

func (m *model) Wanted(op structurestest.Op) (w structures.WaitingCall) {
	var c campaign
	_ = c.read(op.Op, op.Body)
	w.Amount, w.Note, w.Left = 1, c.note, c.wait
	return w
}

// Revokes implements structurestest.Revoking.
func (m *model) Revokes(note func(structures.Revocation)) { m.revoke = note }

func (m *model) Destroy() { *m = model{revoke: m.revoke, token: m.token, now: m.now} }

func (m *model) Len(protocol.LogTime) int64 {
	if m.leader == nil {
		return 0
	}
	return 1
}

// leads reports whether a session has the leadership with a number.
func (m *model) leads(id protocol.HoldID) bool { return m.leader != nil && m.leader.hold == id }

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	m.now = now
	done := structurestest.OK(call.ID, protocol.AppendInts(nil))
	switch call.Op.Op {
	case opCampaign, opTry:
		r := &runner{call: call.ID, session: call.Session, began: now}
		_ = r.read(call.Op.Op, call.Body)
		r.value = bytes.Clone(r.value)
		if m.leader == nil {
			return []structurestest.Answer{m.elect(r)}
		}
		if call.Op.Op == opTry {
			return []structurestest.Answer{structurestest.Refused(call.ID, codeLed)}
		}
		m.line = append(m.line, r)
		return nil
	case opProclaim:
		var p proclamation
		_ = p.read(call.Body)
		if !m.leads(p.hold) || m.leader.session != call.Session {
			return []structurestest.Answer{structurestest.Refused(call.ID, codeNotHeld)}
		}
		m.leader.value = bytes.Clone(p.value)
		return []structurestest.Answer{done}
	case opResign:
		id, _ := structures.ReadHold(call.Body)
		if !m.leads(id) || m.leader.session != call.Session {
			return []structurestest.Answer{structurestest.Refused(call.ID, codeNotHeld)}
		}
		return append(m.succeed(nil), done)
	}
	return m.transfer(call)
}

func (m *model) transfer(call structurestest.Call) []structurestest.Answer {
	var t transfer
	_ = t.read(call.Body)
	if !m.leads(t.Hold) {
		return []structurestest.Answer{structurestest.OK(call.ID, existed(false).Body)}
	}
	i := slices.IndexFunc(m.line, func(c *runner) bool { return c.hold == t.candidate })
	if i < 0 {
		return []structurestest.Answer{structurestest.Refused(call.ID, codeNoCandidate)}
	}
	answer := structurestest.OK(call.ID, existed(true).Body)
	if t.Grace == 0 {
		return append(m.succeed(m.line[i]), answer)
	}
	m.named = m.line[i]
	m.revoke(t.Revocation)
	return []structurestest.Answer{answer}
}

// succeed elects next, or who is next: priorities count only if nobody was named, by this
// mutation or one before.
func (m *model) succeed(next *runner) []structurestest.Answer {
	if next == nil && slices.Contains(m.line, m.named) {
		next = m.named
	}
	named := next != nil
	for _, c := range m.line {
		if next == nil || !named && c.priority > next.priority {
			next = c
		}
	}
	m.leader, m.named = nil, nil
	if next == nil {
		return nil
	}
	m.line = slices.DeleteFunc(m.line, func(c *runner) bool { return c == next })
	return []structurestest.Answer{m.elect(next)}
}

func (m *model) elect(r *runner) structurestest.Answer {
	m.leader, r.elected = r, m.now
	return structurestest.Answer{Call: r.call, Match: func(body []byte, at protocol.Version) error {
		b := protocol.NewReader(body)
		b.Array(2)
		hold, token := protocol.HoldID(b.Uint()), protocol.Token(b.Uint())
		switch {
		case b.Done() != nil:
			return b.Err()
		case r.hold != 0 && r.hold != hold:
			return fmt.Errorf("hold %d of candidate %d", hold, r.hold)
		case token <= m.token || protocol.Version(token) != at:
			return fmt.Errorf("token %d of the mutation %d, after token %d", token, at, m.token)
		}
		r.hold, r.token, m.token = hold, token, token
		return nil
	}}
}

func (m *model) leave(gone func(*runner) bool) {
	m.line = slices.DeleteFunc(m.line, gone)
}

func (m *model) Withdraw(id structurestest.CallID) []structurestest.Answer {
	m.leave(func(r *runner) bool { return r.call == id })
	return nil
}

func (m *model) Confirm(structurestest.CallID) { panic("an election reserves nothing") }

func (m *model) End(session protocol.SessionID) []structurestest.Answer {
	m.leave(func(r *runner) bool { return r.session == session })
	if m.leader != nil && m.leader.session == session {
		return m.succeed(nil)
	}
	return nil
}

func (m *model) Advance(now protocol.LogTime) []structurestest.Answer {
	m.now = now
	var answers []structurestest.Answer
	due := func(r *runner) bool { return r.wait > 0 && r.began.Add(r.wait) <= now }
	for _, r := range m.line {
		if due(r) {
			answers = append(answers, structurestest.Refused(r.call, protocol.CodeTimedOut))
		}
	}
	m.leave(due)
	return answers
}
