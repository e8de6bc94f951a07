package gridtest_test

import (
	"net"
	"testing"
	"time"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
)

// rawClient speaks the protocol with a member.
type rawClient struct {
	t      *testing.T
	conn   net.Conn
	frames *protocol.FrameReader
	next   uint64
}

func dialRaw(t *testing.T, address string) *rawClient {
	t.Helper()
	c, _ := dialHello(t, address, protocol.NewHello(protocol.UUID{1}, ""))
	return c
}

// dialHello is dialRaw with a Hello of the test's own.
func dialHello(t *testing.T, address string, h protocol.Hello) (*rawClient, protocol.Welcome) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(gridtest.WaitTimeout)); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{t: t, conn: conn, frames: protocol.NewFrameReader(conn, protocol.MaxFrame)}
	if _, err := conn.Write(protocol.AppendPreface(nil, protocol.PurposeClient)); err != nil {
		t.Fatal(err)
	}
	c.send(protocol.Encode(h))
	b, err := c.frames.Next()
	if err != nil {
		t.Fatal(err)
	}
	var w protocol.Welcome
	if err := protocol.Decode(b, &w); err != nil {
		t.Fatalf("%x is no welcome: %v", b, err)
	}
	return c, w
}

func (c *rawClient) send(message []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(protocol.EndFrame(append(protocol.BeginFrame(nil), message...), 0)); err != nil {
		c.t.Fatal(err)
	}
}

// session asks about a session and waits for the reply.
func (c *rawClient) session(q protocol.SessionRequest) (protocol.Code, protocol.SessionState) {
	c.t.Helper()
	c.next++
	q.Type, q.ID = protocol.TypeSession, c.next
	c.send(protocol.Encode(q))
	for {
		b, err := c.frames.Next()
		if err != nil {
			c.t.Fatal(err)
		}
		if protocol.PeekType(b) != protocol.TypeReply {
			continue // a table
		}
		var r protocol.Reply
		var s protocol.SessionState
		if err := r.Decode(b); err != nil {
			c.t.Fatal(err)
		}
		if r.Code == protocol.CodeOK {
			if err := protocol.Decode(r.Body, &s); err != nil {
				c.t.Fatalf("the body %x is no session-state: %v", r.Body, err)
			}
		}
		return r.Code, s
	}
}

// TestSessionsOnSlowDisk shows how sessions are opened, kept and closed at a member
// each sync of whose disk takes longer than an attempt once did: one entry for
// each, whose answer counts however late it is. The bodies are what the protocol's
// page says.
func TestSessionsOnSlowDisk(t *testing.T) {
	g := gridtest.Start(t, 1, gridtest.WithMemoryDisks())
	c := dialRaw(t, g.Addrs()[0])
	g.Disk(0).Slow(600 * time.Millisecond)
	defer g.Disk(0).Slow(0)
	code, opened := c.session(protocol.SessionRequest{Action: protocol.SessionOpen, Client: protocol.UUID{7}, TTL: 60_000})
	if code != protocol.CodeOK || opened.Session == 0 || opened.TTL != 60_000 {
		t.Fatalf("open: code %d, %+v", code, opened)
	}
	for what, test := range map[string]struct {
		q    protocol.SessionRequest
		code protocol.Code
		body protocol.SessionState
	}{
		"a heartbeat":                         {protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: opened.Session}, protocol.CodeOK, opened},
		"a repeated open":                     {protocol.SessionRequest{Action: protocol.SessionOpen, Client: protocol.UUID{7}, TTL: 5000}, protocol.CodeOK, opened},
		"a heartbeat of a session never seen": {protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: 1 << 50}, protocol.CodeSessionEnded, protocol.SessionState{}},
		"an open without a UUID":              {protocol.SessionRequest{Action: protocol.SessionOpen}, protocol.CodeInvalid, protocol.SessionState{}},
		"an action that there is not":         {protocol.SessionRequest{Action: 9}, protocol.CodeUnsupported, protocol.SessionState{}},
	} {
		if code, body := c.session(test.q); code != test.code || body != test.body {
			t.Errorf("%s: code %d, %+v", what, code, body)
		}
	}
	closing := protocol.SessionRequest{Action: protocol.SessionClose, Session: opened.Session}
	for range 2 {
		if code, body := c.session(closing); code != protocol.CodeOK || body != (protocol.SessionState{Session: opened.Session}) {
			t.Errorf("close: code %d, %+v", code, body)
		}
	}
	if code, _ := c.session(protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: opened.Session}); code != protocol.CodeSessionEnded {
		t.Errorf("a heartbeat after it was closed: code %d", code)
	}
}
