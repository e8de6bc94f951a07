package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// requestOverhead is the most that a request has besides name and body, in bytes.
const requestOverhead = 96

// call is one call in progress. It is pooled; the channel of its attempt is reused.
type call struct {
	attempt  // the last one
	client   *Client
	cluster  *cluster // that it was made for
	spec     structures.Call
	req      protocol.Request
	deadline time.Duration // on the client's clock; 0: none
	// begun is the time on the client's clock when the call began, and 0 once it has
	// waited for anything. It spares the first attempt a reading of the clock.
	begun time.Duration

	// The identity of a mutation: req.Caller, a slot of slots.
	sess  *session
	slots *slotTable
	sent  bool // an attempt was sent under this identity
	// unsettled is set while an attempt under this identity may have entered and was
	// not answered. Only a definite answer under the identity clears it.
	unsettled bool

	waiting  bool // uses a connection for waiting calls, the one of its lane
	admitted bool // a waiting call that counts in lane
	lane     int
	// until is when the time to wait is over for a call that was queued in the client,
	// on the client's clock. 0: the grid bounds the wait, or nothing does.
	until   time.Duration
	grant   bool // a waiting call: no attempt of it is ever overdue
	control bool // cancels or confirms; every definite answer is its result
	tries   int
	full    time.Duration // since when the group is short of memory or disk
	last    error         // why the last attempt failed, human-readable

	before, after *call // in the backlog of a connection; guarded by its mu
}

// newCall takes a call from the client's pool. The pool is the client's own, so
// that a client inside a testing/synctest bubble uses no channel from outside.
func (c *Client) newCall(spec *structures.Call) *call {
	k, ok := c.calls.Get().(*call)
	if !ok {
		k = &call{attempt: attempt{done: make(chan struct{}, 1)}}
	}
	k.client, k.spec, k.cluster = c, *spec, c.table.cluster.Load()
	k.req = protocol.Request{
		Partition: spec.Partition, Flags: spec.Flags, Kind: spec.Kind, Op: spec.Op, Name: spec.Name, Body: spec.Body,
	}
	return k
}

func (c *Client) recycle(k *call) {
	*k = call{attempt: attempt{done: k.done}}
	c.calls.Put(k)
}

func (c *call) mutates() bool { return c.req.Flags&protocol.FlagRead == 0 }

// Invoke carries out one call. [structures.Invoker] says what it promises. Without a
// deadline of ctx it ends after [WithOperationTimeout]; a waiting call does not.
func (c *Client) Invoke(ctx context.Context, spec structures.Call) (structures.Reply, error) {
	k := c.newCall(&spec)
	defer c.recycle(k)
	if err := k.begin(ctx); err != nil {
		return structures.Reply{}, k.fail(err)
	}
	if spec.Flags&protocol.FlagWait != 0 && k.mutates() {
		return k.invokeWaiting(ctx)
	}
	err := k.run(ctx)
	return k.finish(err)
}

// finish frees the slot and returns the caller's answer.
func (c *call) finish(err error) (structures.Reply, error) {
	if err != nil {
		err = c.fail(err)
		// A call that may have been granted something is cancelled again and again,
		// until the outcome is known.
		if c.spec.Late != nil && c.slots != nil && errors.Is(err, quorate.ErrOutcomeUnknown) {
			c.settleLater(c.controlCall(protocol.OpCancel))
		}
	}
	c.client.near.Answered(&c.spec, c.cluster.id, c.reply.Version, err)
	if c.slots != nil {
		c.slots.release(c.req.Caller.Slot)
	}
	if c.admitted {
		c.client.admission.leave(waitKeyOf(c), c.lane)
	}
	if err != nil {
		return structures.Reply{}, err
	}
	r := structures.Reply{Code: c.reply.Code, Body: c.reply.Body, Version: c.reply.Version}
	if r.Code == protocol.CodeReserved {
		r.Code = protocol.CodeOK
	}
	if c.sess != nil {
		r.Lease = c.sess.lease
	}
	if c.spec.Late != nil && r.Code == protocol.CodeOK && r.Lease.Err() != nil {
		// Giving up is final: a grant that arrives now belongs to nobody.
		c.spec.Late(r)
		return structures.Reply{}, &quorate.Error{
			Op: c.spec.Verb, Object: c.spec.Object(), Cause: context.Cause(r.Lease),
			Detail: "what was granted has been given back",
		}
	}
	return r, nil
}

