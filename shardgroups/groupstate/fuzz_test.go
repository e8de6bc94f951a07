package groupstate_test

import (
	"bytes"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

type deaf struct{}

func (deaf) Replied(int, *protocol.Request, structures.Result, protocol.Version)                {}
func (deaf) Granted(protocol.PartitionID, protocol.Caller, structures.Result, protocol.Version) {}

func fuzzedState() *groupstate.State {
	return groupstate.New([]structures.Kind{dmap.Kind(), dcounter.Kind(), dsemaphore.Kind(), dqueue.Kind()})
}

// FuzzEntry shows that an entry of any bytes is applied or refused, and that
// two replicas agree on the outcome.
func FuzzEntry(f *testing.F) {
	f.Add(seedEntry())
	f.Fuzz(func(t *testing.T, entry []byte) {
		one, two := fuzzedState(), fuzzedState()
		if one.Apply(entry, deaf{}) != nil {
			return
		}
		if err := two.Apply(entry, deaf{}); err != nil || one.Prepare().Hash() != two.Prepare().Hash() {
			t.Fatalf("replicas differ: %v", err)
		}
	})
}

// seedEntry is an entry with a command of every kind.
func seedEntry() []byte {
	var b groupstate.Builder
	b.Reset(groupstate.Header{Proposer: 1, Number: 1}, 256)
	b.Own(groupstate.Ownership{Partitions: 8, Owned: []protocol.PartitionID{0, 1}, Limits: protocol.DefaultLimits()})
	b.Claim(7)
	b.Attach(1, 0)
	b.Ends(0, []protocol.SessionID{2})
	b.Level(1)
	q := protocol.Request{Kind: counters, Op: counterAdd, Name: "hits", Caller: protocol.Caller{Session: 1, Sequence: 1}, Body: []byte{0x81, 1}}
	b.Request(q.Append(nil))
	q = protocol.Request{Kind: protocol.KindTxn, Op: structures.OpCommit, Name: "hits", Caller: protocol.Caller{Session: 1, Sequence: 2}}
	q.Body = (&structures.TxnBody{
		If:   []structures.TxnItem{where(counters, "hits", ints(1, 1))},
		Then: []structures.TxnItem{of(counters, "hits", 3, ints(1)), of(maps, "m", 2, items(key("k"), text("v"), 0))},
		Else: []structures.TxnItem{of(queues, "q", 4, ints(0))},
	}).Append(nil)
	b.Request(q.Append(nil))
	return b.Bytes()
}

// FuzzSnapshot shows that a snapshot of any bytes is restored or refused.
func FuzzSnapshot(f *testing.F) {
	s := fuzzedState() // small, so that what is found can be made smaller in time
	if err := s.Apply(seedEntry(), deaf{}); err != nil {
		f.Fatal(err)
	}
	var seed bytes.Buffer
	if err := s.Prepare().WriteTo(&seed, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(seed.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		s := fuzzedState()
		if s.Restore(bytes.NewReader(b), nil) != nil {
			return
		}
		var again bytes.Buffer
		if err := s.Prepare().WriteTo(&again, nil); err != nil {
			t.Fatal(err)
		}
	})
}
