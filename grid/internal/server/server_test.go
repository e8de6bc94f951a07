package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/hub"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

const waitTimeout = time.Minute

// fakeGroup answers every request with its own body, at once or when told.
type fakeGroup struct {
	hubs sync.Once
	hub  *hub.Hub

	code protocol.Code
	self bool

	mu   sync.Mutex
	hold bool
	held []*shardgroups.Request
}

func (g *fakeGroup) Leader() shardgroups.Leader { return shardgroups.Leader{Replica: 1, Self: g.self} }

// Watch accepts a watch that is never sent anything.
func (g *fakeGroup) Watch(sink hub.Sink, q *protocol.Request) {
	g.hubs.Do(func() { g.hub = hub.New(nil) })
	sink.Reply(protocol.Reply{ID: q.ID, Body: protocol.AppendPositions(nil, nil)})
}

func (g *fakeGroup) Hub() *hub.Hub { return g.hub }

func (g *fakeGroup) Submit(q *shardgroups.Request) {
	g.mu.Lock()
	hold := g.hold
	if hold {
		g.held = append(g.held, q)
	}
	g.mu.Unlock()
	if !hold {
		q.Done(protocol.Reply{ID: q.ID, Code: g.code, Body: bytes.Clone(q.Body)})
	}
}

func (g *fakeGroup) answerHeld() int {
	g.mu.Lock()
	held := g.held
	g.held = nil
	g.mu.Unlock()
	for _, q := range held {
		q.Done(protocol.Reply{ID: q.ID})
	}
	return len(held)
}

type fakeBackend struct {
	leader  protocol.MemberID
	address string
	peer    func(context.Context) // nil: nothing; runs while a member's question is answered
	raft    bool                  // connections of Raft are kept
	welcome func()                // nil: nothing; runs when the table of a Welcome was taken
	session func(source string, done func(protocol.Reply))

	partition func(*protocol.Request) protocol.PartitionID // nil: that of the request
	open      func(context.Context, []systemstate.Opening) ([]systemstate.Opened, error)
}

func (b *fakeBackend) Self() protocol.MemberID { return 1 }

func (b *fakeBackend) Welcome() protocol.Welcome {
	w := protocol.Welcome{Name: "test", Member: 1, Table: b.Table()}
	if b.welcome != nil {
		b.welcome()
	}
	return w
}

func (b *fakeBackend) Table() protocol.Table {
	return protocol.Table{Epoch: 3, Partitions: []protocol.GroupID{2, 2}}
}

func (b *fakeBackend) LeaderOf(protocol.GroupID) protocol.MemberID { return b.leader }

func (b *fakeBackend) AddressOf(protocol.MemberID) (string, bool) { return b.address, b.address != "" }

func (b *fakeBackend) Session(_ protocol.SessionRequest, from systemstate.Origin, done func(protocol.Reply)) {
	if b.session != nil {
		b.session(from.Source, done)
		return
	}
	done(protocol.Reply{Code: protocol.CodeNotLeader})
}

func (b *fakeBackend) PartitionOf(q *protocol.Request, partitions int) protocol.PartitionID {
	if b.partition != nil {
		return b.partition(q)
	}
	return q.Partition
}

func (b *fakeBackend) OpenSessions(ctx context.Context, _ protocol.UUID, opens []systemstate.Opening) ([]systemstate.Opened, error) {
	if b.open != nil {
		return b.open(ctx, opens)
	}
	return nil, errors.New("no leader")
}

func (b *fakeBackend) RenewSessions(context.Context, protocol.UUID, []protocol.SessionID) ([]protocol.SessionID, error) {
	return nil, nil
}

func (b *fakeBackend) Admin(_ context.Context, q protocol.AdminRequest) protocol.Reply {
	return protocol.Reply{Body: []byte(q.What)}
}

func (b *fakeBackend) Peer(ctx context.Context, q protocol.PeerRequest) protocol.Reply {
	if b.peer != nil {
		b.peer(ctx)
	}
	return protocol.Reply{Body: []byte(q.What)}
}

