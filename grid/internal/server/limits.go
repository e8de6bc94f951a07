package server

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Limits of connections. The limits in bytes for the whole member follow its memory:
// see Config.Budget.
const (
	maxConnections  = 10_000 // of clients
	maxPeers        = 1_000  // of members: counted apart, so that a flood of clients does not keep members out
	idlePeer        = 3      // ticks of the sweep without a byte, after which a member's connection may be closed for another
	maxPending      = 1_000  // whose purpose is not known yet; beyond it the oldest is closed
	maxShaking      = 16     // questions in flight before the handshake is done
	maxQuestions    = 64     // of operators in flight, of all connections
	maxSessions     = 1_024  // requests on sessions in flight, per connection: a gateway has many sessions
	fairSessions    = 16     // per connection while all together have crowdedSessions: a client has one or two
	fairMessages    = 64     // that a reader answers at once before others have their turn
	crowdedSessions = 32 << 10
	sessionWaitHint = 100 // milliseconds
	maxInboundConn  = 16 << 20
	softOutbound    = 2 << 20 // bytes on the way out above which reading stops
	maxOutbound     = 8 << 20 // above which reads are answered "busy"
	hardOutbound    = 2 * maxOutbound
	fairOutbound    = 256 << 10 // maxOutbound while all connections together have too much
	largeBytes      = 4 << 10   // requests and replies of this size or larger are counted one by one
	countStep       = 64 << 10
	writePiece      = 128 << 10
	sweepInterval   = time.Second
	stallTimeout    = 10 * time.Second // without a byte of a frame that was begun, or without the peer reading what is written
	slowestFrame    = 32 << 10         // bytes a second, after stallTimeout
	budgetWait      = 2 * time.Second
	defaultBudget   = 64 << 20
	outWaitHint     = 50 // milliseconds
	handshakeBytes  = protocol.MaxHandshakeFrame
	budgetPoll      = 10 * time.Millisecond
	peerWriteLimit  = 10 * time.Second
	tooManyInterval = time.Second // between two warnings that connections are refused
)

var (
	errBudget = errors.New("the member has no memory for large messages at the moment")
	errSlow   = errors.New("a frame that was begun has not arrived in time")
)

// purpose is what a connection is counted as.
type purpose uint8

const (
	pending purpose = iota
	ofClient
	ofMember
	purposes
)

// counted is the server's record of a connection.
type counted struct {
	purpose purpose
	order   uint64    // of arrival
	peer    *peerConn // of a member's
}

// peerConn is a member's connection that notes when bytes arrive.
type peerConn struct {
	net.Conn
	tick *atomic.Int64 // of the server
	last atomic.Int64  // tick of the last byte; 0: none yet
}

func (c *peerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.last.Store(c.tick.Load())
	}
	return n, err
}

// register counts an accepted connection. If too many connections have not sent their
// purpose, it closes the oldest of them. It is false if the server is closed.
func (s *Server) register(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.counts[pending] >= maxPending {
		var oldest net.Conn
		order := s.arrivals + 1
		for o, k := range s.conns {
			if k.purpose == pending && k.order < order {
				oldest, order = o, k.order
			}
		}
		s.evict(oldest)
	}
	s.arrivals++
	s.conns[c] = counted{purpose: pending, order: s.arrivals}
	s.counts[pending]++
	s.wg.Add(1)
	return true
}

// evict closes a connection in favour of another. mu is held.
func (s *Server) evict(c net.Conn) {
	_ = c.Close() // its goroutine unregisters it
	k := s.conns[c]
	s.counts[k.purpose]--
	k.purpose = purposes // no longer counted
	s.conns[c] = k
}

// evictIdle closes the member's connection that has been idle for longest, so that idle
// connections do not keep members out. The connections of members that are alive are
// never idle for long. mu is held.
func (s *Server) evictIdle() {
	var idlest net.Conn
	var of counted
	now := s.tick.Load()
	for c, k := range s.conns {
		if k.purpose != ofMember || k.peer == nil || now-k.peer.last.Load() < idlePeer {
			continue
		}
		last := k.peer.last.Load()
		if idlest == nil || last < of.peer.last.Load() || last == of.peer.last.Load() && k.order < of.order {
			idlest, of = c, k
		}
	}
	if idlest != nil {
		s.evict(idlest)
	}
}

// watch wraps a member's connection to note when bytes arrive.
func (s *Server) watch(c net.Conn) net.Conn {
	w := &peerConn{Conn: c, tick: &s.tick}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.conns[c]
	k.peer = w
	s.conns[c] = k
	return w
}

// admit counts a connection by its purpose, unless there are too many of that.
func (s *Server) admit(c net.Conn, p purpose) bool {
	most := s.cfg.MaxConnections
	if p == ofMember {
		most = s.cfg.MaxPeers
	}
	s.mu.Lock()
	k := s.conns[c]
	if s.counts[p] >= most && p == ofMember {
		s.evictIdle()
	}
	full := s.counts[p] >= most
	ok := !full && k.purpose == pending
	if ok {
		s.counts[pending]--
		s.counts[p]++
		k.purpose = p
		s.conns[c] = k
	}
	warn := full && time.Since(s.refusedAt) > tooManyInterval
	if warn {
		s.refusedAt = time.Now()
	}
	s.mu.Unlock()
	if warn {
		s.log.Warn("connections are refused: too many", "address", addrOf(c), "limit", most)
	}
	return ok
}

