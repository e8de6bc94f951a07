package server

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", waitTimeout, what)
		}
	}
}

// closedByServer waits until the server has closed the connection.
func (x *peer) closedByServer() {
	x.t.Helper()
	if _, err := io.Copy(io.Discard, x.conn); err != nil {
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			x.t.Fatal("the server does not close the connection")
		}
	}
}

// TestConnections: clients have a bound of their own, members another.
func TestConnections(t *testing.T) {
	s, address := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(c *Config) { c.MaxConnections = 3 })
	var clients []*peer
	for range 3 {
		clients = append(clients, greet(t, address, false))
	}
	connect(t, address, protocol.PurposeClient).closedByServer()
	m := connect(t, address, protocol.PurposeMember)
	m.send(protocol.Encode(protocol.PeerRequest{Type: protocol.TypePeer, ID: 7, What: "hello"}))
	if r := m.reply(); r.ID != 7 {
		t.Errorf("a member is answered %+v", r)
	}
	clients[0].conn.Close()
	eventually(t, "a client's place is free again", func() bool { return s.Load().Clients == 2 })
	greet(t, address, false)
}

// TestPendingGiveWay: connections that do not say what they are for do not keep
// others out.
func TestPendingGiveWay(t *testing.T) {
	s, address := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(*Config) {})
	var far []net.Conn
	for range maxPending + 10 {
		near, end := net.Pipe()
		far = append(far, near)
		if !s.register(end) {
			t.Fatal("no place")
		}
		go s.serve(end)
	}
	greet(t, address, false)
	if n := s.Load().Pending; n > maxPending {
		t.Errorf("%d pending", n)
	}
	if _, err := far[0].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the oldest was left: %v", err)
	}
	for _, c := range far {
		c.Close()
	}
	eventually(t, "they are forgotten", func() bool { return s.Load().Pending == 0 })
}

// TestIdlePeersGiveWay: connections for members that bring nothing keep no member
// out, and no connection that brings something gives way for them.
func TestIdlePeersGiveWay(t *testing.T) {
	const most = 8
	s, address := startTuned(t, &fakeBackend{raft: true}, nil, func(c *Config) { c.MaxPeers = most })
	ask := func(x *peer) {
		t.Helper()
		x.send(protocol.Encode(protocol.PeerRequest{Type: protocol.TypePeer, ID: 1, What: "how"}))
		if r := x.reply(); string(r.Body) != "how" {
			t.Errorf("got %+v", r)
		}
	}
	first := connect(t, address, protocol.PurposeMember)
	ask(first)
	for range most - 1 {
		connect(t, address, protocol.PurposeRaft)
	}
	eventually(t, "all places are taken", func() bool { return s.Load().Members == most })
	for range most - 1 {
		x := connect(t, address, protocol.PurposeMember)
		ask(x)
		ask(first)
	}
	if n := s.Load().Members; n > most {
		t.Errorf("%d connections of members", n)
	}
}

func TestHandshakeIsBounded(t *testing.T) {
	_, address := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(*Config) {})
	x := connect(t, address, protocol.PurposeClient)
	q := protocol.Encode(protocol.AdminRequest{Type: protocol.TypeAdmin, ID: 1, What: "status"})
	go func() {
		for range 2 * handshakeBytes / len(q) {
			x.send(q)
		}
	}()
	x.closedByServer()
}

// TestHalfFrames: a frame that was begun has to go on; a connection that says
// nothing may stay.
func TestHalfFrames(t *testing.T) {
	s, address := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(c *Config) { c.StallTimeout = 100 * time.Millisecond })
	idle := greet(t, address, false)
	for _, part := range [][]byte{{0}, {0, 0, 1, 0, 1, 2, 3}, append([]byte{0, 0x10, 0, 0}, make([]byte, 20<<10)...)} {
		x := greet(t, address, false)
		x.write(part)
		x.closedByServer()
	}
	eventually(t, "what was counted is given back", func() bool { return s.Load() == Load{Clients: 1} })
	q := request(5, "still there")
	idle.send(q.Append(nil))
	if r := idle.reply(); string(r.Body) != "still there" {
		t.Errorf("%+v", r)
	}
}