func (b *fakeBackend) ServeRaft(c net.Conn) {
	if b.raft {
		_, _ = io.Copy(io.Discard, c) // until it is closed
	}
}

func (b *fakeBackend) ServeGossip(c net.Conn) { c.Close() }

func startServer(t testing.TB, b *fakeBackend, g *fakeGroup) string {
	t.Helper()
	_, address := startTuned(t, b, g, func(*Config) {})
	return address
}

func startTuned(t testing.TB, b *fakeBackend, g *fakeGroup, tune func(*Config)) (*Server, string) {
	t.Helper()
	n := &network.Network{}
	tcp, udp, err := n.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Listener: tcp, Network: n, Backend: b, Limits: protocol.DefaultLimits(),
		Logger: slog.New(slog.DiscardHandler),
	}
	tune(&cfg)
	s := Start(cfg)
	t.Cleanup(func() { s.Close(); udp.Close() })
	route := Route{ID: 2}
	if g != nil {
		route.Group = g
	}
	s.SetRoutes(&Routes{Epoch: 3, Partitions: []Route{route, route}})
	return s, tcp.Addr().String()
}

// peer is the far end of a connection to the server.
type peer struct {
	t      *testing.T
	conn   net.Conn
	frames *protocol.FrameReader
}

func connect(t *testing.T, address string, p protocol.Purpose) *peer {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(waitTimeout))
	x := &peer{t, c, protocol.NewFrameReader(c, protocol.MaxFrame)}
	x.write(protocol.AppendPreface(nil, p))
	return x
}

func greet(t *testing.T, address string, forward bool) *peer {
	t.Helper()
	x := connect(t, address, protocol.PurposeClient)
	hello := protocol.NewHello(protocol.UUID{}, "")
	if forward {
		hello.Flags = protocol.HelloForward
	}
	x.send(protocol.Encode(hello))
	var w protocol.Welcome
	if err := protocol.Decode(x.next(protocol.TypeWelcome), &w); err != nil || w.Member != 1 {
		t.Fatalf("welcome %+v, %v", w, err)
	}
	return x
}

func (x *peer) write(b []byte) {
	// The server may have closed the connection already, which the test sees when
	// it reads.
	_, _ = x.conn.Write(b)
}

func (x *peer) send(b []byte) {
	x.write(protocol.EndFrame(append(protocol.BeginFrame(nil), b...), 0))
}

// next returns the next message of a type; tables may come at any time.
func (x *peer) next(want protocol.MessageType) []byte {
	x.t.Helper()
	for {
		b, err := x.frames.Next()
		if err != nil {
			x.t.Fatalf("read: %v", err)
		}
		if got := protocol.PeekType(b); got == want {
			return b
		} else if got != protocol.TypeTable {
			x.t.Fatalf("message of type %d, want %d: %x", got, want, b)
		}
	}
}

func (x *peer) reply() protocol.Reply {
	x.t.Helper()
	var r protocol.Reply
	if err := r.Decode(x.next(protocol.TypeReply)); err != nil {
		x.t.Fatal(err)
	}
	return r
}

// end reads until the server closes the connection, and returns the last
// refusal before it.
func (x *peer) end() (code protocol.Code, detail string) {
	x.t.Helper()
	for {
		b, err := x.frames.Next()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			x.t.Fatal("the server does not close the connection")
		}
		if err != nil {
			return code, detail
		}
		var r protocol.Reply
		if protocol.PeekType(b) == protocol.TypeReply && r.Decode(b) == nil {
			var p protocol.Problem
			if p.Decode(r.Body) == nil {
				code, detail = r.Code, p.Detail
			}
		}
	}
}

// The fake group answers any operation of any kind.
const (
	anyKind protocol.KindID = 1
	anyOp   protocol.Op     = 1
)

