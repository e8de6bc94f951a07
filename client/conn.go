package client

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

const (
	idBits         = 16        // of a request ID that are its place in the table
	maxPending     = 512 << 10 // bytes not yet written, beyond which callers wait: what waits here cannot be taken back
	keepBuffer     = 1 << 20   // larger write buffers are not kept
	replyBatch     = 64        // replies taken in under one lock
	repeatsCounted = 4         // of one waiting call, that a member counts as in flight
	maxDistance    = 2 * time.Second
	silenceProbe   = 1 * time.Second
	silenceDead    = 4 * time.Second
)

var (
	errGone    = errors.New("connection closed")       // nothing was sent
	errOverdue = errors.New("no answer to an attempt") // sent
)

// errFull: the connection has all it may have in flight. Nothing was sent.
var errFull = fmt.Errorf("%w: too much in flight", quorate.ErrOverloaded)

// flight is a request's place in a connection's table. Exactly one of two
// things ends it: abandon returns true, or one token arrives on done.
type flight struct {
	done chan struct{} // capacity 1
	// apart says that the answer may come late for reasons of its own, and so says
	// nothing of how fast the member answers.
	apart bool

	// Valid once the token has arrived.
	reply protocol.Reply
	err   error // errOverdue, or why the connection was lost; nil: reply is set
	left  bool  // with err, or when abandoned: the request may have left the process

	// Guarded by the connection's mu.
	id      uint64
	sent    time.Duration // when, on the client's clock
	queued  bool          // in the backlog, and nowhere else: not sent
	start   uint64        // offset of the request in the connection's stream
	overdue time.Duration // on the client's clock; 0: never
}

// conn is one connection to a member: a table of requests in flight, a writer
// that sends whatever has gathered, a reader that completes them.
type conn struct {
	c       *Client
	link    *link
	life    *life // of the grid it leads to
	member  protocol.MemberID
	waiting bool
	nc      net.Conn
	gone    chan struct{} // closed when nothing more may be sent: lost, or leaving
	wake    chan struct{} // capacity 1; one token for each time writerIdle was reset
	room    chan struct{} // capacity 1; a hint for one that waits for room, on a connection for waiting calls
	crowded atomic.Bool   // there is a backlog

	mu      sync.Mutex
	pending []byte // what the writer takes next
	// taken counts the bytes the writer has taken. Invariant: a request with
	// start >= taken has not left the process.
	taken      uint64
	writerIdle bool
	table      []place
	free       []uint16 // places not in use
	inFlight   int
	limit      int
	window     window
	backlog    backlog       // Invariant: empty where one more request may be queued
	starved    int           // callers waiting for room, with a connection for waiting calls
	asked      time.Duration // when the first request since the last word was sent; 0: all heard
	probed     bool
	tableAsked bool // and no table has come since
	leaving    bool
	lost       error // why the connection is lost; nil: it is not
	attempts   uint64
	repeats    uint64
}

type place struct {
	f   *flight
	gen uint64
}

func newConn(c *Client, l *link, in *life, g greeted) *conn {
	limit := inFlightLimit(&g.welcome.Limits)
	return &conn{
		c: c, link: l, life: in, member: g.welcome.Member, waiting: l.waiting, nc: g.nc, limit: limit,
		gone: make(chan struct{}), wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		window: newWindow(limit, c.now(), g.trip),
	}
}

// inFlightLimit is how many requests a connection may have in flight.
func inFlightLimit(l *protocol.Limits) int {
	if l.InFlight == 0 {
		return int(protocol.DefaultLimits().InFlight)
	}
	return min(int(l.InFlight), 1<<idBits)
}

// waitingRoom is how many waiting calls a connection with the given limit
// carries. A member counts several repeats of a waiting call, and reads no further
// at its limit; so fewer calls wait than that, and a connection full of them still
// carries the control operations that cancel and confirm them.
func waitingRoom(limit int) int { return max((limit-limit/16)/repeatsCounted, 1) }

// send queues the request of o, or o itself where there is no room for one more.
// On errGone and errFull nothing has happened.
func (n *conn) send(o *op, now time.Duration) error {
	n.mu.Lock()
	if err := n.admit(o.req.Kind == protocol.KindControl); err != nil {
		if err == errFull && !n.waiting && !n.hopeless(o, now) {
			n.backlog.push(o)
			n.crowded.Store(true)
			err = nil
		}
		n.mu.Unlock()
		return err
	}
	n.transmit(o, now)
	n.flushLocked(now)
	return nil
}

