package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/structures/roster"
)

// records are what a section says, without the header, in order.
func records(rrs []dns.RR) (all []string) {
	for _, rr := range rrs {
		h := rr.Header()
		if h.Rrtype == dns.TypeOPT {
			continue
		}
		if h.Ttl != 0 || h.Class != dns.ClassINET {
			all = append(all, "a bad header: "+rr.String())
		}
		all = append(all, h.Name+" "+dns.TypeToString[h.Rrtype]+" "+strings.TrimPrefix(rr.String(), h.String()))
	}
	slices.Sort(all)
	return all
}

// someServices has services with instances of all sorts.
func someServices() *fake {
	f := newFake()
	f.say("web",
		current("a", "10.0.0.5", 8080, tags("v2", "Blue")),
		current("b", "10.0.0.6", 8080, health(dservice.Warning)),
		current("c", "10.0.0.7", 8080, health(dservice.Critical), tags("old")),
		current("d", "10.0.0.8", 8080, drained, tags("v2")),
		current("e", "2001:db8::1", 8080),
		current("f", "10.0.0.5", 8081),
		current("g", "10.0.0.5", 8080), // as a
		current("h", "::ffff:10.0.0.9", 0),
		current("i", "web.example.org", 80, tags("not a label")),
		current("j", "fe80::1%eth0", 80), // says nothing elsewhere
		current("k", "", 80),
		roster.Change{Type: current("", "", 0).Type, Entry: roster.Entry{ID: "l", Data: []byte("rubbish")}},
		synced)
	f.say("down", current("a", "10.0.0.5", 8080, health(dservice.Critical)), synced)
	f.say("none", synced)
	return f
}

