package delection

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// answers are the codes of the requests of an entry, in their order.
type answers []protocol.Code

func (a *answers) Replied(_ int, _ *protocol.Request, r structures.Result, _ protocol.Version) {
	*a = append(*a, r.Code)
}

func (a *answers) Granted(protocol.PartitionID, protocol.Caller, structures.Result, protocol.Version) {
}

// TestOldEndsAfterNewer: the grace of a leader is over inside an entry, and a request
// behind that is elected. The clean-up of the old leadership leaves the new one alone
// (ELECT-3).
func TestOldEndsAfterNewer(t *testing.T) {
	state := groupstate.New([]structures.Kind{Kind()})
	elapsed, sequence := time.Duration(0), uint64(0)
	entry := func(fill func(*groupstate.Builder)) {
		t.Helper()
		var b groupstate.Builder
		b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: int64(elapsed)}, 64)
		fill(&b)
		var got answers
		if err := state.Apply(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		for i, code := range got {
			if code != protocol.CodeOK {
				t.Errorf("request %d of the entry is answered with code %d", i, code)
			}
		}
	}
	call := func(b *groupstate.Builder, session protocol.SessionID, op protocol.Op, body []byte) {
		sequence++
		q := protocol.Request{
			Kind: kind.ID, Op: op, Name: "e", Body: body, Highest: groupstate.MaxSlots - 1,
			Caller: protocol.Caller{Session: session, Sequence: sequence},
		}
		b.Request(q.Append(nil))
	}
	leads := func() leader {
		t.Helper()
		q := protocol.Request{Kind: kind.ID, Op: opLeader, Name: "e", Flags: protocol.FlagRead, Body: protocol.AppendInts(nil)}
		var reader groupstate.Reader
		r, _ := reader.Read(state, &q)
		var l leader
		if r.Code != protocol.CodeOK || l.read(r.Body, true) != nil {
			t.Fatalf("nobody leads: code %d", r.Code)
		}
		return l
	}
	entry(func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
		b.Claim(1)
		b.Attach(1, 0)
		b.Attach(2, 0)
	})
	try := campaign{value: []byte{3}}
	entry(func(b *groupstate.Builder) { call(b, 1, opTry, try.append(nil, opTry)) })
	old := leads()
	v := structures.Revocation{Hold: old.hold, Grace: 1000}
	entry(func(b *groupstate.Builder) {
		call(b, 2, structures.OpRevoke, v.Append(nil))
		call(b, 1, structures.OpAcknowledge, structures.AppendHold(nil, old.hold))
	})
	elapsed = time.Second // the grace is over by the time of this entry
	entry(func(b *groupstate.Builder) { call(b, 2, opTry, try.append(nil, opTry)) })
	newer := leads()
	if newer.session != 2 || newer.token <= old.token {
		t.Errorf("%+v leads, after %+v", newer, old)
	}
	entry(func(b *groupstate.Builder) { call(b, 2, opResign, structures.AppendHold(nil, newer.hold)) })
	if n := state.Totals().Structures; n != 0 {
		t.Errorf("%d structures are left when nobody leads", n)
	}
}
