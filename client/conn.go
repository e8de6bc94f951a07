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
	idBits         = 16        // of a request ID that are its index in the table
	maxPending     = 512 << 10 // bytes not yet written above which callers wait: written bytes cannot be taken back
	keepBuffer     = 1 << 20   // larger write buffers are not kept
	replyBatch     = 64        // replies taken in under one lock
	repeatsCounted = 4         // repeats of one waiting call that a member counts as in flight
	maxDistance    = 2 * time.Second
	silenceProbe   = 1 * time.Second
	silenceDead    = 4 * time.Second
)

var (
	errConnClosed = errors.New("connection closed")       // nothing was sent
	errOverdue    = errors.New("no answer to an attempt") // sent
)

// errFull means that no more may be in flight on the connection. Nothing was sent.
var errFull = fmt.Errorf("%w: too much in flight", quorate.ErrOverloaded)

// attempt is a request in flight: an entry of a connection's table. It ends in exactly
// one of two ways: abandon returns true, or one token arrives on done.
type attempt struct {
	done chan struct{} // capacity 1
	// apart marks a request whose answer may be late for reasons of its own, so that it
	// says nothing about how fast the member answers.
	apart bool

	// Valid once the token has arrived.
	reply protocol.Reply
	err   error // errOverdue, or why the connection was lost; nil: reply is set
	left  bool  // with err, or when abandoned: the request may have left the process

	// Guarded by the connection's mu.
	id      uint64
	sentAt  time.Duration // on the client's clock
	queued  bool          // in the backlog, and nowhere else: not sent
	start   uint64        // offset of the request in the connection's stream
	overdue time.Duration // on the client's clock; 0: never
}

// conn is one connection to a member: a table of requests in flight, a writer that
// sends whatever was queued, and a reader that completes the requests.
type conn struct {
	client  *Client
	link    *link
	cluster *cluster // of the grid it leads to
	member  protocol.MemberID
	waiting bool
	nc      net.Conn
	closing chan struct{} // closed when nothing more may be sent: the connection is lost, or the member leaving
	wake    chan struct{} // capacity 1; one token for each time writerIdle was reset
	// capacity, on a connection for waiting calls, hints to one of the callers that
	// wait until they may send. It has at most one token.
	capacity chan struct{}
	crowded  atomic.Bool // there is a backlog

	mu      sync.Mutex
	pending []byte // the bytes that the writer takes next
	// taken counts the bytes the writer has taken. Invariant: a request with
	// start >= taken has not left the process.
	taken          uint64
	writerIdle     bool
	table          []entry
	free           []uint16 // entries not in use
	inFlight       int
	limit          int
	window         window
	backlog        backlog       // Invariant: empty while one more request may be queued
	awaiting       int           // on a connection for waiting calls, callers that wait until they may send
	silentSince    time.Duration // when the first request since the last message from the member was sent; 0: none
	probed         bool
	tableRequested bool // and no table has arrived since
	leaving        bool
	lost           error // why the connection is lost; nil: it is not
	attempts       uint64
	repeats        uint64
	watches        map[uint64]protocol.GroupID  // by ID of the registration
	watched        map[protocol.GroupID]*served // the same by group
}

// entry is an entry of a connection's table. A request ID consists of its generation
// and its index.
type entry struct {
	a          *attempt
	generation uint64
}

