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

// requestOverhead is at most what a request has beside name and body.
const requestOverhead = 96

// op is one call on its way. It is pooled; its flight's channel is used again.
type op struct {
	flight
	life     *life // of the grid that it was made for
	call     structures.Call
	req      protocol.Request
	deadline time.Duration // on the client's clock; 0: none
	// begun is the client's clock when the call began, and 0 once it has waited
	// for anything: it spares the first attempt a look at the clock.
	begun time.Duration

	// The identity of a mutation: req.Caller, a slot of slots.
	sess  *session
	slots *slotTable
	sent  bool // an attempt was sent under this identity
	// unsettled says that an attempt under this identity may have entered and
	// was not answered. Only a definite answer under the identity settles it.
	unsettled bool

	waiting  bool // travels on a connection for waiting calls, that of its lane
	admitted bool // a waiting call with a place in lane
	lane     int
	until    time.Duration // when the time to wait of a call that was held back is over, on the client's clock; 0: not bounded here
	grant    bool          // a waiting call: no attempt of it is ever overdue
	control  bool          // cancels or confirms; every definite answer is its result
	tries    int
	full     time.Duration // since when the group is short of memory or disk
	last     error         // what the last attempt failed of, human-readable

	before, after *op // in the backlog of a connection; guarded by its mu
}

// newOp takes an op from the client's pool. The pool is the client's own, so
// that a client inside a testing/synctest bubble uses no channel from outside.
func (c *Client) newOp(call *structures.Call) *op {
	o, ok := c.ops.Get().(*op)
	if !ok {
		o = &op{flight: flight{done: make(chan struct{}, 1)}}
	}
	o.call, o.life = *call, c.life.Load()
	o.req = protocol.Request{
		Partition: call.Partition, Flags: call.Flags, Kind: call.Kind, Op: call.Op, Name: call.Name, Body: call.Body,
	}
	return o
}

func (c *Client) recycle(o *op) {
	*o = op{flight: flight{done: o.done}}
	c.ops.Put(o)
}

func (o *op) mutates() bool { return o.req.Flags&protocol.FlagRead == 0 }

// Invoke carries out one call. structures.Invoker says what it promises.
func (c *Client) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	o := c.newOp(&call)
	defer c.recycle(o)
	if err := c.begin(ctx, o); err != nil {
		return structures.Reply{}, o.fail(err)
	}
	if call.Flags&protocol.FlagWait != 0 && o.mutates() {
		return c.invokeWaiting(ctx, o)
	}
	err := c.run(ctx, o)
	return c.finish(o, err)
}

// finish frees the slot and makes the caller's answer.
func (c *Client) finish(o *op, err error) (structures.Reply, error) {
	if err != nil {
		err = o.fail(err)
		// A call that holds and may have been granted something is not given up, but
		// cancelled until it is known.
		if o.call.Late != nil && o.slots != nil && errors.Is(err, quorate.ErrOutcomeUnknown) {
			c.settleLater(o, c.controlOp(o, protocol.OpCancel))
		}
	}
	if o.slots != nil {
		o.slots.release(o.req.Caller.Slot)
	}
	if o.admitted {
		c.admission.leave(waitKeyOf(o), o.lane)
	}
	if err != nil {
		return structures.Reply{}, err
	}
	r := structures.Reply{Code: o.reply.Code, Body: o.reply.Body, Version: o.reply.Version}
	if r.Code == protocol.CodeReserved {
		r.Code = protocol.CodeOK
	}
	if o.sess != nil {
		r.Lease = o.sess.lease
	}
	if o.call.Late != nil && r.Code == protocol.CodeOK && r.Lease.Err() != nil {
		// Giving up is final: it is nobody's.
		o.call.Late(r)
		return structures.Reply{}, &quorate.Error{
			Op: o.call.Verb, Object: o.call.Object(), Cause: context.Cause(r.Lease),
			Detail: "what was granted has been given back",
		}
	}
	return r, nil
}

