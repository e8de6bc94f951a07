package drate

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

type ignored struct{}

func (ignored) Replied(int, *protocol.Request, structures.Result, protocol.Version) {}

func (ignored) Granted(protocol.PartitionID, protocol.Caller, structures.Result, protocol.Version) {}

// TestLeft_Idle: a read at the leader of a group in which nothing is logged shows the tokens
// that have come meanwhile.
func TestLeft_Idle(t *testing.T) {
	state := groupstate.New([]structures.Kind{Kind()})
	entry := func(fill func(*groupstate.Builder)) {
		t.Helper()
		var b groupstate.Builder
		b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: int64(time.Hour)}, 64)
		fill(&b)
		if err := state.Apply(b.Bytes(), ignored{}); err != nil {
			t.Fatal(err)
		}
	}
	sequence := uint64(0)
	call := func(b *groupstate.Builder, op protocol.Op, body []byte) {
		sequence++
		q := protocol.Request{
			Kind: kind.ID, Op: op, Name: "mails", Body: body, Highest: groupstate.MaxSlots - 1,
			Caller: protocol.Caller{Session: 1, Sequence: sequence},
		}
		b.Request(q.Append(nil))
	}
	entry(func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
		b.Claim(1)
		b.Attach(1, 0)
	})
	entry(func(b *groupstate.Builder) {
		rate := protocol.AppendString(protocol.AppendArray(nil, 2), rateSetting.Name)
		call(b, structures.OpConfigure, protocol.AppendInt(rate, 10))
		call(b, opTake, protocol.AppendInts(nil, 10, 0))
	})
	for after, want := range map[time.Duration]int64{0: 0, 299 * time.Millisecond: 2, 300 * time.Millisecond: 3, time.Minute: 10} {
		q := protocol.Request{Kind: kind.ID, Op: opLeft, Name: "mails", Flags: protocol.FlagRead, Body: protocol.AppendInts(nil)}
		reader := groupstate.Reader{Time: state.Clock().Now.Add(after)}
		r, _ := reader.Read(state, &q)
		var n int64
		if err := protocol.ReadInts(r.Body, &n); r.Code != protocol.CodeOK || err != nil || n != want {
			t.Errorf("after %v: code %d, %d, %v, want %d", after, r.Code, n, err, want)
		}
	}
}
