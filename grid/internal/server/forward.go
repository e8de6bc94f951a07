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

// pipe carries the requests of one client connection to one other member, and its
// replies back. There is one hop: the other member forwards nothing. A pipe serves one
// client connection only, so the frames pass unchanged.
type pipe struct {
	s     *Server
	out   *traffic      // of the client
	more  chan struct{} // of capacity 1: queue has grown
	ctx   context.Context
	close context.CancelFunc // ends the pipe
	ended chan struct{}      // closed when it has

	mu      sync.Mutex // guards what follows
	dead    bool
	queue   [][]byte // requests not yet written
	pending map[uint64]unanswered
	bytes   int                 // of pending
	watches map[uint64]struct{} // that the other member serves
}

// unanswered is a request without reply.
type unanswered struct {
	flags protocol.Flags
	bytes int
	watch bool // it registers a watch
}

// forwarder forwards the requests of one client connection, by a pipe to each
// leader. It is used by the connection's reader alone.
type forwarder struct {
	s     *Server
	out   *traffic
	pipes map[protocol.MemberID]*pipe
}

// forward sends a request to its group's leader if that is another member. It is
// false if the request is to be handled here.
func (f *forwarder) forward(route *Route, id uint64, q unanswered, raw []byte) bool {
	if route.Group != nil && (route.Group.Leader().Self || q.flags&protocol.FlagStale != 0) {
		return false
	}
	b := f.s.cfg.Backend
	leader := b.LeaderOf(route.ID)
	if leader == 0 {
		return false // answered here, with what is known
	}
	p := f.pipes[leader]
	if p != nil && p.isDead() {
		<-p.ended
		delete(f.pipes, leader)
		p = nil
	}
	if p == nil {
		address, ok := b.AddressOf(leader)
		if !ok || b.Self() == leader {
			return false
		}
		p = &pipe{
			s: f.s, out: f.out, more: make(chan struct{}, 1),
			ended: make(chan struct{}), pending: map[uint64]unanswered{},
		}
		p.ctx, p.close = context.WithCancel(f.s.ctx)
		f.pipes[leader] = p
		go p.run(address)
	}
	p.send(id, q, raw, len(f.pipes)+1)
	return true
}

// close makes the pipes end.
func (f *forwarder) close() {
	for _, p := range f.pipes {
		p.close()
	}
}

// await waits until the pipes have ended.
func (f *forwarder) await() {
	for _, p := range f.pipes {
		<-p.ended
	}
}

// send queues a request. It never waits, because the reader that calls it serves all
// groups. The pipes of a connection share what it may have in flight, and one share is
// always left for further pipes: so a leader that does not answer does not keep
// requests for other leaders from being read.
func (p *pipe) send(id uint64, q unanswered, raw []byte, shares int) {
	p.mu.Lock()
	full := len(p.pending) >= int(p.s.cfg.Limits.InFlight)/shares ||
		p.bytes > 0 && p.bytes+len(raw) > maxInboundConn/shares
	dead := p.dead
	if !full && !dead {
		q.bytes = len(raw)
		p.pending[id] = q
		p.bytes += len(raw)
		p.queue = append(p.queue, raw)
	}
	p.mu.Unlock()
	switch {
	case dead:
		p.out.reply(problem(id, protocol.CodeNoLeader, "the member that forwards has lost the leader"))
	case full:
		p.out.refuse(busy(id, "too much is in flight to the leader by way of this member", forwardWaitHint))
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

// answered removes a request from those without reply, if it is one of them.
func (p *pipe) answered(id uint64) (q unanswered, ours bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, ours = p.pending[id]
	delete(p.pending, id)
	p.bytes -= q.bytes
	return q, ours
}

func (p *pipe) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// run connects, writes the queued requests and returns the replies, until either end is
// closed; then it answers the requests that have no reply.
func (p *pipe) run(address string) {
	defer close(p.ended)
	defer p.close()
	sent := false
	defer func() { p.fail(sent) }()
	conn, err := p.connect(address)
	if err != nil {
		p.s.log.Debug("forward: connect", "address", address, "err", err)
		return
	}
	sent = true
	// A write that the leader does not read must not delay closing.
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
	conn, err := p.s.cfg.Network.Dial(ctx, address, protocol.PurposeClient)
	if err != nil {
		return nil, err
	}
	hello := protocol.Encode(protocol.NewHello(p.s.cfg.Client, "forward"))
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

// read passes replies to the client. The first message is the Welcome, or the refusal
// of our Hello. Tables are dropped: the client gets them from this member.
func (p *pipe) read(conn net.Conn) {
	frames := protocol.NewFrameReader(conn, protocol.MaxFrame)
	for {
		b, err := frames.Next()
		if err != nil {
			return
		}
		switch protocol.PeekType(b) {
		case protocol.TypeReply:
		case protocol.TypeWatchEvents, protocol.TypeWatchNote:
			if p.pushed(b) != nil {
				return
			}
			continue
		default:
			continue
		}
		var r protocol.Reply
		if r.Decode(b) != nil {
			return
		}
		q, ours := p.answered(r.ID)
		if !ours {
			return // the refusal of our Hello
		}
		if q.watch && r.Code == protocol.CodeOK {
			p.watch(r.ID)
		}
		p.out.replyEncoded(r.ID, b)
	}
}

// fail answers the requests without reply when the pipe has ended.
func (p *pipe) fail(sent bool) {
	p.mu.Lock()
	p.dead = true
	pending, watches := p.pending, p.watches
	p.pending, p.queue, p.watches = nil, nil, nil
	p.mu.Unlock()
	p.endWatches(watches)
	for id, q := range pending {
		code := protocol.CodeNoLeader
		if sent && q.flags&protocol.FlagRead == 0 {
			code = protocol.CodeUnknown
		}
		p.out.reply(problem(id, code, "the member that forwards has lost the leader"))
	}
}
