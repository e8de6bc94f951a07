package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

const (
	repeatEvery  = 5 * time.Second       // of a waiting call, on the connection it waits on
	withdrawTime = 2 * time.Second       // that a caller waits for the answer to a cancel
	confirmPause = 50 * time.Millisecond // before a refused confirm is sent again
)

// errLeaderChanged ends the attempt of a waiting call: the next one uses another
// connection.
var errLeaderChanged = errors.New("the leader has changed")

// errWaitOver ends a waiting call that was queued in the client and has no time left.
var errWaitOver = fmt.Errorf("%w: the time to wait is over", context.DeadlineExceeded)

// invokeWaiting carries out a call whose answer may come with a later grant. The call
// keeps its slot until its outcome is definite.
func (c *call) invokeWaiting(ctx context.Context) (structures.Reply, error) {
	c.waiting, c.grant, c.apart = true, true, true
	if over, err := c.admitWaiting(ctx); over || err != nil {
		c.reply = protocol.Reply{Code: protocol.CodeTimedOut}
		return c.finish(err)
	}
	err := c.run(ctx)
	var definite *quorate.Error
	switch {
	case err == nil && c.reply.Code == protocol.CodeReserved:
		if err = c.accept(); err == nil {
			err = c.confirm(ctx)
		}
	case err == nil || !c.unsettled:
	case !errors.As(err, &definite):
		err = c.withdraw(err)
	case definite.Unknown && !errors.Is(err, quorate.ErrSessionLost):
		err = c.withdraw(definite.Cause)
	}
	return c.finish(err)
}

// waitGrant waits for the answer to a waiting call, and repeats it.
func (c *call) waitGrant(ctx context.Context, n *conn, r *routes) error {
	repeat := time.NewTimer(repeatEvery)
	defer repeat.Stop()
	var over <-chan time.Time // the time to wait
	if c.until != 0 {
		t := time.NewTimer(max(c.until-c.client.now(), 0))
		defer t.Stop()
		over = t.C
	}
	for {
		ends, moved := error(nil), false
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			ends = contexts.Err(ctx)
		case <-over:
			ends = errWaitOver
		case <-c.sess.lease.Done():
			ends = context.Cause(c.sess.lease)
		case <-n.closing:
			moved = true
		case <-r.next:
			was := r.of(c.req.Partition)
			var now *conn
			if now, _, r = c.route(); now != n {
				moved = true
				break
			}
			if is := r.of(c.req.Partition); was == nil || is == nil || is.term != was.term || is.leader != was.leader {
				c.repeat(n, r)
			}
			continue
		case <-repeat.C:
			c.repeat(n, r)
			repeat.Reset(repeatEvery)
			continue
		}
		if c.client.ctx.Err() != nil {
			ends = quorate.ErrClosed
		}
		if !n.abandon(&c.attempt) {
			<-c.done
			return nil
		}
		if moved && ends == nil {
			c.err, c.left = errLeaderChanged, true
			return nil
		}
		c.unsettled = true
		return ends
	}
}

// repeat sends a waiting call again, under a new request ID. If a grant to the old ID
// is on its way the connection drops it, and the member answers the repeat from the
// record: it registers the repeat before it looks the record up. The old ID cannot be
// kept, because a member ends the oldest of several repeats with an answer that is not
// definite.
func (c *call) repeat(n *conn, r *routes) {
	c.req.Flags |= protocol.FlagRepeat
	c.req.Epoch = r.epoch
	c.req.Highest = uint16(c.slots.highest.Load())
	if n.resend(&c.attempt, &c.req, c.client.now()) {
		// Whatever the outcome of the repeat, the call may wait at the grid.
		c.unsettled = true
	}
}

// controlCall returns a control operation for the call c.
func (c *call) controlCall(what protocol.Op) *call {
	k := c.client.newCall(&structures.Call{
		Kind: protocol.KindControl, Op: what, Verb: c.spec.Verb, Label: c.spec.Label,
		Name: c.spec.Name, Partition: c.spec.Partition,
	})
	k.waiting, k.lane, k.control, k.cluster = true, c.lane, true, c.cluster
	k.sess, k.slots, k.req.Caller = c.sess, c.slots, c.req.Caller
	return k
}

