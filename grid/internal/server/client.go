package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
)

// slabSize is how many small requests are allocated at once. The slab lives as
// long as any request in it, and until the connection has used it up.
const slabSize = 8

// clientConn is one client connection.
type clientConn struct {
	s       *Server
	conn    net.Conn
	client  protocol.UUID
	name    string // of the client, human-readable
	flags   protocol.HelloFlags
	kept    *keptClient // nil: the client has no name
	traffic *traffic
	tables  *tableSender

	// Of the reader alone.
	shake   *shakeReader // under frames
	frames  *protocol.FrameReader
	slab    []shardgroups.Request
	done    map[doneKey]func(protocol.Reply)
	forward forwarder
	now     time.Time // when the burst of requests that is read began

	watches  watches
	sessions atomic.Int64 // requests on sessions in flight
	seen     seen         // of the server's sweep
}

func newClientConn(s *Server, conn net.Conn) *clientConn {
	t := newTraffic(s, conn)
	c := &clientConn{
		s: s, conn: conn, traffic: t, tables: &tableSender{s: s, out: t},
		shake:   &shakeReader{Conn: conn, left: handshakeBytes},
		done:    map[doneKey]func(protocol.Reply){},
		forward: forwarder{s: s, out: t, pipes: map[protocol.MemberID]*pipe{}},
	}
	c.frames = protocol.NewFrameReader(c.shake, protocol.MaxHandshakeFrame)
	c.frames.Grow = s.grow
	c.watches.c, t.watches = c, &c.watches
	return c
}

// doneKey says which callback a request has: of which group, and whether it is
// a read, which may be answered "busy" at any time.
type doneKey struct {
	group protocol.GroupID
	read  bool
}

// serveClient serves a connection until it ends.
func (s *Server) serveClient(conn net.Conn) {
	c := newClientConn(s, conn)
	writer := make(chan struct{})
	go func() { defer close(writer); c.traffic.write() }()
	s.mu.Lock()
	grid := s.grid
	s.mu.Unlock()
	err := c.handshake()
	if err != nil && err != io.EOF {
		s.stats.handshake.Add(1)
	}
	if err == nil {
		s.mu.Lock()
		s.clients[c] = struct{}{}
		if s.grid != grid { // the client has greeted a member of the grid before
			_ = conn.Close()
		}
		s.mu.Unlock()
		// The table may have changed between Welcome and the line above, after it was
		// pushed to the others. It is pushed to this client only: otherwise clients
		// that connect and disconnect would make the member write to everybody.
		if version := s.version.Load(); version != c.tables.version() && c.takesTables() {
			c.tables.send(s.table(), version, time.Now())
		}
		err = c.read()
		s.mu.Lock()
		delete(s.clients, c)
		s.mu.Unlock()
	}
	if err != nil && err != io.EOF && !errors.Is(err, net.ErrClosed) {
		s.log.Debug("client connection ends", "address", addrOf(conn), "client", c.client, "err", err)
	}
	c.forward.close()
	if c.kept != nil {
		s.keeper.leave(c.client)
	}
	c.watches.end()
	c.traffic.finish()
	<-writer
	_ = conn.Close() // perhaps a second time
	c.forward.await()
	c.traffic.forget()
}

// handshake reads messages until it has accepted a Hello. Operators' questions are
// answered even without a Hello.
func (c *clientConn) handshake() error {
	for {
		b, err := c.frames.Next()
		if err != nil {
			return c.refuse(protocol.CodeTooLarge, err)
		}
		switch protocol.PeekType(b) {
		case protocol.TypeAdmin:
			if err := c.admin(b); err != nil {
				return err
			}
			if !c.traffic.throttle(maxShaking) {
				return net.ErrClosed
			}
		case protocol.TypeHello:
			welcome, code, err := c.hello(b)
			if err != nil {
				return c.refuse(code, err)
			}
			c.traffic.sendFrame(protocol.Encode(welcome))
			c.frames.SetMax(int(c.s.cfg.Limits.Frame))
			c.shake.left = -1
			return c.conn.SetReadDeadline(time.Time{})
		default:
			return c.refuse(protocol.CodeInvalid, fmt.Errorf("%w: the first message must be a Hello", protocol.ErrMalformed))
		}
	}
}

