package conform

import (
	"bytes"
	"fmt"
	"net"
	"time"

	"github.com/quorate/quorate/protocol"
)

// member is one member that the run plays. What it knows is the run's, whose mu
// guards its fields.
type member struct {
	r       *run
	id      protocol.MemberID
	address string
	ln      net.Listener
	conns   map[*conn]struct{}
}

// conn is a connection of the client under test. The run's mu guards it.
type conn struct {
	m        *member
	nc       net.Conn
	greeted  bool
	hello    protocol.Hello
	flight   map[uint64]bool // request IDs
	goodbye  bool            // said, and the client must have read it
	began    time.Time
	tables   int    // that it asked for
	welcomed uint32 // the version in its welcome
	closed   bool
	seen     map[place]uint64 // ID of the last attempt of a call that waits
}

func (r *run) listen(id protocol.MemberID, address string) (*member, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	m := &member{r: r, id: id, address: ln.Addr().String(), conns: map[*conn]struct{}{}}
	m.serve(ln)
	return m, nil
}

func (m *member) serve(ln net.Listener) {
	m.ln = ln
	m.r.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := &conn{m: m, nc: nc, began: time.Now(), flight: map[uint64]bool{}, seen: map[place]uint64{}}
			m.r.mu.Lock()
			m.conns[c] = struct{}{}
			over := m.r.over
			m.r.mu.Unlock()
			if over {
				_ = nc.Close()
				continue
			}
			m.r.wg.Go(c.serve)
		}
	})
}

// stop ends a member: it listens no more, and its connections are cut. mu is held.
func (m *member) stop() {
	_ = m.ln.Close()
	m.cut()
}

// cut closes all connections of a member. mu is held.
func (m *member) cut() {
	for c := range m.conns {
		c.close()
	}
}

// close ends a connection. mu is held.
func (c *conn) close() {
	c.closed = true
	_ = c.nc.Close()
	delete(c.m.conns, c)
}

// serve reads what the client sends.
func (c *conn) serve() {
	defer func() {
		c.m.r.mu.Lock()
		c.close()
		c.m.r.mu.Unlock()
	}()
	purpose, err := protocol.ReadPreface(c.nc)
	if err != nil {
		return
	}
	if purpose != protocol.PurposeClient {
		c.m.r.lock(func() {
			c.m.r.broke(RuleForm, "a connection begins with the purpose %q, not with %q", byte(purpose), byte(protocol.PurposeClient))
		})
		return
	}
	frames := protocol.NewFrameReader(c.nc, protocol.MaxFrame)
	for {
		b, err := frames.Next()
		if err != nil {
			return
		}
		b = bytes.Clone(b)
		ok := true
		c.m.r.lock(func() { ok = !c.closed && c.take(b) })
		if !ok {
			return
		}
	}
}

// strict decodes a message of a client, which has one form only. mu is held.
func strict[T any](c *conn, b []byte) (v T, ok bool) {
	if err := protocol.Decode(b, &v); err != nil || !bytes.Equal(protocol.Encode(v), b) {
		c.m.r.broke(RuleForm, "the message %.60x is not in its only form", b)
		return v, false
	}
	return v, true
}

// take handles one message. It reports false if the connection is of no further
// use. mu is held.
func (c *conn) take(b []byte) bool {
	r := c.m.r
	r.heard(c)
	t := protocol.PeekType(b)
	if c.greeted && c.welcomed != protocol.WireVersion {
		r.broke(RuleVersion, "a message on a connection whose welcome was of version %d", c.welcomed)
	}
	if !c.greeted && t != protocol.TypeHello && t != protocol.TypeAdmin {
		r.broke(RuleHello, "the first message is of type %d, not a hello", t)
		return false
	}
	switch t {
	case protocol.TypeHello:
		return c.greet(b)
	case protocol.TypeRequest:
		var q protocol.Request
		if err := q.DecodeExact(b); err != nil || !bytes.Equal(q.Append(nil), b) {
			r.broke(RuleForm, "the request %.60x is not in its only form", b)
			return false
		}
		r.request(c, &q)
	case protocol.TypeBatch:
		var all []*protocol.Request
		err := protocol.EachRequest(b, func(_ []byte, q *protocol.Request) { all = append(all, q) })
		if err != nil {
			r.broke(RuleForm, "the batch %.60x: %v", b, err)
			return false
		}
		for _, q := range all {
			if !c.closed {
				r.request(c, q)
			}
		}
	case protocol.TypeSession:
		q, ok := strict[protocol.SessionRequest](c, b)
		if ok {
			r.session(c, &q)
		}
		return ok
	case protocol.TypeTableRequest:
		q, ok := strict[protocol.TableRequest](c, b)
		if ok {
			c.tables++
			most := 10 + int(time.Since(c.began)/tablePause)
			r.must(c.tables <= most, RuleTable, "%d table-requests on one connection within %v", c.tables, time.Since(c.began).Round(time.Millisecond))
			t := r.table()
			t.ID = q.ID
			c.send(r.shapeTable(&t))
		}
		return ok
	case protocol.TypeAdmin:
		q, ok := strict[protocol.AdminRequest](c, b)
		if ok {
			c.answer(protocol.Reply{ID: q.ID, Code: protocol.CodeUnsupported, Body: r.problem(protocol.Problem{Detail: "this is no grid, but a test of clients"})}, whole)
		}
		return ok
	default:
		r.broke(RuleForm, "a client does not send messages of type %d", t)
		return false
	}
	return true
}