func request(id uint64, body string) protocol.Request {
	return protocol.Request{ID: id, Partition: 1, Kind: anyKind, Op: anyOp, Name: "m", Body: []byte(body)}
}

func TestRequests(t *testing.T) {
	x := greet(t, startServer(t, &fakeBackend{}, &fakeGroup{self: true}), false)
	q := request(1, "a")
	x.send(q.Append(nil))
	b := protocol.Batch{Requests: []protocol.Request{request(2, "b"), request(3, "c")}}
	x.send(b.Append(nil))
	for i, want := range []string{"a", "b", "c"} {
		if r := x.reply(); r.ID != uint64(i+1) || string(r.Body) != want {
			t.Errorf("reply %d: %+v", i, r)
		}
	}
	x.send(protocol.Encode(protocol.AdminRequest{Type: protocol.TypeAdmin, ID: 9, What: "status"}))
	if r := x.reply(); r.ID != 9 || string(r.Body) != "status" {
		t.Errorf("admin: %+v", r)
	}
	x.send(protocol.Encode(protocol.TableRequest{Type: protocol.TypeTableRequest}))
	var table protocol.Table
	if err := protocol.Decode(x.next(protocol.TypeTable), &table); err != nil || table.Epoch != 3 {
		t.Errorf("table %+v, %v", table, err)
	}
}

func TestRefusedRequests(t *testing.T) {
	x := greet(t, startServer(t, &fakeBackend{leader: 7}, nil), false)
	for _, test := range []struct {
		name string
		q    protocol.Request
		want protocol.Code
	}{
		{"no replica here", request(1, ""), protocol.CodeNotLeader},
		{"partition out of range", protocol.Request{Partition: 2, Kind: 1, Name: "m"}, protocol.CodeInvalid},
		{"no name", protocol.Request{Kind: 1}, protocol.CodeInvalid},
		{"control character", protocol.Request{Kind: 1, Name: "a\nb"}, protocol.CodeInvalid},
		{"long name", protocol.Request{Kind: 1, Name: string(bytes.Repeat([]byte("a"), 256))}, protocol.CodeTooLarge},
		{"large body", protocol.Request{Kind: 1, Name: "m", Body: make([]byte, 1<<20+8<<10)}, protocol.CodeTooLarge},
	} {
		x.send(test.q.Append(nil))
		r := x.reply()
		var p protocol.Problem
		if err := p.Decode(r.Body); err != nil || r.Code != test.want ||
			test.name == "large body" && p.Detail != "the body of a request has 1056768 bytes, limit body: 1053696" {
			t.Errorf("%s: code %d (%s), %v, want %d", test.name, r.Code, p.Detail, err, test.want)
		}
		if test.want == protocol.CodeNotLeader && p.Leader != 7 {
			t.Errorf("%s: leader %d", test.name, p.Leader)
		}
	}
	x.send(protocol.Encode(protocol.SessionRequest{Type: protocol.TypeSession, ID: 5, Action: protocol.SessionOpen}))
	if r := x.reply(); r.ID != 5 || r.Code != protocol.CodeNotLeader || len(r.Body) == 0 {
		t.Errorf("session: %+v", r)
	}
}

