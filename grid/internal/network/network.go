package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
)

// ErrKilled is the error of a network that was killed.
var ErrKilled = fmt.Errorf("network killed: %w", net.ErrClosed)

const (
	dialTimeout = 3 * time.Second
	keepAlive   = 15 * time.Second
	udpBuffer   = 2 << 20
)

// Network opens connections for one member. The zero Network is ready to use and passes
// everything through. One of a Fabric keeps track of its connections, so that they can
// be paused, cut and killed. It is safe for concurrent use.
type Network struct {
	fabric *Fabric // nil: passes everything through
	place  Place
	dead   chan struct{} // closed by Kill

	mu     sync.Mutex // guards what follows
	killed bool
	gate   chan struct{} // not nil: paused; closed when it resumes
	conns  map[*conn]struct{}
	own    string // the address of the member
	serve  func(net.Conn)
}

type contextKey struct{}

// With returns a context that carries n to a member that is started with it.
func With(ctx context.Context, n *Network) context.Context {
	return context.WithValue(ctx, contextKey{}, n)
}

// From returns the network that ctx carries, or a plain one.
func From(ctx context.Context) *Network {
	if n, ok := ctx.Value(contextKey{}).(*Network); ok {
		return n
	}
	return &Network{}
}

// Listen opens the TCP listener and the UDP socket of one address. Port 0
// chooses a port that is free for both.
func (n *Network) Listen(address string) (net.Listener, net.PacketConn, error) {
	tcp, udp, err := ListenBoth(address)
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w: choose another --listen address, or port 0 for a free one", err)
	}
	if n.fabric != nil {
		n.fabric.settle(tcp.Addr().String(), n.place)
	}
	return &listener{tcp, n}, &packetConn{udp, n}, nil
}

// ListenBoth opens the TCP listener and the UDP socket of one address, of no member's
// network. Port 0 chooses a port that is free for both.
func ListenBoth(address string) (net.Listener, *net.UDPConn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, err
	}
	for attempt := 0; ; attempt++ {
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return nil, nil, err
		}
		packets, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			udp := packets.(*net.UDPConn)
			// Best effort: the system may limit it.
			_ = udp.SetReadBuffer(udpBuffer)
			return tcp, udp, nil
		}
		if cerr := tcp.Close(); cerr != nil {
			return nil, nil, cerr
		}
		// The free TCP port may be taken for UDP.
		if port != "0" || attempt == 20 {
			return nil, nil, fmt.Errorf("%w: the port must be free for TCP and UDP", err)
		}
	}
}

// ServeOwn makes serve, which may block, serve the connections that the member opens to
// its own address: they stay inside the process. Others reach a member at its address,
// but whether its own host does depends on the routers between them (hairpin NAT).
func (n *Network) ServeOwn(address string, serve func(net.Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.own, n.serve = address, serve
}

// Dial opens a connection for a purpose and writes its preface.
func (n *Network) Dial(ctx context.Context, address string, p protocol.Purpose) (net.Conn, error) {
	c, err := n.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	if p == protocol.PurposeClient {
		n.MarkClient(c)
	}
	var b [protocol.PrefaceSize]byte
	if err := c.SetWriteDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if _, err := c.Write(protocol.AppendPreface(b[:0], p)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.SetWriteDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if w, ok := c.(*conn); ok && p == protocol.PurposeRaft {
		w.carryFrames()
	}
	return c, nil
}

// DialClient opens a connection for a client, which writes the preface itself.
func (n *Network) DialClient(ctx context.Context, address string) (net.Conn, error) {
	c, err := n.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	n.MarkClient(c)
	return c, nil
}

// pipe returns a connection inside the process, and serves its other end.
func (n *Network) pipe(serve func(net.Conn)) (net.Conn, error) {
	near, far := net.Pipe()
	far, err := n.wrap(far)
	if err != nil {
		return nil, errors.Join(err, near.Close())
	}
	go serve(far)
	return near, nil
}

func (n *Network) connect(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	own, serve := n.own, n.serve
	n.mu.Unlock()
	if serve != nil && address == own {
		return n.pipe(serve)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if n.fabric != nil {
		if err := n.fabric.reach(ctx, n.dead, n.place, n.fabric.placeOf(address)); err != nil {
			return nil, fmt.Errorf("dial %s: %w", address, err)
		}
	}
	d := net.Dialer{KeepAlive: keepAlive}
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if n.fabric == nil {
		return raw, nil
	}
	// This precedes the first byte: the other end looks the address up when it answers.
	n.fabric.settle(raw.LocalAddr().String(), n.place)
	c, err := n.wrap(raw)
	if err != nil {
		return nil, err
	}
	c.(*conn).leads(n.fabric.placeOf(address))
	return c, nil
}

// MarkClient marks c as a client's connection, for CutClients.
func (n *Network) MarkClient(c net.Conn) {
	if w, ok := c.(*conn); ok {
		n.mu.Lock()
		w.client = true
		n.mu.Unlock()
	}
}

// Pause stops all traffic both ways; connections stay open. Packets are lost.
func (n *Network) Pause() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gate == nil {
		n.gate = make(chan struct{})
	}
}

// Resume lets traffic flow again.
func (n *Network) Resume() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gate != nil {
		close(n.gate)
		n.gate = nil
	}
}

// CutClients closes every client connection.
func (n *Network) CutClients() {
	n.closeWhere(func(c *conn) bool { return c.client })
}

// Kill closes every connection for good; nothing is sent or received any more.
func (n *Network) Kill() {
	n.mu.Lock()
	if !n.killed {
		n.killed = true
		if n.dead != nil {
			close(n.dead)
		}
	}
	n.mu.Unlock()
	n.closeWhere(func(*conn) bool { return true })
	n.Resume()
}

// Killed reports whether Kill was called.
func (n *Network) Killed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.killed
}

func (n *Network) closeWhere(match func(*conn) bool) {
	n.mu.Lock()
	var found []*conn
	for c := range n.conns {
		if match(c) {
			found = append(found, c)
		}
	}
	n.mu.Unlock()
	for _, c := range found {
		_ = c.abort() // a test's doing: there is nobody to tell
	}
}

func (n *Network) wrap(raw net.Conn) (net.Conn, error) {
	if n.fabric == nil {
		return raw, nil
	}
	c := &conn{Conn: raw, n: n, done: make(chan struct{})}
	n.mu.Lock()
	killed := n.killed
	if !killed {
		n.conns[c] = struct{}{}
	}
	n.mu.Unlock()
	if killed {
		return nil, errors.Join(ErrKilled, raw.Close())
	}
	return c, nil
}

// pass waits while the network is paused.
func (n *Network) pass(done <-chan struct{}) error {
	for {
		n.mu.Lock()
		gate, killed := n.gate, n.killed
		n.mu.Unlock()
		switch {
		case killed:
			return ErrKilled
		case gate == nil:
			return nil
		}
		select {
		case <-gate:
		case <-done:
			return net.ErrClosed
		}
	}
}

func (n *Network) flows() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gate == nil && !n.killed
}
