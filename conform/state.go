package conform

import (
	"bytes"
	"fmt"
	"time"

	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// partitions is how many the grid has: another number than the default, so that a
// client does not know it by heart.
const partitions = 19

// limits are those of the grid: a key may have less than usual, for the same reason.
var limits = func() protocol.Limits {
	l := protocol.DefaultLimits()
	l.Key = 2048
	return l
}()

// place names a call.
type place struct {
	partition protocol.PartitionID
	caller    protocol.Caller
}

// state is what a grid holds: one group's state, applied without a log. It is
// guarded by the run's mu.
type state struct {
	group   *groupstate.State
	began   time.Time
	ends    uint64
	waiting map[place]func(protocol.Reply)
	reply   *protocol.Reply // to the request that is applied; nil: it waits
}

func newState() (*state, error) {
	s := &state{group: groupstate.New(kinds.All()), began: time.Now(), waiting: map[place]func(protocol.Reply){}}
	o := groupstate.Ownership{Partitions: partitions, Limits: limits}
	for p := range protocol.PartitionID(partitions) {
		o.Owned = append(o.Owned, p)
	}
	var b groupstate.Builder
	b.Reset(groupstate.Header{}, 0)
	b.Own(o)
	b.Claim(1)
	return s, s.group.Apply(b.Bytes(), s)
}

// entry applies what build puts into an entry.
func (s *state) entry(build func(b *groupstate.Builder)) {
	var b groupstate.Builder
	b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: int64(time.Since(s.began))}, 0)
	build(&b)
	if err := s.group.Apply(b.Bytes(), s); err != nil {
		panic(fmt.Sprintf("conform: bug: %v", err))
	}
}

// tick lets time pass.
func (s *state) tick() { s.entry(func(*groupstate.Builder) {}) }

func (s *state) open(id protocol.SessionID) {
	s.entry(func(b *groupstate.Builder) { b.Attach(id, s.ends) })
}

func (s *state) end(id protocol.SessionID) {
	s.entry(func(b *groupstate.Builder) { b.Ends(s.ends, []protocol.SessionID{id}) })
	s.ends++
}

// carryOut carries a request out. Done is called once there is an answer.
func (s *state) carryOut(q *protocol.Request, done func(protocol.Reply)) {
	gate := s.group.Gate()
	gate.Partitions = partitions
	if r := gate.Check(q); r.Code != protocol.CodeOK {
		done(protocol.Reply{Code: r.Code, Body: r.Body})
		return
	}
	if q.Flags&protocol.FlagRead != 0 {
		var reader groupstate.Reader
		r, v := reader.Read(s.group, q)
		done(protocol.Reply{Code: r.Code, Version: v, Body: bytes.Clone(r.Body)})
		return
	}
	at := place{q.Partition, q.Caller}
	if q.Flags&protocol.FlagWait != 0 {
		s.waiting[at] = done // in place of those before
	}
	s.reply = nil
	s.entry(func(b *groupstate.Builder) { b.Request(q.Append(nil)) })
	if r := s.reply; r != nil {
		delete(s.waiting, at)
		done(*r)
	}
}

// Replied implements groupstate.Sink.
func (s *state) Replied(_ int, _ *protocol.Request, r structures.Result, v protocol.Version) {
	if !r.IsWaiting() {
		s.reply = &protocol.Reply{Code: r.Code, Version: v, Body: bytes.Clone(r.Body)}
	}
}

// Granted implements groupstate.Sink.
func (s *state) Granted(p protocol.PartitionID, c protocol.Caller, r structures.Result, v protocol.Version) {
	if done := s.waiting[place{p, c}]; done != nil {
		delete(s.waiting, place{p, c})
		done(protocol.Reply{Code: r.Code, Version: v, Body: bytes.Clone(r.Body)})
	}
}

// own is the session under which the script itself does something.
const own protocol.SessionID = 1

// do carries out a mutation in the script's own name.
func (s *state) do(sequence uint64, kind protocol.KindID, op protocol.Op, name string, body []byte) {
	q := protocol.Request{
		Kind: kind, Op: op, Name: name, Body: body,
		Caller: protocol.Caller{Session: own, Sequence: sequence},
	}
	q.Partition = kindsOf.PartitionOf(&q, partitions)
	s.carryOut(&q, func(r protocol.Reply) {
		if r.Code != protocol.CodeOK {
			panic(fmt.Sprintf("conform: bug: %d of %s: code %d", op, name, r.Code))
		}
	})
}

// counter returns the value of a counter.
func (s *state) counter(name string) int64 {
	q := protocol.Request{
		Partition: partition.Of(partitions, name, nil), Kind: kindCounter, Op: counterGet, Name: name,
		Flags: protocol.FlagRead, Body: protocol.AppendArray(nil, 0),
	}
	var n int64
	s.carryOut(&q, func(r protocol.Reply) {
		if r.Code == protocol.CodeOK {
			_ = protocol.ReadInts(r.Body, &n) // 0 if it is something else
		}
	})
	return n
}

// The operations that the script speaks of.
const (
	kindMap       protocol.KindID = 1
	mapPut        protocol.Op     = 2
	kindCounter   protocol.KindID = 2
	counterGet    protocol.Op     = 1
	counterAdd    protocol.Op     = 3
	kindSemaphore protocol.KindID = 3
	semaphoreInit protocol.Op     = 1
	kindQueue     protocol.KindID = 4
	queueOffer    protocol.Op     = 2
	queueTake     protocol.Op     = 3
)

// gives reports whether an operation gives its caller something to hold.
func gives(q *protocol.Request) bool {
	k, ok := kinds.Of(q.Kind)
	if !ok {
		return false
	}
	op := k.Op(q.Op)
	return op != nil && op.Binds() && op.Right&structures.RightHold != 0
}
