package ports

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
)

// No system that Quorate runs on gives ports below 32768 to outgoing connections
// unless it is told to. Of each two thousand the lower one is taken: a member's
// HTTP port is a thousand above its own by default.
const (
	lowest    = 20_000
	thousands = 6
	spread    = 1000
	inBlock   = 20 // ports; the first is the claim
	mostBlock = 60 // of one process, of 300
)

// attempts bounds the search for a block, and for one port.
const attempts = 1000

// Free returns loopback addresses whose port is free for TCP and UDP. Another process
// is given others for as long as this one lives, also while nobody listens at them; this
// one is given an address again only after some hundred others.
func Free(n int) ([]string, error) { return process.free(n) }

// process has the ports of this process.
var process pool

// pool gives out the ports of blocks that it has claimed. A claim is a listener on the
// first port of its block, which lives as long as the process.
type pool struct {
	mu     sync.Mutex
	claims []net.Listener
	ports  []int // of all blocks
	next   int   // in ports
}

// free returns addresses of n ports. All are held until the last is found, so that none is
// given out twice.
func (p *pool) free(n int) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var addresses []string
	for range attempts * n {
		if len(addresses) == n {
			return addresses, nil
		}
		if p.next == len(p.ports) && !p.claim() {
			p.next = 0
		}
		if len(p.ports) == 0 {
			break
		}
		port := p.ports[p.next]
		p.next++
		tcp, udp, err := listen(port)
		if err != nil {
			continue
		}
		defer tcp.Close()
		defer udp.Close()
		addresses = append(addresses, tcp.Addr().String())
	}
	if len(addresses) == n {
		return addresses, nil
	}
	return nil, errors.New("no free ports on 127.0.0.1")
}

// claim claims one more block. It reports false if there are enough, or none is free.
func (p *pool) claim() bool {
	if len(p.claims) == mostBlock {
		return false
	}
	for range attempts {
		first := lowest + 2*spread*rand.IntN(thousands) + inBlock*rand.IntN(spread/inBlock)
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loopback, Port: first})
		if err != nil {
			continue
		}
		p.claims = append(p.claims, ln)
		for i := 1; i < inBlock; i++ {
			p.ports = append(p.ports, first+i)
		}
		return true
	}
	return false
}

var loopback = net.IPv4(127, 0, 0, 1)

func listen(port int) (*net.TCPListener, *net.UDPConn, error) {
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loopback, Port: port})
	if err != nil {
		return nil, nil, err
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: loopback, Port: port})
	if err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	return tcp, udp, nil
}
