package client

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// testTimeout bounds every wait of the tests.
const testTimeout = 10 * time.Second

// fakeMember is a member that answers as a script says. Its grid has one
// member by default, which leads the system group and one data group.
type fakeMember struct {
	t       testing.TB
	id      protocol.MemberID
	address string
	cluster protocol.UUID

	mu       sync.Mutex
	ln       net.Listener
	table    protocol.Table
	limits   protocol.Limits
	conns    map[*fakeConn]struct{}
	handle   func(c *fakeConn, q *protocol.Request) // nil: answers OK with the body
	session  func(c *fakeConn, q *protocol.SessionRequest)
	admin    func(q *protocol.AdminRequest) []byte // nil: answers with what was asked; nil bytes: busy
	refuse   protocol.Code                         // of the handshake
	newer    uint32                                // by how much the version that it chooses is above the newest
	requests []protocol.Request
	opened   int
	keep     bool
	asked    int  // for the table
	silent   bool // such questions are not answered
	down     bool // nobody can connect
	controls []protocol.WatchControl
}

type fakeConn struct {
	m   *fakeMember
	nc  net.Conn
	mu  sync.Mutex
	out []byte
}

const fakePartitions = 8

func newFake(t testing.TB, id protocol.MemberID) *fakeMember {
	m := bareFake(t, id)
	m.listen()
	m.table = fakeTable(1, m.id, m)
	t.Cleanup(m.stop)
	return m
}

func bareFake(t testing.TB, id protocol.MemberID) *fakeMember {
	m := &fakeMember{
		t: t, id: id, limits: protocol.DefaultLimits(), conns: make(map[*fakeConn]struct{}),
		cluster: protocol.UUID{1}, keep: true,
	}
	m.table = fakeTable(1, id, m)
	return m
}

// pipe is a dialer to m inside the process, for tests with a clock of their own.
func (m *fakeMember) pipe(ctx context.Context, _ string) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	c := &fakeConn{m: m, nc: far}
	m.conns[c] = struct{}{}
	go c.serve()
	return near, nil
}

// fakeTable is the table of a grid of the given members, led by one of them.
func fakeTable(term uint64, leader protocol.MemberID, members ...*fakeMember) protocol.Table {
	t := protocol.Table{Type: protocol.TypeTable, Epoch: 1}
	for range fakePartitions {
		t.Partitions = append(t.Partitions, 2)
	}
	var replicas []protocol.MemberID
	for _, m := range members {
		replicas = append(replicas, m.id)
		t.Members = append(t.Members, protocol.TableMember{ID: m.id, Name: "n", Address: m.address})
	}
	for g := protocol.SystemGroup; g <= 2; g++ {
		t.Groups = append(t.Groups, protocol.TableGroup{ID: g, Term: term, Leader: leader, Replicas: replicas})
	}
	return t
}

// fakeGrid makes members that know each other; the first leads.
func fakeGrid(t testing.TB, n int) []*fakeMember {
	var members []*fakeMember
	for i := range n {
		members = append(members, newFake(t, protocol.MemberID(i+1)))
	}
	setTables(fakeTable(1, 1, members...), members...)
	return members
}

func setTables(table protocol.Table, members ...*fakeMember) {
	for _, m := range members {
		m.mu.Lock()
		m.table = table
		m.mu.Unlock()
	}
}

func (m *fakeMember) listen() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	m.ln, m.address = ln, ln.Addr().String()
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := &fakeConn{m: m, nc: nc}
			m.mu.Lock()
			m.conns[c] = struct{}{}
			m.mu.Unlock()
			go c.serve()
		}
	}()
}

// stop closes the listener and every connection: the member is down.
func (m *fakeMember) stop() {
	m.mu.Lock()
	m.down = true
	if m.ln != nil {
		m.ln.Close()
	}
	m.mu.Unlock()
	m.cut()
}

// restart lets clients connect to a bare member again.
func (m *fakeMember) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = false
}

// cut closes every connection.
func (m *fakeMember) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		c.nc.Close()
		delete(m.conns, c)
	}
}

func (m *fakeMember) script(handle func(c *fakeConn, q *protocol.Request)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handle = handle
}

// seen returns the requests that have arrived.
func (m *fakeMember) seen() []protocol.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]protocol.Request(nil), m.requests...)
}

// push sends the table to everyone who is connected.
func (m *fakeMember) push(table protocol.Table) {
	setTables(table, m)
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		c.send(protocol.Encode(&table))
	}
}

func (m *fakeMember) goodbye() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		c.send(protocol.Encode(&protocol.Goodbye{Type: protocol.TypeGoodbye, Reason: "test"}))
	}
}

func (c *fakeConn) send(message []byte) {
	c.queue(func(b []byte) []byte { return append(b, message...) })
	c.flush()
}

func (c *fakeConn) queue(f func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	start := len(c.out)
	c.out = protocol.EndFrame(f(protocol.BeginFrame(c.out)), start)
}

func (c *fakeConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) > 0 { // a pipe waits for a reader even of nothing
		c.nc.Write(c.out)
	}
	c.out = c.out[:0]
}

