package dns

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

const (
	// maxUDP is how large an answer over UDP is at most: it passes every network unbroken.
	maxUDP = 1232
	// leastRecord is how large a record is at least: more than size/leastRecord of them do
	// not fit into size bytes.
	leastRecord = 16

	// The priorities of SRV: those that are warning are for when no passing one answers, as
	// with a dservice.Provider.
	passingPriority = 1
	warningPriority = 2
	weight          = 1
)

// answer returns the answer to a question that came over UDP or TCP.
func (s *Server) answer(q *dns.Msg, udp bool) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	size := dns.MaxMsgSize
	if udp {
		size = dns.MinMsgSize
	}
	opts := 0
	for _, extra := range q.Extra {
		opt, ok := extra.(*dns.OPT)
		if !ok {
			continue
		}
		opts++
		if udp {
			size = mutantSize(int(opt.UDPSize()), min(max(size, int(opt.UDPSize())), maxUDP))
		}
		if opts == 1 {
			own := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
			own.SetUDPSize(maxUDP)
			m.Extra = append(m.Extra, own)
			if opt.Version() != 0 {
				m.Rcode = dns.RcodeBadVers
			}
		}
	}
	switch {
	case len(q.Question) != 1 || opts > 1:
		m.Rcode = dns.RcodeFormatError
	case m.Rcode == dns.RcodeSuccess:
		s.fill(m, size/leastRecord)
	}
	m.Truncate(size)
	return m
}

// fill fills in what is known of the question of m: at most so many records, of those in any
// order.
func (s *Server) fill(m *dns.Msg, most int) {
	q := &m.Question[0]
	t := read(q.Name)
	if t.kind == outside || q.Qclass != dns.ClassINET || q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR {
		m.Rcode = dns.RcodeRefused
		return
	}
	m.Authoritative = true
	var answer, extra []dns.RR
	switch t.kind {
	case absent:
		m.Rcode = dns.RcodeNameError
	case apex:
		answer, extra = s.ofZone(q)
	case atServer:
		answer = ofAddress(q, s.address)
	case atAddress:
		answer = ofAddress(q, t.ip)
	case atService:
		answer, extra = s.ofService(m, &t, most)
	}
	if q.Qtype == dns.TypeANY && m.Rcode == dns.RcodeSuccess {
		// RFC 8482: one record that says that there may be others.
		answer, extra = []dns.RR{&dns.HINFO{Hdr: header(q.Name, dns.TypeHINFO), Cpu: "RFC8482"}}, nil
	}
	m.Answer = answer
	m.Extra = append(extra, m.Extra...)
	if len(answer) == 0 && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) {
		m.Ns = []dns.RR{soa(zone)}
	}
}

// header returns the header of a record, which nobody is to keep.
func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET}
}

func soa(name string) dns.RR {
	return &dns.SOA{
		Hdr: header(name, dns.TypeSOA), Ns: server, Mbox: hostmaster,
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, // of copies, which nobody can make
	}
}

func (s *Server) ofZone(q *dns.Question) (answer, extra []dns.RR) {
	switch q.Qtype {
	case dns.TypeSOA:
		return []dns.RR{soa(q.Name)}, nil
	case dns.TypeNS:
		return []dns.RR{&dns.NS{Hdr: header(q.Name, dns.TypeNS), Ns: server}}, address(server, s.address)
	}
	return nil, nil
}

// ofAddress answers a question for a name that has an address, if that is of its type.
func ofAddress(q *dns.Question, ip netip.Addr) []dns.RR {
	if q.Qtype != typeOf(ip) {
		return nil
	}
	return address(q.Name, ip)
}

func typeOf(ip netip.Addr) uint16 {
	switch {
	case ip.Is4():
		return dns.TypeA
	case ip.Is6():
		return dns.TypeAAAA
	}
	return dns.TypeNone
}

// address returns the record of an address, none if it is not valid.
func address(name string, ip netip.Addr) []dns.RR {
	switch h := header(name, typeOf(ip)); h.Rrtype {
	case dns.TypeA:
		return []dns.RR{&dns.A{Hdr: h, A: ip.AsSlice()}}
	case dns.TypeAAAA:
		return []dns.RR{&dns.AAAA{Hdr: h, AAAA: ip.AsSlice()}}
	}
	return nil
}

// ofService answers a question for a service, or for its instances with a tag.
func (s *Server) ofService(m *dns.Msg, t *target, most int) (answer, extra []dns.RR) {
	q := &m.Question[0]
	list, err := s.mirrors.list(t.service)
	if err != nil {
		// It may be there: nobody may be told that it is not (DNS-1).
		s.log.Debug("a question for a service cannot be answered", "service", t.service, "err", err)
		m.Authoritative, m.Rcode = false, dns.RcodeServerFailure
		return nil, nil
	}
	there := false
	var from []*instance
	for i := range list {
		in := &list[i]
		if t.tag != "" && !slices.Contains(in.tags, t.tag) {
			continue
		}
		there = true
		if in.usable {
			from = append(from, in)
		}
	}
	switch {
	case !there:
		m.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeSRV:
		return srv(q.Name, from, most)
	case q.Qtype == dns.TypeA, q.Qtype == dns.TypeAAAA:
		return ips(q, from, most), nil
	}
	return nil, nil
}

// drawn calls f with some of the instances, each once, in random order, until it says that
// it has enough. It reorders them.
func drawn(from []*instance, f func(*instance) bool) {
	for i := range from {
		j := i + rand.IntN(len(from)-i)
		from[i], from[j] = from[j], from[i]
		if !f(from[i]) {
			return
		}
	}
}

// ips returns the addresses of instances, of the type that q asks for, each once.
func ips(q *dns.Question, from []*instance, most int) (answer []dns.RR) {
	seen := map[netip.Addr]bool{}
	drawn(from, func(in *instance) bool {
		if typeOf(in.ip) == q.Qtype && !seen[in.ip] {
			seen[in.ip] = true
			answer = append(answer, address(q.Name, in.ip)...)
		}
		return len(answer) < most
	})
	return answer
}

// srv returns where instances listen, each address and port once, and the addresses of those
// besides.
func srv(name string, from []*instance, most int) (answer, extra []dns.RR) {
	type where struct {
		target string
		port   uint16
	}
	seen, hosts := map[where]bool{}, map[string]bool{}
	drawn(from, func(in *instance) bool {
		at := where{in.host, in.port}
		if in.ip.IsValid() {
			at.target = nameOf(in.ip)
		}
		if at.target == "" || at.port == 0 || seen[at] {
			return true
		}
		seen[at] = true
		r := &dns.SRV{Hdr: header(name, dns.TypeSRV), Priority: passingPriority, Weight: weight, Port: at.port, Target: at.target}
		if in.warning {
			r.Priority = warningPriority
		}
		answer = append(answer, r)
		if !hosts[at.target] {
			hosts[at.target] = true
			extra = append(extra, address(at.target, in.ip)...)
		}
		return len(answer) < most
	})
	return answer, extra
}