func (c *conn) greet(b []byte) bool {
	r := c.m.r
	h, ok := strict[protocol.Hello](c, b)
	switch {
	case !ok:
		return false
	case c.greeted:
		r.broke(RuleHello, "a second hello on one connection")
		return false
	case h.Oldest > h.Newest || h.Newest < protocol.OldestVersion || h.Oldest > protocol.WireVersion:
		r.broke(RuleHello, "the client speaks versions %d to %d, the protocol has version %d", h.Oldest, h.Newest, protocol.WireVersion)
		return false
	}
	r.must(h.Client != protocol.UUID{}, RuleHello, "the client has no UUID")
	same := r.client == protocol.UUID{} || r.client == h.Client || r.ended // a new session may have a new UUID
	r.must(same, RuleHello, "one process greets as %v and as %v", r.client, h.Client)
	r.client = h.Client
	c.greeted, c.hello = true, h
	r.hellos++
	w := protocol.Welcome{
		Type: protocol.TypeWelcome, Version: protocol.WireVersion, Oldest: protocol.OldestVersion, Newest: protocol.WireVersion,
		Cluster: r.cluster, Name: "conform", Member: c.m.id, Durability: "memory", Limits: limits, Body: limits.Body(),
		Partitions: partitions, Table: r.table(),
	}
	if h.Flags&protocol.HelloNoTables != 0 {
		w.Table = protocol.Table{Type: protocol.TypeTable}
	}
	cut := whole
	if r.c.greets != nil {
		cut = r.c.greets(r, &w, h)
	}
	if h.SessionTTL > 0 && r.hellos > r.c.sessionless {
		s := r.open(h.Client, h.SessionTTL, false)
		w.Session, w.SessionTTL = s.id, uint32(s.ttl/time.Millisecond)
	}
	c.welcomed = w.Version
	c.sendPart(r.shape(w), cut)
	return !c.closed
}

// tablePause is between two table-requests.
const tablePause = 50 * time.Millisecond

// whole says that all of a message is sent.
const whole = -1

// send sends a message. mu is held: what a client does not read, which is little,
// the network buffers.
func (c *conn) send(b []byte) { c.sendPart(b, whole) }

// sendPart sends the first bytes of a frame, and ends the connection after them.
func (c *conn) sendPart(b []byte, n int) {
	if c.closed {
		return
	}
	frame := protocol.EndFrame(append(protocol.BeginFrame(nil), b...), 0)
	if n != whole {
		frame = frame[:min(n, len(frame)-1)]
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.nc.Write(frame); err != nil || n != whole {
		c.close()
	}
}

func (c *conn) answer(p protocol.Reply, part int) {
	p.Epoch = c.m.r.epoch
	delete(c.flight, p.ID)
	c.sendPart(c.m.r.grown(p.Append(nil)), part)
}

// table is the table of the grid as it is now. mu is held.
func (r *run) table() protocol.Table {
	t := protocol.Table{Type: protocol.TypeTable, Epoch: r.epoch, Cluster: r.cluster}
	var all []protocol.MemberID
	for _, m := range r.members {
		all = append(all, m.id)
		t.Members = append(t.Members, protocol.TableMember{ID: m.id, Name: fmt.Sprintf("n%d", m.id), Address: m.address})
	}
	for g := protocol.SystemGroup; g <= groups; g++ {
		t.Groups = append(t.Groups, protocol.TableGroup{ID: g, Term: r.term, Leader: r.leaders[g], Replicas: all})
	}
	for p := range partitions {
		t.Partitions = append(t.Partitions, r.groupOf(protocol.PartitionID(p)))
	}
	return t
}

// groups is the number of the last group.
const groups protocol.GroupID = 3

// groupOf returns the group that owns a partition. mu is held.
func (r *run) groupOf(p protocol.PartitionID) protocol.GroupID {
	return 2 + protocol.GroupID(int(p)+r.moves)%2
}

// push sends the table to all who take it. mu is held.
func (r *run) push() {
	t := r.table()
	b := r.shapeTable(&t)
	for _, m := range r.members {
		for c := range m.conns {
			if c.greeted && c.hello.Flags&protocol.HelloNoTables == 0 {
				c.send(b)
			}
		}
	}
}

// lead has a member lead all groups, in a new term. mu is held.
func (r *run) lead(m *member) {
	r.term++
	for g := protocol.SystemGroup; g <= groups; g++ {
		r.leaders[g] = m.id
	}
}
