package network

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

const patience = 20 * time.Second

// pair is two members of a fabric, with a connection that the first has opened
// to the second.
type pair struct {
	fabric     *Fabric
	near, far  net.Conn
	nets       [2]*Network
	socket     net.PacketConn // of the first
	heard      net.PacketConn // of the second
	listensFar string
}

func newPair(t *testing.T, purpose protocol.Purpose) *pair {
	t.Helper()
	f := NewFabric(1)
	p := &pair{fabric: f, nets: [2]*Network{f.Network(0), f.Network(1)}}
	t.Cleanup(func() { p.nets[0].Kill(); p.nets[1].Kill() })
	l, heard, err := p.nets[1].Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own, socket, err := p.nets[0].Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); heard.Close(); own.Close(); socket.Close() })
	p.heard, p.socket, p.listensFar = heard, socket, l.Addr().String()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	if p.near, err = p.nets[0].Dial(context.Background(), p.listensFar, purpose); err != nil {
		t.Fatal(err)
	}
	p.far = <-accepted
	var preface [protocol.PrefaceSize]byte
	if _, err := io.ReadFull(p.far, preface[:]); err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// silent reports that nothing arrives for a while.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d, %v, want nothing", n, err)
	}
}

func TestCutOneWay(t *testing.T) {
	p := newPair(t, protocol.PurposeMember)
	p.fabric.Set(0, 1, Link{Cut: true})
	write(t, p.near, "held")
	write(t, p.far, "back")
	if got := read(t, p.near, 4); got != "back" {
		t.Fatalf("the other way: %q", got)
	}
	silent(t, p.far)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	for _, n := range p.nets {
		if c, err := n.Dial(ctx, p.listensFar, protocol.PurposeMember); err == nil && n == p.nets[0] {
			t.Errorf("a connection over a cut link: %v", c.LocalAddr())
		}
	}
	p.fabric.Heal()
	write(t, p.near, "after")
	if got := read(t, p.far, 9); got != "heldafter" {
		t.Fatalf("after the cut: %q", got)
	}
}

func TestCutWayBack(t *testing.T) {
	p := newPair(t, protocol.PurposeMember)
	p.fabric.Set(1, 0, Link{Cut: true})
	write(t, p.far, "held")
	write(t, p.near, "there")
	if got := read(t, p.far, 5); got != "there" {
		t.Fatalf("the healthy way: %q", got)
	}
	silent(t, p.near)
	p.fabric.Heal()
	if got := read(t, p.near, 4); got != "held" {
		t.Fatalf("after the cut: %q", got)
	}
}

// A writer is held up when much is on its way, until its deadline.
func TestCutFillsUp(t *testing.T) {
	p := newPair(t, protocol.PurposeMember)
	p.fabric.Set(0, 1, Link{Cut: true})
	b := make([]byte, maxOutbox+1)
	if _, err := p.near.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := p.near.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.near.Write(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v, want a deadline that is exceeded", err)
	}
	if err := p.near.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { _, err := p.near.Write([]byte("x")); wrote <- err }()
	p.fabric.Heal()
	read(t, p.far, len(b)+1)
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
}

func TestDelayKeepsOrderAndOutlivesClose(t *testing.T) {
	p := newPair(t, protocol.PurposeMember)
	p.fabric.Set(0, 1, Link{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.05})
	began := time.Now()
	var want strings.Builder
	for i := range 100 {
		s := string(rune('0' + i%10))
		write(t, p.near, s)
		want.WriteString(s)
	}
	if err := p.near.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, p.far, 100); got != want.String() {
		t.Fatalf("%q", got)
	}
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("after %v", took)
	}
	if _, err := p.far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the end", err)
	}
}

// Raft's frames are lost, doubled and overtaken as a whole.
func TestFrames(t *testing.T) {
	p := newPair(t, protocol.PurposeRaft)
	p.fabric.Set(0, 1, Link{Loss: 1})
	write(t, p.near, "lost")
	silent(t, p.far)
	p.fabric.Set(0, 1, Link{Duplicate: 1})
	write(t, p.near, "twice")
	if got := read(t, p.far, 10); got != "twicetwice" {
		t.Fatalf("%q", got)
	}
	p.fabric.Set(0, 1, Link{Reorder: 1})
	write(t, p.near, "late")
	p.fabric.Heal()
	write(t, p.near, "soon")
	if got := read(t, p.far, 8); got != "soonlate" {
		t.Fatalf("%q", got)
	}
}

func TestReset(t *testing.T) {
	p := newPair(t, protocol.PurposeMember)
	p.fabric.Set(0, 1, Link{Reset: 1})
	if _, err := p.near.Write([]byte("x")); err == nil {
		t.Fatal("the connection is still there")
	}
	if _, err := p.far.Read(make([]byte, 1)); err == nil {
		t.Fatal("the other end does not see it")
	}
}

func TestPackets(t *testing.T) {
	p := newPair(t, protocol.PurposeMember)
	send := func(s string) {
		t.Helper()
		if _, err := p.socket.WriteTo([]byte(s), p.heard.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	receive := func() string {
		t.Helper()
		if err := p.heard.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, _, err := p.heard.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	p.fabric.Set(0, 1, Link{Cut: true})
	send("cut")
	p.fabric.Set(0, 1, Link{Loss: 1})
	send("lost")
	p.fabric.Set(0, 1, Link{Duplicate: 1})
	send("twice")
	if a, b := receive(), receive(); a != "twice" || b != "twice" {
		t.Fatalf("%q, %q", a, b)
	}
	p.fabric.Set(0, 1, Link{Reorder: 1})
	send("late")
	p.fabric.Heal()
	send("soon")
	if a, b := receive(), receive(); a != "soon" || b != "late" {
		t.Fatalf("%q, %q", a, b)
	}
}
