package client

import (
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

const (
	maxBacklog = 64 << 10 // calls that wait for room on one connection
	// A call is refused at once where it would wait for longer than this part of
	// the time that it has: the rest is for the answer, and for what the guess is
	// wrong by.
	backlogShare = 8
)

// backlog is the calls that wait for room on a connection, the oldest first.
// Nothing of them has been sent. They wait as if they were in flight: whoever
// makes room sends them, and only the answer wakes the caller.
type backlog struct {
	first, last *op
	n           int
}

func (b *backlog) push(o *op) {
	o.queued = true
	o.before, o.after = b.last, nil
	if b.last != nil {
		b.last.after = o
	} else {
		b.first = o
	}
	b.last = o
	b.n++
}

func (b *backlog) remove(o *op) {
	o.queued = false
	if o.before != nil {
		o.before.after = o.after
	} else {
		b.first = o.after
	}
	if o.after != nil {
		o.after.before = o.before
	} else {
		b.last = o.before
	}
	o.before, o.after = nil, nil
	b.n--
}

// takeAll empties the backlog. Each call is to be ended.
func (b *backlog) takeAll() (all []*op) {
	for o := b.first; o != nil; o = b.first {
		b.remove(o)
		all = append(all, o)
	}
	return all
}

// takeLate takes out the calls whose time is over.
func (b *backlog) takeLate(now time.Duration) (late []*op) {
	for o := b.first; o != nil; {
		next := o.after
		if o.deadline != 0 && o.deadline <= now {
			b.remove(o)
			late = append(late, o)
		}
		o = next
	}
	return late
}

// endUnsent ends calls that were taken from a backlog.
func endUnsent(calls []*op, why error) {
	for _, o := range calls {
		o.err, o.left = why, false
		o.done <- struct{}{}
	}
}

// hopeless reports whether a call would wait for too long. mu is held.
func (n *conn) hopeless(o *op, now time.Duration) bool {
	if n.backlog.n >= maxBacklog {
		return true
	}
	// A repeat is worth more: what was done for the first attempt is lost without it.
	return n.backlog.n > 0 && o.deadline != 0 && !o.sent && n.window.wait(n.backlog.n) > (o.deadline-now)/backlogShare
}

// refuses reports whether it is of no use to begin with a call: nothing has
// been made of it yet, so that to refuse it costs little.
func (n *conn) refuses(o *op) bool {
	if n.waiting || !n.crowded.Load() {
		return false
	}
	now := o.begun
	if now == 0 {
		now = n.c.now()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hopeless(o, now)
}

// makeRoom sends calls of the backlog as far as there is room. A call that can
// no longer be answered in time is not sent. mu is held. It reports whether the
// writer is to be woken.
func (n *conn) makeRoom(now time.Duration) (wake bool) {
	soonest := now + n.window.shortest()
	for n.backlog.first != nil && n.admit(false) == nil {
		o := n.backlog.first
		n.backlog.remove(o)
		if o.deadline != 0 && o.deadline <= soonest {
			o.err, o.left = errFull, false
			o.done <- struct{}{} // has room for the one token of a flight
			continue
		}
		n.transmit(o, now)
		wake = true
	}
	n.crowded.Store(n.backlog.n > 0)
	if !wake {
		return false
	}
	if n.asked == 0 {
		n.asked = now
	}
	wake, n.writerIdle = n.writerIdle, false
	return wake
}

// overloaded is the error of a call that is not sent, or not again.
func (o *op) overloaded(why error) error {
	o.last = why
	return &quorate.Error{
		Op: o.call.Verb, Object: o.call.Object(), Cause: quorate.ErrOverloaded, Detail: detail(why),
		Unknown: o.mutates() && o.unsettled,
	}
}

// detail is why an attempt ended, without the condition that the error's cause
// says already.
func detail(why error) string {
	return strings.TrimPrefix(why.Error(), quorate.ErrOverloaded.Error()+": ")
}

// shortage reports whether a code says that the member has no time or room.
func shortage(c protocol.Code) bool { return c == protocol.CodeBusy || c == protocol.CodeExpired }