func (s *Server) unregister(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.conns[c]; k.purpose < purposes {
		s.counts[k.purpose]--
	}
	delete(s.conns, c)
}

// grow counts the bytes of large messages that arrive. If there are too many it waits a
// short time.
func (s *Server) grow(n int) error {
	if n <= 0 {
		s.inbound.Add(int64(n))
		return nil
	}
	for deadline := time.Now().Add(budgetWait); s.inbound.Add(int64(n)) > s.cfg.Budget; {
		s.inbound.Add(int64(-n))
		select {
		case <-s.ctx.Done():
			return net.ErrClosed
		case <-time.After(budgetPoll):
		}
		if time.Now().After(deadline) {
			return errBudget
		}
	}
	return nil
}

// sweep closes the connections of peers that stall: that do not finish a frame, or do
// not read their replies. An idle connection takes no memory, and stays.
func (s *Server) sweep() {
	tick := time.NewTicker(min(sweepInterval, s.cfg.StallTimeout/4))
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.tick.Add(1)
		s.sweepOnce(time.Now())
	}
}

func (s *Server) sweepOnce(now time.Time) {
	s.mu.Lock()
	clients := make([]*clientConn, 0, len(s.clients))
	for c := range s.clients {
		clients = append(clients, c)
	}
	s.mu.Unlock()
	var begun []*clientConn
	for _, c := range clients {
		switch {
		case c.seen.stalledOut(c.traffic, s.cfg.StallTimeout, now):
			s.log.Warn("client does not read its replies: connection closed", "address", addrOf(c.conn))
			c.traffic.abort()
		case c.seen.stalledIn(c.frames, s.cfg.StallTimeout, now):
			s.log.Debug("connection closed", "address", addrOf(c.conn), "err", errSlow)
			c.traffic.abort()
		case c.seen.frame != 0:
			begun = append(begun, c)
		}
		c.tables.pay(now)
	}
	if s.inbound.Load() <= s.cfg.Budget*3/4 {
		return
	}
	// Large messages have used up the budget of all connections: the slowest are
	// closed.
	slices.SortFunc(begun, func(a, b *clientConn) int { return a.seen.began.Compare(b.seen.began) })
	for _, c := range begun[:len(begun)/2] {
		if now.Sub(c.seen.began) > 2*sweepInterval {
			c.traffic.abort()
		}
	}
}

// seen is what the sweep saw of a connection the last time. Only the sweep uses it.
type seen struct {
	frame   uint64 // that was waited for
	began   time.Time
	written uint64 // pieces
	writing time.Time
}

// stalledIn reports whether a frame was begun and does not arrive.
func (n *seen) stalledIn(frames *protocol.FrameReader, patience time.Duration, now time.Time) bool {
	frame, bytes := frames.Partial()
	if frame != n.frame {
		n.frame, n.began = frame, now
		return false
	}
	if frame == 0 {
		return false
	}
	return now.Sub(n.began) > patience+time.Duration(bytes)*time.Second/slowestFrame
}

// stalledOut reports whether the peer reads nothing of what is written.
func (n *seen) stalledOut(t *traffic, patience time.Duration, now time.Time) bool {
	written, busy := t.writing()
	if !busy || written != n.written || n.writing.IsZero() {
		n.written, n.writing = written, time.Time{}
		if busy {
			n.writing = now
		}
		return false
	}
	return now.Sub(n.writing) > patience
}

// busyOut is the reply to a read whose result would exceed the limit of bytes on the
// way out.
func busyOut(id uint64) protocol.Reply {
	return busy(id, "too much is in flight to this client", outWaitHint)
}

// Load is the number of a member's connections and the bytes in flight on them, for
// tests and metrics.
type Load struct {
	Pending, Clients, Members int
	Inbound, Outbound         int64 // bytes of large messages, and of replies
}

// Load returns the present load.
func (s *Server) Load() Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Load{
		Pending: s.counts[pending], Clients: s.counts[ofClient], Members: s.counts[ofMember],
		Inbound: s.inbound.Load(), Outbound: s.outbound.Load(),
	}
}

func (c *Config) setDefaults() {
	c.MaxConnections = cmp.Or(c.MaxConnections, maxConnections)
	c.MaxPeers = cmp.Or(c.MaxPeers, maxPeers)
	c.Budget = cmp.Or(c.Budget, defaultBudget)
	c.StallTimeout = cmp.Or(c.StallTimeout, stallTimeout)
}

// shakeReader bounds what is read before the handshake is done. After it, it notes that
// something has arrived from the client.
type shakeReader struct {
	net.Conn
	left int
	kept *keptClient // whose connection it is; nil: not known yet, or nobody's
}

func (r *shakeReader) Read(p []byte) (int, error) {
	if r.left < 0 { // the handshake is done
		n, err := r.Conn.Read(p)
		if k := r.kept; k != nil && n > 0 && !k.heard.Load() {
			k.heard.Store(true)
		}
		return n, err
	}
	if r.left == 0 {
		return 0, fmt.Errorf("%w: the limit is %d bytes in all until the handshake is done", protocol.ErrFrame, handshakeBytes)
	}
	n, err := r.Conn.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}