// TestVersionsAreNegotiated: the highest version that both speak is in force, what
// this member does not know of a Hello is ignored, and who has no version in
// common with it is told both ranges.
func TestVersionsAreNegotiated(t *testing.T) {
	address := startServer(t, &fakeBackend{}, &fakeGroup{self: true})
	for _, test := range []struct {
		name           string
		oldest, newest uint32
		refused        string
	}{
		{"the same", 1, 1, ""},
		{"a later client that speaks ours", 1, 9, ""},
		{"older and later", 0, 9, ""},
		{"too new", 98, 99, "no protocol version in common: the client speaks versions 98 to 99, this member version 1"},
		{"too old", 0, 0, "no protocol version in common: the client speaks version 0, this member version 1"},
		{"upside down", 9, 1, "no protocol version in common: the client speaks versions 9 to 1, this member version 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := connect(t, address, protocol.PurposeClient)
			x.send(protocol.Encode(protocol.Hello{
				Type: protocol.TypeHello, Oldest: test.oldest, Newest: test.newest,
				Features: 1<<63 | 1, Flags: 1 << 31,
			}))
			if test.refused != "" {
				var r protocol.Reply
				var p protocol.Problem
				if err := r.Decode(x.next(protocol.TypeReply)); err != nil || r.ID != 0 || r.Code != protocol.CodeVersion {
					t.Fatalf("reply %+v, error %v", r, err)
				}
				if err := p.Decode(r.Body); err != nil || p.Detail != test.refused {
					t.Errorf("detail %q, error %v", p.Detail, err)
				}
				return
			}
			var w protocol.Welcome
			if err := protocol.Decode(x.next(protocol.TypeWelcome), &w); err != nil {
				t.Fatal(err)
			}
			if w.Version != 1 || w.Oldest != 1 || w.Newest != protocol.WireVersion || w.Features != protocol.KnownFeatures ||
				w.Partitions != 2 || w.Session != 0 || w.SessionTTL != 0 || w.Body != w.Limits.Body() {
				t.Errorf("welcome %+v", w)
			}
		})
	}
}

func TestHostileInput(t *testing.T) {
	address := startServer(t, &fakeBackend{}, &fakeGroup{self: true})
	frame := func(b []byte) []byte { return protocol.EndFrame(append(protocol.BeginFrame(nil), b...), 0) }
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	deep := bytes.Repeat([]byte{0x81}, 60_000)
	hello := func(h protocol.Hello) []byte {
		h.Type = protocol.TypeHello
		return frame(protocol.Encode(h))
	}
	good := hello(protocol.NewHello(protocol.UUID{}, ""))
	q := request(1, "x")
	whole := frame(q.Append(nil))
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	random := make([]byte, 4096)
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	for _, test := range []struct {
		name string
		send []byte
		want protocol.Code // 0: nothing need be said
	}{
		{"oversized before the handshake", length(65 << 10), protocol.CodeTooLarge},
		{"empty frame", length(0), protocol.CodeTooLarge},
		{"deep", frame(deep), protocol.CodeInvalid},
		{"request before the handshake", whole, protocol.CodeInvalid},
		{"hello that is none", frame([]byte{0x87, 1, 0xff}), protocol.CodeInvalid},
		{"another version", hello(protocol.Hello{Oldest: 98, Newest: 99}), protocol.CodeVersion},
		{"another cluster", hello(protocol.Hello{Oldest: 1, Newest: protocol.WireVersion, Cluster: "prod"}), protocol.CodeWrongGrid},
		{"oversized", append(bytes.Clone(good), length(5<<20)...), protocol.CodeTooLarge},
		{"deep request", append(bytes.Clone(good), frame(append([]byte{0x8e, 3}, deep...))...), protocol.CodeInvalid},
		{"random frame", append(bytes.Clone(good), frame(random)...), protocol.CodeInvalid},
		{"random bytes", random, 0},
		{"half a batch", append(bytes.Clone(good), frame([]byte{0x82, 5, 0x9a, 0xff, 0xff, 0xff, 0xff})...), protocol.CodeInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := connect(t, address, protocol.PurposeClient)
			x.write(test.send)
			if test.want == 0 {
				x.conn.(*net.TCPConn).CloseWrite()
			}
			code, detail := x.end()
			if test.want != 0 && (code != test.want || detail == "") {
				t.Errorf("refused with %d %q, want %d", code, detail, test.want)
			}
		})
	}
	t.Run("truncated", func(t *testing.T) {
		all := append(bytes.Clone(good), whole...)
		for n := range len(all) {
			x := connect(t, address, protocol.PurposeClient)
			x.write(all[:n])
			x.conn.(*net.TCPConn).CloseWrite()
			x.end()
		}
	})
	for _, p := range []protocol.Purpose{protocol.PurposeMember, protocol.PurposeRaft, protocol.PurposeGossip, 'X'} {
		x := connect(t, address, p)
		x.write(frame(random))
		x.end()
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(waitTimeout))
	if b, err := io.ReadAll(c); len(b) != 0 {
		t.Errorf("answered a browser with %q, %v", b, err)
	}
	// And it still serves.
	x := greet(t, address, false)
	x.write(whole)
	if r := x.reply(); r.ID != 1 {
		t.Errorf("reply %+v", r)
	}
}

