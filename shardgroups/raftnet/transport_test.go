package raftnet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
)

// TestTransport_MemberStartedAgain shows that the first messages to a member
// that has started again arrive, although the connection to it is from before:
// an error would make dragonboat drop all messages to the member for a while.
func TestTransport_MemberStartedAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accept := func() net.Conn {
		t.Helper()
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(30 * time.Second))
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	receive := func(c net.Conn) {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if kind, _, err := readFrame(bufio.NewReader(c), nil); err != nil || kind != frameBatch {
			t.Fatalf("frame of kind %d: %v", kind, err)
		}
	}
	tr := NewTransport(Config{
		Logger: slog.New(slog.DiscardHandler),
		Ended:  func(string) {}, ElectionTime: time.Second,
		Dial: func(ctx context.Context, address string, _ protocol.Purpose) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
	})
	defer tr.Close()
	sender, err := tr.GetConnection(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	batch := raftpb.MessageBatch{SourceAddress: "x", Requests: []raftpb.Message{{Type: raftpb.Heartbeat}}}
	if err := sender.SendMessageBatch(batch); err != nil {
		t.Fatal(err)
	}
	old := accept()
	receive(old)
	old.Close() // the member ends, and starts again at its address
	<-sender.(*raftConn).ended
	if err := sender.SendMessageBatch(batch); err != nil {
		t.Fatal(err)
	}
	for { // until the frame is there: another connection only asks whether somebody listens
		again := accept()
		defer again.Close()
		_ = again.SetReadDeadline(time.Now().Add(30 * time.Second))
		kind, _, err := readFrame(bufio.NewReader(again), nil)
		if err == nil && kind == frameBatch {
			return
		}
		if !errors.Is(err, io.EOF) {
			t.Fatalf("frame of kind %d: %v", kind, err)
		}
	}
}

// sentFrame returns a frame as it is sent.
func sentFrame(t testing.TB) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	c := &raftConn{conn: near}
	go func() {
		defer near.Close()
		b := raftpb.MessageBatch{SourceAddress: "127.0.0.1:7170", Requests: []raftpb.Message{{ShardID: 4, From: 1, To: 2, Type: raftpb.Heartbeat}}}
		_ = c.send(frameBatch, &b, b.SizeUpperLimit())
	}()
	b, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTransport_DamagedFrame: a frame with any bit flipped ends the connection
// as soon as it is there. A reader that waited for more, as a damaged length
// asks for, would swallow what is sent next and keep a group from electing.
func TestTransport_DamagedFrame(t *testing.T) {
	whole := sentFrame(t)
	waits := errors.New("it waits for more")
	read := func(b []byte) error {
		_, _, err := readFrame(io.MultiReader(bytes.NewReader(b), iotest.ErrReader(waits)), nil)
		return err
	}
	if err := read(whole); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if err := read(b); !errors.Is(err, errFrame) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}
