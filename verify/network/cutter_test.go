package network

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

// frames are what a client writes first: the preface, and a frame for each message.
func frames(messages ...[]byte) []byte {
	b := protocol.AppendPreface(nil, protocol.PurposeClient)
	for _, m := range messages {
		start := len(b)
		b = protocol.EndFrame(append(protocol.BeginFrame(b), m...), start)
	}
	return b
}

func request(kind protocol.KindID, op protocol.Op) []byte {
	q := protocol.Request{ID: 1, Kind: kind, Op: op, Flags: protocol.FlagRead, Name: "m"}
	return q.Append(nil)
}

// Only the connections on which a watch was registered first are cut and reset.
func TestCutter_Watches(t *testing.T) {
	hello := protocol.NewHello(protocol.UUID{1}, "c")
	var arrived []net.Conn
	k := NewCutter(func(context.Context, string) (net.Conn, error) {
		near, far := net.Pipe()
		arrived = append(arrived, far)
		return near, nil
	})
	write := func(c, far net.Conn, b []byte) {
		go func() {
			for i := range b { // in the smallest pieces
				_, _ = c.Write(b[i : i+1])
			}
		}()
		if _, err := io.ReadFull(far, make([]byte, len(b))); err != nil {
			t.Fatal(err)
		}
	}
	var conns []net.Conn
	for range 2 {
		c, err := k.Dial(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	write(conns[0], arrived[0], frames(protocol.Encode(&hello), request(protocol.KindControl, protocol.OpWatch)))
	write(conns[1], arrived[1], frames(protocol.Encode(&hello), request(1, 1), request(protocol.KindControl, protocol.OpWatch)))
	k.SetWatches(true)
	for i, cut := range []bool{true, false} {
		if err := conns[i].SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.ReadFull(arrived[i], make([]byte, 1)) }()
		if _, err := conns[i].Write([]byte{0}); (err != nil) != cut {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	k.SetWatches(false)
	if n := k.ResetWatches(); n != 1 {
		t.Errorf("%d connections reset", n)
	}
	if err := conns[1].SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	write(conns[1], arrived[1], []byte{1})
	_ = conns[1].Close()
}
