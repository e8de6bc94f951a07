package gridtest_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// simpleClient is the simplest client there can be: it knows no table, hashes
// nothing, sends no heartbeat, and has one call in flight.
type simpleClient struct {
	t        *testing.T
	hello    protocol.Hello
	members  []string // the first is the one in use
	conn     *rawClient
	session  protocol.SessionID
	ttl      time.Duration
	sequence uint64
}

func simple(t *testing.T, id byte, ttl time.Duration, members ...string) *simpleClient {
	h := protocol.NewHello(protocol.UUID{id}, "simple")
	h.Flags = protocol.HelloForward | protocol.HelloRoute | protocol.HelloNoTables
	h.SessionTTL = uint32(ttl / time.Millisecond)
	c := &simpleClient{t: t, hello: h, members: members}
	for c.session == 0 {
		c.connect()
	}
	return c
}

func (c *simpleClient) connect() {
	c.t.Helper()
	conn, w := dialHello(c.t, c.members[0], c.hello)
	if w.Partitions == 0 || len(w.Table.Partitions) > 0 {
		c.t.Fatalf("welcome %+v", w)
	}
	c.conn, c.ttl = conn, time.Duration(w.SessionTTL)*time.Millisecond
	if c.session != 0 && w.Session != 0 && w.Session != c.session {
		c.t.Fatalf("session %d, want %d: it was to live on", w.Session, c.session)
	}
	c.session = w.Session
}

// once makes one attempt.
func (c *simpleClient) once(q protocol.Request) protocol.Reply {
	c.t.Helper()
	c.conn.next++
	q.ID = c.conn.next
	c.conn.send(q.Append(nil))
	for {
		b, err := c.conn.frames.Next()
		if err != nil {
			return protocol.Reply{Code: protocol.CodeUnknown}
		}
		var r protocol.Reply
		if err := r.Decode(b); err != nil {
			c.t.Fatalf("%x: %v", b, err)
		}
		if r.ID == q.ID {
			return r
		}
	}
}

// call makes attempts under one identity until one is answered.
func (c *simpleClient) call(kind protocol.KindID, op protocol.Op, name string, body []byte) protocol.Reply {
	c.t.Helper()
	c.sequence++
	q := protocol.Request{
		Kind: kind, Op: op, Name: name, Body: body, TimeLeft: 1000,
		Caller: protocol.Caller{Session: c.session, Sequence: c.sequence},
	}
	for end := time.Now().Add(gridtest.WaitTimeout); ; {
		r := c.once(q)
		switch class := r.Code.Class(); {
		case r.Code == protocol.CodeSessionEnded || class == protocol.ClassDone || class == protocol.ClassRefused:
			return r
		case time.Now().After(end):
			c.t.Fatalf("code %d, in vain", r.Code)
		}
		q.Flags |= protocol.FlagRepeat
		time.Sleep(20 * time.Millisecond)
	}
}

// The operations that a client without handles sends, of packages dcounter and
// dsemaphore.
const (
	counterAdd          protocol.Op = 3
	semaphoreInit       protocol.Op = 1
	semaphoreAcquire    protocol.Op = 2
	semaphoreTryAcquire protocol.Op = 3
)

// add adds 1 to a counter.
func (c *simpleClient) add(name string) int64 {
	c.t.Helper()
	var sum int64
	r := c.call(dcounter.Kind().ID, counterAdd, name, protocol.AppendInts(nil, 1))
	if err := protocol.ReadInts(r.Body, &sum); r.Code != protocol.CodeOK || err != nil {
		c.t.Fatalf("add: code %d, %v", r.Code, err)
	}
	return sum
}