func newConn(c *Client, l *link, in *cluster, g greeted) *conn {
	limit := inFlightLimit(&g.welcome.Limits)
	return &conn{
		client: c, link: l, cluster: in, member: g.welcome.Member, waiting: l.waiting, nc: g.nc, limit: limit,
		closing: make(chan struct{}), wake: make(chan struct{}, 1), capacity: make(chan struct{}, 1),
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

// waitingLimit is how many waiting calls a connection with the given limit carries. A
// member counts several repeats of a waiting call as in flight, and stops reading at
// its limit. So fewer calls than the limit may wait, and a connection full of waiting
// calls can still carry the control operations that cancel and confirm them.
func waitingLimit(limit int) int { return max((limit-limit/16)/repeatsCounted, 1) }

// send queues the request of c, or c itself in the backlog if no more may be in flight.
// With errConnClosed and errFull it has done nothing.
func (n *conn) send(c *call, now time.Duration) error {
	n.mu.Lock()
	if err := n.admit(c.req.Kind == protocol.KindControl); err != nil {
		if err == errFull && !n.waiting && !n.hopeless(c, now) {
			n.backlog.push(c)
			n.crowded.Store(true)
			err = nil
		}
		n.mu.Unlock()
		return err
	}
	n.transmit(c, now)
	n.flushLocked(now)
	return nil
}

// transmit registers an attempt and appends its request to the pending bytes. mu is
// held.
func (n *conn) transmit(c *call, now time.Duration) {
	overdue := time.Duration(0)
	if !c.grant {
		overdue = now + attemptTime() + n.distance()
		if c.deadline != 0 {
			overdue = min(overdue, max(c.deadline, now+1))
		}
		c.req.TimeLeft = uint32((overdue-now)/time.Millisecond) + 1
	}
	if c.slots != nil {
		c.req.Highest = uint16(c.slots.highest.Load())
		if c.sent {
			c.req.Flags |= protocol.FlagRepeat
		}
	}
	c.sent = true
	n.register(&c.attempt, now, overdue)
	c.req.ID = c.id
	n.count(&c.req)
	start := len(n.pending)
	n.pending = protocol.EndFrame(c.req.Append(protocol.BeginFrame(n.pending)), start)
}

// distance is how much of a round trip the network takes. An attempt has that much more
// time. mu is held.
func (n *conn) distance() time.Duration { return min(n.window.shortest(), maxDistance) }

// resend queues a request again under a new ID and forgets the old ID. It reports false
// if a is no longer in flight, because its answer has arrived.
func (n *conn) resend(a *attempt, q *protocol.Request, now time.Duration) bool {
	n.mu.Lock()
	if n.lost != nil || n.leaving || n.at(a.id) != a {
		n.mu.Unlock()
		return false
	}
	n.remove(a)
	n.register(a, now, 0)
	q.ID = a.id
	n.count(q)
	start := len(n.pending)
	n.pending = protocol.EndFrame(q.Append(protocol.BeginFrame(n.pending)), start)
	n.flushLocked(now)
	return true
}

// sendMessage registers a, if it is not nil, and queues the control message that encode
// returns for its request ID.
func (n *conn) sendMessage(a *attempt, now, overdue time.Duration, encode func(id uint64) []byte) error {
	n.mu.Lock()
	if n.lost != nil || n.leaving {
		n.mu.Unlock()
		return errConnClosed
	}
	var id uint64
	if a != nil {
		if n.inFlight >= 1<<idBits {
			n.mu.Unlock()
			return errFull
		}
		n.register(a, now, overdue)
		id = a.id
	}
	start := len(n.pending)
	n.pending = protocol.EndFrame(append(protocol.BeginFrame(n.pending), encode(id)...), start)
	n.flushLocked(now)
	return nil
}

// admit returns nil if one more request may be queued. mu is held.
func (n *conn) admit(control bool) error {
	if n.lost != nil || n.leaving {
		return errConnClosed
	}
	limit := n.window.size
	if n.waiting {
		if limit = n.limit; !control {
			limit = waitingLimit(limit)
		}
	}
	if n.inFlight >= max(limit, 1) || len(n.pending) >= maxPending {
		return errFull
	}
	return nil
}

func (n *conn) register(a *attempt, now, overdue time.Duration) {
	if len(n.free) == 0 {
		n.table = append(n.table, entry{})
		n.free = append(n.free, uint16(len(n.table)-1))
	}
	i := n.free[len(n.free)-1]
	n.free = n.free[:len(n.free)-1]
	p := &n.table[i]
	p.generation++
	p.a = a
	a.id = p.generation<<idBits | uint64(i)
	a.start = n.taken + uint64(len(n.pending))
	a.sentAt, a.overdue = now, overdue
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
	if n.silentSince == 0 {
		n.silentSince = now
	}
	wake := n.writerIdle
	n.writerIdle = false
	n.mu.Unlock()
	if wake {
		n.wake <- struct{}{}
	}
	if n.client.conns.parked.Load() {
		n.client.conns.wakeSweeper()
	}
}

// at returns the attempt with the given request ID; nil: it has ended.
func (n *conn) at(id uint64) *attempt {
	i := id & (1<<idBits - 1)
	if i >= uint64(len(n.table)) {
		return nil
	}
	if a := n.table[i].a; a != nil && a.id == id {
		return a
	}
	return nil
}

// remove removes a, which must be in the table, from it.
func (n *conn) remove(a *attempt) {
	i := uint16(a.id & (1<<idBits - 1))
	n.table[i].a = nil
	n.free = append(n.free, i)
	n.inFlight--
}

// abandon removes a from the table. If it reports false the answer is on its way: a
// token arrives on a.done.
func (n *conn) abandon(a *attempt) bool {
	n.mu.Lock()
	if n.at(a.id) != a {
		n.mu.Unlock()
		return false
	}
	n.remove(a)
	a.left = true
	n.unlockAndSend(n.client.now())
	return true
}

// abandonCall is abandon for a call, which may not have been sent.
func (n *conn) abandonCall(c *call) bool {
	n.mu.Lock()
	if c.queued {
		n.backlog.remove(c)
		c.left = false
		n.crowded.Store(n.backlog.n > 0)
		n.mu.Unlock()
		return true
	}
	n.mu.Unlock()
	return n.abandon(&c.attempt)
}

// unlockAndSend unlocks mu after a request may have ended, and sends what has waited
// for that.
func (n *conn) unlockAndSend(now time.Duration) {
	n.hintCapacity()
	wake := n.sendBacklog(now)
	n.mu.Unlock()
	if wake {
		n.wake <- struct{}{}
	}
}

// hintCapacity wakes one of the callers that wait until they may send. If yet another
// request may be in flight, that caller wakes the next. mu is held.
func (n *conn) hintCapacity() {
	if n.awaiting > 0 {
		select {
		case n.capacity <- struct{}{}:
		default:
		}
	}
}

// awaitCapacity counts a caller that waits until it may send (1), or that has stopped
// waiting (-1).
func (n *conn) awaitCapacity(d int) {
	n.mu.Lock()
	n.awaiting += d
	if n.admit(false) == nil {
		n.hintCapacity()
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
		n.hintCapacity()
		if n.backlog.n > 0 {
			n.sendBacklog(n.client.now())
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
	var answered [replyBatch]*attempt
	for {
		k := 0
		for k < len(batch) && (k == 0 || frames.Buffered()) {
			frame, err := frames.Next()
			if err != nil {
				n.complete(batch[:k], &answered)
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
		n.complete(batch[:k], &answered)
	}
}

// complete ends the attempts that the replies answer. It drops a reply to a request
// that was given up.
func (n *conn) complete(replies []protocol.Reply, answered *[replyBatch]*attempt) {
	now := n.client.now()
	n.mu.Lock()
	n.silentSince, n.probed = 0, false
	for i := range replies {
		a := n.at(replies[i].ID)
		answered[i] = a
		if a != nil {
			n.remove(a)
			if !a.apart {
				n.window.add(now, a.sentAt, shortage(replies[i].Code))
			}
		}
	}
	n.window.turn(now, n.inFlight, n.backlog.n > 0)
	n.unlockAndSend(now)
	for i := range replies {
		if a := answered[i]; a != nil {
			a.reply, a.err = replies[i], nil
			a.done <- struct{}{}
			answered[i] = nil
		}
		replies[i].Body = nil
	}
}

// control handles a message that is not a reply.
func (n *conn) control(frame []byte) error {
	n.mu.Lock()
	n.silentSince, n.probed = 0, false
	if protocol.PeekType(frame) == protocol.TypeTable {
		n.tableRequested = false
	}
	n.mu.Unlock()
	switch t := protocol.PeekType(frame); t {
	case protocol.TypeTable:
		var t protocol.Table
		if err := protocol.Decode(frame, &t); err != nil {
			return fmt.Errorf("read table: %w", err)
		}
		n.client.table.learn(n.cluster, &t)
	case protocol.TypeGoodbye:
		var g protocol.Goodbye
		if err := protocol.Decode(frame, &g); err != nil {
			return fmt.Errorf("read goodbye: %w", err)
		}
		n.leave(g.Reason)
	case protocol.TypeWatchEvents:
		return n.watchEvents(frame)
	case protocol.TypeWatchNote:
		return n.watchNote(frame)
	default:
		return fmt.Errorf("unexpected message of type %d", t)
	}
	return nil
}

// leave stops sending: the member shuts down. Attempts in flight are still answered.
func (n *conn) leave(reason string) {
	n.mu.Lock()
	first := !n.leaving && n.lost == nil
	n.leaving = true
	unsent := n.backlog.takeAll()
	n.crowded.Store(false)
	n.mu.Unlock()
	endUnsent(unsent, errConnClosed)
	if !first {
		return
	}
	n.link.drop(n, nil)
	close(n.closing)
	n.client.log.Debug("member is leaving", "member", n.member, "reason", reason)
	n.client.refresher.search()
}

// fail closes the connection and ends every attempt with err.
func (n *conn) fail(err error) {
	n.mu.Lock()
	if n.lost != nil {
		n.mu.Unlock()
		return
	}
	n.lost = err
	wasLeaving := n.leaving
	var unanswered []*attempt
	for i := range n.table {
		if a := n.table[i].a; a != nil {
			n.remove(a)
			a.err, a.left = err, a.start < n.taken
			unanswered = append(unanswered, a)
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
		close(n.closing)
	}
	n.client.conns.forget(n)
	for _, a := range unanswered {
		a.done <- struct{}{}
	}
	endUnsent(unsent, errConnClosed)
	n.loseWatches()
	n.client.refresher.search()
}

// sweep ends the attempts that are overdue, and closes the connection if the member has
// been silent for too long. It reports whether anything is in flight.
func (n *conn) sweep(now time.Duration) bool {
	var overdue []*attempt
	n.mu.Lock()
	if n.lost != nil {
		n.mu.Unlock()
		return false
	}
	for i := range n.table {
		if a := n.table[i].a; a != nil && a.overdue != 0 && a.overdue <= now {
			n.remove(a)
			n.window.miss(now, a.sentAt)
			a.err, a.left = errOverdue, true
			overdue = append(overdue, a)
		}
	}
	late := n.backlog.takeLate(now)
	busy := n.inFlight > 0 || n.silentSince != 0 || n.backlog.n > 0
	silent := time.Duration(0)
	if n.silentSince != 0 {
		silent = now - n.silentSince
	}
	probe := silent > silenceProbe && !n.probed
	n.probed = n.probed || probe
	n.unlockAndSend(now)

	endUnsent(late, errFull)
	for _, a := range overdue {
		a.done <- struct{}{}
	}
	switch {
	case silent > silenceDead:
		n.fail(fmt.Errorf("nothing received for %v", silent.Round(time.Millisecond)))
	case probe:
		n.requestTable(now)
	}
	return n.sweepWatches(now) || busy
}

// requestTable asks the member for its table. The answer also shows that the member is
// alive. While one request is in flight no other is sent: in a network that has stalled
// the requests would pile up, and the member would have to read them all before
// anything else.
func (n *conn) requestTable(now time.Duration) {
	n.mu.Lock()
	asked := n.tableRequested
	n.tableRequested = true
	n.mu.Unlock()
	if asked {
		return
	}
	have := n.client.table.epoch()
	n.sendMessage(nil, now, 0, func(uint64) []byte {
		return protocol.Encode(&protocol.TableRequest{Type: protocol.TypeTableRequest, Have: have})
	})
}
