package structurestest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate"
	routing "github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// gridPartitions is how many partitions a Grid has.
const gridPartitions = 7

// Grid is a grid without members: one group's state in this process, so that
// the handles of a structure can be tried alone. Its clock stands still until
// Advance. It is a structures.Invoker and safe for concurrent use.
type Grid struct {
	limits protocol.Limits
	lease  context.Context
	end    context.CancelFunc

	mu       sync.Mutex // guards what follows
	state    *groupstate.State
	reader   groupstate.Reader
	entry    groupstate.Builder
	elapsed  time.Duration
	slots    [gridPartitions][]slot
	waiting  map[protocol.Caller]chan structures.Reply
	answered structures.Reply // by the entry that is applied
	failing  func(structures.Call) error
}

type slot struct {
	sequence uint64
	busy     bool
}

var _ structures.Invoker = (*Grid)(nil)

// NewGrid returns a grid that serves the given kinds.
func NewGrid(limits protocol.Limits, kinds ...structures.Kind) *Grid {
	g := &Grid{
		limits: limits, state: groupstate.New(kinds),
		waiting: map[protocol.Caller]chan structures.Reply{},
	}
	g.lease, g.end = context.WithCancel(context.Background())
	g.apply(func(b *groupstate.Builder) {
		owned := make([]protocol.PartitionID, gridPartitions)
		for p := range owned {
			owned[p] = protocol.PartitionID(p)
		}
		b.Own(gridPartitions, owned, limits)
		b.Claim(1)
		b.Attach(1, 0)
	})
	return g
}

// Advance lets time pass. What comes due is cleaned up afterwards, a thousand
// items an entry; sweep says how many entries follow.
func (g *Grid) Advance(d time.Duration, sweep int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.elapsed += d
	for range sweep {
		g.apply(func(b *groupstate.Builder) {})
	}
}

// EndSession ends the session under which all calls are made.
func (g *Grid) EndSession() {
	g.end()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.apply(func(b *groupstate.Builder) { b.Ends(0, []protocol.SessionID{1}) })
}

// Fail makes calls fail for which f returns an error, instead of carrying them
// out.
func (g *Grid) Fail(f func(structures.Call) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failing = f
}

// apply applies an entry.
func (g *Grid) apply(fill func(*groupstate.Builder)) {
	g.entry.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: int64(g.elapsed)}, 64)
	fill(&g.entry)
	if err := g.state.Apply(g.entry.Bytes(), g); err != nil {
		panic("structurestest: bug: " + err.Error())
	}
}

// Replied implements groupstate.Sink.
func (g *Grid) Replied(_ int, _ *protocol.Request, r structures.Result, at protocol.Revision) {
	if !r.IsWaiting() {
		g.answered = structures.Reply{Code: r.Code, Body: r.Body, Revision: at, Lease: g.lease}
		return
	}
	g.answered = structures.Reply{Code: waits}
}

// waits stands for no answer yet.
const waits protocol.Code = 9999

// Granted implements groupstate.Sink.
func (g *Grid) Granted(_ protocol.PartitionID, c protocol.Caller, r structures.Result, at protocol.Revision) {
	if ch := g.waiting[c]; ch != nil {
		ch <- structures.Reply{Code: r.Code, Body: r.Body, Revision: at, Lease: g.lease}
	}
}

// Partition implements structures.Invoker.
func (g *Grid) Partition(name string, key []byte) protocol.PartitionID {
	return routing.Of(gridPartitions, name, key)
}

// Partitions implements structures.Invoker.
func (g *Grid) Partitions() int { return gridPartitions }

// Limits implements structures.Invoker.
func (g *Grid) Limits() protocol.Limits { return g.limits }

// InvokeAll implements structures.Invoker.
func (g *Grid) InvokeAll(ctx context.Context, calls []structures.Call) ([]structures.Reply, []error) {
	replies, errs := make([]structures.Reply, len(calls)), make([]error, len(calls))
	for i := range calls {
		replies[i], errs[i] = g.Invoke(ctx, calls[i])
	}
	return replies, errs
}

// Invoke implements structures.Invoker.
func (g *Grid) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fail := func(cause error, detail string) error {
		return &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: cause, Detail: detail}
	}
	if err := ctx.Err(); err != nil {
		return structures.Reply{}, fail(context.Cause(ctx), "")
	}
	if g.failing != nil {
		if err := g.failing(call); err != nil {
			return structures.Reply{}, err
		}
	}
	q := protocol.Request{
		Partition: call.Partition, Flags: call.Flags, Kind: call.Kind, Op: call.Op,
		Name: call.Name, Body: call.Body, Highest: groupstate.MaxSlots - 1,
	}
	var reply structures.Reply
	if call.Flags&protocol.FlagRead != 0 {
		res := groupstate.Check(g.state.Kinds(), g.limits, &q)
		if res.Code == protocol.CodeOK {
			res, reply.Revision = g.reader.Read(g.state, &q)
		}
		reply.Code, reply.Body = res.Code, res.Body
	} else {
		q.Caller = g.take(call.Partition)
		reply = g.mutate(ctx, &q)
		g.slots[call.Partition][q.Caller.Slot].busy = false
		if reply.Code == protocol.CodeCancelled {
			return structures.Reply{}, fail(context.Cause(ctx), "")
		}
	}
	if err := reply.Code.Err(); err != nil {
		var p protocol.Problem
		_ = p.Decode(reply.Body)
		return structures.Reply{}, fail(err, p.Detail)
	}
	return reply, nil
}

// mutate carries out a mutation and waits for its answer; meanwhile g.mu is
// free.
func (g *Grid) mutate(ctx context.Context, q *protocol.Request) structures.Reply {
	if res := groupstate.Check(g.state.Kinds(), g.limits, q); res.Code != protocol.CodeOK {
		return structures.Reply{Code: res.Code, Body: res.Body}
	}
	ch := make(chan structures.Reply, 1)
	g.waiting[q.Caller] = ch
	defer delete(g.waiting, q.Caller)
	g.apply(func(b *groupstate.Builder) { b.Request(q.Append(nil)) })
	reply := g.answered
	if reply.Code == waits {
		g.mu.Unlock()
		select {
		case reply = <-ch:
		case <-ctx.Done():
		}
		g.mu.Lock()
		if reply.Code == waits {
			reply = g.control(q, protocol.OpCancel)
		}
	}
	if reply.Code == protocol.CodeReserved {
		reply.Code = g.control(q, protocol.OpConfirm).Code
	}
	return reply
}

// control applies an operation on the record of a call.
func (g *Grid) control(q *protocol.Request, op protocol.Op) structures.Reply {
	c := protocol.Request{Partition: q.Partition, Op: op, Caller: q.Caller, Highest: q.Highest}
	g.apply(func(b *groupstate.Builder) { b.Request(c.Append(nil)) })
	return g.answered
}

// take returns the identity of the next call, in the lowest free slot.
func (g *Grid) take(p protocol.PartitionID) protocol.Caller {
	slots := &g.slots[p]
	for i := range *slots {
		if s := &(*slots)[i]; !s.busy {
			s.busy = true
			s.sequence++
			return protocol.Caller{Session: 1, Slot: uint16(i), Sequence: s.sequence}
		}
	}
	if len(*slots) == groupstate.MaxSlots {
		panic(fmt.Sprintf("structurestest: over %d calls at once", groupstate.MaxSlots))
	}
	*slots = append(*slots, slot{sequence: 1, busy: true})
	return protocol.Caller{Session: 1, Slot: uint16(len(*slots) - 1), Sequence: 1}
}
