package network

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// Protocols of IPv4, as its header names them.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// packet is a whole IPv4 packet of TCP or UDP.
type packet struct {
	b       []byte // as long as its header says
	head    int    // where the header of TCP or UDP begins
	content int    // and where what it carries begins
}

// parse reports false for what is no whole packet of TCP or UDP.
func parse(b []byte) (packet, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return packet{}, false
	}
	p := packet{b: b, head: int(b[0]&15) * 4}
	size := int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:])&0x3fff != 0
	if size > len(b) || fragment || p.head < 20 {
		return p, false
	}
	p.b = b[:size]
	switch {
	case b[9] == protocolTCP && size >= p.head+20:
		p.content = p.head + int(b[p.head+12]>>4)*4
	case b[9] == protocolUDP && size >= p.head+8:
		p.content = p.head + 8
	}
	return p, p.content > 0 && p.content <= size
}

func (p packet) protocol() byte  { return p.b[9] }
func (p packet) src() [4]byte    { return [4]byte(p.b[12:16]) }
func (p packet) dst() [4]byte    { return [4]byte(p.b[16:20]) }
func (p packet) payload() []byte { return p.b[p.content:] }

// opens reports whether the packet asks for a connection.
func (p packet) opens() bool {
	const syn, ack = 0x02, 0x10
	return p.protocol() == protocolTCP && p.b[p.head+13]&(syn|ack) == syn
}

// flow is the same for both directions.
func (p packet) flow() flow {
	f := flow{p.src(), p.dst(), binary.BigEndian.Uint16(p.b[p.head:]), binary.BigEndian.Uint16(p.b[p.head+2:])}
	if c := bytes.Compare(f.a[:], f.b[:]); c > 0 || c == 0 && f.portA > f.portB {
		return flow{f.b, f.a, f.portB, f.portA}
	}
	return f
}

// flip flips a bit of what the packet carries and makes its checksum fit, as a
// network card does that damages what it has received. It reports false where
// the packet carries nothing.
func (p packet) flip() bool {
	n := len(p.payload())
	if n == 0 {
		return false
	}
	i := p.content + rand.IntN(n)
	before := p.word(i)
	p.b[i] ^= 1 << rand.IntN(8)
	after := p.word(i)
	at := p.head + 16
	if p.protocol() == protocolUDP {
		at = p.head + 6
	}
	sum := p.b[at : at+2]
	if p.protocol() == protocolUDP && sum[0] == 0 && sum[1] == 0 {
		return true // it has none
	}
	// RFC 1624: the checksum of a packet of which one word has changed.
	c := uint32(^binary.BigEndian.Uint16(sum)) + uint32(^before) + uint32(after)
	c = c>>16 + c&0xffff
	c = c>>16 + c&0xffff
	fits := ^uint16(c)
	if fits == 0 && p.protocol() == protocolUDP {
		fits = 0xffff
	}
	binary.BigEndian.PutUint16(sum, fits)
	return true
}

// word returns the 16 bits that a byte is one half of, for the checksum.
func (p packet) word(i int) uint16 {
	i &^= 1 // headers are multiples of four bytes
	if i+1 == len(p.b) {
		return uint16(p.b[i]) << 8
	}
	return binary.BigEndian.Uint16(p.b[i:])
}