func (c *clientConn) hello(b []byte) (protocol.Welcome, protocol.Code, error) {
	var h protocol.Hello
	if err := protocol.Decode(b, &h); err != nil {
		return protocol.Welcome{}, protocol.CodeInvalid, err
	}
	version, err := protocol.CommonVersion(h.Oldest, h.Newest)
	if err != nil {
		return protocol.Welcome{}, protocol.CodeVersion, err
	}
	c.tables.welcomed(c.s.version.Load()) // before Welcome takes the table
	w := c.s.cfg.Backend.Welcome()
	// Before a member has enlisted with a cluster it has nothing to compare.
	if h.Cluster != "" && w.Name != "" && h.Cluster != w.Name && h.Cluster != w.Cluster.String() {
		return w, protocol.CodeWrongGrid, fmt.Errorf("this member belongs to the cluster %q (%s), not to %q", w.Name, w.Cluster, h.Cluster)
	}
	switch nameless := h.Client == (protocol.UUID{}); {
	case h.SessionTTL > 0 && nameless:
		return w, protocol.CodeInvalid, fmt.Errorf("%w: a session is opened under the UUID of its client", protocol.ErrMalformed)
	case h.Flags&protocol.HelloRoute != 0 && h.Flags&protocol.HelloForward == 0:
		return w, protocol.CodeInvalid, fmt.Errorf("%w: the flag to route comes with the one to forward", protocol.ErrMalformed)
	case !nameless:
		c.kept = c.s.keeper.join(h.Client)
		c.shake.kept = c.kept
	}
	c.client, c.flags, c.name = h.Client, h.Flags, shownName(h.Name)
	w.Type, w.Table.Type = protocol.TypeWelcome, protocol.TypeTable
	w.Version, w.Oldest, w.Newest = version, protocol.OldestVersion, protocol.WireVersion
	w.Features = protocol.KnownFeatures
	w.Limits = c.s.cfg.Limits
	w.Body = w.Limits.Body()
	w.Partitions = uint32(len(w.Table.Partitions))
	if h.SessionTTL > 0 && w.Partitions > 0 {
		s := c.greet(w.Cluster, h.SessionTTL)
		if s.Session == 0 {
			c.s.stats.notOpened.Add(1)
		}
		w.Session, w.SessionTTL = s.Session, uint32(s.TTL/time.Millisecond)
	}
	if !c.takesTables() {
		w.Table = protocol.Table{Type: protocol.TypeTable}
	}
	return w, protocol.CodeOK, nil
}

// greet opens, or finds, the session that a client asks for. If that takes too long, or
// too many requests on sessions are in flight, it returns none, and the client is
// welcome without a session.
func (c *clientConn) greet(cluster protocol.UUID, ttl uint32) systemstate.Opened {
	if c.s.sessions.Add(1) > crowdedSessions {
		c.s.sessions.Add(-1)
		return systemstate.Opened{}
	}
	defer c.s.sessions.Add(-1)
	return c.s.keeper.open(c.s.ctx, cluster, systemstate.Opening{
		Client: c.client, TTL: time.Duration(ttl) * time.Millisecond, Source: c.source(), Name: c.name, Greets: true,
	})
}

// maxClientName bounds the bytes of a client's name that are kept.
const maxClientName = 64

// shownName returns what is kept of a client's name: its first bytes, as valid text.
func shownName(name string) string {
	return strings.ToValidUTF8(strings.Clone(name[:min(len(name), maxClientName)]), "")
}

func (c *clientConn) forwards() bool { return c.flags&protocol.HelloForward != 0 }

// takesTables reports whether the client is sent tables that it has not asked for.
func (c *clientConn) takesTables() bool { return c.flags&protocol.HelloNoTables == 0 }

// refuse sends the client the reason why the connection ends, if there is one, and
// returns err.
func (c *clientConn) refuse(code protocol.Code, err error) error {
	if errors.Is(err, protocol.ErrMalformed) || errors.Is(err, protocol.ErrFrame) || code != protocol.CodeTooLarge {
		c.traffic.send(problem(0, code, err.Error()))
	}
	return err
}

// read is the reader: it dispatches messages until the connection ends.
func (c *clientConn) read() error {
	limit := int64(c.s.cfg.Limits.InFlight)
	for {
		b, err := c.frames.Next()
		if err != nil {
			return c.refuse(protocol.CodeTooLarge, err)
		}
		c.now = time.Time{}
		for {
			if err := c.dispatch(b); err != nil {
				return c.refuse(protocol.CodeInvalid, err)
			}
			c.takeTurns()
			if !c.traffic.throttle(limit) {
				return net.ErrClosed
			}
			if !c.frames.Buffered() {
				break
			}
			if b, err = c.frames.Next(); err != nil {
				return c.refuse(protocol.CodeTooLarge, err)
			}
		}
	}
}

