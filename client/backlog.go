package client

import (
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

const (
	maxBacklog = 64 << 10 // calls that wait for one connection
	// backlogShare says how long a call may wait here: one in so many parts of the time
	// that it has. A call that would wait longer is refused at once. The rest of the
	// time is for the answer, and for the error of the estimate.
	backlogShare = 8
)

// backlog holds the calls that wait until a connection may have one more request in
// flight, the oldest first. None of them has been sent. Their callers sleep as if the
// calls were in flight: the goroutine that ends a request sends the next call, and only
// its answer wakes its caller.
type backlog struct {
	first, last *call
	n           int
}

func (b *backlog) push(c *call) {
	c.queued = true
	c.before, c.after = b.last, nil
	if b.last != nil {
		b.last.after = c
	} else {
		b.first = c
	}
	b.last = c
	b.n++
}

func (b *backlog) remove(c *call) {
	c.queued = false
	if c.before != nil {
		c.before.after = c.after
	} else {
		b.first = c.after
	}
	if c.after != nil {
		c.after.before = c.before
	} else {
		b.last = c.before
	}
	c.before, c.after = nil, nil
	b.n--
}

// takeAll empties the backlog. The caller must end each call.
func (b *backlog) takeAll() (all []*call) {
	for c := b.first; c != nil; c = b.first {
		b.remove(c)
		all = append(all, c)
	}
	return all
}

// takeLate removes the calls whose time is over.
func (b *backlog) takeLate(now time.Duration) (late []*call) {
	for c := b.first; c != nil; {
		next := c.after
		if c.deadline != 0 && c.deadline <= now {
			b.remove(c)
			late = append(late, c)
		}
		c = next
	}
	return late
}

// endUnsent ends calls that were taken from a backlog.
func endUnsent(calls []*call, why error) {
	for _, c := range calls {
		c.err, c.left = why, false
		c.done <- struct{}{}
	}
}

// hopeless reports whether a call would wait for too long. mu is held.
func (n *conn) hopeless(c *call, now time.Duration) bool {
	if n.backlog.n >= maxBacklog {
		return true
	}
	// A repeat is never refused: the work for the first attempt would be lost.
	return n.backlog.n > 0 && c.deadline != 0 && !c.sent && n.window.wait(n.backlog.n) > (c.deadline-now)/backlogShare
}

// refuses reports whether a call is refused before any work is done for it, so that
// refusing is cheap.
func (n *conn) refuses(c *call) bool {
	if n.waiting || !n.crowded.Load() {
		return false
	}
	now := c.begun
	if now == 0 {
		now = n.client.now()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hopeless(c, now)
}

// sendBacklog sends as many calls of the backlog as may be in flight. It ends calls
// that can no longer be answered in time. It reports whether the writer must be woken.
// mu is held.
func (n *conn) sendBacklog(now time.Duration) (wake bool) {
	soonest := now + n.window.shortest()
	for n.backlog.first != nil && n.admit(false) == nil {
		c := n.backlog.first
		n.backlog.remove(c)
		if c.deadline != 0 && c.deadline <= soonest {
			c.err, c.left = errFull, false
			c.done <- struct{}{} // does not block: an attempt has one token
			continue
		}
		n.transmit(c, now)
		wake = true
	}
	n.crowded.Store(n.backlog.n > 0)
	if !wake {
		return false
	}
	if n.silentSince == 0 {
		n.silentSince = now
	}
	wake, n.writerIdle = n.writerIdle, false
	return wake
}

// overloaded is the error of a call that is not sent, or not again.
func (c *call) overloaded(why error) error {
	c.last = why
	return &quorate.Error{
		Op: c.spec.Verb, Object: c.spec.Object(), Cause: quorate.ErrOverloaded, Detail: detail(why),
		Unknown: c.mutates() && c.unsettled,
	}
}

// detail returns why an attempt ended, without the condition that the cause of the
// error names already.
func detail(why error) string {
	return strings.TrimPrefix(why.Error(), quorate.ErrOverloaded.Error()+": ")
}

// shortage reports whether a code means that the member is overloaded.
func shortage(c protocol.Code) bool { return c == protocol.CodeBusy || c == protocol.CodeExpired }