// withdraw cancels a waiting call that ended for the given reason. A result that was on
// its way wins, and is then in c.reply.
func (c *call) withdraw(why error) error {
	if c.client.ctx.Err() != nil {
		return why // the end of the session withdraws it
	}
	k := c.controlCall(protocol.OpCancel)
	k.deadline = c.client.now() + withdrawTime
	if err := k.run(c.client.ctx); err != nil {
		c.settleLater(k)
		if errors.Is(why, context.Canceled) {
			why = fmt.Errorf("%w: %w", quorate.ErrUnavailable, why) // nobody has answered the cancel
		}
		return why
	}
	defer c.client.recycle(k)
	switch code := k.reply.Code; {
	case (code == protocol.CodeCancelled || code == protocol.CodeTimedOut) && why == errWaitOver:
		c.reply = protocol.Reply{Code: protocol.CodeTimedOut}
		return nil
	case code == protocol.CodeCancelled, code == protocol.CodeTimedOut:
		// This is not ErrUnavailable: the call has waited, and taken nothing.
		return &quorate.Error{Op: c.spec.Verb, Object: c.spec.Object(), Cause: why}
	case code == protocol.CodeOK, code >= protocol.CodeKindBase:
		c.reply = k.reply
		return nil
	case code == protocol.CodeSessionEnded:
		c.sess.end("")
		return c.refuse(code, "")
	default:
		return c.refuse(code, problemOf(k.reply).Detail)
	}
}

// accept asks the caller whether it accepts what is reserved for it, and returns it to
// the grid if not.
func (c *call) accept() error {
	if c.spec.Accept == nil {
		return nil
	}
	refused := c.spec.Accept(structures.Reply{Code: protocol.CodeOK, Body: c.reply.Body, Version: c.reply.Version, Lease: c.sess.lease})
	if refused == nil {
		return nil
	}
	k := c.controlCall(protocol.OpCancel)
	k.deadline = c.client.now() + withdrawTime
	if k.run(c.client.ctx) != nil {
		c.settleLater(k)
		return refused
	}
	if k.reply.Code == protocol.CodeSessionEnded {
		c.sess.end("")
	}
	c.client.recycle(k)
	return refused
}

// settleLater continues to cancel a call, with k, after its caller got
// ErrOutcomeUnknown. The call keeps its slot until there is an answer: its record may
// be a waiter, which the next use of the slot must not find.
func (c *call) settleLater(k *call) {
	slots, slot := c.slots, c.req.Caller.Slot
	admitted, key, lane := c.admitted, waitKeyOf(c), c.lane
	c.slots, c.admitted = nil, false
	k.deadline = 0
	late, client := c.spec.Late, c.client // c is used again soon
	client.tasks.spawn(func() {
		defer client.recycle(k)
		for try := 0; ; try++ {
			err := k.run(client.ctx)
			if err == nil || client.ctx.Err() != nil || k.cluster != client.table.cluster.Load() {
				if err != nil {
					k.reply = protocol.Reply{} // the end of the session settles everything
					k.reply.Code = protocol.CodeSessionEnded
				}
				break
			}
			contexts.Pause(client.ctx, backoff(try, 50*time.Millisecond, 2*time.Second))
		}
		switch {
		case k.reply.Code == protocol.CodeSessionEnded:
			k.sess.end("")
		case late != nil && k.reply.Code == protocol.CodeOK:
			late(structures.Reply{Code: k.reply.Code, Body: k.reply.Body, Version: k.reply.Version, Lease: k.sess.lease})
		}
		slots.release(slot)
		if admitted {
			client.admission.leave(key, lane)
		}
	})
}

// linger returns a context that ends with base, or d after ctx has ended.
func linger(base, ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	l, cancel := context.WithCancel(base)
	stop := context.AfterFunc(ctx, func() {
		if contexts.Pause(l, d) {
			cancel()
		}
	})
	return l, func() { stop(); cancel() }
}

// confirm takes what was reserved for a call. After ctx has ended it waits only a
// little longer.
func (c *call) confirm(ctx context.Context) error {
	k := c.controlCall(protocol.OpConfirm)
	for {
		while, stop := linger(c.client.ctx, ctx, withdrawTime)
		err := k.run(while)
		ended := while.Err() != nil
		stop()
		if err == nil {
			break
		}
		if !ended && !errors.Is(err, quorate.ErrGridLost) {
			contexts.Pause(c.client.ctx, confirmPause)
			continue
		}
		c.unsettled = true
		switch {
		case c.client.ctx.Err() != nil:
			err = quorate.ErrClosed
		case ended:
			err = contexts.Err(ctx)
			c.settleLater(c.controlCall(protocol.OpCancel))
		}
		c.client.recycle(k)
		return err
	}
	defer c.client.recycle(k)
	switch code := k.reply.Code; code {
	case protocol.CodeOK, protocol.CodeReserved, protocol.CodeReplyDropped:
		// "Dropped" is the answer for a call that is done: an earlier confirm took the
		// reservation. The client has had the result since it was reserved.
		return nil
	case protocol.CodeCancelled:
		return c.refuse(protocol.CodeSessionEnded, "what was reserved has been given back")
	case protocol.CodeSessionEnded:
		c.sess.end("")
		c.unsettled = k.unsettled
		return c.refuse(code, "what was reserved has been given back")
	default:
		return c.refuse(code, problemOf(k.reply).Detail)
	}
}
