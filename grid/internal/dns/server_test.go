package dns

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// TestStats: questions are counted by transport, and answers by code, whoever gives them.
func TestStats(t *testing.T) {
	f := someServices()
	s, address := serve(t, f)
	notify := question("SOA quorate.")
	notify.Opcode = dns.OpcodeNotify
	badVersion := question("A quorate.").SetEdns0(1232, false)
	badVersion.IsEdns0().SetVersion(1)
	two := question("A quorate.")
	two.Question = append(two.Question, two.Question[0])
	rubbish := question("A quorate.")
	rubbish.Answer = []dns.RR{soa(zone)}
	f.mu.Lock()
	f.fails = errAway
	f.mu.Unlock()
	for _, q := range []*dns.Msg{
		question("A quorate."), question("A x.quorate."), question("A org."), question("A api.service.quorate."), notify, badVersion, two, rubbish,
	} {
		for _, transport := range []string{UDP, TCP} {
			ask(t, transport, address, q)
		}
	}
	want := Stats{
		Queries: map[string]uint64{UDP: 8, TCP: 8}, Mirrors: 1,
		Responses: map[string]uint64{"NOERROR": 2, "NXDOMAIN": 2, "REFUSED": 2, "SERVFAIL": 2, "NOTIMP": 2, "BADVERS": 2, "FORMERR": 4},
	}
	if diff := cmp.Diff(want, s.Stats()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// hostile are packets that a client would not send.
func hostile() [][]byte {
	pack := func(m *dns.Msg) []byte {
		b, err := m.Pack()
		if err != nil {
			panic(err)
		}
		return b
	}
	q := pack(question("SRV v2.web.service.quorate.").SetEdns0(4096, true))
	answer := pack(new(dns.Msg).SetReply(question("A web.service.quorate.")))
	all := [][]byte{{}, {0}, q[:11], q[:12], q[:20], q[:len(q)-3], answer}
	header := func(counts [4]uint16, rest ...byte) {
		b := make([]byte, 12)
		for i, n := range counts {
			binary.BigEndian.PutUint16(b[4+2*i:], n)
		}
		all = append(all, append(b, rest...))
	}
	header([4]uint16{1})                                                        // a question that is not there
	header([4]uint16{0})                                                        // no question
	header([4]uint16{65535, 65535, 65535, 65535})                               // what is not there
	header([4]uint16{1}, 0xC0, 12, 0, 1, 0, 1)                                  // a name that points at itself
	header([4]uint16{1}, 63, 'a')                                               // a label that is cut
	header([4]uint16{1}, 0, 0, 1, 0, 1)                                         // the root
	header([4]uint16{1, 0, 0, 1}, 0, 0, 1, 0, 1, 0, 0, 41)                      // an option that is cut
	header([4]uint16{1, 0, 0, 2}, 0, 0, 1, 0, 1, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0) // one that is missing
	return all
}

// TestHostile: what is no question is not answered, or refused, and the next question is.
func TestHostile(t *testing.T) {
	t.Parallel()
	_, address := serve(t, someServices())
	for _, network := range []string{UDP, TCP} {
		for _, packet := range hostile() {
			c, err := net.Dial(network, address)
			if err != nil {
				t.Fatal(err)
			}
			if network == TCP {
				packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
			}
			if _, err := c.Write(packet); err != nil {
				t.Fatal(err)
			}
			if m := ask(t, network, address, question("A web.service.quorate.")); len(m.Answer) != 3 {
				t.Errorf("after %x: %v", packet, m)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	// A message with a length that nothing follows.
	c, err := net.Dial(TCP, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{0xFF, 0xFF, 1}); err != nil {
		t.Fatal(err)
	}
	check(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("a connection that sends no more is not closed: %v", err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func isReset(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestConnections: so many connections are served at once; the next one is when one of them
// has ended.
func TestConnections(t *testing.T) {
	t.Parallel()
	_, address := serve(t, someServices())
	dial := func() *dns.Conn {
		c, err := net.Dial(TCP, address)
		check(t, err)
		t.Cleanup(func() { _ = c.Close() }) // some are closed by then
		check(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		return &dns.Conn{Conn: c}
	}
	served := func(c *dns.Conn) bool {
		err := c.WriteMsg(question("A web.service.quorate."))
		if err == nil {
			_, err = c.ReadMsg()
		}
		return err == nil
	}
	var open []*dns.Conn
	for range maxConnections {
		open = append(open, dial())
		if !served(open[len(open)-1]) {
			t.Fatalf("connection %d is not served", len(open))
		}
	}
	more := dial()
	answered := make(chan bool, 1)
	go func() { answered <- served(more) }()
	for range 10 {
		alive := 0
		early := len(answered) > 0
		for _, c := range open {
			if served(c) {
				alive++
			}
		}
		if early && alive == maxConnections {
			t.Fatalf("%d connections are served at once", maxConnections+1)
		}
	}
	check(t, open[0].Close())
	if !<-answered {
		t.Error("when a connection has ended, the next one is not served")
	}
}

// TestStalledReader: the connection of a client that takes no answers is closed, so that it
// keeps neither others from being served nor the server from closing.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	f := newFake()
	many(f, 3000)
	_, address := serve(t, f)
	c, err := net.Dial(TCP, address)
	check(t, err)
	defer c.Close()
	check(t, c.(*net.TCPConn).SetReadBuffer(4096))
	check(t, c.SetWriteDeadline(time.Now().Add(20*time.Second)))
	dc := &dns.Conn{Conn: c}
	for n := 0; err == nil; n++ {
		if err = dc.WriteMsg(question("SRV many.service.quorate.")); n > maxQuestions/2 {
			time.Sleep(10 * time.Millisecond) // the answers so far are more than what is between the two takes
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is kept: %v", err)
	}
}

// FuzzAnswer: no packet panics; what is answered can be read, repeats the question's ID, and
// is not too large.
func FuzzAnswer(f *testing.F) {
	for _, packet := range hostile() {
		f.Add(packet, true)
		f.Add(packet, false)
	}
	g := someServices()
	many(g, 100)
	s := quiet(f, g)
	f.Fuzz(func(t *testing.T, packet []byte, udp bool) {
		q := new(dns.Msg)
		if q.Unpack(packet) != nil {
			return
		}
		m := s.answer(q, udp)
		b, err := m.Pack()
		if err != nil {
			t.Fatalf("%v: %v", q, err)
		}
		size := dns.MaxMsgSize
		if udp {
			size = maxUDP
			if q.IsEdns0() == nil {
				size = dns.MinMsgSize
			}
		}
		back := new(dns.Msg)
		if err := back.Unpack(b); err != nil || len(b) > size || back.Id != q.Id || !back.Response || rcodes[back.Rcode] == "" {
			t.Fatalf("%v is answered by %v, %d bytes: %v", q, back, len(b), err)
		}
	})
}