// takeTurns lets others run after some messages that were answered at once, most of them
// refusals. Such an answer does not slow a client down that sends without end, and each of
// hundreds of such readers would run for a whole time slice of the scheduler before a
// heartbeat of another client had its turn. What a group answers does: so much may be in
// flight.
func (c *clientConn) takeTurns() {
	if c.traffic.quick >= fairMessages && !mutants.On(mutants.ReaderNeverYields) {
		c.traffic.quick = 0
		runtime.Gosched()
	}
}

func (c *clientConn) dispatch(b []byte) error {
	switch protocol.PeekType(b) {
	case protocol.TypeRequest:
		q := c.alloc(len(b))
		if err := q.Decode(b); err != nil {
			return err
		}
		q.Raw = b
		c.submit(q)
		return nil
	case protocol.TypeBatch:
		// All its requests are read before the number in flight is checked again.
		if n, err := protocol.BatchLen(b); err == nil && n > int(c.s.cfg.Limits.InFlight) {
			return fmt.Errorf("%w: a batch of %d requests, at most %d may be in flight", protocol.ErrMalformed, n, c.s.cfg.Limits.InFlight)
		}
		return protocol.EachRequest(b, func(raw []byte, r *protocol.Request) {
			q := c.alloc(len(raw))
			q.Request, q.Raw = *r, raw
			c.submit(q)
		})
	case protocol.TypeSession:
		return c.session(b)
	case protocol.TypeTableRequest:
		var q protocol.TableRequest
		if err := protocol.Decode(b, &q); err != nil {
			return err
		}
		c.tables.answer(q.ID, time.Now())
		return c.tables.slowDown()
	case protocol.TypeAdmin:
		return c.admin(b)
	case protocol.TypeWatchControl:
		return c.watchControl(b)
	default:
		return fmt.Errorf("%w: unknown message", protocol.ErrMalformed)
	}
}

// alloc returns a request for a number of bytes. A large one is allocated alone: its
// neighbours in a slab would keep its bytes alive.
func (c *clientConn) alloc(bytes int) *shardgroups.Request {
	if bytes >= largeBytes {
		return new(shardgroups.Request)
	}
	if len(c.slab) == 0 {
		c.slab = make([]shardgroups.Request, slabSize)
	}
	q := &c.slab[0]
	c.slab = c.slab[1:]
	return q
}

// submit checks the limits and hands the request to its group.
func (c *clientConn) submit(q *shardgroups.Request) {
	c.traffic.begin(q.ID, len(q.Raw))
	if code, err := c.check(&q.Request); err != nil {
		c.traffic.refuse(problem(q.ID, code, err.Error()))
		return
	}
	routes := c.s.routes.Load()
	if len(routes.Partitions) == 0 {
		c.traffic.refuse(problem(q.ID, protocol.CodeNoLeader, "the grid is not formed yet"))
		return
	}
	if c.flags&protocol.HelloRoute != 0 {
		c.assign(q, len(routes.Partitions))
	}
	if int(q.Partition) >= len(routes.Partitions) {
		c.traffic.refuse(problem(q.ID, protocol.CodeInvalid, fmt.Sprintf("partition %d of %d", q.Partition, len(routes.Partitions))))
		return
	}
	if c.now.IsZero() {
		c.now = time.Now()
	}
	q.Arrived = c.now
	route := &routes.Partitions[q.Partition]
	asks := unanswered{flags: q.Flags, watch: q.Kind == protocol.KindControl && q.Op == protocol.OpWatch}
	if c.forwards() && c.forward.forward(route, q.ID, asks, q.Raw) {
		return
	}
	if route.Group == nil {
		c.traffic.refuse(c.notLeader(protocol.Reply{ID: q.ID, Code: protocol.CodeNotLeader, Epoch: routes.Epoch}, route.ID))
		return
	}
	if asks.watch {
		c.watches.register(&q.Request, route.Group)
		return
	}
	q.Done = c.doneFor(doneKey{route.ID, q.Flags&protocol.FlagRead != 0})
	route.Group.Submit(q)
}

// assign sets the partition of a request for a client that cannot compute it.
func (c *clientConn) assign(q *shardgroups.Request, partitions int) {
	if p := c.s.cfg.Backend.PartitionOf(&q.Request, partitions); p != q.Partition {
		q.Partition = p
		q.Raw = q.Append(make([]byte, 0, len(q.Raw)+4))
	}
}