// TestLargeReadsWait: replies to reads that find no room are "busy", and the
// connection stays.
func TestLargeReadsWait(t *testing.T) {
	g := &fakeGroup{self: true, hold: true}
	s, address := startTuned(t, &fakeBackend{}, g, func(*Config) {})
	x := greet(t, address, false)
	const n = 40
	go func() {
		for i := range n {
			q := request(uint64(i+1), string(make([]byte, 1<<20)))
			q.Flags = protocol.FlagRead
			x.send(q.Append(nil))
		}
	}()
	eventually(t, "as many are held as may be", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.held) >= maxInboundConn>>20
	})
	if in := s.Load().Inbound; in > maxInboundConn+4<<20 {
		t.Errorf("%d bytes in flight of one connection", in)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			g.mu.Lock()
			held := g.held
			g.held = nil
			g.mu.Unlock()
			for _, q := range held {
				q.Done(protocol.Reply{ID: q.ID, Body: q.Body})
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	busy := 0
	for range n {
		if x.reply().Code == protocol.CodeBusy {
			busy++
		}
	}
	close(stop)
	<-done
	t.Logf("%d of %d busy", busy, n)
	eventually(t, "what was counted is given back", func() bool { return s.Load() == Load{Clients: 1} })
}

// TestHostilePrefaces: whatever a stranger sends first, nothing is left when it
// has gone.
func TestHostilePrefaces(t *testing.T) {
	before := runtime.NumGoroutine()
	s, address := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(c *Config) { c.StallTimeout = 100 * time.Millisecond })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 200 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		junk := make([]byte, r.IntN(2000))
		for j := range junk {
			junk[j] = byte(r.Uint32())
		}
		purposes := []protocol.Purpose{protocol.PurposeClient, protocol.PurposeMember, protocol.PurposeRaft, protocol.PurposeGossip, 'X'}
		if p := i % (len(purposes) + 1); p < len(purposes) {
			junk = append(protocol.AppendPreface(nil, purposes[p]), junk...)
		}
		_, _ = c.Write(junk) // the server may have closed it
		c.Close()
	}
	eventually(t, "all places are free", func() bool { return s.Load() == Load{} })
	eventually(t, "all goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+5 }) // the server's own
}

// TestTablesAreMadeOnce: the table that is asked for over and over is made
// once, until it changes.
func TestTablesAreMadeOnce(t *testing.T) {
	s, _ := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(*Config) {})
	first := s.table()
	s.tables.made = time.Now().Add(time.Hour) // it does not age in this test
	if again := s.table(); &again[0] != &first[0] {
		t.Error("the table was made again")
	}
	s.TableChanged()
	if again := s.table(); &again[0] == &first[0] {
		t.Error("the table has changed, and the old one is sent")
	}
}

// TestComingClientsAreNotToldToOthers: a client that comes is no change of the
// table. Those that come and go would make a member write to everybody.
func TestComingClientsAreNotToldToOthers(t *testing.T) {
	b := &fakeBackend{}
	s, address := startTuned(t, b, &fakeGroup{self: true}, func(*Config) {})
	first := greet(t, address, false)
	s.TableChanged()
	first.next(protocol.TypeTable)
	version := s.version.Load()
	for range 20 {
		greet(t, address, false)
	}
	eventually(t, "all are served", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.clients) == 21
	})
	if s.version.Load() != version {
		t.Error("a client that comes counts as a change of the table")
	}
}

// TestChangeDuringTheHandshake: the table changes after it was taken for the
// Welcome and before the client is among those who are told.
func TestChangeDuringTheHandshake(t *testing.T) {
	b := &fakeBackend{}
	s, address := startTuned(t, b, &fakeGroup{self: true}, func(*Config) {})
	eventually(t, "the first table was offered", func() bool { return len(s.changed) == 0 })
	b.welcome = func() {
		s.TableChanged()
		for len(s.changed) > 0 { // until those who are there have been told
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Millisecond)
	}
	greet(t, address, false).next(protocol.TypeTable)
}

