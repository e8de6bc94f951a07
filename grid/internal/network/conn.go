package network

import (
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// listener accepts connections that belong to a network.
type listener struct {
	net.Listener
	n *Network
}

func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.n.wrap(raw)
}

const (
	maxOutbox = 512 << 10       // bytes in an outbox above which a writer waits
	linger    = 5 * time.Second // how long a closed connection goes on sending what was written
)

// conn is a connection of a fabric. Faults are injected at the writing end: what the
// link delays goes to the outbox, and a goroutine sends it from there.
type conn struct {
	net.Conn
	n      *Network
	client bool // guarded by n.mu
	once   sync.Once
	done   chan struct{} // closed by Close

	mu       sync.Mutex // guards what follows
	peer     Place
	known    bool // peer is valid
	dialed   bool // by this end
	frames   bool // each write is a whole Raft frame
	deadline time.Time
	outbox   []parcel // ordered by when they are due
	bytes    int      // in the outbox
	sending  bool     // a goroutine empties the outbox
	due      time.Time
	room     chan struct{} // closed when the outbox has shrunk; nil: nobody waits
	failed   error         // of the sending
	closed   bool
}

// parcel holds the bytes of one write.
type parcel struct {
	b   []byte
	due time.Time
}

func (c *conn) Read(b []byte) (int, error) {
	k, err := c.Conn.Read(b)
	if gate := c.n.pass(c.done); gate != nil && err == nil {
		return 0, gate
	}
	return k, err
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.n.pass(c.done); err != nil {
		return 0, err
	}
	f := c.n.fabric
	link := f.Link(c.n.place, c.place())
	if link == (Link{}) {
		c.mu.Lock()
		idle := !c.sending
		c.mu.Unlock()
		if idle {
			return c.Conn.Write(b)
		}
	}
	if f.chance(link.Reset) {
		_ = c.abort() // a test's doing
		return 0, net.ErrClosed
	}
	lost, twice, late := f.chance(link.Loss), f.chance(link.Duplicate), f.chance(link.Reorder)
	travel := f.travel(link)
	c.mu.Lock()
	frames := c.frames
	c.mu.Unlock()
	switch {
	case frames && lost:
		return len(b), nil
	case lost:
		travel += retransmission
	}
	if err := c.post(b, travel, frames && late); err != nil {
		return 0, err
	}
	if frames && twice {
		if err := c.post(b, travel, late); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// leads sets the peer of a connection that this end has opened.
func (c *conn) leads(to Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer, c.known, c.dialed = to, true, true
}

// carryFrames declares that each write from now on is a whole Raft frame.
func (c *conn) carryFrames() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = true
}

// place returns the place of the other end. An accepted connection finds it out at its
// first write: by then the other end has registered its address.
func (c *conn) place() Place {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		c.peer, c.known = c.n.fabric.placeOf(c.RemoteAddr().String()), true
	}
	return c.peer
}

// post puts bytes into the outbox. If they are late, later ones may overtake them.
func (c *conn) post(b []byte, travel time.Duration, late bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.bytes > maxOutbox && c.failed == nil {
		if err := c.wait(); err != nil {
			return err
		}
	}
	if c.failed != nil {
		return c.failed
	}
	due := time.Now().Add(travel)
	if due.Before(c.due) {
		due = c.due
	}
	if late {
		due = due.Add(overtaken)
	} else {
		c.due = due
	}
	at := len(c.outbox)
	for at > 0 && c.outbox[at-1].due.After(due) {
		at--
	}
	c.outbox = slices.Insert(c.outbox, at, parcel{append([]byte(nil), b...), due})
	c.bytes += len(b)
	if !c.sending {
		c.sending = true
		go c.send()
	}
	return nil
}

// wait waits until the outbox has shrunk. mu is held before and after, and unlocked
// meanwhile.
func (c *conn) wait() error {
	if c.room == nil {
		c.room = make(chan struct{})
	}
	room := c.room
	var late <-chan time.Time
	if !c.deadline.IsZero() {
		t := time.NewTimer(time.Until(c.deadline))
		defer t.Stop()
		late = t.C
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-room:
		return nil
	case <-late:
		return os.ErrDeadlineExceeded
	case <-c.done:
		return net.ErrClosed
	}
}

