package structurestest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Holding is what the Model of a kind with operations that hold implements besides.
type Holding interface {
	// Holds returns what is held, by number; what its holder has not been told yet
	// is left out.
	Holds() []Hold
	// GiveBack ends a hold, and returns the answers of others.
	GiveBack(id protocol.HoldID) []Answer
	// Wanted returns what a waiting operation asks for, and how long it waits.
	Wanted(op Op) structures.WaitingCall
}

// Marking is what the Model of a kind implements besides if it has to know which holds are
// revoked.
type Marking interface {
	// Marks gives the model, at the beginning, what returns the mark of a hold and, if its
	// holder has acknowledged a revocation, when it ends.
	Marks(func(id protocol.HoldID) (mark structures.HoldMark, until protocol.LogTime))
}

// Revoking is what the Model of a kind implements besides if operations of its own revoke
// holds, or ask for them.
type Revoking interface {
	// Revokes gives the model, at the beginning, what notes a revocation that does not end
	// the hold at once, or one that only asks.
	Revokes(func(structures.Revocation))
}

// Hold is what a session holds, as a Model knows it.
type Hold struct {
	Call   CallID // that was granted it
	ID     protocol.HoldID
	Token  protocol.Token
	Amount int64
	Mode   string
	Note   string
}

// mark is what the suite knows of a hold that was asked for or revoked.
type mark struct {
	is     structures.HoldMark
	until  protocol.LogTime
	reason string
}

// drawSession draws the session of a call; an acknowledgement is mostly the owner's.
func (r *run) drawSession(t *rapid.T, op Op) protocol.SessionID {
	if op.Op == structures.OpAcknowledge {
		id, _ := structures.ReadHold(op.Body)
		if h, ok := r.held(id); ok && rapid.IntRange(0, 3).Draw(t, "another's") > 0 {
			return r.calls[h.Call-1].Session
		}
	}
	return rapid.SampledFrom(r.sessions).Draw(t, "session")
}

// held returns a hold of the model.
func (r *run) held(id protocol.HoldID) (h Hold, ok bool) {
	holds := r.model.(Holding).Holds()
	if i := slices.IndexFunc(holds, func(h Hold) bool { return h.ID == id }); i >= 0 {
		return holds[i], true
	}
	return Hold{}, false
}

// drawHold draws the number of a hold, of one that has gone, or of none.
func (r *run) drawHold(t *rapid.T) protocol.HoldID {
	ids := []protocol.HoldID{12345}
	for _, h := range r.model.(Holding).Holds() {
		ids = append(ids, h.ID)
	}
	for id := range r.generic.marks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return rapid.SampledFrom(slices.Compact(ids)).Draw(t, "hold")
}

// drawInspect draws the body of an OpInspect.
func (r *run) drawInspect(t *rapid.T) Op {
	q := structures.InspectRequest{Most: rapid.SampledFrom([]uint64{1000, 1 << 60, 1, 2}).Draw(t, "most")}
	if _, holds := r.model.(Holding); holds && rapid.IntRange(0, 3).Draw(t, "from") == 0 {
		q.From = r.drawHold(t)
	}
	return Op{Op: structures.OpInspect, Flags: protocol.FlagRead, Body: q.Append(nil), Text: fmt.Sprintf("inspect %+v", q)}
}

// drawOfHolds draws an operation on a hold.
func (r *run) drawOfHolds(t *rapid.T) Op {
	id := r.drawHold(t)
	what := rapid.IntRange(0, 7).Draw(t, "operation on a hold")
	if what < 3 {
		for _, h := range r.model.(Holding).Holds() {
			if r.generic.mark(h.ID).is == structures.HoldRevoked {
				id = h.ID // of it there is most to see
			}
		}
	}
	body := structures.AppendHold(nil, id)
	switch what {
	case 0, 1, 2:
		return Op{Op: structures.OpAcknowledge, Body: body, Text: fmt.Sprint("acknowledge ", id)}
	case 3:
		return Op{Op: structures.OpHold, Flags: protocol.FlagRead, Body: body, Text: fmt.Sprint("hold ", id)}
	}
	v := structures.Revocation{
		Hold: id, Grace: rapid.SampledFrom([]int64{1, 100, 0, -1, 2000}).Draw(t, "grace"),
		Reason: rapid.SampledFrom([]string{"", "maintenance"}).Draw(t, "reason"),
	}
	return Op{Op: structures.OpRevoke, Body: v.Append(nil), Text: fmt.Sprintf("revoke %+v", v)}
}

// revoke lets the model take a hold away.
func (r *run) revoke(call Call) []Answer {
	var v structures.Revocation
	if err := v.Read(call.Body); err != nil {
		panic("structurestest: bug: " + err.Error())
	}
	if _, ok := r.held(v.Hold); !ok {
		return []Answer{OK(call.ID, truth(false))}
	}
	existed := OK(call.ID, truth(true))
	if v.Grace == 0 {
		return append(r.model.(Holding).GiveBack(v.Hold), existed)
	}
	r.revoked(v)
	return []Answer{existed}
}

