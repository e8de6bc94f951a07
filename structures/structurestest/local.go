package structurestest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/hub"
	"github.com/quorate/quorate/structures"
)

// partitions is how many partitions a Local has.
const partitions = 7

// Local is a grid of one group without a network, a log or a clock: handles can
// be tried on it. Time passes by Advance only. It is safe for concurrent use.
type Local struct {
	t     testing.TB
	kinds []structures.Kind

	mu      sync.Mutex // guards what is below
	state   *groupstate.State
	losses  uint16 // of all data
	elapsed time.Duration
	next    protocol.SessionID
	ended   uint64
	pending map[protocol.Caller]localCall
	observe func(q *protocol.Request, r structures.Result)
	last    localReply // to the request that is being applied
	clients []*Client
	hub     *hub.Hub // of watches; nil: nobody watches
}

// localCall is a mutation that has no answer yet.
type localCall struct {
	request *protocol.Request
	reply   chan localReply // of capacity 1
}

// localReply is a result, and the version of the partition in the state it is of.
type localReply struct {
	structures.Result
	version protocol.Version
}

// NewLocal returns a Local that serves structures of the given kinds.
func NewLocal(t testing.TB, kinds ...structures.Kind) *Local {
	l := &Local{t: t, kinds: kinds, pending: map[protocol.Caller]localCall{}}
	l.begin()
	return l
}

// begin begins with an empty state; l.mu is held, or nobody else has l.
func (l *Local) begin() {
	l.state = groupstate.New(l.kinds)
	owned := make([]protocol.PartitionID, partitions)
	for i := range owned {
		owned[i] = protocol.PartitionID(i)
	}
	l.apply(func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: partitions, Owned: owned, Limits: protocol.DefaultLimits(), Generation: l.losses, Ends: l.ended})
		b.Claim(1)
	})
}

// Lose loses all data, as a group in memory does with the memory of its majority: another
// group, with larger versions, begins with nothing, all sessions are lost, and clients open
// others. Nothing may wait.
func (l *Local) Lose() {
	l.mu.Lock()
	clients, old := slices.Clone(l.clients), l.hub
	l.losses++
	l.hub = nil
	l.begin()
	l.mu.Unlock()
	if old != nil {
		old.Close()
	}
	for _, c := range clients {
		c.Renew()
	}
}

// apply applies an entry; l.mu is held, or nobody else has l.
func (l *Local) apply(fill func(*groupstate.Builder)) {
	var b groupstate.Builder
	b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: int64(l.elapsed)}, 64)
	fill(&b)
	if err := l.state.Apply(b.Bytes(), (*localSink)(l)); err != nil {
		l.t.Errorf("apply: %v", err)
	}
	if l.hub != nil {
		l.hub.Applied()
	}
}

// Advance lets time pass. Before it clients learn what of theirs is revoked, and
// acknowledge it.
func (l *Local) Advance(d time.Duration) {
	l.mu.Lock()
	clients := slices.Clone(l.clients)
	l.mu.Unlock()
	for _, c := range clients {
		c.keeper.Check(c.Lease())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.elapsed += d
	l.apply(func(*groupstate.Builder) {})
}

// Observe lets f see what every request from now on is answered, in the order of the
// answers: of one that waits with its grant, and its controls by themselves. f must
// not call the Local or its clients, and keep nothing of what it is given.
func (l *Local) Observe(f func(q *protocol.Request, r structures.Result)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.observe = f
}

// answered reports an answer to the observer. l.mu is held.
func (l *Local) answered(q *protocol.Request, r structures.Result) {
	if l.observe != nil {
		l.observe(q, r)
	}
}

// AwaitWaiting waits until n calls wait, and fails the test after ten seconds.
func (l *Local) AwaitWaiting(n int) {
	l.t.Helper()
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		waiting := len(l.pending)
		l.mu.Unlock()
		if waiting == n {
			return
		}
	}
	l.t.Fatalf("not %d calls wait", n)
}

// localSink is the Local as the sink of the state's outcomes.
type localSink Local