// TestSessionInHello: a client that only says hello has a session, which lives
// for as long as it sends something, through the end of the member that leads all,
// and ends by its TTL; its calls are carried out once each.
func TestSessionInHello(t *testing.T) {
	grid := gridtest.Start(t, 3)
	leader := grid.LeaderOf(protocol.SystemGroup)
	addrs := grid.Addrs()
	var others []string
	for i, a := range addrs {
		if i != leader {
			others = append(others, a)
		}
	}
	c := simple(t, 1, 2*time.Second, others...)
	if c.ttl != 2*time.Second {
		t.Errorf("a TTL of %v", c.ttl)
	}
	for _, a := range addrs { // it is found everywhere
		if _, w := dialHello(t, a, c.hello); w.Session != c.session {
			t.Errorf("session %d at %s, want %d", w.Session, a, c.session)
		}
	}
	names := []string{"one", "two", "three", "four", "five"} // of different partitions
	n := int64(0)
	talk := func(d time.Duration) {
		t.Helper()
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			n++
			for _, name := range names {
				if sum := c.add(name); sum != n {
					t.Fatalf("%s is %d, want %d", name, sum, n)
				}
			}
		}
	}
	talk(5 * time.Second)
	grid.Kill(leader)
	talk(5 * time.Second)
	c.members = c.members[1:]
	c.connect() // the session lives on with another member
	talk(3 * time.Second)
	grid.Eventually("the session ends in silence", c.over)
	c.session, c.sequence = 0, 0
	c.connect()
	talk(time.Second) // under another session of the same client
}

// over reports whether the session has ended, without a word of the client's:
// somebody else asks.
func (c *simpleClient) over() bool {
	h := protocol.NewHello(protocol.UUID{8}, "")
	h.Flags = c.hello.Flags
	other := &simpleClient{t: c.t}
	other.conn, _ = dialHello(c.t, c.members[0], h)
	defer other.conn.conn.Close()
	return other.once(protocol.Request{
		Kind: dcounter.Kind().ID, Op: counterAdd, Name: "one", Body: protocol.AppendInts(nil, 0),
		Caller: protocol.Caller{Session: c.session, Slot: 1, Sequence: 1},
	}).Code == protocol.CodeSessionEnded
}

// TestHoldsNeedHeartbeats: a client that only says hello is granted nothing to
// hold. One that sends heartbeats is, and then it alone keeps its session: when
// they cease the permit is free, whatever else it sends.
func TestHoldsNeedHeartbeats(t *testing.T) {
	grid := gridtest.Start(t, 3)
	kind := dsemaphore.Kind().ID
	var clients []*simpleClient
	for i, a := range grid.Addrs() { // of which two do not lead the system group
		clients = append(clients, simple(t, byte(i+1), 3*time.Second, a))
	}
	one, try := protocol.AppendInts(nil, 1), protocol.AppendString(protocol.AppendInt(protocol.AppendArray(nil, 2), 1), "")
	for _, c := range clients {
		if r := c.call(kind, semaphoreInit, "permits", one); r.Code != protocol.CodeOK {
			t.Fatalf("init: code %d", r.Code)
		}
		if r := c.call(kind, semaphoreTryAcquire, "permits", try); r.Code != protocol.CodeNotKept || len(r.Body) == 0 {
			t.Fatalf("try acquire: code %d, %q", r.Code, r.Body)
		}
	}
	c := clients[0]
	c.sequence++
	if r := c.once(protocol.Request{
		Kind: kind, Op: semaphoreAcquire, Name: "permits", Body: protocol.AppendString(protocol.AppendInt(protocol.AppendInt(protocol.AppendArray(nil, 3), 1), 0), ""), Flags: protocol.FlagWait,
		Caller: protocol.Caller{Session: c.session, Sequence: c.sequence},
	}); r.Code != protocol.CodeNotKept {
		t.Fatalf("acquire: code %d", r.Code)
	}
	for _, c := range clients {
		grid.Eventually("a heartbeat is acknowledged", func() bool {
			code, state := c.conn.session(protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: c.session})
			return code == protocol.CodeOK && state.Session == c.session
		})
		r := c.call(kind, semaphoreTryAcquire, "permits", try)
		if c != clients[0] {
			if r.Code != protocol.CodeKindBase+2 {
				t.Fatalf("two hold: code %d", r.Code)
			}
			continue
		}
		if r.Code != protocol.CodeOK {
			t.Fatalf("after a heartbeat: code %d", r.Code)
		}
	}
	// The first goes on without heartbeats.
	other := simple(t, 9, time.Minute, grid.Addrs()[1])
	grid.Eventually("another holds", func() bool {
		c.conn.send(protocol.Encode(protocol.TableRequest{Type: protocol.TypeTableRequest}))
		if code, _ := other.conn.session(protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: other.session}); code != protocol.CodeOK {
			return false
		}
		return other.call(kind, semaphoreTryAcquire, "permits", try).Code == protocol.CodeOK
	})
	if !c.over() {
		t.Error("the permit is free, and the session lives")
	}
}
