package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// fullFor bounds how long a call is repeated at a group that is short of memory or
// disk: such a shortage does not end by itself.
const fullFor = time.Second

// Bounds of the wait before a repeat when the budget is spent.
const (
	scarceWait    = 100 * time.Millisecond
	maxScarceWait = 2 * time.Second
)

// handleReply handles the end of an attempt. It reports true for a definite answer,
// which is the call's result. An error ends the call. If it returns neither, it has
// waited until the next attempt is due.
func (c *call) handleReply(ctx context.Context, n *conn, r *routes) (done bool, err error) {
	if c.err != nil {
		return false, c.handleFailure(ctx, n, r)
	}
	code := c.reply.Code
	if c.reply.Epoch > r.epoch {
		c.client.refresher.refresh()
	}
	switch {
	case code == protocol.CodeOK, code >= protocol.CodeKindBase, code == protocol.CodeReserved, code == protocol.CodeTimedOut:
		return true, nil
	case c.control && code.Class() != protocol.ClassNotEntered && code != protocol.CodeUnknown,
		c.control && code == protocol.CodeSessionEnded:
		return true, nil
	}
	p := problemOf(c.reply)
	p.Detail = string([]byte(p.Detail)) // a copy: it must not keep the connection's buffer
	if code.Class() == protocol.ClassRefused || code == protocol.CodeReplyDropped {
		return false, c.refuse(code, p.Detail)
	}
	c.last = &attemptError{code: code, member: n.member, detail: p.Detail}
	if err := c.ended(ctx); err != nil {
		c.unsettled = c.unsettled || code == protocol.CodeUnknown
		return false, err
	}
	return false, c.retry(ctx, n, r, code, p)
}

// retry waits after an answer that is not definite, as the answer asks for.
func (c *call) retry(ctx context.Context, n *conn, r *routes, code protocol.Code, p protocol.Problem) error {
	wait := backoff(c.tries, 10*time.Millisecond, 400*time.Millisecond)
	if p.Wait > 0 {
		wait = min(time.Duration(p.Wait)*time.Millisecond, 2*time.Second) + wait/4
	}
	changed := r.next
	switch code {
	case protocol.CodeNotLeader:
		if g := r.of(c.req.Partition); g != nil && c.client.seeds == nil {
			c.client.table.hint(g.id, n.member, p.Leader)
		}
		if p.Leader != 0 {
			if c.tries < 3 {
				return nil
			}
			changed = nil // members that name each other as the leader are asked after a pause
		}
		c.client.refresher.search()
	case protocol.CodeNotOwner, protocol.CodeNoLeader, protocol.CodeShutdown:
		c.client.refresher.search()
	case protocol.CodeUnknown:
		c.unsettled = true
	case protocol.CodeExpired:
		if c.client.budget.spend() {
			return nil
		}
		wait, changed = backoff(c.tries, scarceWait, maxScarceWait), nil
	case protocol.CodeSessionUnknown:
		wait, changed = backoff(c.tries, 5*time.Millisecond, 200*time.Millisecond), nil
	case protocol.CodeSessionEnded:
		if c.sess == nil {
			break
		}
		c.sess.end("")
		if c.spec.Lease != nil || c.unsettled && !mutants.On(mutants.NewIdentity) {
			return c.refuse(code, p.Detail)
		}
		// No attempt has entered: the call may have another identity.
		c.slots.release(c.req.Caller.Slot)
		c.sess, c.slots = nil, nil
		return nil
	case protocol.CodeMemoryFull, protocol.CodeReadOnly:
		changed = nil
		if now := c.client.now(); c.full == 0 {
			c.full = now
		} else if now-c.full > fullFor {
			e := c.refuse(code, p.Detail).(*quorate.Error)
			e.Unknown = c.mutates() && c.unsettled
			return e
		}
	case protocol.CodeBusy:
		// A call that is refused again and again is sent less often: refusing costs the
		// member time, too.
		wait, changed = min(wait<<min(c.tries, 3), 2*time.Second), nil
		if c.grant || c.control || c.unsettled {
			break // a confirm is worth more than it costs
		}
		if c.deadline != 0 && c.client.now()+wait >= c.deadline || !c.client.budget.spend() {
			return c.overloaded(c.last)
		}
	default: // frozen
		changed = nil
	}
	return c.pause(ctx, wait, changed, nil)
}

// handleFailure is for an attempt that was not answered.
func (c *call) handleFailure(ctx context.Context, n *conn, r *routes) error {
	if c.left && c.mutates() {
		c.unsettled = true
	}
	switch c.err {
	case errLeaderChanged, errConnClosed:
		return c.ended(ctx)
	case errFull: // its time was over before it could be sent
		c.last = errFull
		if err := c.ended(ctx); err != nil {
			return err
		}
		return c.overloaded(errFull)
	}
	c.last = &attemptError{member: n.member, err: c.err}
	c.client.refresher.search()
	if err := c.ended(ctx); err != nil {
		return err
	}
	if c.err == errOverdue {
		if c.control || c.client.budget.spend() {
			return nil
		}
		return c.pause(ctx, backoff(c.tries, scarceWait, maxScarceWait), r.next, nil)
	}
	return c.pause(ctx, backoff(c.tries, 5*time.Millisecond, 200*time.Millisecond), r.next, nil)
}

// attemptError is the reason why an attempt gave no result.
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
		return fmt.Sprintf("member %d answered with code %d, %s", e.member, e.code, e.code.Name())
	}
}

func (e *attemptError) Unwrap() error {
	if e.err != nil {
		return e.err
	}
	return e.code.Err()
}

// If an overloaded member refuses or does not answer a call, the client repeats it only
// within a budget: each call that begins earns a budgetShare-th of a repeat, up to
// budgetMost. Without the budget the repeats would double the load of an overloaded
// grid.
const (
	budgetShare = 10
	budgetMost  = 1000 // repeats
)

// budget is what is left for such repeats, in budgetShare-ths of one.
type budget struct {
	spent atomic.Int64 // Invariant: 0 to budgetMost*budgetShare
}

// earn counts a call that begins.
func (b *budget) earn() {
	if n := b.spent.Load(); n > 0 {
		b.spent.CompareAndSwap(n, n-1) // one that is missed does not matter
	}
}

// spend takes a repeat from the budget, and reports whether there was one left.
func (b *budget) spend() bool {
	if b.spent.Add(budgetShare) <= budgetMost*budgetShare {
		return true
	}
	b.spent.Add(-budgetShare)
	return false
}