// begin checks a call and sets its deadline.
func (c *call) begin(ctx context.Context) error {
	if err := contexts.Err(ctx); err != nil {
		return err
	}
	if c.client.ctx.Err() != nil {
		return quorate.ErrClosed
	}
	if int(c.req.Partition) >= c.client.partitions {
		return fmt.Errorf("%w: partition %d of %d", quorate.ErrInvalid, c.req.Partition, c.client.partitions)
	}
	if size, limit := len(c.req.Body), int(c.client.body.Load()); size > limit {
		return fmt.Errorf("%w: the body of a request has %d bytes, limit body: %d", quorate.ErrTooLarge, size, limit)
	}
	if size, limit := len(c.req.Name)+len(c.req.Body)+requestOverhead, int(c.client.limits.Load().Frame); size > limit {
		return fmt.Errorf("%w: the request has %d bytes, limit frame: %d", quorate.ErrTooLarge, size, limit)
	}
	c.client.budget.earn()
	c.begun = c.client.now()
	if at, ok := ctx.Deadline(); ok {
		c.deadline = c.begun + time.Until(at)
	} else if c.req.Flags&protocol.FlagWait == 0 {
		c.deadline = c.begun + c.client.cfg.operationTimeout
	}
	return nil
}

// fail makes the caller's error of err, unless it is one already.
func (c *call) fail(err error) error {
	var done *quorate.Error
	if errors.As(err, &done) {
		return done
	}
	e := &quorate.Error{Op: c.spec.Verb, Object: c.spec.Object(), Cause: err, Unknown: c.mutates() && c.unsettled && !mutants.On(mutants.UnknownIsSafe)}
	if contexts.TimedOut(err) && !errors.Is(err, quorate.ErrUnavailable) {
		why := quorate.ErrUnavailable
		if errors.Is(c.last, quorate.ErrOverloaded) {
			why = quorate.ErrOverloaded
		}
		e.Cause = fmt.Errorf("%w: %w", why, err)
	}
	if c.last != nil {
		e.Detail = detail(c.last)
	}
	return e
}

// refuse makes the error of an answer.
func (c *call) refuse(code protocol.Code, detail string) error {
	e := &quorate.Error{Op: c.spec.Verb, Object: c.spec.Object(), Cause: code.Err(), Detail: detail}
	switch code {
	case protocol.CodeReplyDropped:
		e.Unknown = c.mutates()
		if e.Detail == "" {
			e.Detail = "it was applied; its reply is no longer kept"
		}
	case protocol.CodeStale, protocol.CodeSessionEnded:
		e.Unknown = c.mutates() && c.unsettled
	}
	return e
}

// ended returns why no further attempt is made, nil while there is time.
func (c *call) ended(ctx context.Context) error {
	if err := contexts.Err(ctx); err != nil {
		if c.client.ctx.Err() != nil {
			return quorate.ErrClosed
		}
		return err
	}
	if c.client.ctx.Err() != nil {
		return quorate.ErrClosed
	}
	if c.cluster != c.client.table.cluster.Load() {
		return quorate.ErrGridLost
	}
	if c.deadline != 0 && c.client.now() >= c.deadline {
		return overdue(ctx)
	}
	return nil
}

// overdue returns the error of a call whose deadline has passed. If it is ctx's
// deadline, ctx ends within a moment, and the error is the reason why.
func overdue(ctx context.Context) error {
	if _, ok := ctx.Deadline(); ok {
		t := time.NewTimer(10 * time.Millisecond)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return contexts.Err(ctx)
		case <-t.C:
		}
	}
	return context.DeadlineExceeded
}

// pause waits until one of the channels is closed, or d has passed. It returns the
// reason if the call has ended. A nil channel is ignored.
func (c *call) pause(ctx context.Context, d time.Duration, a, b <-chan struct{}) error {
	c.begun = 0
	if c.deadline != 0 {
		d = min(d, c.deadline-c.client.now())
	}
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-a:
	case <-b:
	case <-ctx.Done():
	case <-c.client.ctx.Done():
	}
	return c.ended(ctx)
}

// lostPause is the wait until a link has dropped a lost connection.
const lostPause = time.Millisecond

// run makes attempts until there is a definite answer, which it leaves in c.reply, or
// until the call has ended.
func (c *call) run(ctx context.Context) error {
	if n, _, _ := c.route(); n != nil && n.refuses(c) {
		return c.overloaded(errFull)
	}
	for {
		if c.slots == nil && c.mutates() {
			if err := c.identify(ctx); err != nil {
				return err
			}
		}
		n, l, r := c.route()
		if n == nil {
			if err := c.unreachable(ctx, l, r); err != nil {
				return err
			}
			continue
		}
		err := c.send(n, r)
		if err == errFull {
			if !n.waiting {
				return c.overloaded(errFull)
			}
			n.awaitCapacity(1)
			err = c.pause(ctx, time.Hour, n.capacity, n.closing)
			n.awaitCapacity(-1)
			if err != nil {
				c.last = errFull
				return err
			}
			continue
		}
		if err == quorate.ErrGridLost {
			return err
		}
		if err != nil { // its member is leaving, or it is lost: its link drops it in a moment
			if err := c.pause(ctx, lostPause, nil, nil); err != nil {
				return err
			}
			continue
		}
		if err := c.wait(ctx, n, r); err != nil {
			return err
		}
		done, err := c.handleReply(ctx, n, r)
		if done || err != nil {
			return err
		}
		c.tries++
	}
}