// revoked notes a revocation that does not end the hold at once, or one that only asks.
func (r *run) revoked(v structures.Revocation) {
	m := r.generic.mark(v.Hold)
	until := r.now.Add(time.Duration(v.Grace) * time.Millisecond)
	switch {
	case v.Grace < 0:
		if m.is <= structures.HoldAsked {
			m.is, m.reason = structures.HoldAsked, v.Reason
		}
	case m.is < structures.HoldRevoked:
		*m = mark{structures.HoldRevoked, until, v.Reason}
	default:
		m.until, m.reason = min(m.until, until), v.Reason
	}
}

// truth is the body of a result that says whether.
func truth(v bool) []byte { return protocol.AppendBool(protocol.AppendArray(nil, 1), v) }

// acknowledge lets a holder say that it has stopped.
func (r *run) acknowledge(call Call) []Answer {
	id, _ := structures.ReadHold(call.Body)
	h, ok := r.held(id)
	if !ok || r.calls[h.Call-1].Session != call.Session || r.generic.mark(id).is < structures.HoldRevoked {
		return []Answer{OK(call.ID, truth(false))}
	}
	r.generic.mark(id).is = structures.HoldAcknowledged
	return append(r.dueHolds(), OK(call.ID, truth(true)))
}

// dueHolds ends the holds whose grace is over, and whose holders have acknowledged.
func (r *run) dueHolds() (answers []Answer) {
	model, ok := r.model.(Holding)
	if !ok {
		return nil
	}
	holds := model.Holds()
	slices.SortStableFunc(holds, func(a, b Hold) int { return cmp.Compare(r.generic.mark(a.ID).until, r.generic.mark(b.ID).until) })
	for _, h := range holds {
		if m := r.generic.mark(h.ID); m.is == structures.HoldAcknowledged && m.until <= r.now {
			answers = append(answers, model.GiveBack(h.ID)...)
		}
	}
	return answers
}

// mark returns what is known of a hold.
func (g *generic) mark(id protocol.HoldID) *mark {
	if g.marks == nil {
		g.marks = map[protocol.HoldID]*mark{}
	}
	if g.marks[id] == nil {
		g.marks[id] = &mark{}
	}
	return g.marks[id]
}

// holdState answers an OpHold as the model does.
func (r *run) holdState(op Op) Answer {
	id, _ := structures.ReadHold(op.Body)
	s := structures.HoldState{Mark: structures.HoldAbsent}
	if _, ok := r.held(id); ok {
		m := r.generic.mark(id)
		s = structures.HoldState{Mark: m.is, Reason: m.reason}
	}
	return OK(0, s.Append(nil))
}

// inspect answers an OpInspect as the model does.
func (r *run) inspect(op Op) Answer {
	var q structures.InspectRequest
	if err := q.Read(op.Body); err != nil {
		panic("structurestest: bug: " + err.Error())
	}
	most := min(q.Most, uint64(protocol.DefaultLimits().PageEntries))
	want := structures.Inspected{Length: r.model.Len(r.now)}
	model, holds := r.model.(Holding)
	if holds {
		for _, h := range model.Holds() {
			switch c, m := r.calls[h.Call-1], r.generic.mark(h.ID); {
			case h.ID < q.From:
			case uint64(len(want.Holders)) < most:
				want.Holders = append(want.Holders, structures.Holder{
					ID: h.ID, Token: h.Token, Session: c.Session, Amount: h.Amount, Mode: h.Mode, Note: h.Note,
					For: time.Duration(r.now - c.answeredAt), Mark: m.is, Left: time.Duration(max(m.until-r.now, 0)), Reason: m.reason,
				})
			case want.Next == 0:
				want.Next = h.ID
			}
		}
	}
	for _, c := range r.calls {
		if c.answered || c.over {
			continue
		}
		want.Waiting++
		if q.From != 0 || uint64(len(want.Waiters)) == most {
			continue
		}
		var w structures.WaitingCall
		if holds {
			w = model.Wanted(c.Op)
		}
		w.Session, w.Operation, w.For = c.Session, r.kind.OpName(c.Op.Op), time.Duration(r.now-c.began)
		if w.Left > 0 {
			w.Left -= w.For
		}
		want.Waiters = append(want.Waiters, w)
	}
	if r.exists() && !r.steady.state.Unfinished() {
		want.Bytes = uint64(r.steady.state.Totals().Bytes)
	}
	return Answer{Match: func(body []byte, _ protocol.Version) error {
		var got structures.Inspected
		if err := got.Read(body, &r.kind); err != nil {
			return err
		}
		if r.steady.state.Unfinished() {
			got.Bytes = 0
		}
		if !holds {
			for i := range got.Waiters {
				got.Waiters[i].Left = 0
			}
		}
		if want.Length != got.Length || want.Waiting != got.Waiting || want.Next != got.Next || want.Bytes != got.Bytes ||
			!reflect.DeepEqual(got.Holders, want.Holders) || !reflect.DeepEqual(got.Waiters, want.Waiters) {
			return fmt.Errorf("%+v, want %+v", got, want)
		}
		return nil
	}}
}
