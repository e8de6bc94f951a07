package network

import (
	"bufio"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

// echo is a member that sends back what it gets, by TCP and UDP.
func echo(t *testing.T) string {
	t.Helper()
	tcp, udp, err := listenBoth()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return tcp.Addr().String()
}

func TestNetwork(t *testing.T) {
	a, b := echo(t), echo(t)
	n, err := NewProxies([]string{a, b}, func(from, to *net.TCPAddr) int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c, err := net.Dial("tcp", n.Address(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	say := func(line string) {
		t.Helper()
		if _, err := io.WriteString(c, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(want string) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if got, err := in.ReadString('\n'); err != nil || got != want+"\n" {
			t.Fatalf("heard %q, %v; want %q", got, err, want)
		}
	}
	say(string(protocol.AppendPreface(nil, protocol.PurposeRaft)))
	hear(string(protocol.AppendPreface(nil, protocol.PurposeRaft)))

	n.Set(1, 0, Way{Cut: true}) // what it answers does not arrive
	say("held")
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if line, err := in.ReadString('\n'); err == nil {
		t.Fatalf("heard %q through a cut", line)
	}
	n.Heal()
	hear("held")

	n.Set(0, 1, Way{Corrupt: 1}) // the way back might flip the same bit again
	say("damaged")
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, len("damaged\n"))
	if _, err := io.ReadFull(in, buf); err != nil || string(buf) == "damaged\n" {
		t.Errorf("%q came through undamaged: %v", buf, err)
	}
	if n.Damaged() == 0 {
		t.Error("nothing was damaged")
	}
}

func TestSocketOwner(t *testing.T) {
	if !canTell {
		t.Skip("not on this system")
	}
	tcp, udp, err := listenBoth()
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	defer udp.Close()
	c, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted, err := tcp.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	from, to := accepted.RemoteAddr().(*net.TCPAddr), accepted.LocalAddr().(*net.TCPAddr)
	if got := SocketOwner(map[int]int{os.Getpid(): 2}, from, to); got != 2 {
		t.Errorf("owner %d, want 2", got)
	}
	if got := SocketOwner(map[int]int{1: 2}, from, to); got != Outside {
		t.Errorf("owner %d, want outside", got)
	}
}

func TestCutter(t *testing.T) {
	address := echo(t)
	k := NewCutter(Dial)
	c, err := k.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k.Set(address, true)
	c.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("wrote to a member that is cut off")
	}
	c.SetDeadline(time.Now().Add(30 * time.Second))
	k.Set(address, false)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if k.Reset(address) != 1 {
		t.Error("the connection was not known")
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("read from a connection that was reset")
	}
}
