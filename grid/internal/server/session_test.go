package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quorate/quorate/protocol"
)

// TestSessionRequestsAreBounded shows that a connection has so many requests on
// sessions in flight, and few while all connections together have very many.
func TestSessionRequestsAreBounded(t *testing.T) {
	var mu sync.Mutex
	var held []func(protocol.Reply)
	sources := map[string]bool{}
	b := &fakeBackend{session: func(source string, done func(protocol.Reply)) {
		mu.Lock()
		defer mu.Unlock()
		held = append(held, done)
		sources[source] = true
	}}
	s, address := startTuned(t, b, nil, func(*Config) {})
	x := greet(t, address, false)
	next := uint64(0)
	ask := func(n int) {
		t.Helper()
		var all []byte
		for range n {
			next++
			start := len(all)
			q := protocol.SessionRequest{Type: protocol.TypeSession, ID: next, Action: protocol.SessionHeartbeat, Session: 7}
			all = protocol.EndFrame(append(protocol.BeginFrame(all), protocol.Encode(q)...), start)
		}
		x.write(all)
	}
	// Those beyond the bound are answered at once, so that they tell that the others
	// have arrived.
	refused := func(n int, want protocol.Code) {
		t.Helper()
		for range n {
			if r := x.reply(); r.Code != want {
				t.Fatalf("code %d, want %d", r.Code, want)
			}
		}
	}
	ask(maxSessions + 50)
	refused(50, protocol.CodeBusy)
	mu.Lock()
	waiting := held
	held = nil
	mu.Unlock()
	if len(waiting) != maxSessions {
		t.Errorf("%d wait, want %d", len(waiting), maxSessions)
	}
	for _, done := range waiting {
		done(protocol.Reply{})
	}
	refused(maxSessions, protocol.CodeOK)
	s.sessions.Add(crowdedSessions) // of others
	ask(fairSessions + 5)
	refused(5, protocol.CodeBusy)
	if !sources["127.0.0.1"] || len(sources) != 1 {
		t.Errorf("they come from %v", sources)
	}
}

// endless is a connection on which bytes have always arrived.
type endless struct {
	net.Conn
	bytes.Reader
}

func (c *endless) Read(p []byte) (int, error) { return c.Reader.Read(p[:min(len(p), 1000)]) }

// TestReadersTakeTurns shows that others run between the messages of a client that sends
// without end, and whose messages are all answered at once.
func TestReadersTakeTurns(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var dispatched atomic.Int64
	s, _ := startTuned(t, &fakeBackend{session: func(_ string, done func(protocol.Reply)) {
		dispatched.Add(1)
		done(protocol.Reply{})
	}}, nil, func(*Config) {})
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	q := protocol.Encode(protocol.SessionRequest{Type: protocol.TypeSession, ID: 1, Action: protocol.SessionHeartbeat, Session: 7})
	frame := protocol.EndFrame(append(protocol.BeginFrame(nil), q...), 0)
	const messages = 20_000
	sent := endless{Conn: ours}
	sent.Reset(bytes.Repeat(frame, messages))
	c := newClientConn(s, &sent)
	c.frames.SetMax(int(s.cfg.Limits.Frame))
	c.shake.left = -1
	ended := make(chan error, 1)
	go func() { ended <- c.read() }()
	var before, most int64
	for over := false; !over; {
		select {
		case err := <-ended:
			over = true
			if err != io.EOF {
				t.Error(err)
			}
		default:
			runtime.Gosched()
		}
		n := dispatched.Load()
		most, before = max(most, n-before), n
	}
	if before != messages {
		t.Errorf("%d messages were read, want %d", before, messages)
	}
	if most > 2*fairMessages {
		t.Errorf("%d messages were dispatched without a turn for others, want %d at most", most, fairMessages)
	}
	_, _ = ours.Close(), theirs.Close()
}

// TestBatchIsBounded shows that a batch of more requests than may be in flight is
// malformed: each of them costs ten times what it takes on the wire.
func TestBatchIsBounded(t *testing.T) {
	limit := int(protocol.DefaultLimits().InFlight)
	for _, n := range []int{limit, limit + 1} {
		g := &fakeGroup{self: true, hold: true}
		x := greet(t, startServer(t, &fakeBackend{}, g), false)
		m := protocol.Batch{Requests: make([]protocol.Request, n)}
		for i := range m.Requests {
			m.Requests[i] = request(uint64(i), "")
		}
		x.send(m.Append(nil))
		if n > limit {
			if r := x.reply(); r.Code != protocol.CodeInvalid || r.ID != 0 {
				t.Errorf("%d requests: %+v", n, r)
			}
			if _, err := x.frames.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection goes on: %v", err)
			}
			continue
		}
		answered := 0
		for answered < n {
			answered += g.answerHeld()
		}
	}
}

type addressed struct {
	net.Conn
	addr net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.addr }

// TestSource shows what counts as one source of sessions.
func TestSource(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.1:7170": "10.0.0.1", "[::ffff:10.0.0.1]:7170": "10.0.0.1", "[2001:db8:1:2:3:4:5:6]:7170": "2001:db8:1:2::/64",
		"[fe80::1]:7170": "fe80::/64",
	} {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&clientConn{conn: addressed{addr: a}}).source(); got != want {
			t.Errorf("%s is of %q, want %q", address, got, want)
		}
	}
	in, out := net.Pipe()
	defer out.Close()
	defer in.Close()
	if got := (&clientConn{conn: in}).source(); got != "" {
		t.Errorf("a client in the process is of %q", got)
	}
}
