package network

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
)

// packetSwitch is a Network of IPv4 packets: it reads what hosts send out of
// their devices and writes it into that of the host it is for. Streams are TCP
// in the kernels of both ends: what the switch loses is sent again, later and
// later.
type packetSwitch struct {
	*ways
	ports map[[4]byte]*port
	wg    sync.WaitGroup

	flowing sync.Mutex                // guards flows
	flows   map[flow]protocol.Purpose // of the connections between hosts
}

// port is where one host is attached.
type port struct {
	index  int // of the member, or outside, or watcher
	addr   [4]byte
	device io.ReadWriteCloser // a packet each Read and Write
	late   chan delayed       // what it has sent; all of it is delayed for the same time
}

type delayed struct {
	due    time.Time
	to     *port
	packet []byte
}

// flow names a connection, by the end that comes first.
type flow struct {
	a, b         [4]byte
	portA, portB uint16
}

const (
	maxPacket = 9000 // the MTU: large, as there are few CPUs to pass packets on
	maxLate   = 8192 // packets of a host that are delayed at a time; more are lost
)

// newSwitch passes packets on between ports, some of which are members.
func newSwitch(members int, ports []*port) *packetSwitch {
	s := &packetSwitch{ways: newWays(members), ports: map[[4]byte]*port{}, flows: map[flow]protocol.Purpose{}}
	for _, p := range ports {
		p.late = make(chan delayed, maxLate)
		s.ports[p.addr] = p
	}
	for _, p := range ports {
		s.wg.Go(func() { s.carry(p) })
		s.wg.Go(func() { p.deliver() })
	}
	return s
}

// Close closes the devices and ends what passes packets on.
func (s *packetSwitch) Close() {
	for _, p := range s.ports {
		_ = p.device.Close()
	}
	s.wg.Wait()
}

// carry passes on what a host sends until its device is closed.
func (s *packetSwitch) carry(from *port) {
	defer close(from.late)
	buf := make([]byte, maxPacket)
	for {
		k, err := from.device.Read(buf)
		if err != nil {
			return
		}
		if p, ok := parse(buf[:k]); ok {
			if to := s.ports[p.dst()]; to != nil {
				s.pass(from, to, p)
			}
		}
	}
}

func (s *packetSwitch) pass(from, to *port, p packet) {
	s.note(p)
	w := s.way(from.index, to.index)
	if w.Cut || rand.Float64() < w.Lose {
		return
	}
	if rand.Float64() < w.Corrupt && s.robust(from, to, p) && p.flip() {
		s.damaged.Add(1)
	}
	times := 1
	if rand.Float64() < w.Duplicate {
		times = 2
	}
	for range times {
		switch {
		case w.Delay == 0:
			_, _ = to.device.Write(p.b)
		case w.Duplicate > 0:
			b := bytes.Clone(p.b)
			time.AfterFunc(w.reordered(), func() { _, _ = to.device.Write(b) })
		default:
			select {
			case from.late <- delayed{time.Now().Add(w.Delay), to, bytes.Clone(p.b)}:
			default:
			}
		}
	}
}

// deliver delivers what was delayed, in order.
func (p *port) deliver() {
	for d := range p.late {
		time.Sleep(time.Until(d.due))
		_, _ = d.to.device.Write(d.packet)
	}
}

// note remembers what a connection is for: its first bytes say so.
func (s *packetSwitch) note(p packet) {
	switch b := p.payload(); {
	case p.opens():
		s.flowing.Lock()
		defer s.flowing.Unlock()
		delete(s.flows, p.flow())
	case p.protocol() == protocolTCP && len(b) >= protocol.PrefaceSize:
		purpose, err := protocol.ReadPreface(bytes.NewReader(b))
		if err != nil {
			return
		}
		s.flowing.Lock()
		defer s.flowing.Unlock()
		if _, known := s.flows[p.flow()]; !known {
			s.flows[p.flow()] = purpose
		}
	}
}

// robust reports whether a packet carries a checksum besides that of TCP or
// UDP: what clients send does not.
func (s *packetSwitch) robust(from, to *port, p packet) bool {
	if from.index < 0 || to.index < 0 {
		return false
	}
	if p.protocol() == protocolUDP {
		return true
	}
	s.flowing.Lock()
	defer s.flowing.Unlock()
	purpose, known := s.flows[p.flow()]
	return known && purpose != protocol.PurposeClient
}
