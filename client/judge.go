package client

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// fullFor bounds how long a call is repeated at a group that is short of
// memory or disk: neither goes away by itself.
const fullFor = time.Second

// Bounds of the wait before a repeat that the budget has nothing left for.
const (
	scarceWait    = 100 * time.Millisecond
	maxScarceWait = 2 * time.Second
)

// judge looks at the end of an attempt. It reports true for a definite answer
// that is the call's result; its error ends the call; otherwise it has waited
// for as long as the next attempt should.
func (c *Client) judge(ctx context.Context, o *op, n *conn, r *routes) (done bool, err error) {
	if o.err != nil {
		return false, c.judgeFailure(ctx, o, n, r)
	}
	code := o.reply.Code
	if o.reply.Epoch > r.epoch {
		c.refresh()
	}
	switch {
	case code == protocol.CodeOK, code >= protocol.CodeRoom, code == protocol.CodeReserved, code == protocol.CodeTimedOut:
		return true, nil
	case o.control && code.Class() != protocol.ClassNotEntered && code != protocol.CodeUnknown,
		o.control && code == protocol.CodeSessionEnded:
		return true, nil
	}
	p := problemOf(o.reply)
	p.Detail = string([]byte(p.Detail)) // not for ever in the connection's buffer
	if code.Class() == protocol.ClassRefused || code == protocol.CodeReplyDropped {
		return false, o.refuse(code, p.Detail)
	}
	o.last = &attemptError{code: code, member: n.member, detail: p.Detail}
	if err := c.ended(ctx, o); err != nil {
		o.unsettled = o.unsettled || code == protocol.CodeUnknown
		return false, err
	}
	return false, c.judgeRetry(ctx, o, n, r, code, p)
}

// judgeRetry waits as an answer asks for that is not definite.
func (c *Client) judgeRetry(ctx context.Context, o *op, n *conn, r *routes, code protocol.Code, p protocol.Problem) error {
	wait := backoff(o.tries, 10*time.Millisecond, 400*time.Millisecond)
	if p.Wait > 0 {
		wait = min(time.Duration(p.Wait)*time.Millisecond, 2*time.Second) + wait/4
	}
	changed := r.next
	switch code {
	case protocol.CodeNotLeader:
		if g := r.of(o.req.Partition); g != nil && c.seeds == nil {
			c.hint(g.id, n.member, p.Leader)
		}
		if p.Leader != 0 {
			if o.tries < 3 {
				return nil
			}
			changed = nil // members that name each other are not asked at once
		}
		c.search()
	case protocol.CodeNotOwner, protocol.CodeNoLeader, protocol.CodeShutdown:
		c.search()
	case protocol.CodeUnknown:
		o.unsettled = true
	case protocol.CodeExpired:
		if c.budget.spend() {
			return nil
		}
		wait, changed = backoff(o.tries, scarceWait, maxScarceWait), nil
	case protocol.CodeSessionUnknown:
		wait, changed = backoff(o.tries, 5*time.Millisecond, 200*time.Millisecond), nil
	case protocol.CodeSessionEnded:
		if o.sess == nil {
			break
		}
		o.sess.end()
		if o.call.Lease != nil || o.unsettled && !mutants.On(mutants.NewIdentity) {
			return o.refuse(code, p.Detail)
		}
		// No attempt has entered: the call may have another identity.
		o.slots.release(o.req.Caller.Slot)
		o.sess, o.slots = nil, nil
		return nil
	case protocol.CodeMemoryFull, protocol.CodeReadOnly:
		changed = nil
		if now := c.now(); o.full == 0 {
			o.full = now
		} else if now-o.full > fullFor {
			e := o.refuse(code, p.Detail).(*quorate.Error)
			e.Unknown = o.mutates() && o.unsettled
			return e
		}
	case protocol.CodeBusy:
		// Whoever is refused again and again comes less often: refusing takes time,
		// too.
		wait, changed = min(wait<<min(o.tries, 3), 2*time.Second), nil
		if o.grant || o.control || o.unsettled {
			break // worth more than what it costs
		}
		if o.deadline != 0 && c.now()+wait >= o.deadline || !c.budget.spend() {
			return o.overloaded(o.last)
		}
	default: // frozen
		changed = nil
	}
	return c.pause(ctx, o, wait, changed, nil)
}

// judgeFailure is for an attempt that was not answered.
func (c *Client) judgeFailure(ctx context.Context, o *op, n *conn, r *routes) error {
	if o.left && o.mutates() {
		o.unsettled = true
	}
	switch o.err {
	case errMoved, errGone:
		return c.ended(ctx, o)
	case errFull: // its time was over before there was room
		o.last = errFull
		if err := c.ended(ctx, o); err != nil {
			return err
		}
		return o.overloaded(errFull)
	}
	o.last = &attemptError{member: n.member, err: o.err}
	c.search()
	if err := c.ended(ctx, o); err != nil {
		return err
	}
	if o.err == errOverdue {
		if o.control || c.budget.spend() {
			return nil
		}
		return c.pause(ctx, o, backoff(o.tries, scarceWait, maxScarceWait), r.next, nil)
	}
	return c.pause(ctx, o, backoff(o.tries, 5*time.Millisecond, 200*time.Millisecond), r.next, nil)
}

// attemptError says what became of the last attempt.
type attemptError struct {
	code   protocol.Code
	member protocol.MemberID
	detail string
	err    error
}

func (e *attemptError) Error() string {
	switch {
	case e.err != nil:
		return fmt.Sprintf("member %d: %v", e.member, e.err)
	case e.detail != "":
		return fmt.Sprintf("member %d: %s", e.member, e.detail)
	default:
		return fmt.Sprintf("member %d answered with code %d", e.member, e.code)
	}
}

func (e *attemptError) Unwrap() error {
	if e.err != nil {
		return e.err
	}
	return e.code.Err()
}
