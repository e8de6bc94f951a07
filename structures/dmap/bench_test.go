package dmap

import (
	"fmt"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

const (
	benchKeys  = 10_000
	benchBatch = 100
)

// sink takes replies.
type sink struct{ refused int }

func (s *sink) Replied(_ int, _ *protocol.Request, r structures.Result, _ protocol.Version) {
	if r.Code != protocol.CodeOK {
		s.refused++
	}
}

func (s *sink) Granted(protocol.PartitionID, protocol.Caller, structures.Result, protocol.Version) {}

// benchState returns a state of so many partitions, and puts of 100 bytes.
func benchState(b *testing.B, partitions int) (*groupstate.State, []protocol.Request) {
	state := groupstate.New([]structures.Kind{Kind()})
	var entry groupstate.Builder
	entry.Reset(groupstate.Header{ClockEpoch: 1}, 64)
	o := groupstate.Ownership{Partitions: partitions, Limits: protocol.DefaultLimits()}
	for p := range partitions {
		o.Owned = append(o.Owned, protocol.PartitionID(p))
	}
	entry.Own(o)
	entry.Claim(1)
	entry.Attach(1, 0)
	if err := state.Apply(entry.Bytes(), new(sink)); err != nil {
		b.Fatal(err)
	}
	puts := make([]protocol.Request, benchKeys)
	for i := range puts {
		key, err := structures.AppendKey(nil, fmt.Sprintf("user:%05d", i))
		if err != nil {
			b.Fatal(err)
		}
		puts[i] = protocol.Request{
			Partition: protocol.PartitionID(i % partitions), Kind: Kind().ID, Op: opPut, Name: "users", Caller: protocol.Caller{Session: 1, Slot: uint16(i % 256)},
			Highest: 255, Body: op(opPut, key, make([]byte, 100), ttlDefault).Body,
		}
	}
	return state, puts
}

// BenchmarkApplyPut applies entries of a hundred puts; an operation is one put.
// Its history is full after some 80,000 of them.
func BenchmarkApplyPut(b *testing.B) { benchmarkPut(b, 1) }

// BenchmarkApplyPut_Spread puts into as many partitions as a group of three has.
func BenchmarkApplyPut_Spread(b *testing.B) { benchmarkPut(b, 90) }

func benchmarkPut(b *testing.B, partitions int) {
	state, puts := benchState(b, partitions)
	var entry groupstate.Builder
	var replies sink
	raw := make([]byte, 0, 256)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%benchBatch == 0 {
			entry.Reset(groupstate.Header{ClockEpoch: 1}, 32<<10)
		}
		q := &puts[n*7919%benchKeys]
		q.Caller.Slot, q.Caller.Sequence = uint16(n%256), uint64(n/256+1)
		raw = q.Append(raw[:0])
		entry.Request(raw)
		if n%benchBatch == benchBatch-1 {
			if err := state.Apply(entry.Bytes(), &replies); err != nil || replies.refused > 0 {
				b.Fatal(err, replies.refused)
			}
		}
	}
}

// BenchmarkReadGet reads from the state.
func BenchmarkReadGet(b *testing.B) {
	state, puts := benchState(b, 1)
	var entry groupstate.Builder
	entry.Reset(groupstate.Header{ClockEpoch: 1}, 32<<10)
	gets := make([]protocol.Request, len(puts))
	for i := range puts {
		puts[i].Caller.Slot, puts[i].Caller.Sequence = uint16(i%256), uint64(i/256+1)
		entry.Request(puts[i].Append(nil))
		a, _ := readArgs(opPut, puts[i].Body)
		gets[i] = protocol.Request{Partition: puts[i].Partition, Kind: Kind().ID, Op: opGet, Name: "users", Flags: protocol.FlagRead, Body: op(opGet, a.key).Body}
	}
	if err := state.Apply(entry.Bytes(), new(sink)); err != nil {
		b.Fatal(err)
	}
	var reader groupstate.Reader
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if r, _ := reader.Read(state, &gets[n*7919%benchKeys]); len(r.Body) < 100 {
			b.Fatal("not found")
		}
	}
}

// BenchmarkCall is what a handle does before and after the wire.
func BenchmarkCall(b *testing.B) {
	m := New[string, string](structurestest.NewLocal(b, Kind()).Client(), "users")
	value := string(make([]byte, 100))
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := m.putCall("put", opPut, "user:00042", value, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.call("get", opGet, "user:00042", 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