// identify gives a mutation its identity: session, slot and sequence.
func (c *call) identify(ctx context.Context) error {
	for {
		s, err := c.client.sessions.need(ctx, c)
		if err != nil {
			return err
		}
		t := s.table(c.req.Partition)
		slot, sequence, w := t.acquire()
		if w == nil {
			c.identifyAs(s, t, slot, sequence)
			return nil
		}
		err = c.pause(ctx, time.Hour, w.ready, nil)
		if err == nil && w.has() {
			c.identifyAs(s, t, w.slot, w.sequence)
			return nil
		}
		t.giveUp(w)
		if err != nil {
			if c.last == nil {
				c.last = fmt.Errorf("%w: all %d slots of partition %d are in use", quorate.ErrOverloaded, t.limit, c.req.Partition)
			}
			return err
		}
	}
}

func (c *call) identifyAs(s *session, t *slotTable, slot uint16, sequence uint64) {
	c.sess, c.slots, c.sent = s, t, false
	c.req.Caller = protocol.Caller{Session: s.id, Slot: slot, Sequence: sequence}
	c.req.Flags &^= protocol.FlagRepeat
}

// route returns the connection for the next attempt, nil if there is none, and the
// link that would make it, nil if the leader is not known.
func (c *call) route() (*conn, *link, *routes) {
	r := c.client.table.routes()
	m := c.client.seeds
	if m == nil {
		g := r.of(c.req.Partition)
		if g == nil {
			return nil, nil, r
		}
		if c.req.Flags&protocol.FlagStale != 0 {
			if n := connected(g, r, c.tries); n != nil {
				return n, n.link, r
			}
		}
		if m = g.leader; m == nil {
			// Another replica may know why there is no leader. It enters nothing.
			if n := connected(g, r, c.tries); n != nil && c.tries%2 == 1 && !c.waiting {
				return n, n.link, r
			}
			return nil, nil, r
		}
	}
	if c.waiting {
		l := &m.waiting[c.lane]
		return l.conn.Load(), l, r
	}
	return m.ordinary.conn.Load(), &m.ordinary, r
}

// connected returns a connection to a replica of the group, a different one for each
// attempt.
func connected(g *group, r *routes, attempt int) *conn {
	for i := range g.replicas {
		id := g.replicas[(attempt+i)%len(g.replicas)]
		if m := r.peers[id]; m != nil {
			if n := m.ordinary.conn.Load(); n != nil {
				return n
			}
		}
	}
	return nil
}

// unreachable waits for a leader that can be reached.
func (c *call) unreachable(ctx context.Context, l *link, r *routes) error {
	c.tries++
	if l == nil {
		if e, ok := c.last.(*attemptError); !ok || e.code != protocol.CodeNoLeader || e.detail == "" {
			c.last = errNoLeader
		}
		c.client.refresher.search()
		return c.pause(ctx, attemptTime(), r.next, nil)
	}
	err := c.pause(ctx, attemptTime(), l.open(), r.next)
	if l.conn.Load() == nil {
		if why := l.problem(); why != nil {
			c.last = why
		}
		c.client.refresher.search()
	}
	return err
}

var errNoLeader = errors.New("the partition has no leader that is known")

// send queues an attempt, or the call if it has to wait.
func (c *call) send(n *conn, r *routes) error {
	switch {
	case c.cluster == n.cluster:
	case c.cluster != c.client.table.cluster.Load():
		return quorate.ErrGridLost
	default:
		return errConnClosed // of the former cluster, and about to be closed
	}
	now := c.begun
	if now == 0 {
		now = c.client.now()
	}
	c.begun = 0
	c.req.Epoch = r.epoch
	return n.send(c, now)
}

// wait waits for the end of an attempt. An error ends the call.
func (c *call) wait(ctx context.Context, n *conn, r *routes) error {
	if c.grant {
		return c.waitGrant(ctx, n, r)
	}
	cancelled := ctx.Done()
	if cancelled == nil {
		<-c.done
		return nil
	}
	select {
	case <-c.done:
		return nil
	case <-cancelled:
	}
	if !n.abandonCall(c) {
		<-c.done
		return nil
	}
	if c.left {
		c.unsettled = true
	} else {
		c.last = errFull
	}
	if c.client.ctx.Err() != nil {
		return quorate.ErrClosed
	}
	return contexts.Err(ctx)
}