// TestAnswers: who asks is told of what can be used, and of nothing else (DNS-2).
func TestAnswers(t *testing.T) {
	_, address := serve(t, someServices())
	const a, b = "0a000005.addr.quorate.", "0a000006.addr.quorate."
	const e = "20010db8000000000000000000000001.addr.quorate."
	for _, test := range []struct {
		question, code string
		answer, extra  []string
	}{
		{
			"SRV web.service.quorate.", "NOERROR",
			[]string{"1 1 8080 " + a, "2 1 8080 " + b, "1 1 8080 " + e, "1 1 8081 " + a, "1 1 80 web.example.org."},
			[]string{a + " A 10.0.0.5", b + " A 10.0.0.6", e + " AAAA 2001:db8::1"},
		},
		{"A web.service.quorate.", "NOERROR", []string{"10.0.0.5", "10.0.0.6", "10.0.0.9"}, nil},
		{"AAAA web.service.quorate.", "NOERROR", []string{"2001:db8::1"}, nil},
		{"A WEB.Service.Quorate.", "NOERROR", []string{"10.0.0.5", "10.0.0.6", "10.0.0.9"}, nil},
		{"TXT web.service.quorate.", "NOERROR", nil, nil},
		{"ANY web.service.quorate.", "NOERROR", []string{`"RFC8482" ""`}, nil},
		{"SRV v2.web.service.quorate.", "NOERROR", []string{"1 1 8080 " + a}, []string{a + " A 10.0.0.5"}},
		{
			"SRV _web._tcp.service.quorate.", "NOERROR",
			[]string{"1 1 8080 " + a, "2 1 8080 " + b, "1 1 8080 " + e, "1 1 8081 " + a, "1 1 80 web.example.org."},
			[]string{a + " A 10.0.0.5", b + " A 10.0.0.6", e + " AAAA 2001:db8::1"},
		},
		{"A _web._blue.service.quorate.", "NOERROR", []string{"10.0.0.5"}, nil},
		{"A BLUE.web.service.quorate.", "NOERROR", []string{"10.0.0.5"}, nil},
		{"A old.web.service.quorate.", "NOERROR", nil, nil}, // there, and critical
		{"A v3.web.service.quorate.", "NXDOMAIN", nil, nil},
		{"SRV down.service.quorate.", "NOERROR", nil, nil},
		{"A none.service.quorate.", "NXDOMAIN", nil, nil},
		{"ANY none.service.quorate.", "NXDOMAIN", nil, nil},
		{"A x.y.web.service.quorate.", "NXDOMAIN", nil, nil},
		{"A service.quorate.", "NOERROR", nil, nil},
		{"SRV _tcp.service.quorate.", "NOERROR", nil, nil},
		{"A " + a, "NOERROR", []string{"10.0.0.5"}, nil},
		{"AAAA " + a, "NOERROR", nil, nil},
		{"AAAA " + strings.ToUpper(e), "NOERROR", []string{"2001:db8::1"}, nil},
		{"A web.quorate.", "NXDOMAIN", nil, nil},
		{"A quorate.", "NOERROR", nil, nil},
		{"SOA quorate.", "NOERROR", []string{"ns.quorate. hostmaster.quorate. 1 3600 600 86400 0"}, nil},
		{"NS quorate.", "NOERROR", []string{"ns.quorate."}, []string{"ns.quorate. A 192.0.2.1"}},
		{"ANY quorate.", "NOERROR", []string{`"RFC8482" ""`}, nil},
		{"A ns.quorate.", "NOERROR", []string{"192.0.2.1"}, nil},
		{"A example.org.", "REFUSED", nil, nil},
		{"SRV web.service.consul.", "REFUSED", nil, nil},
		{"AXFR quorate.", "REFUSED", nil, nil},
	} {
		q := question(test.question)
		kind := dns.TypeToString[q.Question[0].Qtype]
		if kind == "ANY" {
			kind = "HINFO"
		}
		var want []string
		for _, text := range test.answer {
			want = append(want, q.Question[0].Name+" "+kind+" "+text)
		}
		slices.Sort(want)
		for _, transport := range []string{UDP, TCP} {
			q := question(test.question).SetEdns0(4096, false)
			m := ask(t, transport, address, q)
			if diff := cmp.Diff(want, records(m.Answer)); diff != "" || rcodes[m.Rcode] != test.code {
				t.Errorf("%s over %s: %s, -want +got\n%s", test.question, transport, rcodes[m.Rcode], diff)
			}
			if diff := cmp.Diff(test.extra, records(m.Extra)); diff != "" {
				t.Errorf("%s over %s: besides: -want +got\n%s", test.question, transport, diff)
			}
			authority := 0
			if test.code == "NXDOMAIN" || test.code == "NOERROR" && len(want) == 0 {
				authority = 1
			}
			if len(m.Ns) != authority {
				t.Errorf("%s over %s: of the authority %v", test.question, transport, m.Ns)
			}
			if m.Authoritative != (test.code != "REFUSED") || m.RecursionAvailable || m.Truncated || m.IsEdns0() == nil {
				t.Errorf("%s over %s: %v", test.question, transport, m.MsgHdr)
			}
		}
	}
}

// TestChanges: what comes, changes and goes is told of.
func TestChanges(t *testing.T) {
	f := newFake()
	f.say("web", synced)
	s := quiet(t, f)
	m, err := s.mirrors.get("web")
	if err != nil {
		t.Fatal(err)
	}
	<-m.tried
	want := func(want string, changes ...roster.Change) {
		t.Helper()
		f.say("web", changes...)
		eventually(t, want, func() string { return code(s, "A web.service.quorate.") })
	}
	want("NXDOMAIN 0")
	want("NOERROR 1", put(current("a", "10.0.0.1", 80)))
	want("NOERROR 2", put(current("b", "10.0.0.2", 80)))
	want("NOERROR 1", put(current("b", "10.0.0.2", 80, health(dservice.Critical))))
	want("NOERROR 2", put(current("b", "10.0.0.2", 80, health(dservice.Warning))))
	want("NOERROR 1", put(current("a", "10.0.0.1", 80, drained)))
	want("NOERROR 0", gone("b"))
	want("NXDOMAIN 0", gone("a"))
	want("NOERROR 1", put(current("a", "10.0.0.1", 80)))
	want("NXDOMAIN 0", roster.Change{Type: dservice.Destroyed})
	want("NOERROR 1", put(current("a", "10.0.0.1", 80)))
	rubbish := put(current("a", "10.0.0.1", 80))
	rubbish.Entry.Data = []byte("of a later version")
	want("NXDOMAIN 0", rubbish)
}