func (l *localSink) Replied(_ int, _ *protocol.Request, r structures.Result, v protocol.Version) {
	l.last = localReply{r, v}
}

func (l *localSink) Granted(_ protocol.PartitionID, c protocol.Caller, r structures.Result, v protocol.Version) {
	if call, ok := l.pending[c]; ok {
		delete(l.pending, c)
		(*Local)(l).answered(call.request, r)
		call.reply <- localReply{r, v}
	}
}

// Client is a client of a Local: a session. It is a structures.Invoker.
type Client struct {
	local  *Local
	keeper *structures.Keeper

	mu      sync.Mutex // guards what follows; after it Local.mu may be taken
	session protocol.SessionID
	lease   context.Context
	lose    context.CancelCauseFunc
	slots   []uint64 // sequence by slot
	free    []uint16
}

var _ structures.Invoker = (*Client)(nil)

// Client opens a session.
func (l *Local) Client() *Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	c := &Client{local: l, session: l.next}
	c.keeper = structures.NewKeeper(c, time.Second, 0)
	c.lease, c.lose = context.WithCancelCause(c.keeper.Lease(context.Background()))
	l.clients = append(l.clients, c)
	l.apply(func(b *groupstate.Builder) { b.Attach(c.session, l.ended) })
	return c
}

// Lease returns the lease of the present session, as replies have it.
func (c *Client) Lease() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lease
}

// Local returns the grid that it is a client of.
func (c *Client) Local() *Local { return c.local }

// End ends the client's session: first its leases, then what it holds.
func (c *Client) End() { c.local.End(c) }

// Renew opens another session of the client, as a client does by itself when it has given
// its session up: the leases of that end, if they have not. It returns what ends the old
// session at the grid, which comes later, or has come by End.
func (c *Client) Renew() (endOld func()) {
	l := c.local
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose(quorate.ErrSessionLost)
	old := c.session
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	c.session, c.slots, c.free = l.next, nil, nil
	c.lease, c.lose = context.WithCancelCause(c.keeper.Lease(context.Background()))
	l.apply(func(b *groupstate.Builder) { b.Attach(c.session, l.ended) })
	return func() { l.end(old) }
}

// End ends the sessions of clients in one entry, as Client.End does.
func (l *Local) End(clients ...*Client) {
	var ids []protocol.SessionID
	for _, c := range clients {
		c.mu.Lock()
		id, lose := c.session, c.lose
		c.mu.Unlock()
		lose(quorate.ErrSessionLost)
		ids = append(ids, id)
	}
	l.end(ids...)
}

// end ends sessions.
func (l *Local) end(ids ...protocol.SessionID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apply(func(b *groupstate.Builder) { b.Ends(l.ended, ids) })
	l.ended += uint64(len(ids))
}

// Partition implements structures.Invoker.
func (c *Client) Partition(name string, key []byte) protocol.PartitionID {
	return partition.Of(partitions, name, key)
}

// Partitions implements structures.Invoker.
func (c *Client) Partitions() int { return partitions }

// Limits implements structures.Invoker.
func (c *Client) Limits() protocol.Limits { return protocol.DefaultLimits() }

// InvokeAll implements structures.Invoker.
func (c *Client) InvokeAll(ctx context.Context, calls []structures.Call) ([]structures.Reply, []error) {
	replies, errs := make([]structures.Reply, len(calls)), make([]error, len(calls))
	for i, call := range calls {
		replies[i], errs[i] = c.Invoke(ctx, call)
	}
	return replies, errs
}

