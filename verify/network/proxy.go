package network

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
)

const (
	chunk       = 64 << 10
	dialTime    = time.Second
	longestHold = time.Minute // that a cut connection is kept
)

// proxies is a Network that passes on what members send each other, each
// through a proxy of its own. Streams keep their order, and lose nothing that
// was not cut for ever, as TCP does.
type proxies struct {
	*ways // its mutex guards conns and closed, too
	owner func(from, to *net.TCPAddr) int
	peers []*peer

	conns  map[*stream]struct{}
	closed bool
	wg     sync.WaitGroup
}

// peer is the proxy of one member.
type peer struct {
	index  int
	listen string // the member's own address
	addr   *net.UDPAddr
	tcp    *net.TCPListener
	udp    *net.UDPConn
}

// stream is one connection through the network.
type stream struct {
	from, to  int
	near, far *net.TCPConn
}

// NewProxies opens a proxy for each address. The function owner tells which
// member has opened a connection.
func NewProxies(addresses []string, owner func(from, to *net.TCPAddr) int) (*proxies, error) {
	n := &proxies{ways: newWays(len(addresses)), owner: owner, conns: map[*stream]struct{}{}}
	for i, address := range addresses {
		to, err := net.ResolveUDPAddr("udp", address)
		if err != nil {
			return nil, err
		}
		tcp, udp, err := listenBoth()
		if err != nil {
			n.Close()
			return nil, err
		}
		_ = udp.SetReadBuffer(2 << 20)
		n.peers = append(n.peers, &peer{index: i, listen: address, addr: to, tcp: tcp, udp: udp})
	}
	for _, p := range n.peers {
		n.wg.Go(func() { n.accept(p) })
		n.wg.Go(func() { n.packets(p) })
	}
	return n, nil
}

func (n *proxies) Address(i int) string { return n.peers[i].tcp.Addr().String() }

// Close ends the proxies and all that passes through them.
func (n *proxies) Close() {
	n.mu.Lock()
	n.closed = true
	for s := range n.conns {
		s.reset()
	}
	n.wake()
	n.mu.Unlock()
	for _, p := range n.peers {
		p.tcp.Close()
		p.udp.Close()
	}
	n.wg.Wait()
}

// pass waits while the way is cut. It reports false if the network was closed, or the
// way was cut for too long to keep a connection.
func (n *proxies) pass(from, to int) (Way, bool) {
	limit := time.NewTimer(longestHold)
	defer limit.Stop()
	for {
		n.mu.Lock()
		w, changed, closed := n.set[[2]int{from, to}], n.changed, n.closed
		n.mu.Unlock()
		switch {
		case closed:
			return w, false
		case !w.Cut:
			return w, true
		}
		select {
		case <-changed:
		case <-limit.C:
			return w, false
		}
	}
}

func (n *proxies) accept(p *peer) {
	for {
		c, err := p.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		n.wg.Go(func() { n.serve(p, c) })
	}
}

func (n *proxies) serve(p *peer, near *net.TCPConn) {
	s := &stream{to: p.index, near: near}
	s.from = n.owner(near.RemoteAddr().(*net.TCPAddr), near.LocalAddr().(*net.TCPAddr))
	// A connection needs both ways to come about.
	if _, ok := n.pass(s.from, s.to); !ok {
		s.reset()
		return
	}
	if _, ok := n.pass(s.to, s.from); !ok {
		s.reset()
		return
	}
	far, err := net.DialTimeout("tcp", p.listen, dialTime)
	if err != nil {
		s.reset()
		return
	}
	s.far = far.(*net.TCPConn)
	n.mu.Lock()
	closed := n.closed
	n.conns[s] = struct{}{}
	n.mu.Unlock()
	if closed {
		s.reset()
	}
	// What clients send has no checksum but TCP's: it is not damaged.
	preface := make([]byte, protocol.PrefaceSize)
	got, err := io.ReadFull(s.near, preface)
	purpose := protocol.PurposeClient
	if err == nil {
		purpose, _ = protocol.ReadPreface(&reader{preface})
	}
	fragile := purpose == protocol.PurposeClient || s.from == Outside
	if _, ok := n.pass(s.from, s.to); ok {
		_, _ = s.far.Write(preface[:got])
	}
	var both sync.WaitGroup
	both.Go(func() { n.pump(s, s.near, s.far, s.from, s.to, fragile) })
	both.Go(func() { n.pump(s, s.far, s.near, s.to, s.from, fragile) })
	both.Wait()
	s.near.Close()
	s.far.Close()
	n.mu.Lock()
	delete(n.conns, s)
	n.mu.Unlock()
}

type reader struct{ b []byte }

func (r *reader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	k := copy(p, r.b)
	r.b = r.b[k:]
	return k, nil
}

// pump passes one direction on until it ends. Its end passes no cut either.
func (n *proxies) pump(s *stream, src, dst *net.TCPConn, from, to int, fragile bool) {
	buf := make([]byte, chunk)
	for {
		k, err := src.Read(buf)
		w, ok := n.pass(from, to)
		if !ok {
			s.reset()
			return
		}
		if w.Delay > 0 {
			time.Sleep(w.Delay)
		}
		if k > 0 {
			if !fragile && rand.Float64() < w.Corrupt {
				n.flip(buf[:k])
			}
			if _, werr := dst.Write(buf[:k]); werr != nil {
				s.reset()
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = dst.CloseWrite()
			return
		default:
			s.reset()
			return
		}
	}
}

func (n *proxies) flip(b []byte) {
	b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
	n.damaged.Add(1)
}

// reset ends a stream without an orderly end.
func (s *stream) reset() {
	for _, c := range []*net.TCPConn{s.near, s.far} {
		if c != nil {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
}

// packets passes on what is sent to one member. The sender's own proxy sends
// it, so that the answer comes back the same way.
func (n *proxies) packets(p *peer) {
	senders := map[netip.AddrPort]*peer{}
	for _, o := range n.peers {
		senders[o.addr.AddrPort()] = o
	}
	buf := make([]byte, 64<<10)
	for {
		k, from, err := p.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		sender := senders[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
		if err != nil || sender == nil {
			continue
		}
		w := n.way(sender.index, p.index)
		if w.Cut || rand.Float64() < w.Lose {
			continue
		}
		b := append([]byte(nil), buf[:k]...)
		if k > 0 && rand.Float64() < w.Corrupt {
			n.flip(b)
		}
		times := 1
		if rand.Float64() < w.Duplicate {
			times = 2
		}
		for range times {
			send := func() { _, _ = sender.udp.WriteToUDP(b, p.addr) }
			if w.Delay > 0 {
				time.AfterFunc(w.reordered(), send)
			} else {
				send()
			}
		}
	}
}

// listenBoth listens at one port of loopback, for streams and for datagrams.
func listenBoth() (*net.TCPListener, *net.UDPConn, error) {
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Addr().(*net.TCPAddr).Port})
	if err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	return tcp, udp, nil
}