// TestTablesArePaced: who asks for tables without end is read slower and slower,
// until it waits a moment.
func TestTablesArePaced(t *testing.T) {
	s, _ := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(*Config) {})
	c := &tableSender{s: s, out: newTraffic(s, nil)}
	took := func(waited time.Duration) time.Duration {
		c.askedAt = time.Now().Add(time.Hour - waited) // a machine that is busy meanwhile does not count
		began := time.Now()
		if err := c.slowDown(); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	for range maxTables - moreTables {
		took(0)
	}
	for i := range 3 {
		for range moreTables - 1 {
			took(0)
		}
		if d := took(0); d < tablePause<<i {
			t.Errorf("after %d it was held back for %v", c.asked, d)
		}
	}
	took(2 * time.Hour)
	if c.asked != 1 {
		t.Errorf("after it has waited %d count", c.asked)
	}
	// What a network that has stood still for ten seconds brings at once holds up
	// what is behind it for a moment only.
	held := time.Duration(0)
	for i := range int(10 * time.Second / tablePause) {
		held += pauseAfter(i + 1)
	}
	if held > 2*time.Second {
		t.Errorf("two hundred questions hold others up for %v", held)
	}
	if d := pauseAfter(50 * maxTables); d != mostTablePause {
		t.Errorf("questions without end are read after %v", d)
	}
	c.asked = maxTables - 1
	c.askedAt = time.Now().Add(time.Hour)
	c.out.finish()
	if err := c.slowDown(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a connection that is closed is read on: %v", err)
	}
}

// TestTablesAreOwed: who has just been sent the table, and asks again, is sent it
// a little later, and at once where it has changed.
func TestTablesAreOwed(t *testing.T) {
	s, address := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(*Config) {})
	eventually(t, "the first table was offered", func() bool { return len(s.changed) == 0 })
	p := greet(t, address, false)
	ask := func(id uint64) {
		p.send(protocol.Encode(protocol.TableRequest{Type: protocol.TypeTableRequest, ID: id}))
	}
	answered := func(want uint64) {
		t.Helper()
		var table protocol.Table
		if err := protocol.Decode(p.next(protocol.TypeTable), &table); err != nil || table.ID != want || table.Epoch != 3 {
			t.Fatalf("table %+v, error %v, want the ID %d", table, err, want)
		}
	}
	ask(1 << 40)
	answered(1 << 40)
	ask(0)
	answered(0)
	var c *clientConn
	eventually(t, "it is served", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c = range s.clients {
		}
		return c != nil
	})
	sent := func() tablesSent {
		c.tables.mu.Lock()
		defer c.tables.mu.Unlock()
		return c.tables.sent
	}
	justSent := func() { // however busy the machine is
		c.tables.mu.Lock()
		defer c.tables.mu.Unlock()
		c.tables.sent.at = time.Now().Add(time.Hour)
	}
	justSent()
	ask(7)
	ask(8)
	eventually(t, "the table is owed", func() bool { return sent().owed && sent().asked == 8 })
	before := sent().at
	answered(8) // by the sweep: one for both
	if got := sent(); got.owed || got.at == before {
		t.Errorf("after the sweep: %+v", got)
	}
	justSent()
	s.version.Add(1) // it has changed, and is not pushed yet
	ask(9)
	answered(9)
	if sent().owed {
		t.Error("a table that has changed is owed")
	}
	s.TableChanged()
	answered(0)
}

// TestWatches_Ended: watches that the client has ended, and a hub not forgotten yet, keep
// others out for a moment only: who has as many as there may be registers them anew.
func TestWatches_Ended(t *testing.T) {
	x := greet(t, startServer(t, &fakeBackend{}, &fakeGroup{self: true}), false)
	register := func(first, n uint64) (last protocol.Reply) {
		b := protocol.Batch{}
		for id := first; id < first+n; id++ {
			b.Requests = append(b.Requests, protocol.Request{
				ID: id, Partition: 1, Kind: protocol.KindControl, Op: protocol.OpWatch, Flags: protocol.FlagRead, Name: "m",
			})
		}
		x.send(b.Append(nil))
		for range n {
			last = x.reply()
		}
		return last
	}
	const each = 500
	for id := uint64(1); id < maxWatchesConn; id += each {
		if r := register(id, each); r.Code != protocol.CodeOK {
			t.Fatalf("watch %d: code %d", r.ID, r.Code)
		}
	}
	if r := register(maxWatchesConn+1, 1); r.Code != protocol.CodeWaiters {
		t.Errorf("one more than there may be: code %d", r.Code)
	}
	end := protocol.WatchControl{ID: 7, Action: protocol.WatchEnd}
	x.send(end.Append(nil))
	r := register(maxWatchesConn+2, 1)
	var p protocol.Problem
	if err := p.Decode(r.Body); err != nil || r.Code != protocol.CodeBusy || p.Wait == 0 {
		t.Errorf("one more when another has been ended: code %d, %+v, %v", r.Code, p, err)
	}
}