// transmit registers an attempt and appends its request to what is written
// next. mu is held.
func (n *conn) transmit(o *op, now time.Duration) {
	overdue := time.Duration(0)
	if !o.grant {
		overdue = now + attemptTime() + n.distance()
		if o.deadline != 0 {
			overdue = min(overdue, max(o.deadline, now+1))
		}
		o.req.TimeLeft = uint32((overdue-now)/time.Millisecond) + 1
	}
	if o.slots != nil {
		o.req.Highest = uint16(o.slots.highest.Load())
		if o.sent {
			o.req.Flags |= protocol.FlagRepeat
		}
	}
	o.sent = true
	n.register(&o.flight, now, overdue)
	o.req.ID = o.id
	n.count(&o.req)
	start := len(n.pending)
	n.pending = protocol.EndFrame(o.req.Append(protocol.BeginFrame(n.pending)), start)
}

// distance is the part of a round trip that is no fault of the member's: an attempt
// has that time besides. mu is held.
func (n *conn) distance() time.Duration { return min(n.window.shortest(), maxDistance) }

// resend queues a request again under a new ID and forgets the old one. It
// reports false where f is not in flight here any more: its answer has come.
func (n *conn) resend(f *flight, q *protocol.Request, now time.Duration) bool {
	n.mu.Lock()
	if n.lost != nil || n.leaving || n.at(f.id) != f {
		n.mu.Unlock()
		return false
	}
	n.remove(f)
	n.register(f, now, 0)
	q.ID = f.id
	n.count(q)
	start := len(n.pending)
	n.pending = protocol.EndFrame(q.Append(protocol.BeginFrame(n.pending)), start)
	n.flushLocked(now)
	return true
}

// sendMessage registers f, if there is one, and queues a control message that
// encode makes for the request ID it is given.
func (n *conn) sendMessage(f *flight, now, overdue time.Duration, encode func(id uint64) []byte) error {
	n.mu.Lock()
	if n.lost != nil || n.leaving {
		n.mu.Unlock()
		return errGone
	}
	var id uint64
	if f != nil {
		if n.inFlight >= 1<<idBits {
			n.mu.Unlock()
			return errFull
		}
		n.register(f, now, overdue)
		id = f.id
	}
	start := len(n.pending)
	n.pending = protocol.EndFrame(append(protocol.BeginFrame(n.pending), encode(id)...), start)
	n.flushLocked(now)
	return nil
}

// admit says whether one more request may be queued.
func (n *conn) admit(control bool) error {
	if n.lost != nil || n.leaving {
		return errGone
	}
	limit := n.window.size
	if n.waiting {
		if limit = n.limit; !control {
			limit = waitingRoom(limit)
		}
	}
	if n.inFlight >= max(limit, 1) || len(n.pending) >= maxPending {
		return errFull
	}
	return nil
}

func (n *conn) register(f *flight, now, overdue time.Duration) {
	if len(n.free) == 0 {
		n.table = append(n.table, place{})
		n.free = append(n.free, uint16(len(n.table)-1))
	}
	i := n.free[len(n.free)-1]
	n.free = n.free[:len(n.free)-1]
	p := &n.table[i]
	p.gen++
	p.f = f
	f.id = p.gen<<idBits | uint64(i)
	f.start = n.taken + uint64(len(n.pending))
	f.sent, f.overdue = now, overdue
	n.inFlight++
}

func (n *conn) count(q *protocol.Request) {
	n.attempts++
	if q.Flags&protocol.FlagRepeat != 0 {
		n.repeats++
	}
}

// flushLocked makes sure that the writer runs. It unlocks mu.
func (n *conn) flushLocked(now time.Duration) {
	if n.asked == 0 {
		n.asked = now
	}
	wake := n.writerIdle
	n.writerIdle = false
	n.mu.Unlock()
	if wake {
		n.wake <- struct{}{}
	}
	if n.c.parked.Load() {
		n.c.unparkSweeper()
	}
}

// at returns the flight with the given request ID, nil where it has ended.
func (n *conn) at(id uint64) *flight {
	i := id & (1<<idBits - 1)
	if i >= uint64(len(n.table)) {
		return nil
	}
	if f := n.table[i].f; f != nil && f.id == id {
		return f
	}
	return nil
}

