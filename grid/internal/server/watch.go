package server

import (
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/hub"
)

// Bounds of watches.
const (
	maxWatchesConn = 10_000    // of a connection
	maxWatches     = 100_000   // of the member
	watchOutbound  = 256 << 10 // bytes on the way out above which a connection gets no more events
	controlPoll    = time.Millisecond
	endedWaitHint  = 100 // milliseconds, after which watches that were ended may be forgotten
)

// watches are the watches of a client connection, those that this member serves, as
// their hubs see it.
type watches struct {
	c *clientConn

	mu     sync.Mutex // guards what follows; nothing is called under it
	served map[uint64]Group
	ended  map[uint64]struct{} // of served: by the client; their hubs are about to forget them
	closed bool
}

var _ hub.Sink = (*watches)(nil)

// register hands the registration of a watch to its group.
func (w *watches) register(q *protocol.Request, g Group) {
	w.mu.Lock()
	_, known := w.served[q.ID]
	full := len(w.served) >= maxWatchesConn || w.c.s.watches.Load() >= maxWatches
	ended := len(w.ended) > 0
	if !known && !full {
		if w.served == nil {
			w.served = map[uint64]Group{}
		}
		w.served[q.ID] = g
		w.c.s.watches.Add(1)
	}
	w.mu.Unlock()
	switch {
	case known:
		w.c.traffic.refuse(problem(q.ID, protocol.CodeInvalid, fmt.Sprintf("there is a watch %d already", q.ID)))
	case full && ended: // else a client would lose watches that it registers anew
		w.c.traffic.refuse(busy(q.ID, "watches that were ended are not forgotten yet", endedWaitHint))
	case full:
		w.c.traffic.refuse(problem(q.ID, protocol.CodeWaiters, fmt.Sprintf("too many watches: at most %d on a connection and %d at a member", maxWatchesConn, maxWatches)))
	default:
		g.Watch(w, q)
	}
}

// control does what the client says of a watch. One that is not known has ended.
func (w *watches) control(m *protocol.WatchControl) {
	w.mu.Lock()
	g := w.served[m.ID]
	if g != nil && m.Action == protocol.WatchEnd {
		if w.ended == nil {
			w.ended = map[uint64]struct{}{}
		}
		w.ended[m.ID] = struct{}{}
	}
	w.mu.Unlock()
	if g == nil {
		return
	}
	h := g.Hub()
	switch m.Action {
	case protocol.WatchCredit:
		h.Credit(w, m.ID, m.N)
	case protocol.WatchEnd:
		h.End(w, m.ID)
	case protocol.WatchSync:
		h.Sync(w, m.ID, m.N)
	}
	for h.Crowded() { // a client that sends more than the hub takes in is not read meanwhile
		select {
		case <-w.c.s.ctx.Done():
			return
		case <-time.After(controlPoll):
		}
	}
}

// end ends all watches: the connection is over.
func (w *watches) end() {
	w.mu.Lock()
	w.closed = true
	hubs := map[*hub.Hub]struct{}{}
	for _, g := range w.served {
		hubs[g.Hub()] = struct{}{}
	}
	w.mu.Unlock()
	for h := range hubs {
		h.Drop(w)
	}
}

// Closed implements hub.Sink.
func (w *watches) Closed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// Forgotten implements hub.Sink.
func (w *watches) Forgotten(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.served[id]; ok {
		delete(w.served, id)
		delete(w.ended, id)
		w.c.s.watches.Add(-1)
	}
}

// Reply implements hub.Sink.
func (w *watches) Reply(r protocol.Reply) {
	r.Epoch = w.c.s.routes.Load().Epoch
	w.c.traffic.reply(r)
}

// Send implements hub.Sink.
func (w *watches) Send(message []byte) { w.c.traffic.sendFrame(message) }

// Writable implements hub.Sink.
func (w *watches) Writable(h *hub.Hub) bool {
	t := w.c.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.takesEvents(watchOutbound) {
		return true
	}
	if !t.closed {
		if t.starved == nil {
			t.starved = map[*hub.Hub]struct{}{}
		}
		t.starved[h] = struct{}{}
	}
	return false
}

// takesEvents reports whether fewer bytes than most are on their way out, and if too many
// are on all connections together none. t.mu is held.
func (t *traffic) takesEvents(most int) bool {
	n := len(t.out) + t.taken
	return !t.closed && n < most && (n == 0 || t.s.outbound.Load() <= t.s.cfg.Budget)
}

// fed returns the hubs that wait until events can be sent, if they can. t.mu is held.
func (t *traffic) fed() map[*hub.Hub]struct{} {
	if len(t.starved) == 0 || !t.takesEvents(watchOutbound/2) {
		return nil
	}
	hubs := t.starved
	t.starved = nil
	return hubs
}

// watchControl hands on what the client says of a watch.
func (c *clientConn) watchControl(b []byte) error {
	var m protocol.WatchControl
	if err := m.Decode(b); err != nil {
		return err
	}
	for _, p := range c.forward.pipes {
		if p.passes(&m, b) {
			return nil
		}
	}
	c.watches.control(&m)
	return nil
}

// watch notes that the other member serves a watch, once it has accepted it.
func (p *pipe) watch(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watches == nil {
		p.watches = map[uint64]struct{}{}
	}
	p.watches[id] = struct{}{}
}

// passes hands on what a client says of a watch, if it is of this pipe: also of one that is
// not accepted yet, which the client can end. One that it has ended is not noted any more.
func (p *pipe) passes(m *protocol.WatchControl, raw []byte) bool {
	p.mu.Lock()
	_, ours := p.watches[m.ID]
	q, asked := p.pending[m.ID]
	ours = ours || asked && q.watch
	if ours && m.Action == protocol.WatchEnd {
		if delete(p.watches, m.ID); asked {
			q.watch = false
			p.pending[m.ID] = q
		}
	}
	full := len(p.queue) > maxWatchesConn // the other member does not read: nothing of its watches is true any more
	if ours && !p.dead && !full {
		p.queue = append(p.queue, raw)
	}
	p.mu.Unlock()
	if ours && full {
		p.close()
	}
	if ours {
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
	return ours
}

// pushed hands what the other member sends of watches to the client. Nothing more is read from
// there while the client does not take it.
func (p *pipe) pushed(b []byte) error {
	if protocol.PeekType(b) == protocol.TypeWatchNote {
		var m protocol.WatchNote
		if err := m.Decode(b); err != nil {
			return err
		}
		if m.What == protocol.WatchEnded {
			p.forgetWatch(m.ID)
		}
	}
	t := p.out
	for {
		t.mu.Lock()
		if t.closed || len(t.out)+t.taken < watchOutbound {
			t.appendFrame(b)
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		select {
		case <-p.ctx.Done():
			return p.ctx.Err()
		case <-time.After(controlPoll):
		}
	}
}

func (p *pipe) forgetWatch(id uint64) {
	p.mu.Lock()
	delete(p.watches, id)
	p.mu.Unlock()
}

// endWatches tells the client that the watches of a pipe that has ended are over.
func (p *pipe) endWatches(ids map[uint64]struct{}) {
	detail := protocol.Problem{Detail: "the member that forwards has lost the leader"}
	for id := range ids {
		m := protocol.WatchNote{ID: id, What: protocol.WatchEnded, N: uint64(protocol.CodeNoLeader), Detail: detail.Append(nil)}
		p.out.sendFrame(m.Append(nil))
	}
}