func TestInFlightIsBounded(t *testing.T) {
	g := &fakeGroup{self: true, hold: true}
	x := greet(t, startServer(t, &fakeBackend{}, g), false)
	limit := int(protocol.DefaultLimits().InFlight)
	var all []byte
	for i := range limit + 100 {
		q := request(uint64(i), "")
		start := len(all)
		all = protocol.EndFrame(q.Append(protocol.BeginFrame(all)), start)
	}
	go x.write(all)
	held := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.held)
	}
	for deadline := time.Now().Add(waitTimeout); held() < limit; {
		if time.Now().After(deadline) {
			t.Fatalf("%d in flight", held())
		}
		time.Sleep(time.Millisecond)
	}
	if n := g.answerHeld(); n != limit {
		t.Errorf("%d requests in flight, limit %d", n, limit)
	}
	for range limit {
		x.reply()
	}
	for got := 0; got < 100; {
		got += g.answerHeld()
		time.Sleep(time.Millisecond)
	}
}

func TestClientThatDoesNotRead(t *testing.T) {
	_, address := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(c *Config) { c.StallTimeout = 100 * time.Millisecond })
	x := greet(t, address, false)
	q := request(1, string(make([]byte, 512<<10)))
	frame := protocol.EndFrame(q.Append(protocol.BeginFrame(nil)), 0)
	for range 200 {
		if _, err := x.conn.Write(frame); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatal("the connection is not closed")
			}
			return
		}
	}
	t.Fatal("100 MB of replies are kept for a client that does not read")
}

