package gossip

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/protocol"
)

// transport carries memberlist's traffic over the member's one port.
type transport struct {
	net     *network.Network
	packets net.PacketConn
	ip      net.IP
	port    int

	packetCh chan *memberlist.Packet
	streamCh chan net.Conn
	done     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

func newTransport(n *network.Network, packets net.PacketConn, ip net.IP, port int) *transport {
	if ip4 := ip.To4(); ip4 != nil {
		ip = ip4
	}
	t := &transport{
		net: n, packets: packets, ip: ip, port: port,
		packetCh: make(chan *memberlist.Packet, 64), streamCh: make(chan net.Conn),
		done: make(chan struct{}),
	}
	// An earlier transport that was stopped on this socket has left a deadline.
	_ = packets.SetReadDeadline(time.Time{})
	t.wg.Go(t.read)
	return t
}

func (t *transport) read() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := t.packets.ReadFrom(buf)
		now := time.Now()
		select {
		case <-t.done:
			return
		default:
		}
		if err != nil {
			// A socket reports an earlier packet that was refused as an error of the
			// read; when it is closed for good, done is closed.
			select {
			case <-t.done:
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		if n == 0 {
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: now}
		select {
		case t.packetCh <- p:
		case <-t.done:
			return
		}
	}
}

// serve hands an accepted stream to memberlist.
func (t *transport) serve(c net.Conn) {
	select {
	case t.streamCh <- c:
	case <-t.done:
		_ = c.Close() // the peer tries again
	}
}

// stop ends the reading without closing the socket. It is idempotent.
func (t *transport) stop() {
	t.once.Do(func() {
		close(t.done)
		_ = t.packets.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
		t.wg.Wait()
	})
}

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return t.ip, t.port, nil }
func (t *transport) PacketCh() <-chan *memberlist.Packet                 { return t.packetCh }
func (t *transport) StreamCh() <-chan net.Conn                           { return t.streamCh }
func (t *transport) Shutdown() error                                     { t.stop(); return nil }

func (t *transport) WriteTo(b []byte, address string) (time.Time, error) {
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.packets.WriteTo(b, to)
	return time.Now(), err
}

func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.net.Dial(ctx, address, protocol.PurposeGossip)
}

func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}
