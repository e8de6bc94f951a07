package network

import (
	"net"
	"sync"
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

// conn is a connection of a breakable network.
type conn struct {
	net.Conn
	n      *Network
	client bool // guarded by n.mu
	once   sync.Once
	done   chan struct{} // closed by Close
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
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// abort closes the connection as a process that dies does: the peer sees a
// reset, and what was not yet sent is lost.
func (c *conn) abort() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // best effort: without it the peer sees an orderly end
	}
	return c.Close()
}

func (c *conn) forget() {
	c.once.Do(func() {
		close(c.done)
		c.n.mu.Lock()
		delete(c.n.conns, c)
		c.n.mu.Unlock()
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
	return p.PacketConn.WriteTo(b, to)
}