func TestForward(t *testing.T) {
	leader := startServer(t, &fakeBackend{}, &fakeGroup{self: true})
	other := startServer(t, &fakeBackend{leader: 2, address: leader}, &fakeGroup{code: protocol.CodeNotLeader})
	x := greet(t, other, true)
	for i := range 100 {
		q := request(uint64(i), "to the leader")
		x.send(q.Append(nil))
	}
	seen := map[uint64]string{}
	want := map[uint64]string{}
	for i := range 100 {
		r := x.reply()
		if r.Code != protocol.CodeOK {
			t.Fatalf("reply %+v", r)
		}
		seen[r.ID] = string(r.Body)
		want[uint64(i)] = "to the leader"
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
	// Without the leader every request still gets an answer.
	gone := startServer(t, &fakeBackend{leader: 2, address: "127.0.0.1:1"}, &fakeGroup{})
	y := greet(t, gone, true)
	q := request(7, "")
	y.send(q.Append(nil))
	if r := y.reply(); r.ID != 7 || r.Code != protocol.CodeNoLeader {
		t.Errorf("reply %+v", r)
	}
}

// TestStuckLeaderHoldsUpNobodyElse: a leader that takes nothing, and answers
// nothing, does not keep the member from reading what a client sends to others by
// way of it.
func TestStuckLeaderHoldsUpNobodyElse(t *testing.T) {
	for name, size := range map[string]int{"many requests": 10, "large requests": 900 << 10} {
		t.Run(name, func(t *testing.T) {
			stuck, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer stuck.Close() // the system accepts, and nobody reads
			s, address := startTuned(t, &fakeBackend{leader: 2, address: stuck.Addr().String()}, nil, func(c *Config) { c.Limits.InFlight = 200 })
			s.SetRoutes(&Routes{Partitions: []Route{{ID: 2}, {ID: 3, Group: &fakeGroup{self: true}}}})
			x := greet(t, address, true)
			n := 250
			if size > 1000 {
				n = 40
			}
			body := string(make([]byte, size))
			go func() {
				for id := range n {
					q := request(uint64(id+1), body)
					q.Partition = 0
					x.send(q.Append(nil))
				}
				q := request(uint64(n+1), "here")
				q.Partition = 1
				x.send(q.Append(nil))
			}()
			busy := 0
			for {
				r := x.reply()
				if r.ID == uint64(n+1) {
					if r.Code != protocol.CodeOK || string(r.Body) != "here" {
						t.Errorf("got %+v", r)
					}
					break
				}
				if r.Code != protocol.CodeBusy {
					t.Errorf("request %d got %v", r.ID, r.Code)
				}
				busy++
			}
			if busy == 0 || busy == n {
				t.Errorf("%d of %d requests were refused", busy, n)
			}
		})
	}
}

func BenchmarkRequests(b *testing.B) {
	n := &network.Network{}
	tcp, udp, err := n.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := Start(Config{
		Listener: tcp, Network: n, Backend: &fakeBackend{}, Limits: protocol.DefaultLimits(),
		Logger: slog.New(slog.DiscardHandler),
	})
	defer func() { s.Close(); udp.Close() }()
	route := Route{ID: 2, Group: &fakeGroup{self: true}}
	s.SetRoutes(&Routes{Partitions: []Route{route, route}})
	c, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	hello := protocol.Encode(protocol.NewHello(protocol.UUID{}, ""))
	start := protocol.AppendPreface(nil, protocol.PurposeClient)
	if _, err := c.Write(protocol.EndFrame(append(protocol.BeginFrame(start), hello...), len(start))); err != nil {
		b.Fatal(err)
	}
	q := request(1, string(make([]byte, 100)))
	var burst []byte
	const inBurst = 64
	for range inBurst {
		at := len(burst)
		burst = protocol.EndFrame(q.Append(protocol.BeginFrame(burst)), at)
	}
	frames := protocol.NewFrameReader(c, protocol.MaxFrame)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(burst); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < inBurst; {
			f, err := frames.Next()
			if err != nil {
				b.Fatal(err)
			}
			if protocol.PeekType(f) == protocol.TypeReply {
				got++
			}
		}
	}
	b.ReportMetric(float64(b.N*inBurst)/b.Elapsed().Seconds(), "requests/s")
}

// TestAskerHangsUp shows that the context of a member's question ends when its
// asker hangs up, and not before, however long the answer takes.
func TestAskerHangsUp(t *testing.T) {
	answering := make(chan context.Context)
	leave := make(chan struct{})
	b := &fakeBackend{peer: func(ctx context.Context) {
		answering <- ctx
		select {
		case <-leave:
		case <-ctx.Done():
		}
	}}
	address := startServer(t, b, &fakeGroup{})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(protocol.AppendPreface(nil, protocol.PurposeMember)); err != nil {
		t.Fatal(err)
	}
	frames := protocol.NewFrameReader(c, protocol.MaxFrame)
	q := protocol.EndFrame(append(protocol.BeginFrame(nil), protocol.Encode(protocol.PeerRequest{Type: protocol.TypePeer, ID: 7, What: "x"})...), 0)
	for range 2 {
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
		ctx := <-answering
		if err := ctx.Err(); err != nil {
			t.Fatalf("the asker waits: %v", err)
		}
		leave <- struct{}{}
		b, err := frames.Next()
		if err != nil {
			t.Fatal(err)
		}
		var r protocol.Reply
		if err := r.Decode(b); err != nil || r.ID != 7 || string(r.Body) != "x" {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if _, err := c.Write(q); err != nil {
		t.Fatal(err)
	}
	ctx := <-answering
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(waitTimeout):
		t.Fatal("the asker has hung up, and the question is still answered")
	}
}
