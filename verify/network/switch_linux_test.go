package network

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

// separated returns hosts in network namespaces, or skips where the machine has
// none: then the proxies are used, which have tests of their own.
func separated(t *testing.T, members int) *Hosts {
	t.Helper()
	l, err := NewLauncher(func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	h := &Hosts{Kind: Namespaces, Local: l}
	if err := h.separate(members); err != nil {
		l.Close()
		t.Skip("no network namespaces here, proxies are used: ", err)
	}
	t.Cleanup(h.Close)
	return h
}

// echoIn is echo in a namespace.
func echoIn(t *testing.T, n *namespace) string {
	t.Helper()
	var l net.Listener
	var err error
	address := fmt.Sprintf("%v:%d", net.IP(n.addr[:]), memberPort)
	if ierr := n.inside(func() { l, err = net.Listen("tcp", address) }); errors.Join(ierr, err) != nil {
		t.Fatal(ierr, err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return address
}

// talk opens a connection from a namespace and returns what says a line on it
// and expects it back within a time.
func talk(t *testing.T, n *namespace, address string) func(line string, within time.Duration) error {
	t.Helper()
	c, err := n.dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	in := bufio.NewReader(c)
	return func(line string, within time.Duration) error {
		_ = c.SetDeadline(time.Now().Add(within))
		if line != "" {
			if _, err := io.WriteString(c, line+"\n"); err != nil {
				return err
			}
		}
		got, err := in.ReadString('\n')
		if err == nil && line != "" && got != line+"\n" {
			return fmt.Errorf("heard %q, said %q", got, line)
		}
		return err
	}
}

const patiently = time.Minute

// TestNamespaces: what hosts send each other passes through the switch, each
// way for itself, and a cut connection goes on when the cut is healed.
func TestNamespaces(t *testing.T) {
	h := separated(t, 2)
	address := echoIn(t, h.members[1])
	for _, n := range []*namespace{h.members[0], h.members[1], h.Clients, h.Watching} {
		if err := talk(t, n, address)("hello", patiently); err != nil {
			t.Fatal(err)
		}
	}
	member, client, watching := talk(t, h.members[0], address), talk(t, h.Clients, address), talk(t, h.Watching, address)
	for _, w := range [][2]int{{0, 1}, {1, 0}} {
		h.Network.Set(w[0], w[1], Way{Cut: true})
		if err := member("lost", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("through the cut from %d to %d: %v", w[0], w[1], err)
		}
		if err := errors.Join(client("heard", patiently), watching("heard", patiently)); err != nil {
			t.Error(err)
		}
		h.Network.Heal()
		if err := member("", patiently); err != nil {
			t.Error(err)
		}
	}
	h.Network.Cut(Outside, 1)
	if err := client("lost", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("through the cut from clients: %v", err)
	}
	if err := errors.Join(member("heard", patiently), watching("heard", patiently)); err != nil {
		t.Error(err)
	}
}

// TestNamespacesWorsen: streams survive loss, doubling, reordering and delay,
// and what is damaged is only what members send each other, with a checksum of
// its own.
func TestNamespacesWorsen(t *testing.T) {
	h := separated(t, 2)
	address := echoIn(t, h.members[1])
	line := strings.Repeat("x", 20_000)
	say := talk(t, h.members[0], address)
	h.Network.SetAll(Way{Lose: 0.1, Duplicate: 0.3, Delay: 2 * time.Millisecond})
	for range 10 {
		if err := say(line, patiently); err != nil {
			t.Fatal(err)
		}
	}
	h.Network.SetAll(Way{Delay: 50 * time.Millisecond})
	began := time.Now()
	if err := say("late", patiently); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("there and back in %v", took)
	}
	// A connection of which nobody knows what it is for, and one of a client.
	h.Network.SetAll(Way{Corrupt: 1})
	asks := talk(t, h.members[0], address)
	if err := errors.Join(say("whole", patiently), asks(string(protocol.AppendPreface(nil, protocol.PurposeClient)), patiently), asks("whole", patiently)); err != nil {
		t.Error(err)
	}
	h.Network.Heal()
	raft := talk(t, h.members[0], address)
	if err := raft(string(protocol.AppendPreface(nil, protocol.PurposeRaft)), patiently); err != nil {
		t.Fatal(err)
	}
	if n := h.Network.Damaged(); n != 0 {
		t.Errorf("%d packets were damaged", n)
	}
	h.Network.SetAll(Way{Corrupt: 1})
	// The line may be damaged into more or fewer; sent again it is not the same. The
	// way back may flip the bit again that the way there has flipped, seldom.
	damaged := false
	for range 3 {
		damaged = damaged || raft("damaged", time.Second) != nil
	}
	if !damaged {
		t.Error("it came back undamaged")
	}
	if h.Network.Damaged() == 0 {
		t.Error("nothing was damaged")
	}
}

// TestLauncherEnds: a process ends with the thread that has started it, also
// where it is stopped, and where it lives in a namespace.
func TestLauncherEnds(t *testing.T) {
	l, err := NewLauncher(func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if !canTell {
		l.Close()
		t.Skip("not on this system")
	}
	p, err := l.Process(nil, nil, "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(func(o *os.Process) error { return o.Signal(syscall.SIGSTOP) }); err != nil {
		t.Fatal(err)
	}
	l.Close()
	select {
	case <-p.Done:
	case <-time.After(patiently):
		t.Error("it lives on")
		p.Kill()
	}
	if err := l.start(exec.Command("true")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("start after the end: %v", err)
	}
}

// TestFlip: a bit is flipped in what a packet carries, and its checksum fits.
func TestFlip(t *testing.T) {
	tcp := binary.BigEndian.AppendUint16(append(make([]byte, 12), 5<<4, 0, 0, 0), 0)
	udp := make([]byte, 8)
	for _, c := range []struct {
		protocol byte
		head     []byte
		sum      int
	}{{protocolTCP, append(tcp, 0, 0), 16}, {protocolUDP, udp, 6}} {
		for size := 1; size < 50; size++ {
			b := append(make([]byte, 20), c.head...)
			for i := range size {
				b = append(b, byte(i*7))
			}
			b[0], b[9] = 0x45, c.protocol
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			binary.BigEndian.PutUint16(b[20+c.sum:], ^sum(b[20:]))
			p, ok := parse(append(b, "behind it"...))
			if !ok {
				t.Fatal("not parsed")
			}
			before := string(p.payload())
			if sum(p.b[20:]) != 0xffff {
				t.Fatalf("the test's own sum is %#x", sum(p.b[20:]))
			}
			if !p.flip() || string(p.payload()) == before {
				t.Error("nothing was flipped")
			}
			if got := sum(p.b[20:]); got != 0xffff {
				t.Errorf("protocol %d, %d bytes: the sum is %#x", c.protocol, size, got)
			}
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 60), {0x45, 19: 0}, {0x4f, 3: 20, 9: protocolTCP, 19: 0}} {
		if _, ok := parse(b); ok {
			t.Errorf("parsed %v", b)
		}
	}
}

// sum is the internet checksum, not inverted, without a pseudo header: what
// flip does not change.
func sum(b []byte) uint16 {
	c := uint32(0)
	for i := 0; i < len(b); i += 2 {
		c += uint32(b[i]) << 8
		if i+1 < len(b) {
			c += uint32(b[i+1])
		}
	}
	for c > 0xffff {
		c = c>>16 + c&0xffff
	}
	return uint16(c)
}
