package client

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/protocol"
)

// FuzzMember has a client talk to a member that answers the handshake with any
// bytes, and everything after it with any others. The client gives up in its
// time, and nothing of it is left.
func FuzzMember(f *testing.F) {
	frame := func(b []byte) []byte { return protocol.EndFrame(append(protocol.BeginFrame(nil), b...), 0) }
	m := &fakeMember{id: 1, address: "a", limits: protocol.DefaultLimits()}
	m.table = fakeTable(1, 1, m)
	welcome := protocol.Encode(&protocol.Welcome{
		Type: protocol.TypeWelcome, Version: protocol.WireVersion, Cluster: protocol.UUID{1}, Name: "test",
		Member: 1, Durability: "disk", Limits: m.limits, Table: m.table, Body: m.limits.Body(),
	})
	next := m.table
	next.Epoch, next.Members = 2, nil
	r := protocol.Reply{ID: 1, Epoch: 1, Version: 1, Body: protocol.Encode(&protocol.SessionState{Session: 7, TTL: 2000})}
	f.Add(welcome, frame(r.Append(nil)))
	f.Add(welcome, append(frame(protocol.Encode(&next)), frame(r.Append(nil))...))
	f.Add(welcome, frame(protocol.Encode(&protocol.Goodbye{Type: protocol.TypeGoodbye, Reason: "test"})))
	f.Add((&protocol.Reply{Code: protocol.CodeWrongGrid}).Append(nil), []byte{})
	f.Fuzz(func(t *testing.T, hello, more []byte) {
		synctest.Test(t, func(t *testing.T) {
			dial := func(context.Context, string) (net.Conn, error) {
				near, far := net.Pipe()
				go answer(far, frame(hello), more)
				return near, nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			c, err := Dial(ctx, []string{"a"}, WithDialer(dial), WithOperationTimeout(time.Second))
			if err != nil {
				return
			}
			call := testRead()
			if n := c.Partitions(); n > 0 {
				call.Partition = c.Partition("hits", nil)
			}
			_, _ = c.Invoke(t.Context(), call)
			call.Flags = 0
			_, _ = c.Invoke(t.Context(), call)
			c.Close()
		})
	})
}

// answer is a member that answers the handshake with one thing, and the first
// that comes after it with another.
func answer(nc net.Conn, hello, more []byte) {
	defer nc.Close()
	frames := protocol.NewFrameReader(nc, protocol.MaxFrame)
	if _, err := protocol.ReadPreface(nc); err != nil {
		return
	}
	for _, b := range [][]byte{hello, more} {
		if _, err := frames.Next(); err != nil {
			return
		}
		go func() { _, _ = nc.Write(b) }()
	}
	_, _ = io.Copy(io.Discard, nc)
}
