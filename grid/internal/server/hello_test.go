package server

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

func (x *peer) greet(h protocol.Hello) (w protocol.Welcome) {
	x.t.Helper()
	x.send(protocol.Encode(h))
	if err := protocol.Decode(x.next(protocol.TypeWelcome), &w); err != nil {
		x.t.Fatal(err)
	}
	return w
}

// TestHelloOpensASession: the welcome has the session, the client's address is its
// source, and without an answer in time the client is welcome all the same.
func TestHelloOpensASession(t *testing.T) {
	asked := make(chan systemstate.Opening, 10)
	answers := true
	b := &fakeBackend{open: func(ctx context.Context, opens []systemstate.Opening) ([]systemstate.Opened, error) {
		for _, o := range opens {
			asked <- o
		}
		if !answers {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return []systemstate.Opened{{Session: 70, TTL: 4 * time.Second}}, nil
	}}
	s, address := startTuned(t, b, &fakeGroup{self: true}, func(*Config) {})
	h := protocol.NewHello(protocol.UUID{7}, "x")
	if w := connect(t, address, protocol.PurposeClient).greet(h); w.Session != 0 || w.SessionTTL != 0 || len(asked) > 0 {
		t.Errorf("unasked: session %d, %d ms, %d questions", w.Session, w.SessionTTL, len(asked))
	}
	h.SessionTTL = 5000
	x := connect(t, address, protocol.PurposeClient)
	if w := x.greet(h); w.Session != 70 || w.SessionTTL != 4000 {
		t.Errorf("session %d, %d ms", w.Session, w.SessionTTL)
	}
	if o, want := <-asked, (systemstate.Opening{Client: h.Client, TTL: 5 * time.Second, Source: "127.0.0.1", Name: "x", Greets: true}); o != want {
		t.Errorf("asked for %+v, want %+v", o, want)
	}
	if n := s.Stats(); n.SessionsKept != 1 || n.SessionsNotOpened != 0 {
		t.Errorf("%d sessions are kept, %d were not opened", n.SessionsKept, n.SessionsNotOpened)
	}
	heard := func() bool {
		s.keeper.mu.Lock()
		defer s.keeper.mu.Unlock()
		c := s.keeper.clients[h.Client]
		return c != nil && c.heard.Load()
	}
	if heard() {
		t.Error("more than the hello is heard of the client")
	}
	x.write([]byte{0}) // the first byte of a frame that takes its time
	eventually(t, "a byte is heard of", heard)
	answers = false
	if w := connect(t, address, protocol.PurposeClient).greet(h); w.Session != 0 || w.Member != 1 {
		t.Errorf("no leader: %+v", w)
	}
	if n := s.Stats().SessionsNotOpened; n != 1 {
		t.Errorf("%d sessions were not opened", n)
	}
	h.Client = protocol.UUID{}
	y := connect(t, address, protocol.PurposeClient)
	y.send(protocol.Encode(h))
	if code, _ := y.end(); code != protocol.CodeInvalid {
		t.Errorf("a session for nobody: code %d", code)
	}
}

// TestRoute: to a client that leaves routing to the member, the partition that it
// sends does not count, here and with a leader elsewhere.
func TestRoute(t *testing.T) {
	right := func(*protocol.Request) protocol.PartitionID { return 1 }
	here := &fakeGroup{self: true, hold: true}
	leader := startServer(t, &fakeBackend{}, here)
	for what, at := range map[string]string{
		"here":      startServer(t, &fakeBackend{partition: right}, here),
		"elsewhere": startServer(t, &fakeBackend{partition: right, leader: 2, address: leader}, &fakeGroup{code: protocol.CodeNotLeader}),
	} {
		h := protocol.NewHello(protocol.UUID{7}, "")
		h.Flags = protocol.HelloForward | protocol.HelloRoute
		x := connect(t, at, protocol.PurposeClient)
		x.greet(h)
		q := request(5, "body")
		q.Partition, q.Caller = 99999, protocol.Caller{Session: 3, Slot: 4, Sequence: 5}
		x.send(q.Append(nil))
		var came []byte
		eventually(t, what+": it arrives", func() bool {
			here.mu.Lock()
			defer here.mu.Unlock()
			for _, r := range here.held {
				came = bytes.Clone(r.Raw)
				if r.Partition != 1 {
					t.Errorf("%s: partition %d", what, r.Partition)
				}
			}
			return came != nil
		})
		here.answerHeld()
		if r := x.reply(); r.ID != 5 || r.Code != protocol.CodeOK {
			t.Errorf("%s: reply %+v", what, r)
		}
		var logged protocol.Request
		if err := logged.Decode(came); err != nil || logged.Partition != 1 || logged.Caller != q.Caller || string(logged.Body) != "body" {
			t.Errorf("%s: what is logged says %+v, %v", what, logged, err)
		}
	}
	x := connect(t, leader, protocol.PurposeClient)
	h := protocol.NewHello(protocol.UUID{7}, "")
	h.Flags = protocol.HelloRoute
	x.send(protocol.Encode(h))
	if code, _ := x.end(); code != protocol.CodeInvalid {
		t.Errorf("routing without forwarding: code %d", code)
	}
}

// TestNoTables: a client that wants no tables gets none but those it asks for.
func TestNoTables(t *testing.T) {
	s, address := startTuned(t, &fakeBackend{}, &fakeGroup{self: true}, func(*Config) {})
	h := protocol.NewHello(protocol.UUID{7}, "")
	h.Flags = protocol.HelloNoTables
	x, other := connect(t, address, protocol.PurposeClient), greet(t, address, false)
	if w := x.greet(h); w.Partitions != 2 || len(w.Table.Partitions) > 0 || w.Table.Epoch != 0 {
		t.Errorf("welcome %+v", w)
	}
	s.TableChanged()
	other.next(protocol.TypeTable) // pushed
	x.send(protocol.Encode(protocol.TableRequest{Type: protocol.TypeTableRequest, ID: 8}))
	var table protocol.Table
	if err := protocol.Decode(x.next(protocol.TypeTable), &table); err != nil || table.ID != 8 || len(table.Partitions) != 2 {
		t.Errorf("the first table is %+v, %v", table, err)
	}
}
