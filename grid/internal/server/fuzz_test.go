package server

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

// FuzzConnection sends any bytes as a client or as a member. The server ends the
// connection in time, and what it says until then are whole messages.
func FuzzConnection(f *testing.F) {
	frame := func(b []byte) []byte { return protocol.EndFrame(append(protocol.BeginFrame(nil), b...), 0) }
	hello := frame(protocol.Encode(protocol.NewHello(protocol.UUID{}, "")))
	q := request(1, "x")
	for _, m := range [][]byte{
		q.Append(nil),
		protocol.Encode(protocol.TableRequest{Type: protocol.TypeTableRequest}),
		protocol.Encode(protocol.SessionRequest{Type: protocol.TypeSession, ID: 2, Action: protocol.SessionOpen, Client: protocol.UUID{1}, TTL: 5000}),
		protocol.Encode(protocol.AdminRequest{Type: protocol.TypeAdmin, ID: 3, What: "status"}),
	} {
		f.Add(false, append(hello[:len(hello):len(hello)], frame(m)...))
	}
	f.Add(true, frame(protocol.Encode(protocol.PeerRequest{Type: protocol.TypePeer, ID: 1, What: "state"})))
	f.Add(false, hello[:5])
	address := startServer(f, &fakeBackend{}, &fakeGroup{self: true})
	f.Fuzz(func(t *testing.T, member bool, b []byte) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
			t.Fatal(err)
		}
		purpose := protocol.PurposeClient
		if member {
			purpose = protocol.PurposeMember
		}
		// The server may have ended the connection by the time that all is sent.
		_, _ = c.Write(append(protocol.AppendPreface(nil, purpose), b...))
		_ = c.(*net.TCPConn).CloseWrite()
		for frames := protocol.NewFrameReader(c, protocol.MaxFrame); ; {
			m, err := frames.Next()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection does not end")
			}
			if err != nil {
				return
			}
			if err := whole(m); err != nil {
				t.Fatalf("%x: %v", m, err)
			}
		}
	})
}

// whole decodes what a server may send.
func whole(m []byte) error {
	switch protocol.PeekType(m) {
	case protocol.TypeReply:
		var r protocol.Reply
		return r.Decode(m)
	case protocol.TypeWelcome:
		return protocol.Decode(m, new(protocol.Welcome))
	case protocol.TypeTable:
		return protocol.Decode(m, new(protocol.Table))
	case protocol.TypeGoodbye:
		return protocol.Decode(m, new(protocol.Goodbye))
	}
	return errors.New("no message of a server")
}
