package client

import (
	"context"
	"errors"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

const (
	repeatEvery  = 5 * time.Second // of a waiting call, on the connection it waits on
	withdrawTime = 2 * time.Second // that a caller waits for the answer to a cancel
	confirmStep  = 500 * time.Millisecond
)

// errMoved ends a waiting call's stay on a connection: it goes to another.
var errMoved = errors.New("the leader has changed")

// invokeWaiting carries out a call whose answer may come with a later grant.
// Its slot is kept until the grid has said what became of it.
func (c *Client) invokeWaiting(ctx context.Context, o *op) (structures.Reply, error) {
	o.waiting, o.grant = true, true
	err := c.run(ctx, o)
	var definite *quorate.Error
	switch {
	case err == nil && o.reply.Code == protocol.CodeReserved:
		err = c.confirm(ctx, o)
	case err != nil && o.unsettled && !errors.As(err, &definite):
		err = c.withdraw(o, err)
	}
	return c.finish(o, err)
}

// waitGrant waits for the answer to a waiting call, and repeats it.
func (c *Client) waitGrant(ctx context.Context, o *op, n *conn, r *routes) error {
	repeat := time.NewTimer(repeatEvery)
	defer repeat.Stop()
	for {
		ends, moved := error(nil), false
		select {
		case <-o.done:
			return nil
		case <-ctx.Done():
			ends = ctx.Err()
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
	n.resend(&o.flight, &o.req, c.now())
}

// controlOp makes a control operation on the call o.
func (c *Client) controlOp(o *op, what protocol.Op) *op {
	k := c.newOp(&structures.Call{
		Kind: protocol.KindControl, Op: what, Verb: o.call.Verb, Label: o.call.Label,
		Name: o.call.Name, Partition: o.call.Partition,
	})
	k.waiting, k.control, k.life = true, true, o.life
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
		return why
	}
	defer c.recycle(k)
	switch code := k.reply.Code; {
	case code == protocol.CodeCancelled, code == protocol.CodeTimedOut:
		// Not unavailable: it waited, and took nothing.
		return &quorate.Error{Op: o.call.Verb, Object: o.call.Object(), Cause: why}
	case code == protocol.CodeOK, code >= protocol.CodeRoom:
		o.reply = k.reply
		return nil
	case code == protocol.CodeReserved:
		o.reply = k.reply
		return c.confirm(c.ctx, o)
	case code == protocol.CodeSessionEnded:
		o.sess.end()
		return o.refuse(code, "")
	default:
		return o.refuse(code, problemOf(k.reply).Detail)
	}
}

// settleLater goes on cancelling a call whose caller has been told that the
// outcome is unknown. The slot is its own until there is an answer: its record
// may be a waiter, which the next use of the slot must not meet.
func (c *Client) settleLater(o, k *op) {
	slots, slot := o.slots, o.req.Caller.Slot
	o.slots = nil
	k.deadline = 0
	late := o.call.Late
	c.spawn(func() {
		defer c.recycle(k)
		if err := c.run(c.ctx, k); err != nil {
			return // closed: the session has ended
		}
		if k.reply.Code == protocol.CodeSessionEnded {
			k.sess.end()
		}
		if late != nil && k.reply.Code == protocol.CodeOK {
			late(structures.Reply{Code: k.reply.Code, Body: k.reply.Body, Revision: k.reply.Revision})
		}
		slots.release(slot)
	})
}

// confirm takes what was reserved for a call. Once ctx has ended it waits only
// a little longer.
func (c *Client) confirm(ctx context.Context, o *op) error {
	k := c.controlOp(o, protocol.OpConfirm)
	for until := time.Duration(0); ; {
		k.deadline = c.now() + confirmStep
		err := c.run(c.ctx, k)
		if err == nil {
			break
		}
		if errors.Is(err, quorate.ErrGridLost) {
			c.recycle(k)
			o.unsettled = true
			return err
		}
		ended := ctx.Err()
		if ended == nil && c.ctx.Err() == nil {
			continue
		}
		if until == 0 {
			until = c.now() + withdrawTime
		}
		if c.ctx.Err() == nil && c.now() < until {
			continue
		}
		o.unsettled = true
		if c.ctx.Err() != nil {
			c.recycle(k)
			return quorate.ErrClosed
		}
		cancel := c.controlOp(o, protocol.OpCancel)
		c.recycle(k)
		c.settleLater(o, cancel)
		return ended
	}
	defer c.recycle(k)
	switch code := k.reply.Code; code {
	case protocol.CodeOK, protocol.CodeReserved:
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