// send empties the outbox as fast as the link allows.
func (c *conn) send() {
	var over <-chan time.Time // set when the connection is closed
	done := c.done
	_ = c.Conn.SetWriteDeadline(time.Time{})
	for {
		c.mu.Lock()
		if len(c.outbox) == 0 || c.failed != nil {
			c.stopSending()
			c.mu.Unlock()
			return
		}
		next := c.outbox[0]
		c.mu.Unlock()
		link, changed := c.n.fabric.link(c.n.place, c.place())
		wait := time.Until(next.due)
		if link.Cut || wait > 0 {
			due := time.NewTimer(wait)
			arrives := due.C
			if link.Cut {
				arrives = nil
			}
			select {
			case <-arrives:
			case <-changed:
			case <-c.n.dead:
				c.fail(net.ErrClosed)
			case <-done:
				done, over = nil, time.After(linger)
			case <-over:
				c.fail(net.ErrClosed)
			}
			due.Stop()
			continue // the first parcel may be another now, and the link may have changed
		}
		if err := c.n.pass(c.n.dead); err != nil {
			c.fail(err)
			continue
		}
		c.mu.Lock()
		c.outbox = slices.Delete(c.outbox, 0, 1)
		c.bytes -= len(next.b)
		c.wakeWriters()
		c.mu.Unlock()
		if _, err := c.Conn.Write(next.b); err != nil {
			c.fail(err)
		}
	}
}

// stopSending ends send. mu is held.
func (c *conn) stopSending() {
	c.sending, c.outbox, c.bytes = false, nil, 0
	c.wakeWriters()
	if c.closed || c.failed != nil {
		_ = c.Conn.Close() // a test's doing: whoever used it has closed it
		return
	}
	_ = c.Conn.SetWriteDeadline(c.deadline)
}

func (c *conn) wakeWriters() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
}

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.sending {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// Close closes the connection. Bytes that were written and are still on their way
// arrive, unless the link stays cut for longer than linger.
func (c *conn) Close() error {
	c.forget()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.sending {
		return c.Conn.SetReadDeadline(time.Unix(1, 0)) // ends a Read; send closes
	}
	return c.Conn.Close()
}

// abort closes the connection as the death of a process does: the peer sees a reset,
// and what was not yet sent is lost.
func (c *conn) abort() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // best effort: without it the peer sees an orderly end
	}
	c.fail(net.ErrClosed)
	c.forget()
	return c.Conn.Close()
}

func (c *conn) forget() {
	c.once.Do(func() {
		close(c.done)
		c.n.mu.Lock()
		delete(c.n.conns, c)
		c.n.mu.Unlock()
		c.mu.Lock()
		dialed := c.dialed
		c.mu.Unlock()
		if dialed {
			c.n.fabric.leave(c.LocalAddr().String(), c.n.place)
		}
	})
}

// packetConn is the UDP socket of a network. A paused one loses packets.
type packetConn struct {
	net.PacketConn
	n *Network
}

func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		k, from, err := p.PacketConn.ReadFrom(b)
		if err != nil || p.n.flows() {
			return k, from, err
		}
	}
}

func (p *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if !p.n.flows() {
		return len(b), nil
	}
	f := p.n.fabric
	if f == nil {
		return p.PacketConn.WriteTo(b, to)
	}
	link := f.Link(p.n.place, f.placeOf(to.String()))
	if link == (Link{}) {
		return p.PacketConn.WriteTo(b, to)
	}
	if link.Cut || f.chance(link.Loss) {
		return len(b), nil
	}
	p.later(b, to, f.travel(link), f.chance(link.Reorder))
	if f.chance(link.Duplicate) {
		p.later(b, to, f.travel(link), f.chance(link.Reorder))
	}
	return len(b), nil
}

// later sends a packet after a while. As with any packet, errors are not reported.
func (p *packetConn) later(b []byte, to net.Addr, travel time.Duration, late bool) {
	if late {
		travel += overtaken
	}
	b = append([]byte(nil), b...)
	time.AfterFunc(travel, func() {
		if p.n.flows() {
			_, _ = p.PacketConn.WriteTo(b, to)
		}
	})
}