func (c *clientConn) check(q *protocol.Request) (protocol.Code, error) {
	limits := &c.s.cfg.Limits
	if n, most := len(q.Body), int(limits.Body()); n > most {
		return protocol.CodeTooLarge, fmt.Errorf("the body of a request has %d bytes, limit body: %d", n, most)
	}
	if q.Kind == protocol.KindControl {
		return protocol.CodeOK, nil
	}
	if err := structures.CheckName(q.Name, *limits); err != nil {
		if errors.Is(err, quorate.ErrTooLarge) {
			return protocol.CodeTooLarge, err
		}
		return protocol.CodeInvalid, err
	}
	return protocol.CodeOK, nil
}

// doneFor returns the callback for requests to a group. One closure serves all of them,
// because a reply names its request.
func (c *clientConn) doneFor(k doneKey) func(protocol.Reply) {
	if f, ok := c.done[k]; ok {
		return f
	}
	f := func(r protocol.Reply) {
		r.Epoch = c.s.routes.Load().Epoch
		r = c.notLeader(r, k.group)
		if k.read && len(r.Body) >= largeBytes {
			c.traffic.replyLarge(r)
		} else {
			c.traffic.reply(r)
		}
	}
	c.done[k] = f
	return f
}

// notLeader adds the leader to a reply with CodeNotLeader.
func (c *clientConn) notLeader(r protocol.Reply, g protocol.GroupID) protocol.Reply {
	if r.Code != protocol.CodeNotLeader || len(r.Body) > 0 {
		return r
	}
	p := protocol.Problem{Leader: c.s.cfg.Backend.LeaderOf(g)}
	r.Body = p.Append(nil)
	return r
}

// session hands a request on sessions to the system group.
func (c *clientConn) session(b []byte) error {
	var q protocol.SessionRequest
	if err := protocol.Decode(b, &q); err != nil {
		return err
	}
	c.traffic.begin(q.ID, 0)
	route := Route{ID: protocol.SystemGroup}
	if c.forwards() && c.forward.forward(&route, q.ID, unanswered{}, b) {
		return nil
	}
	if n := c.sessions.Load(); n >= maxSessions || n >= fairSessions && c.s.sessions.Load() >= crowdedSessions {
		c.traffic.refuse(busy(q.ID, "too many requests on sessions are in flight", sessionWaitHint))
		return nil
	}
	c.traffic.quick++ // a client has few, and most of a flood's are answered at once
	c.sessions.Add(1)
	c.s.sessions.Add(1)
	c.s.cfg.Backend.Session(q, systemstate.Origin{Source: c.source(), Name: c.name}, func(r protocol.Reply) {
		c.sessions.Add(-1)
		c.s.sessions.Add(-1)
		r.ID = q.ID
		c.traffic.reply(c.notLeader(r, protocol.SystemGroup))
	})
	return nil
}

// source returns what a client's sessions are counted by: its address; for IPv6 its /64
// network, because a host may have any number of addresses there. For a client that
// another member forwards for it is that member's address, and for one in this process
// "".
func (c *clientConn) source() string {
	a, err := netip.ParseAddrPort(addrOf(c.conn))
	if err != nil {
		return ""
	}
	ip := a.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if net64, err := ip.Prefix(64); err == nil {
			return net64.String()
		}
	}
	return ip.String()
}

// admin answers an operator's question in a goroutine of its own. An answer may take
// long, so the number in flight is limited.
func (c *clientConn) admin(b []byte) error {
	var q protocol.AdminRequest
	if err := protocol.Decode(b, &q); err != nil {
		return err
	}
	q.What = strings.Clone(q.What)
	c.traffic.begin(q.ID, 0)
	select {
	case c.s.questions <- struct{}{}:
	default:
		c.traffic.reply(problem(q.ID, protocol.CodeBusy, "too many questions are being answered"))
		return nil
	}
	c.s.wg.Go(func() {
		defer func() { <-c.s.questions }()
		ctx, cancel := context.WithTimeout(c.s.ctx, adminTimeout)
		defer cancel()
		r := c.s.cfg.Backend.Admin(ctx, q)
		r.ID = q.ID
		c.traffic.reply(r)
	})
	return nil
}

// busy is the reply that asks a client to come again, in so many milliseconds.
func busy(id uint64, detail string, wait uint32) protocol.Reply {
	p := protocol.Problem{Detail: detail, Wait: wait}
	return protocol.Reply{ID: id, Code: protocol.CodeBusy, Body: p.Append(nil)}
}

func problem(id uint64, code protocol.Code, detail string) protocol.Reply {
	p := protocol.Problem{Detail: detail}
	return protocol.Reply{ID: id, Code: code, Body: p.Append(nil)}
}
