package server

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
)

const (
	forwardDialTimeout = 2 * time.Second
	forwardWaitHint    = 50 // milliseconds
)

// pipe carries one client connection's requests to one other member and its
// replies back, one hop: the member at the far end forwards nothing. As it
// serves one client connection alone, the frames pass unchanged.
type pipe struct {
	c     *clientConn
	more  chan struct{} // of capacity 1: queue has grown
	ctx   context.Context
	close context.CancelFunc // ends the pipe
	ended chan struct{}      // closed when it has

	mu     sync.Mutex // guards what follows
	dead   bool
	queue  [][]byte            // requests not yet written
	flight map[uint64]inFlight // requests without reply
	bytes  int                 // of them
}

// inFlight is a request without reply.
type inFlight struct {
	flags protocol.Flags
	bytes int
}

// forwarded sends a request to its group's leader where that is another
// member. It is false where the request is to be handled here.
func (c *clientConn) forwarded(route *Route, id uint64, flags protocol.Flags, raw []byte) bool {
	if route.Group != nil && (route.Group.Leader().Self || flags&protocol.FlagStale != 0) {
		return false
	}
	b := c.s.cfg.Backend
	leader := b.LeaderOf(route.ID)
	if leader == 0 {
		return false // answered here, with what is known
	}
	p := c.pipes[leader]
	if p != nil && p.isDead() {
		<-p.ended
		delete(c.pipes, leader)
		p = nil
	}
	if p == nil {
		address, ok := b.AddressOf(leader)
		if !ok || b.Self() == leader {
			return false
		}
		p = &pipe{
			c: c, more: make(chan struct{}, 1),
			ended: make(chan struct{}), flight: map[uint64]inFlight{},
		}
		p.ctx, p.close = context.WithCancel(c.s.ctx)
		c.pipes[leader] = p
		go p.run(address)
	}
	p.send(id, flags, raw, len(c.pipes)+1)
	return true
}

// send queues a request. It never waits: the reader that calls it serves all
// groups. What the connection may have in flight is shared by its pipes, and one
// part is left for the others, so that a leader that does not answer keeps no
// request for another from being read.
func (p *pipe) send(id uint64, flags protocol.Flags, raw []byte, shares int) {
	p.mu.Lock()
	full := len(p.flight) >= int(p.c.s.cfg.Limits.InFlight)/shares ||
		p.bytes > 0 && p.bytes+len(raw) > maxInboundConn/shares
	dead := p.dead
	if !full && !dead {
		p.flight[id] = inFlight{flags, len(raw)}
		p.bytes += len(raw)
		p.queue = append(p.queue, raw)
	}
	p.mu.Unlock()
	switch {
	case dead:
		p.c.reply(problem(id, protocol.CodeNoLeader, "the member that forwards has lost the leader"))
	case full:
		e := protocol.Problem{Detail: "too much is in flight to the leader by way of this member", Wait: forwardWaitHint}
		p.c.refused(protocol.Reply{ID: id, Code: protocol.CodeBusy, Body: e.Append(nil)})
	default:
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
}

// take returns a request that waits to be written, nil if there is none.
func (p *pipe) take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil
	}
	raw := p.queue[0]
	p.queue[0] = nil
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		p.queue = nil
	}
	return raw
}

// answered takes a request from those in flight. It is false where it is none of
// them.
func (p *pipe) answered(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, ours := p.flight[id]
	delete(p.flight, id)
	p.bytes -= q.bytes
	return ours
}

func (p *pipe) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// run connects, writes what comes and hands replies back, until either end is
// closed; then it answers what is in flight.
func (p *pipe) run(address string) {
	defer close(p.ended)
	defer p.close()
	sent := false
	defer func() { p.fail(sent) }()
	conn, err := p.connect(address)
	if err != nil {
		p.c.s.log.Debug("forward: connect", "address", address, "err", err)
		return
	}
	sent = true
	// A write that the leader does not take must not hold up the end.
	defer context.AfterFunc(p.ctx, func() { _ = conn.Close() })()
	replies := make(chan struct{})
	go func() { defer close(replies); p.read(conn) }()
	p.write(conn, replies)
	_ = conn.Close() // ends read
	<-replies
}

func (p *pipe) connect(address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(p.ctx, forwardDialTimeout)
	defer cancel()
	conn, err := p.c.s.cfg.Network.Dial(ctx, address, protocol.PurposeClient)
	if err != nil {
		return nil, err
	}
	hello := protocol.Encode(protocol.NewHello(p.c.s.cfg.Client, "forward"))
	b := protocol.EndFrame(append(protocol.BeginFrame(nil), hello...), 0)
	if _, err := conn.Write(b); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (p *pipe) write(conn net.Conn, replies <-chan struct{}) {
	var buf []byte
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-replies:
			return
		case <-p.more:
		}
		for raw := p.take(); raw != nil; {
			for buf = buf[:0]; raw != nil && len(buf) < maxIdleBuffer; raw = p.take() {
				buf = appendRaw(buf, raw)
			}
			if _, err := conn.Write(buf); err != nil {
				return
			}
			if cap(buf) > maxIdleBuffer {
				buf = nil
			}
		}
	}
}

func appendRaw(dst, raw []byte) []byte {
	start := len(dst)
	return protocol.EndFrame(append(protocol.BeginFrame(dst), raw...), start)
}

// read hands replies to the client. The first message is the Welcome, or the
// refusal of our Hello; tables the client gets from this member.
func (p *pipe) read(conn net.Conn) {
	frames := protocol.NewFrameReader(conn, protocol.MaxFrame)
	for {
		b, err := frames.Next()
		if err != nil {
			return
		}
		if protocol.PeekType(b) != protocol.TypeReply {
			continue
		}
		var r protocol.Reply
		if r.Decode(b) != nil {
			return
		}
		if !p.answered(r.ID) {
			return // the refusal of our Hello
		}
		p.c.mu.Lock()
		p.c.appendFrame(b)
		p.c.end(r.ID)
		p.c.mu.Unlock()
	}
}

// fail answers what is in flight when the pipe has ended.
func (p *pipe) fail(sent bool) {
	p.mu.Lock()
	p.dead = true
	flight := p.flight
	p.flight, p.queue = nil, nil
	p.mu.Unlock()
	for id, q := range flight {
		code := protocol.CodeNoLeader
		if sent && q.flags&protocol.FlagRead == 0 {
			code = protocol.CodeUnknown
		}
		p.c.reply(problem(id, code, "the member that forwards has lost the leader"))
	}
}
