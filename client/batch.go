package client

import (
	"context"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

const batchMax = 1024 // calls of one InvokeAll that are sent together

// InvokeAll carries out many calls. It sends those for one member together, in frames
// of at most 1024 calls. [structures.Invoker] says what it promises.
func (c *Client) InvokeAll(ctx context.Context, calls []structures.Call) ([]structures.Reply, []error) {
	b := batch{client: c, ctx: ctx, replies: make([]structures.Reply, len(calls)), errs: make([]error, len(calls))}
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

// batch is one InvokeAll in progress. A call that cannot be sent with the batch, or
// whose first attempt fails, continues like a single call.
type batch struct {
	client  *Client
	ctx     context.Context
	replies []structures.Reply
	errs    []error
	loads   []load
	later   []item // gathered calls that continue as single calls after the rest was sent
	workers sync.WaitGroup
}

// load holds the calls for one connection.
type load struct {
	n     *conn
	r     *routes
	items []item
}

type item struct {
	i    int // of the call
	c    *call
	sent bool
}

// gather takes calls from the i-th on, as long as there are free slots for them. It
// does not wait for a slot, because waiting for one while holding others could last for
// ever. It returns the index of the first call that it did not take.
func (b *batch) gather(calls []structures.Call, i int) int {
	b.loads = b.loads[:0]
	for count := 0; i < len(calls) && count < batchMax; i++ {
		c := b.client.newCall(&calls[i])
		if err := c.begin(b.ctx); err != nil {
			b.errs[i] = c.fail(err)
			b.client.recycle(c)
			continue
		}
		if calls[i].Flags&protocol.FlagWait != 0 {
			b.client.recycle(c)
			b.workers.Go(func() { b.replies[i], b.errs[i] = b.client.Invoke(b.ctx, calls[i]) })
			continue
		}
		n, _, r := c.route()
		if n == nil {
			b.later = append(b.later, item{i: i, c: c})
			continue
		}
		if c.mutates() {
			s := b.client.sessions.current.Load()
			if s == nil || s.ended.Load() || c.spec.Lease != nil {
				b.later = append(b.later, item{i: i, c: c})
				continue
			}
			t := s.table(c.req.Partition)
			slot, sequence, ok := t.tryAcquire()
			if !ok {
				if count > 0 { // send what has gathered, then try again
					b.client.recycle(c)
					return i
				}
				b.later = append(b.later, item{i: i, c: c})
				continue
			}
			c.identifyAs(s, t, slot, sequence)
		}
		b.load(n, r, item{i: i, c: c})
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
	limit := int(b.client.limits.Load().Frame)
	for k := range b.loads {
		l := &b.loads[k]
		for items := l.items; len(items) > 0; {
			size, count := 16, 0
			for count < len(items) {
				q := &items[count].c.req
				if size += len(q.Name) + len(q.Body) + requestOverhead; count > 0 && size > limit {
					break
				}
				count++
			}
			if !l.n.sendBatch(l.r.epoch, items[:count]) {
				break
			}
			items = items[count:]
		}
	}
}

// sendBatch queues the requests of calls in one frame. If the connection takes no more
// it does nothing and reports false.
func (n *conn) sendBatch(epoch protocol.Epoch, items []item) bool {
	now := n.client.now()
	n.mu.Lock()
	overdue := now + attemptTime() + n.distance()
	n.mu.Unlock()
	for i := range items {
		c := items[i].c
		due := min(overdue, max(c.deadline, now+1))
		c.req.TimeLeft = uint32((due-now)/time.Millisecond) + 1
		c.req.Epoch = epoch
		if c.slots != nil {
			c.req.Highest = uint16(c.slots.highest.Load())
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
		c := items[i].c
		n.register(&c.attempt, now, min(overdue, max(c.deadline, now+1)))
		c.start = n.taken + uint64(start) // the frame leaves as one
		c.req.ID = c.id
		n.count(&c.req)
		n.pending = c.req.Append(n.pending)
		c.sent = true
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
			if err := it.c.wait(b.ctx, l.n, l.r); err != nil {
				b.end(it, err)
				continue
			}
			if it.c.err == nil && (it.c.reply.Code == protocol.CodeOK || it.c.reply.Code >= protocol.CodeKindBase) {
				b.end(it, nil)
				continue
			}
			b.workers.Go(func() {
				done, err := it.c.handleReply(b.ctx, l.n, l.r)
				if !done && err == nil {
					it.c.tries++
					err = it.c.run(b.ctx)
				}
				b.end(it, err)
			})
		}
	}
}

// goOn continues a call like a single one.
func (b *batch) goOn(it item) {
	b.workers.Go(func() { b.end(it, it.c.run(b.ctx)) })
}

func (b *batch) end(it item, err error) {
	b.replies[it.i], b.errs[it.i] = it.c.finish(err)
	b.client.recycle(it.c)
}
