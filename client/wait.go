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
	confirmPause = 50 * time.Millisecond // between two confirms of which the first was refused
)

// errMoved ends a waiting call's stay on a connection: it goes to another.
var errMoved = errors.New("the leader has changed")

// errWaitOver ends a waiting call that was held back and has no time left.
var errWaitOver = fmt.Errorf("%w: the time to wait is over", context.DeadlineExceeded)

// invokeWaiting carries out a call whose answer may come with a later grant.
// Its slot is kept until the grid has said what became of it.
func (c *Client) invokeWaiting(ctx context.Context, o *op) (structures.Reply, error) {
	o.waiting, o.grant, o.apart = true, true, true
	if over, err := c.admitWaiting(ctx, o); over || err != nil {
		o.reply = protocol.Reply{Code: protocol.CodeTimedOut}
		return c.finish(o, err)
	}
	err := c.run(ctx, o)
	var definite *quorate.Error
	switch {
	case err == nil && o.reply.Code == protocol.CodeReserved:
		if err = c.accept(o); err == nil {
			err = c.confirm(ctx, o)
		}
	case err == nil || !o.unsettled:
	case !errors.As(err, &definite):
		err = c.withdraw(o, err)
	case definite.Unknown && !errors.Is(err, quorate.ErrSessionLost):
		err = c.withdraw(o, definite.Cause)
	}
	return c.finish(o, err)
}

// waitGrant waits for the answer to a waiting call, and repeats it.
func (c *Client) waitGrant(ctx context.Context, o *op, n *conn, r *routes) error {
	repeat := time.NewTimer(repeatEvery)
	defer repeat.Stop()
	var over <-chan time.Time // the time to wait
	if o.until != 0 {
		t := time.NewTimer(max(o.until-c.now(), 0))
		defer t.Stop()
		over = t.C
	}
	for {
		ends, moved := error(nil), false
		select {
		case <-o.done:
			return nil
		case <-ctx.Done():
			ends = contexts.Err(ctx)
		case <-over:
			ends = errWaitOver
		case <-o.sess.lease.Done():
			ends = context.Cause(o.sess.lease)
		case <-n.gone:
			moved = true
		case <-r.next:
			was := r.of(o.req.Partition)
			var now *conn
			if now, _, r = c.route(o); now != n {
				moved = true
				break
			}
			if is := r.of(o.req.Partition); was == nil || is == nil || is.term != was.term || is.leader != was.leader {
				c.repeat(o, n, r)
			}
			continue
		case <-repeat.C:
			c.repeat(o, n, r)
			repeat.Reset(repeatEvery)
			continue
		}
		if c.ctx.Err() != nil {
			ends = quorate.ErrClosed
		}
		if !n.abandon(&o.flight) {
			<-o.done
			return nil
		}
		if moved && ends == nil {
			o.err, o.left = errMoved, true
			return nil
		}
		o.unsettled = true
		return ends
	}
}

// repeat sends a waiting call again, under a new request ID. A grant to the old
// one that is on its way is dropped here, and the member answers the repeat
// from the record: it registers the repeat before it looks the record up. The
// old ID cannot be kept, because a member gives up the oldest of several
// repeats with an answer that is not definite.
func (c *Client) repeat(o *op, n *conn, r *routes) {
	o.req.Flags |= protocol.FlagRepeat
	o.req.Epoch = r.epoch
	o.req.Highest = uint16(o.slots.highest.Load())
	if n.resend(&o.flight, &o.req, c.now()) {
		// Whatever becomes of the repeat: the call may wait at the grid.
		o.unsettled = true
	}
}

// controlOp makes a control operation on the call o.
func (c *Client) controlOp(o *op, what protocol.Op) *op {
	k := c.newOp(&structures.Call{
		Kind: protocol.KindControl, Op: what, Verb: o.call.Verb, Label: o.call.Label,
		Name: o.call.Name, Partition: o.call.Partition,
	})
	k.waiting, k.lane, k.control, k.life = true, o.lane, true, o.life
	k.sess, k.slots, k.req.Caller = o.sess, o.slots, o.req.Caller
	return k
}