// Invoke implements structures.Invoker.
func (c *Client) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	fail := func(cause error, detail string) (structures.Reply, error) {
		return structures.Reply{}, &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: cause, Detail: detail}
	}
	if err := ctx.Err(); err != nil {
		return fail(contexts.Err(ctx), "")
	}
	q := protocol.Request{
		Partition: call.Partition, Flags: call.Flags, Kind: call.Kind, Op: call.Op, Name: call.Name,
		Body: call.Body, Highest: groupstate.MaxSlots - 1,
	}
	var r localReply
	var lease context.Context
	if call.Flags&protocol.FlagRead != 0 {
		r = c.local.read(&q)
	} else {
		if q.Caller, lease = c.identity(); call.Lease != nil && call.Lease != lease {
			c.done(q.Caller)
			return fail(quorate.ErrSessionLost, "")
		}
		defer c.done(q.Caller)
		var refused error
		if r, refused = c.local.mutate(ctx, &q, call.Accept); refused != nil {
			return structures.Reply{}, refused
		}
	}
	if r.Code == protocol.CodeCancelled && ctx.Err() != nil {
		return fail(contexts.Err(ctx), "")
	}
	if err := r.Code.Err(); err != nil {
		var p protocol.Problem
		_ = p.Decode(r.Body)
		return fail(err, p.Detail)
	}
	reply := structures.Reply{Code: r.Code, Body: bytes.Clone(r.Body), Version: r.version}
	reply.Lease = lease // nil of a read
	return reply, nil
}

// identity returns the identity of a call, in a slot of its own, and the lease of its
// session.
func (c *Client) identity() (protocol.Caller, context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := uint16(len(c.slots))
	if n := len(c.free); n > 0 {
		slot, c.free = c.free[n-1], c.free[:n-1]
	} else {
		c.slots = append(c.slots, 0)
	}
	c.slots[slot]++
	return protocol.Caller{Session: c.session, Slot: slot, Sequence: c.slots[slot]}, c.lease
}

func (c *Client) done(caller protocol.Caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if caller.Session == c.session {
		c.free = append(c.free, caller.Slot)
	}
}

// check decides as a leader does; l.mu is held.
func (l *Local) check(q *protocol.Request) structures.Result {
	gate := l.state.Gate()
	gate.Partitions = partitions
	return gate.Check(q)
}

func (l *Local) read(q *protocol.Request) localReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.check(q); r.Code != protocol.CodeOK {
		l.answered(q, r)
		return localReply{Result: r}
	}
	var reader groupstate.Reader
	r, v := reader.Read(l.state, q)
	l.answered(q, r)
	r.Body = bytes.Clone(r.Body)
	return localReply{r, v}
}

// mutate applies a mutation and waits for its answer or the end of ctx, which
// withdraws it. What is reserved for it is confirmed where accept, if there is
// one, returns nil; otherwise its error is returned.
func (l *Local) mutate(ctx context.Context, q *protocol.Request, accept func(structures.Reply) error) (localReply, error) {
	l.mu.Lock()
	if r := l.check(q); r.Code != protocol.CodeOK {
		l.answered(q, r)
		l.mu.Unlock()
		return localReply{Result: r}, nil
	}
	replies := make(chan localReply, 1)
	l.pending[q.Caller] = localCall{q, replies}
	l.apply(func(b *groupstate.Builder) { b.Request(q.Append(nil)) })
	r := l.last
	if !r.IsWaiting() {
		delete(l.pending, q.Caller)
		l.answered(q, r.Result)
	}
	l.mu.Unlock()
	if r.IsWaiting() {
		select {
		case r = <-replies:
		case <-ctx.Done():
			r = l.control(q, protocol.OpCancel)
		}
	}
	if r.Code != protocol.CodeReserved {
		return r, nil
	}
	if accept != nil {
		if err := accept(structures.Reply{Code: protocol.CodeOK, Body: bytes.Clone(r.Body), Version: r.version}); err != nil {
			l.control(q, protocol.OpCancel)
			return localReply{}, err
		}
	}
	return l.control(q, protocol.OpConfirm), nil
}

// control sends an operation on the record of a call.
func (l *Local) control(q *protocol.Request, op protocol.Op) localReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, q.Caller)
	c := protocol.Request{Partition: q.Partition, Op: op, Caller: q.Caller, Highest: q.Highest}
	l.apply(func(b *groupstate.Builder) { b.Request(c.Append(nil)) })
	l.answered(&c, l.last.Result)
	return l.last
}