// begin checks a call and sets its deadline.
func (c *Client) begin(ctx context.Context, o *op) error {
	if err := contexts.Err(ctx); err != nil {
		return err
	}
	if c.ctx.Err() != nil {
		return quorate.ErrClosed
	}
	if int(o.req.Partition) >= c.partitions {
		return fmt.Errorf("%w: partition %d of %d", quorate.ErrInvalid, o.req.Partition, c.partitions)
	}
	if size, limit := len(o.req.Body), int(c.body.Load()); size > limit {
		return fmt.Errorf("%w: the body of a request has %d bytes, limit body: %d", quorate.ErrTooLarge, size, limit)
	}
	if size, limit := len(o.req.Name)+len(o.req.Body)+requestOverhead, int(c.limits.Load().Frame); size > limit {
		return fmt.Errorf("%w: the request has %d bytes, limit frame: %d", quorate.ErrTooLarge, size, limit)
	}
	c.budget.earn()
	o.begun = c.now()
	if at, ok := ctx.Deadline(); ok {
		o.deadline = o.begun + time.Until(at)
	} else if o.req.Flags&protocol.FlagWait == 0 {
		o.deadline = o.begun + c.cfg.operationTimeout
	}
	return nil
}

// fail makes the caller's error. An error that is one already is kept.
func (o *op) fail(err error) error {
	var done *quorate.Error
	if errors.As(err, &done) {
		return done
	}
	e := &quorate.Error{Op: o.call.Verb, Object: o.call.Object(), Cause: err, Unknown: o.mutates() && o.unsettled && !mutants.On(mutants.UnknownIsSafe)}
	if contexts.TimedOut(err) && !errors.Is(err, quorate.ErrUnavailable) {
		why := quorate.ErrUnavailable
		if errors.Is(o.last, quorate.ErrOverloaded) {
			why = quorate.ErrOverloaded
		}
		e.Cause = fmt.Errorf("%w: %w", why, err)
	}
	if o.last != nil {
		e.Detail = detail(o.last)
	}
	return e
}

// refuse makes the error of an answer.
func (o *op) refuse(code protocol.Code, detail string) error {
	e := &quorate.Error{Op: o.call.Verb, Object: o.call.Object(), Cause: code.Err(), Detail: detail}
	switch code {
	case protocol.CodeReplyDropped:
		e.Unknown = o.mutates()
		if e.Detail == "" {
			e.Detail = "it was applied; its reply is no longer kept"
		}
	case protocol.CodeStale, protocol.CodeSessionEnded:
		e.Unknown = o.mutates() && o.unsettled
	}
	return e
}

// ended returns why no further attempt is made, nil while there is time.
func (c *Client) ended(ctx context.Context, o *op) error {
	if err := contexts.Err(ctx); err != nil {
		if c.ctx.Err() != nil {
			return quorate.ErrClosed
		}
		return err
	}
	if c.ctx.Err() != nil {
		return quorate.ErrClosed
	}
	if o.life != c.life.Load() {
		return quorate.ErrGridLost
	}
	if o.deadline != 0 && c.now() >= o.deadline {
		return overdue(ctx)
	}
	return nil
}

// overdue is the error of a call whose deadline has passed: where that is ctx's, why
// ctx ends, which it does in a moment.
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

// pause waits until one of the channels is closed, at most d, and returns why
// the call has ended, if it has. A nil channel waits for nothing.
func (c *Client) pause(ctx context.Context, o *op, d time.Duration, a, b <-chan struct{}) error {
	o.begun = 0
	if o.deadline != 0 {
		d = min(d, o.deadline-c.now())
	}
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-a:
	case <-b:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return c.ended(ctx, o)
}

// lostPause is the wait for a link to notice that its connection is lost.
const lostPause = time.Millisecond

// run makes attempts until there is a definite answer, which is then in
// o.reply, or until the call has ended.
func (c *Client) run(ctx context.Context, o *op) error {
	if n, _, _ := c.route(o); n != nil && n.refuses(o) {
		return o.overloaded(errFull)
	}
	for {
		if o.slots == nil && o.mutates() {
			if err := c.identify(ctx, o); err != nil {
				return err
			}
		}
		n, l, r := c.route(o)
		if n == nil {
			if err := c.unreachable(ctx, o, l, r); err != nil {
				return err
			}
			continue
		}
		err := c.send(o, n, r)
		if err == errFull {
			if !n.waiting {
				return o.overloaded(errFull)
			}
			n.starve(1)
			err = c.pause(ctx, o, time.Hour, n.room, n.gone)
			n.starve(-1)
			if err != nil {
				o.last = errFull
				return err
			}
			continue
		}
		if err == quorate.ErrGridLost {
			return err
		}
		if err != nil { // leaving, or lost: its link knows in a moment
			if err := c.pause(ctx, o, lostPause, nil, nil); err != nil {
				return err
			}
			continue
		}
		if err := c.wait(ctx, o, n, r); err != nil {
			return err
		}
		done, err := c.judge(ctx, o, n, r)
		if done || err != nil {
			return err
		}
		o.tries++
	}
}