func (c *fakeConn) reply(q *protocol.Request, code protocol.Code, body []byte) {
	r := protocol.Reply{ID: q.ID, Code: code, Epoch: 1, Version: 1, Body: body}
	c.queue(r.Append)
}

func (c *fakeConn) problem(q *protocol.Request, code protocol.Code, p protocol.Problem) {
	c.reply(q, code, p.Append(nil))
}

func (c *fakeConn) serve() {
	defer func() {
		c.nc.Close()
		c.m.mu.Lock()
		delete(c.m.conns, c)
		c.m.mu.Unlock()
	}()
	if p, err := protocol.ReadPreface(c.nc); err != nil || p != protocol.PurposeClient {
		return
	}
	frames := protocol.NewFrameReader(c.nc, protocol.MaxFrame)
	for {
		frame, err := frames.Next()
		if err != nil {
			return
		}
		if err := c.take(frame); err != nil {
			c.m.t.Errorf("fake member: %v", err)
			return
		}
		if !frames.Buffered() {
			c.flush()
		}
	}
}

func (c *fakeConn) take(frame []byte) error {
	m := c.m
	switch protocol.PeekType(frame) {
	case protocol.TypeHello:
		m.mu.Lock()
		m.opened++
		refuse := m.refuse
		w := protocol.Welcome{
			Type: protocol.TypeWelcome, Version: protocol.WireVersion + m.newer, Oldest: protocol.OldestVersion, Newest: protocol.WireVersion, Cluster: m.cluster, Name: "test",
			Member: m.id, Durability: "disk", Limits: m.limits, Table: m.table, Body: m.limits.Body(),
			Partitions: uint32(len(m.table.Partitions)),
		}
		m.mu.Unlock()
		if refuse != 0 {
			c.problem(&protocol.Request{}, refuse, protocol.Problem{Detail: "not today"})
			c.flush()
			return nil
		}
		c.send(protocol.Encode(&w))
	case protocol.TypeRequest:
		var q protocol.Request
		if err := q.Decode(frame); err != nil {
			return err
		}
		m.request(c, &q)
	case protocol.TypeBatch:
		return protocol.EachRequest(frame, func(_ []byte, q *protocol.Request) { m.request(c, q) })
	case protocol.TypeSession:
		var q protocol.SessionRequest
		if err := protocol.Decode(frame, &q); err != nil {
			return err
		}
		m.mu.Lock()
		f := m.session
		m.mu.Unlock()
		if f != nil {
			f(c, &q)
		} else {
			c.session(&q, 7, protocol.CodeOK)
		}
	case protocol.TypeTableRequest:
		m.mu.Lock()
		table, silent := m.table, m.silent
		m.asked++
		m.mu.Unlock()
		if !silent {
			c.send(protocol.Encode(&table))
		}
	case protocol.TypeWatchControl:
		var w protocol.WatchControl
		if err := w.Decode(frame); err != nil {
			return err
		}
		m.mu.Lock()
		m.controls = append(m.controls, w)
		m.mu.Unlock()
	case protocol.TypeAdmin:
		var q protocol.AdminRequest
		if err := protocol.Decode(frame, &q); err != nil {
			return err
		}
		m.mu.Lock()
		f := m.admin
		m.mu.Unlock()
		body := []byte(q.What)
		if f != nil {
			body = f(&q)
		}
		code := protocol.CodeOK
		if body == nil {
			code, body = protocol.CodeBusy, (&protocol.Problem{}).Append(nil)
		}
		c.reply(&protocol.Request{ID: q.ID}, code, body)
	default:
		return errors.New("unexpected message")
	}
	return nil
}

func (c *fakeConn) session(q *protocol.SessionRequest, id protocol.SessionID, code protocol.Code) {
	body := protocol.Encode(&protocol.SessionState{Session: id, TTL: max(q.TTL, 2000)})
	c.reply(&protocol.Request{ID: q.ID}, code, body)
}

func (m *fakeMember) request(c *fakeConn, q *protocol.Request) {
	m.mu.Lock()
	handle := m.handle
	if m.keep {
		kept := *q
		kept.Body = bytes.Clone(q.Body)
		m.requests = append(m.requests, kept)
	}
	m.mu.Unlock()
	if handle == nil {
		c.reply(q, protocol.CodeOK, q.Body)
		return
	}
	handle(c, q)
}

// dialFake connects a client to the members, and closes it with the test.
func dialFake(t testing.TB, members []*fakeMember, opts ...Option) *Client {
	t.Helper()
	var seeds []string
	for _, m := range members {
		seeds = append(seeds, m.address)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	c, err := Dial(ctx, seeds, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// waitFor waits until cond holds.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(testTimeout)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// The fake members take any operation of any kind.
const (
	testKind  protocol.KindID = 2
	opAdd     protocol.Op     = 1
	opRelease protocol.Op     = 9
)

var testCall = structures.Call{Kind: testKind, Op: opAdd, Verb: "add", Label: "counter", Name: "hits", Partition: 3, Body: []byte{1}}

func testRead() structures.Call {
	call := testCall
	call.Verb, call.Flags = "get", protocol.FlagRead
	return call
}

func testWait() structures.Call {
	call := testCall
	call.Verb, call.Flags = "acquire", protocol.FlagWait
	return call
}