// remove takes f, which is in the table, out of it.
func (n *conn) remove(f *flight) {
	i := uint16(f.id & (1<<idBits - 1))
	n.table[i].f = nil
	n.free = append(n.free, i)
	n.inFlight--
}

// abandon takes f out of the table. Where it reports false the answer is on
// its way: a token arrives on f.done.
func (n *conn) abandon(f *flight) bool {
	n.mu.Lock()
	if n.at(f.id) != f {
		n.mu.Unlock()
		return false
	}
	n.remove(f)
	f.left = true
	n.unlockWithRoom(n.c.now())
	return true
}

// abandonOp is abandon for a call, which may not have been sent.
func (n *conn) abandonOp(o *op) bool {
	n.mu.Lock()
	if o.queued {
		n.backlog.remove(o)
		o.left = false
		n.crowded.Store(n.backlog.n > 0)
		n.mu.Unlock()
		return true
	}
	n.mu.Unlock()
	return n.abandon(&o.flight)
}

// unlockWithRoom unlocks mu when there may be room for more.
func (n *conn) unlockWithRoom(now time.Duration) {
	n.hintRoom()
	wake := n.makeRoom(now)
	n.mu.Unlock()
	if wake {
		n.wake <- struct{}{}
	}
}

// hintRoom tells one of those that wait for room. The one that is told tells
// the next, if there is room for it too.
func (n *conn) hintRoom() {
	if n.starved > 0 {
		select {
		case n.room <- struct{}{}:
		default:
		}
	}
}

// starve counts a caller that waits for room, or that has stopped waiting.
func (n *conn) starve(d int) {
	n.mu.Lock()
	n.starved += d
	if n.admit(false) == nil {
		n.hintRoom()
	}
	n.mu.Unlock()
}

func (n *conn) write() {
	var spare []byte
	for {
		n.mu.Lock()
		if len(n.pending) == 0 && n.lost == nil {
			n.writerIdle = true
			n.mu.Unlock()
			<-n.wake
			// Callers that are about to run add their requests first, so that one
			// write carries them all.
			runtime.Gosched()
			continue
		}
		if n.lost != nil {
			n.mu.Unlock()
			return
		}
		b := n.pending
		n.pending = spare[:0]
		n.taken += uint64(len(b))
		n.hintRoom()
		if n.backlog.n > 0 {
			n.makeRoom(n.c.now())
		}
		n.mu.Unlock()
		if _, err := n.nc.Write(b); err != nil {
			n.fail(fmt.Errorf("write: %w", err))
			return
		}
		spare = b
		if cap(spare) > keepBuffer {
			spare = nil
		}
	}
}

func (n *conn) read(frames *protocol.FrameReader) {
	var batch [replyBatch]protocol.Reply
	var flights [replyBatch]*flight
	for {
		k := 0
		for k < len(batch) && (k == 0 || frames.Buffered()) {
			frame, err := frames.Next()
			if err != nil {
				n.complete(batch[:k], &flights)
				n.fail(fmt.Errorf("read: %w", err))
				return
			}
			if protocol.PeekType(frame) != protocol.TypeReply {
				if err := n.control(frame); err != nil {
					n.fail(err)
					return
				}
				continue
			}
			if err := batch[k].Decode(frame); err != nil {
				n.fail(fmt.Errorf("read reply: %w", err))
				return
			}
			k++
		}
		n.complete(batch[:k], &flights)
	}
}

// complete ends the flights that the replies answer. A reply to a request that
// was given up is dropped.
func (n *conn) complete(replies []protocol.Reply, flights *[replyBatch]*flight) {
	now := n.c.now()
	n.mu.Lock()
	n.asked, n.probed = 0, false
	for i := range replies {
		f := n.at(replies[i].ID)
		flights[i] = f
		if f != nil {
			n.remove(f)
			if !f.apart {
				n.window.add(now, f.sent, shortage(replies[i].Code))
			}
		}
	}
	n.window.turn(now, n.inFlight, n.backlog.n > 0)
	n.unlockWithRoom(now)
	for i := range replies {
		if f := flights[i]; f != nil {
			f.reply, f.err = replies[i], nil
			f.done <- struct{}{}
			flights[i] = nil
		}
		replies[i].Body = nil
	}
}