// identify gives a mutation its identity: session, slot and sequence.
func (c *Client) identify(ctx context.Context, o *op) error {
	for {
		s, err := c.sessions.need(ctx, o)
		if err != nil {
			return err
		}
		t := s.table(o.req.Partition)
		slot, sequence, w := t.acquire()
		if w == nil {
			o.adopt(s, t, slot, sequence)
			return nil
		}
		err = c.pause(ctx, o, time.Hour, w.ready, nil)
		if err == nil && w.has() {
			o.adopt(s, t, w.slot, w.sequence)
			return nil
		}
		t.giveUp(w)
		if err != nil {
			if o.last == nil {
				o.last = fmt.Errorf("%w: all %d slots of partition %d are in use", quorate.ErrOverloaded, t.limit, o.req.Partition)
			}
			return err
		}
	}
}

func (o *op) adopt(s *session, t *slotTable, slot uint16, sequence uint64) {
	o.sess, o.slots, o.sent = s, t, false
	o.req.Caller = protocol.Caller{Session: s.id, Slot: slot, Sequence: sequence}
	o.req.Flags &^= protocol.FlagRepeat
}

// route returns the connection for the next attempt, nil where there is none,
// and the link that would make it, nil where the leader is not known.
func (c *Client) route(o *op) (*conn, *link, *routes) {
	r := c.routes.Load()
	m := c.seeds
	if m == nil {
		g := r.of(o.req.Partition)
		if g == nil {
			return nil, nil, r
		}
		if o.req.Flags&protocol.FlagStale != 0 {
			if n := connected(g, r, o.tries); n != nil {
				return n, n.link, r
			}
		}
		if m = g.leader; m == nil {
			// A replica may know why there is none, and it lets nothing enter.
			if n := connected(g, r, o.tries); n != nil && o.tries%2 == 1 && !o.waiting {
				return n, n.link, r
			}
			return nil, nil, r
		}
	}
	if o.waiting {
		l := &m.waiting[o.lane]
		return l.conn.Load(), l, r
	}
	return m.ordinary.conn.Load(), &m.ordinary, r
}

// connected returns a connection to a replica of the group, another one for
// another attempt.
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
func (c *Client) unreachable(ctx context.Context, o *op, l *link, r *routes) error {
	o.tries++
	if l == nil {
		if e, ok := o.last.(*attemptError); !ok || e.code != protocol.CodeNoLeader || e.detail == "" {
			o.last = errNoLeader
		}
		c.search()
		return c.pause(ctx, o, attemptTime(), r.next, nil)
	}
	err := c.pause(ctx, o, attemptTime(), l.open(), r.next)
	if l.conn.Load() == nil {
		if why := l.problem(); why != nil {
			o.last = why
		}
		c.search()
	}
	return err
}

var errNoLeader = errors.New("the partition has no leader that is known")

// send queues an attempt, or the call where it has to wait for room.
func (c *Client) send(o *op, n *conn, r *routes) error {
	switch {
	case o.life == n.life:
	case o.life != c.life.Load():
		return quorate.ErrGridLost
	default:
		return errGone // of the grid before, and about to be closed
	}
	now := o.begun
	if now == 0 {
		now = c.now()
	}
	o.begun = 0
	o.req.Epoch = r.epoch
	return n.send(o, now)
}

// wait waits for the end of an attempt. Its error ends the call.
func (c *Client) wait(ctx context.Context, o *op, n *conn, r *routes) error {
	if o.grant {
		return c.waitGrant(ctx, o, n, r)
	}
	cancelled := ctx.Done()
	if cancelled == nil {
		<-o.done
		return nil
	}
	select {
	case <-o.done:
		return nil
	case <-cancelled:
	}
	if !n.abandonOp(o) {
		<-o.done
		return nil
	}
	if o.left {
		o.unsettled = true
	} else {
		o.last = errFull
	}
	if c.ctx.Err() != nil {
		return quorate.ErrClosed
	}
	return contexts.Err(ctx)
}
