package dbarrier

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// answered has the sessions whose calls were answered with success, at once or later.
type answered map[protocol.SessionID]bool

func (a answered) Replied(_ int, q *protocol.Request, r structures.Result, _ protocol.Version) {
	if r.Code == protocol.CodeOK && !r.IsWaiting() {
		a[q.Caller.Session] = true
	}
}

func (a answered) Granted(_ protocol.PartitionID, c protocol.Caller, r structures.Result, _ protocol.Version) {
	if r.Code == protocol.CodeOK {
		a[c.Session] = true
	}
}

// TestLeftBeforeNextEnters: the last party of a round is inside no more, since its grace is
// over, and the next round enters before that is cleaned up. Who has left the first round
// does not wait for the second.
func TestLeftBeforeNextEnters(t *testing.T) {
	state := groupstate.New([]structures.Kind{Kind()})
	elapsed, sequence := time.Duration(0), uint64(0)
	entry := func(fill func(*groupstate.Builder)) answered {
		t.Helper()
		var b groupstate.Builder
		b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: int64(elapsed)}, 64)
		fill(&b)
		got := answered{}
		if err := state.Apply(b.Bytes(), got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	call := func(b *groupstate.Builder, session protocol.SessionID, op protocol.Op, body []byte) {
		sequence++
		q := protocol.Request{
			Kind: kind.ID, Op: op, Name: "job", Body: body, Highest: groupstate.MaxSlots - 1, Flags: protocol.FlagWait,
			Caller: protocol.Caller{Session: session, Slot: uint16(sequence), Sequence: sequence},
		}
		b.Request(q.Append(nil))
	}
	holds := func() []structures.Holder {
		t.Helper()
		q := protocol.Request{Kind: kind.ID, Op: structures.OpInspect, Name: "job", Flags: protocol.FlagRead, Body: (&structures.InspectRequest{Most: 10}).Append(nil)}
		var reader groupstate.Reader
		r, _ := reader.Read(state, &q)
		var page structures.Inspected
		if r.Code != protocol.CodeOK || page.Read(r.Body, &kind) != nil {
			t.Fatalf("code %d", r.Code)
		}
		return page.Holders
	}
	enter := appendEnter(nil, 2, 0, "")
	entry(func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
		b.Claim(1)
		for session := range protocol.SessionID(4) {
			b.Attach(session+1, 0)
		}
	})
	entry(func(b *groupstate.Builder) { call(b, 1, opEnter, enter); call(b, 2, opEnter, enter) })
	inside := holds()
	if len(inside) != 2 {
		t.Fatalf("%+v", inside)
	}
	one, two := inside[0], inside[1]
	if one.Session != 1 {
		one, two = two, one
	}
	v := structures.Revocation{Hold: two.ID, Grace: 1000}
	entry(func(b *groupstate.Builder) {
		call(b, 1, opRelease, structures.AppendHold(nil, one.ID))
		call(b, 3, structures.OpRevoke, v.Append(nil))
		call(b, 2, structures.OpAcknowledge, structures.AppendHold(nil, two.ID))
	})
	got := entry(func(b *groupstate.Builder) {
		call(b, 1, opLeft, protocol.AppendInts(nil, int64(one.Token), 0))
		call(b, 3, opEnter, enter)
	})
	if len(got) > 0 {
		t.Fatalf("while one is inside: %v", got)
	}
	elapsed = time.Second // the grace is over by the time of this entry
	got = entry(func(b *groupstate.Builder) { call(b, 4, opEnter, enter) })
	if !got[3] || !got[4] {
		t.Errorf("the next round has not entered: %v", got)
	}
	if !got[1] {
		t.Errorf("who has left still waits: %v", got)
	}
}