// withdraw cancels a waiting call that ended for the given reason. A result
// that was on its way wins: it is then in o.reply.
func (c *Client) withdraw(o *op, why error) error {
	if c.ctx.Err() != nil {
		return why // the session's end withdraws it
	}
	k := c.controlOp(o, protocol.OpCancel)
	k.deadline = c.now() + withdrawTime
	if err := c.run(c.ctx, k); err != nil {
		c.settleLater(o, k)
		if errors.Is(why, context.Canceled) {
			why = fmt.Errorf("%w: %w", quorate.ErrUnavailable, why) // nobody has answered the cancel
		}
		return why
	}
	defer c.recycle(k)
	switch code := k.reply.Code; {
	case (code == protocol.CodeCancelled || code == protocol.CodeTimedOut) && why == errWaitOver:
		o.reply = protocol.Reply{Code: protocol.CodeTimedOut}
		return nil
	case code == protocol.CodeCancelled, code == protocol.CodeTimedOut:
		// Not unavailable: it waited, and took nothing.
		return &quorate.Error{Op: o.call.Verb, Object: o.call.Object(), Cause: why}
	case code == protocol.CodeOK, code >= protocol.CodeRoom:
		o.reply = k.reply
		return nil
	case code == protocol.CodeSessionEnded:
		o.sess.end()
		return o.refuse(code, "")
	default:
		return o.refuse(code, problemOf(k.reply).Detail)
	}
}

// accept asks the caller whether it takes what is reserved for it, and gives it
// back where it does not.
func (c *Client) accept(o *op) error {
	if o.call.Accept == nil {
		return nil
	}
	refused := o.call.Accept(structures.Reply{Code: protocol.CodeOK, Body: o.reply.Body, Version: o.reply.Version, Lease: o.sess.lease})
	if refused == nil {
		return nil
	}
	k := c.controlOp(o, protocol.OpCancel)
	k.deadline = c.now() + withdrawTime
	if c.run(c.ctx, k) != nil {
		c.settleLater(o, k)
		return refused
	}
	if k.reply.Code == protocol.CodeSessionEnded {
		o.sess.end()
	}
	c.recycle(k)
	return refused
}

// settleLater goes on cancelling a call whose caller has been told that the
// outcome is unknown. The slot is its own until there is an answer: its record
// may be a waiter, which the next use of the slot must not meet.
func (c *Client) settleLater(o, k *op) {
	slots, slot := o.slots, o.req.Caller.Slot
	admitted, key, lane := o.admitted, waitKeyOf(o), o.lane
	o.slots, o.admitted = nil, false
	k.deadline = 0
	late := o.call.Late
	c.spawn(func() {
		defer c.recycle(k)
		for try := 0; ; try++ {
			err := c.run(c.ctx, k)
			if err == nil || c.ctx.Err() != nil || k.life != c.life.Load() {
				if err != nil {
					k.reply = protocol.Reply{} // with the session all is over
					k.reply.Code = protocol.CodeSessionEnded
				}
				break
			}
			c.sleep(backoff(try, 50*time.Millisecond, 2*time.Second))
		}
		switch {
		case k.reply.Code == protocol.CodeSessionEnded:
			k.sess.end()
		case late != nil && k.reply.Code == protocol.CodeOK:
			late(structures.Reply{Code: k.reply.Code, Body: k.reply.Body, Version: k.reply.Version, Lease: k.sess.lease})
		}
		slots.release(slot)
		if admitted {
			c.admission.leave(key, lane)
		}
	})
}

// linger returns a context that ends with base, or some time after ctx has.
func linger(base, ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	l, cancel := context.WithCancel(base)
	stop := context.AfterFunc(ctx, func() {
		if contexts.Pause(l, d) {
			cancel()
		}
	})
	return l, func() { stop(); cancel() }
}

// confirm takes what was reserved for a call. Once ctx has ended it waits only
// a little longer.
func (c *Client) confirm(ctx context.Context, o *op) error {
	k := c.controlOp(o, protocol.OpConfirm)
	for {
		while, stop := linger(c.ctx, ctx, withdrawTime)
		err := c.run(while, k)
		ended := while.Err() != nil
		stop()
		if err == nil {
			break
		}
		if !ended && !errors.Is(err, quorate.ErrGridLost) {
			c.sleep(confirmPause)
			continue
		}
		o.unsettled = true
		switch {
		case c.ctx.Err() != nil:
			err = quorate.ErrClosed
		case ended:
			err = contexts.Err(ctx)
			c.settleLater(o, c.controlOp(o, protocol.OpCancel))
		}
		c.recycle(k)
		return err
	}
	defer c.recycle(k)
	switch code := k.reply.Code; code {
	case protocol.CodeOK, protocol.CodeReserved, protocol.CodeReplyDropped:
		// Dropped is the reply of a call that is done: an earlier confirm took it. The
		// client has had it since it was reserved.
		return nil
	case protocol.CodeCancelled:
		return o.refuse(protocol.CodeSessionEnded, "what was reserved has been given back")
	case protocol.CodeSessionEnded:
		o.sess.end()
		o.unsettled = k.unsettled
		return o.refuse(code, "what was reserved has been given back")
	default:
		return o.refuse(code, problemOf(k.reply).Detail)
	}
}
