package client

import (
	"context"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

const batchMax = 1024 // calls of one InvokeAll that are sent together

// InvokeAll carries out many calls, those to one member in one frame.
// structures.Invoker says what it promises.
func (c *Client) InvokeAll(ctx context.Context, calls []structures.Call) ([]structures.Reply, []error) {
	b := batch{c: c, ctx: ctx, replies: make([]structures.Reply, len(calls)), errs: make([]error, len(calls))}
	for i := 0; i < len(calls); {
		i = b.gather(calls, i)
		b.send()
		for _, it := range b.later {
			b.goOn(it)
		}
		b.later = b.later[:0]
		b.collect()
	}
	b.workers.Wait()
	return b.replies, b.errs
}

// batch is an InvokeAll on its way. What cannot be sent at once, and what did
// not succeed at once, goes on by itself like a single call.
type batch struct {
	c       *Client
	ctx     context.Context
	replies []structures.Reply
	errs    []error
	loads   []load
	later   []item // of what was gathered: goes on by itself after the rest was sent
	workers sync.WaitGroup
}

// load is what goes to one connection.
type load struct {
	n     *conn
	r     *routes
	items []item
}

type item struct {
	i    int // of the call
	o    *op
	sent bool
}

// gather takes calls from the i-th on, as long as there are slots for them
// without waiting: to wait for one while holding others could be for ever. It
// returns where it stopped.
func (b *batch) gather(calls []structures.Call, i int) int {
	b.loads = b.loads[:0]
	for count := 0; i < len(calls) && count < batchMax; i++ {
		o := b.c.newOp(&calls[i])
		if err := b.c.begin(b.ctx, o); err != nil {
			b.errs[i] = o.fail(err)
			b.c.recycle(o)
			continue
		}
		if calls[i].Flags&protocol.FlagWait != 0 {
			b.c.recycle(o)
			b.workers.Go(func() { b.replies[i], b.errs[i] = b.c.Invoke(b.ctx, calls[i]) })
			continue
		}
		n, _, r := b.c.route(o)
		if n == nil {
			b.later = append(b.later, item{i: i, o: o})
			continue
		}
		if o.mutates() {
			s := b.c.sessions.current.Load()
			if s == nil || s.ended.Load() || o.call.Lease != nil {
				b.later = append(b.later, item{i: i, o: o})
				continue
			}
			t := s.table(o.req.Partition)
			slot, sequence, ok := t.tryAcquire()
			if !ok {
				if count > 0 { // send what has gathered, then try again
					b.c.recycle(o)
					return i
				}
				b.later = append(b.later, item{i: i, o: o})
				continue
			}
			o.adopt(s, t, slot, sequence)
		}
		b.load(n, r, item{i: i, o: o})
		count++
	}
	return i
}

func (b *batch) load(n *conn, r *routes, it item) {
	for k := range b.loads {
		if b.loads[k].n == n {
			b.loads[k].items = append(b.loads[k].items, it)
			return
		}
	}
	b.loads = append(b.loads, load{n: n, r: r, items: []item{it}})
}

func (b *batch) send() {
	limit := int(b.c.limits.Load().Frame)
	for k := range b.loads {
		l := &b.loads[k]
		for items := l.items; len(items) > 0; {
			size, count := 16, 0
			for count < len(items) {
				q := &items[count].o.req
				if size += len(q.Name) + len(q.Body) + requestOverhead; count > 0 && size > limit {
					break
				}
				count++
			}
			if !b.c.sendBatch(l.n, l.r, items[:count]) {
				break
			}
			items = items[count:]
		}
	}
}

// sendBatch queues the requests in one frame. It reports false, and has done
// nothing, where the connection takes no more.
func (c *Client) sendBatch(n *conn, r *routes, items []item) bool {
	now := c.now()
	n.mu.Lock()
	overdue := now + attemptTime() + n.distance()
	n.mu.Unlock()
	for i := range items {
		o := items[i].o
		due := min(overdue, max(o.deadline, now+1))
		o.req.TimeLeft = uint32((due-now)/time.Millisecond) + 1
		o.req.Epoch = r.epoch
		if o.slots != nil {
			o.req.Highest = uint16(o.slots.highest.Load())
		}
	}
	n.mu.Lock()
	if n.admit(false) != nil || n.inFlight+len(items) > n.limit {
		n.mu.Unlock()
		return false
	}
	start := len(n.pending)
	n.pending = protocol.BeginFrame(n.pending)
	if len(items) > 1 {
		n.pending = protocol.AppendArray(n.pending, 2)
		n.pending = protocol.AppendUint(n.pending, uint64(protocol.TypeBatch))
		n.pending = protocol.AppendArray(n.pending, len(items))
	}
	for i := range items {
		o := items[i].o
		n.register(&o.flight, now, min(overdue, max(o.deadline, now+1)))
		o.start = n.taken + uint64(start) // the frame leaves as one
		o.req.ID = o.id
		n.count(&o.req)
		n.pending = o.req.Append(n.pending)
		o.sent = true
		items[i].sent = true
	}
	n.pending = protocol.EndFrame(n.pending, start)
	n.flushLocked(now)
	return true
}

// collect waits for the answers to the first attempts.
func (b *batch) collect() {
	for _, l := range b.loads { // a copy: goroutines look at it after the next gather
		for _, it := range l.items {
			if !it.sent {
				b.goOn(it)
				continue
			}
			if err := b.c.wait(b.ctx, it.o, l.n, l.r); err != nil {
				b.end(it, err)
				continue
			}
			if it.o.err == nil && (it.o.reply.Code == protocol.CodeOK || it.o.reply.Code >= protocol.CodeRoom) {
				b.end(it, nil)
				continue
			}
			b.workers.Go(func() {
				done, err := b.c.judge(b.ctx, it.o, l.n, l.r)
				if !done && err == nil {
					it.o.tries++
					err = b.c.run(b.ctx, it.o)
				}
				b.end(it, err)
			})
		}
	}
}

// goOn carries a call out like a single one.
func (b *batch) goOn(it item) {
	b.workers.Go(func() { b.end(it, b.c.run(b.ctx, it.o)) })
}

func (b *batch) end(it item, err error) {
	b.replies[it.i], b.errs[it.i] = b.c.finish(it.o, err)
	b.c.recycle(it.o)
}
