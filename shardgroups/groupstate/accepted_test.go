package groupstate_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// TestBuiltIsApplied shows that Apply takes whatever a Builder makes, of any
// arguments and in any order, and that two replicas agree.
func TestBuiltIsApplied(t *testing.T) {
	number := rapid.OneOf(rapid.Uint64Range(0, 6), rapid.Uint64())
	rapid.Check(t, func(t *rapid.T) {
		one, two := fuzzedState(), fuzzedState()
		sessions := func() []protocol.SessionID {
			var ids []protocol.SessionID
			for range rapid.IntRange(0, 4).Draw(t, "sessions") {
				ids = append(ids, protocol.SessionID(number.Draw(t, "session")))
			}
			return ids
		}
		for range rapid.IntRange(1, 6).Draw(t, "entries") {
			var b groupstate.Builder
			b.Reset(groupstate.Header{ClockEpoch: number.Draw(t, "epoch"), Elapsed: int64(number.Draw(t, "elapsed"))}, 64)
			for range rapid.IntRange(0, 5).Draw(t, "commands") {
				switch rapid.IntRange(0, 7).Draw(t, "command") {
				case 0:
					b.Claim(number.Draw(t, "nonce"))
				case 1:
					b.Attach(protocol.SessionID(number.Draw(t, "session")), number.Draw(t, "end"))
				case 2:
					b.Ends(number.Draw(t, "from"), sessions())
				case 3:
					b.PassOver(number.Draw(t, "end"), protocol.SessionID(number.Draw(t, "next")))
				case 4:
					from, to := number.Draw(t, "from"), number.Draw(t, "to")
					b.Ended(groupstate.Checked{End: number.Draw(t, "end"), From: protocol.SessionID(from), To: protocol.SessionID(to), IDs: sessions()})
				case 5:
					o := groupstate.Ownership{
						Partitions: int(number.Draw(t, "partitions")), Limits: protocol.DefaultLimits(), Generation: uint16(number.Draw(t, "generation")),
						Revision: protocol.Revision(number.Draw(t, "revision")), GracePeriod: time.Duration(number.Draw(t, "grace period")),
						Ends: number.Draw(t, "ends"), Loading: rapid.Bool().Draw(t, "loading"), History: int(number.Draw(t, "history")),
					}
					for range rapid.IntRange(0, 3).Draw(t, "owned") {
						o.Owned = append(o.Owned, protocol.PartitionID(number.Draw(t, "partition")))
					}
					if o.Check() == nil {
						b.Own(o)
					}
				case 6:
					f := archive.Frame{Type: archive.FrameType(rapid.Byte().Draw(t, "type")), Content: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "content")}
					b.Load(number.Draw(t, "frame"), f)
				default:
					b.Level(uint32(rapid.Uint64Range(0, groupstate.MaxLevel).Draw(t, "level")))
				}
			}
			for _, s := range []*groupstate.State{one, two} {
				if err := s.Apply(b.Bytes(), deaf{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if one.Prepare().Hash() != two.Prepare().Hash() {
			t.Fatal("replicas differ")
		}
	})
}

// TestOwnershipCheck shows that an ownership is refused before it is logged exactly
// if Apply would refuse it.
func TestOwnershipCheck(t *testing.T) {
	for what, test := range map[string]struct {
		change func(*groupstate.Ownership)
		ok     bool
	}{
		"as it is":                {func(*groupstate.Ownership) {}, true},
		"the last revision":       {func(o *groupstate.Ownership) { o.Revision = 1<<48 - 1 }, true},
		"a revision too high":     {func(o *groupstate.Ownership) { o.Revision = 1 << 48 }, false},
		"a negative grace period": {func(o *groupstate.Ownership) { o.GracePeriod = -1 }, false},
		"held off for ever":       {func(o *groupstate.Ownership) { o.GracePeriod = math.MaxInt64 }, false},
		"no history said":         {func(o *groupstate.Ownership) { o.History = 0 }, true},
		"a negative history":      {func(o *groupstate.Ownership) { o.History = -1 }, false},
		"too much history":        {func(o *groupstate.Ownership) { o.History = 1<<40 + 1 }, false},
		"too many partitions":     {func(o *groupstate.Ownership) { o.Partitions = 1<<20 + 1 }, false},
	} {
		o := owned(false)
		test.change(&o)
		var b groupstate.Builder
		b.Reset(groupstate.Header{}, 64)
		b.Own(o)
		checked, applied := o.Check(), fuzzedState().Apply(b.Bytes(), deaf{})
		if (checked == nil) != test.ok || (applied == nil) != test.ok {
			t.Errorf("%s: checked: %v, applied: %v", what, checked, applied)
		}
	}
}

// TestMoreIsNotApplied shows that a request in the log has exactly the elements that
// all replicas know: whoever skipped one would differ from who knows it.
func TestMoreIsNotApplied(t *testing.T) {
	q := protocol.Request{Kind: counters, Op: counterSet, Name: "n", Caller: protocol.Caller{Session: 1, Sequence: 1}, Body: protocol.AppendInts(nil, 5)}
	for _, more := range []bool{false, true} {
		raw := q.Append(nil)
		if more {
			raw[0]++
			raw = protocol.AppendUint(raw, 1)
		}
		var b groupstate.Builder
		b.Reset(groupstate.Header{}, 64)
		b.Request(raw)
		if err := fuzzedState().Apply(b.Bytes(), deaf{}); errors.Is(err, groupstate.ErrEntry) != more || !more && err != nil {
			t.Errorf("more %t: %v", more, err)
		}
	}
}

// FuzzAccepted shows that an entry with any bytes that are decoded as a request and
// that Check accepts is applied, and that what is accepted as a read is read: what
// goes wrong is a reply.
func FuzzAccepted(f *testing.F) {
	for kind := range byte(6) {
		for n := range byte(32) {
			op := n
			if n >= 24 {
				op += byte(structures.FirstGeneric) - 24
			}
			for _, body := range [][]byte{protocol.AppendArray(nil, 0), protocol.AppendInts(nil, 5), protocol.AppendInts(nil, 1, 0)} {
				q := protocol.Request{
					Partition: protocol.PartitionID(kind), Kind: protocol.KindID(kind), Op: protocol.Op(op), Name: "n", Body: body,
					Caller: protocol.Caller{Session: 1, Slot: 1, Sequence: 1},
				}
				f.Add(q.Append(nil))
				q.Flags, q.Caller = protocol.FlagRead, protocol.Caller{}
				f.Add(q.Append(nil))
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var q protocol.Request
		if q.Decode(raw) != nil {
			return
		}
		if q.Extended {
			raw = q.Append(nil) // as it is logged
		}
		s := fuzzedState()
		if gate := s.Gate(); gate.Check(&q).Code != protocol.CodeOK {
			return
		}
		var b groupstate.Builder
		b.Reset(groupstate.Header{}, 64)
		b.Own(groupstate.Ownership{Partitions: 8, Owned: []protocol.PartitionID{0, 1, 2, 3, 4, 5, 6, 7}, Limits: protocol.DefaultLimits()})
		b.Claim(7)
		if q.Flags&protocol.FlagRead == 0 {
			b.Attach(q.Caller.Session, 0)
			b.Request(raw)
			b.Request(raw) // and its repeat
		}
		sink := &counting{}
		if err := s.Apply(b.Bytes(), sink); err != nil || sink.replies != b.Requests() {
			t.Fatalf("%+v: %d replies, %v", q, sink.replies, err)
		}
		var r groupstate.Reader
		if q.Flags&protocol.FlagRead != 0 {
			r.Read(s, &q)
		}
	})
}

type counting struct {
	deaf
	replies int
}

func (c *counting) Replied(int, *protocol.Request, structures.Result, protocol.Version) { c.replies++ }