// many is a service with so many instances, each at an address of its own.
func many(f *fake, n int) {
	for i := range n {
		ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		f.say("many", current(fmt.Sprint(i), ip.String(), 80))
	}
	f.say("many", synced)
}

// TestTruncated: an answer that is too large is cut and says so, over UDP at what the
// question allows, and at 1,232 bytes; over TCP all of it comes.
func TestTruncated(t *testing.T) {
	f := newFake()
	many(f, 300)
	_, address := serve(t, f)
	for _, test := range []struct {
		transport string
		edns      uint16
		most      int
	}{{UDP, 0, 512}, {UDP, 100, 512}, {UDP, 700, 700}, {UDP, 1232, 1232}, {UDP, 65535, 1232}, {TCP, 0, 65535}, {TCP, 512, 65535}} {
		for _, kind := range []string{"A", "SRV"} {
			q := question(kind + " many.service.quorate.")
			if test.edns != 0 {
				q.SetEdns0(test.edns, false)
			}
			m := ask(t, test.transport, address, q)
			b, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			all := test.transport == TCP
			m.Compress = true
			packed, _ := m.Pack()
			if len(packed) > test.most || m.Truncated == all || (len(m.Answer) == 300) != all || len(m.Answer) == 0 {
				t.Errorf("%s over %s, EDNS0 %d: %d bytes (%d), truncated: %v, %d records", kind, test.transport, test.edns, len(packed), len(b), m.Truncated, len(m.Answer))
			}
			if !all && len(packed) < test.most-60 {
				t.Errorf("%s over %s, EDNS0 %d: only %d bytes", kind, test.transport, test.edns, len(packed))
			}
		}
	}
}

// TestMany: of the most instances that a service has, a message has what it holds.
func TestMany(t *testing.T) {
	f := newFake()
	many(f, dservice.MaxInstances)
	_, address := serve(t, f)
	for _, kind := range []string{"A", "SRV"} {
		m := ask(t, TCP, address, question(kind+" many.service.quorate."))
		if !m.Truncated || len(m.Answer) < 1000 {
			t.Errorf("%s: truncated: %v, %d records", kind, m.Truncated, len(m.Answer))
		}
	}
}

// TestRandomOrder: each instance is the first some time, also where an answer is cut.
func TestRandomOrder(t *testing.T) {
	f := newFake()
	many(f, 100)
	s := quiet(t, f)
	firsts := map[string]bool{}
	for range 5000 {
		m := s.answer(question("SRV many.service.quorate."), true)
		firsts[m.Answer[0].(*dns.SRV).Target] = true
	}
	if len(firsts) != 100 {
		t.Errorf("%d of 100 were ever the first", len(firsts))
	}
}

// TestEDNS: an unknown version, and two of what may be there once.
func TestEDNS(t *testing.T) {
	s := quiet(t, someServices())
	q := question("A web.service.quorate.").SetEdns0(1232, false)
	q.IsEdns0().SetVersion(1)
	if m := s.answer(q, true); m.Rcode != dns.RcodeBadVers || len(m.Answer) != 0 || m.IsEdns0() == nil {
		t.Errorf("of version 1: %v", m)
	}
	q = question("A web.service.quorate.").SetEdns0(1232, false).SetEdns0(1232, false)
	if m := s.answer(q, true); m.Rcode != dns.RcodeFormatError {
		t.Errorf("with two: %v", m)
	}
	if m := s.answer(question("A web.service.quorate."), true); m.IsEdns0() != nil {
		t.Errorf("who does not use it gets it: %v", m)
	}
	q = question("A web.service.quorate.")
	q.Question[0].Qclass = dns.ClassCHAOS
	if m := s.answer(q, true); m.Rcode != dns.RcodeRefused {
		t.Errorf("of another class: %v", m)
	}
}