// control handles what is not a reply.
func (n *conn) control(frame []byte) error {
	n.mu.Lock()
	n.asked, n.probed = 0, false
	if protocol.PeekType(frame) == protocol.TypeTable {
		n.tableAsked = false
	}
	n.mu.Unlock()
	switch t := protocol.PeekType(frame); t {
	case protocol.TypeTable:
		var t protocol.Table
		if err := protocol.Decode(frame, &t); err != nil {
			return fmt.Errorf("read table: %w", err)
		}
		n.c.learn(n.life, &t)
	case protocol.TypeGoodbye:
		var g protocol.Goodbye
		if err := protocol.Decode(frame, &g); err != nil {
			return fmt.Errorf("read goodbye: %w", err)
		}
		n.leave(g.Reason)
	default:
		return fmt.Errorf("unexpected message of type %d", t)
	}
	return nil
}

// leave stops sending here. What is in flight is still answered.
func (n *conn) leave(reason string) {
	n.mu.Lock()
	first := !n.leaving && n.lost == nil
	n.leaving = true
	unsent := n.backlog.takeAll()
	n.crowded.Store(false)
	n.mu.Unlock()
	endUnsent(unsent, errGone)
	if !first {
		return
	}
	n.link.drop(n, nil)
	close(n.gone)
	n.c.log.Debug("member is leaving", "member", n.member, "reason", reason)
	n.c.search()
}

// fail closes the connection and ends every flight with err.
func (n *conn) fail(err error) {
	n.mu.Lock()
	if n.lost != nil {
		n.mu.Unlock()
		return
	}
	n.lost = err
	wasLeaving := n.leaving
	var flights []*flight
	for i := range n.table {
		if f := n.table[i].f; f != nil {
			n.remove(f)
			f.err, f.left = err, f.start < n.taken
			flights = append(flights, f)
		}
	}
	n.pending = nil
	unsent := n.backlog.takeAll()
	n.crowded.Store(false)
	wake := n.writerIdle
	n.writerIdle = false
	n.mu.Unlock()

	n.nc.Close()
	if wake {
		n.wake <- struct{}{}
	}
	n.link.drop(n, err)
	if !wasLeaving {
		close(n.gone)
	}
	n.c.forget(n)
	for _, f := range flights {
		f.done <- struct{}{}
	}
	endUnsent(unsent, errGone)
	n.c.search()
}

// sweep ends the attempts that are overdue, and the connection itself where
// the member has been silent for too long. It reports whether anything is in
// flight.
func (n *conn) sweep(now time.Duration) bool {
	var overdue []*flight
	n.mu.Lock()
	if n.lost != nil {
		n.mu.Unlock()
		return false
	}
	for i := range n.table {
		if f := n.table[i].f; f != nil && f.overdue != 0 && f.overdue <= now {
			n.remove(f)
			n.window.miss(now, f.sent)
			f.err, f.left = errOverdue, true
			overdue = append(overdue, f)
		}
	}
	late := n.backlog.takeLate(now)
	busy := n.inFlight > 0 || n.asked != 0 || n.backlog.n > 0
	silent := time.Duration(0)
	if n.asked != 0 {
		silent = now - n.asked
	}
	probe := silent > silenceProbe && !n.probed
	n.probed = n.probed || probe
	n.unlockWithRoom(now)

	endUnsent(late, errFull)
	for _, f := range overdue {
		f.done <- struct{}{}
	}
	switch {
	case silent > silenceDead:
		n.fail(fmt.Errorf("nothing received for %v", silent.Round(time.Millisecond)))
	case probe:
		n.askTable(now)
	}
	return busy
}

// askTable asks the member for its table; the answer is a sign of life too. While
// one is on its way no other is asked for: where the network stands still,
// questions would pile up in it, and the member would have to read them all before
// anything else.
func (n *conn) askTable(now time.Duration) {
	n.mu.Lock()
	asked := n.tableAsked
	n.tableAsked = true
	n.mu.Unlock()
	if asked {
		return
	}
	have := n.c.epoch()
	n.sendMessage(nil, now, 0, func(uint64) []byte {
		return protocol.Encode(&protocol.TableRequest{Type: protocol.TypeTableRequest, Have: have})
	})
}
