package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
)

const (
	// AskTimeout bounds one question if the caller's context does not.
	AskTimeout = 3 * time.Second
	// joinTimeout bounds one that is passed on to the leader, who calls the asker
	// back and looks for others of its name before it agrees.
	joinTimeout = 9 * time.Second
	// idleTimeout is how long a connection is kept that nobody has asked over. The
	// other member keeps it for longer.
	idleTimeout = 15 * time.Second
)

// Client asks other members. It keeps one connection to each address, over which any
// number of questions may be on their way; it is opened by the first question, and
// closed if nobody asks for 15 s. It is safe for concurrent use.
type Client struct {
	dial func(ctx context.Context, address string) (net.Conn, error)

	mu     sync.Mutex // guards what follows
	conns  map[string]*conn
	closed bool
}

// NewClient returns a Client that opens connections with dial, which also writes the
// preface.
func NewClient(dial func(ctx context.Context, address string) (net.Conn, error)) *Client {
	return &Client{dial: dial, conns: map[string]*conn{}}
}

// Ask puts a question to the member at an address, and decodes the answer into out;
// nil takes none. It waits for at most 3 s, 9 s if the question is AskJoin or
// AskAddress. What the member refuses is a *Refusal. When it returns before the answer
// has come, the member is told that nobody waits for it any more.
func (c *Client) Ask(ctx context.Context, address, what string, args, out any) error {
	return c.ask(ctx, address, protocol.PeerRequest{What: what, Args: protocol.Encode(args)}, out)
}

// Forward is Ask for a question that another member has put to this one: the member
// that is asked passes it on no further.
func (c *Client) Forward(ctx context.Context, address, what string, args, out any) error {
	return c.ask(ctx, address, protocol.PeerRequest{What: what, Args: protocol.Encode(args), Forwarded: true}, out)
}

// Close closes all connections. Questions that are on their way fail.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	conns := c.conns
	c.conns = map[string]*conn{}
	c.mu.Unlock()
	for _, k := range conns {
		k.close(net.ErrClosed)
	}
}

func (c *Client) ask(ctx context.Context, address string, q protocol.PeerRequest, out any) error {
	timeout := AskTimeout
	if q.What == AskJoin || q.What == AskAddress {
		timeout = joinTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := c.exchange(ctx, address, q)
	if err == nil && r.Code == protocol.CodeOK && out != nil {
		err = protocol.Decode(r.Body, out)
	}
	if err == nil && r.Code != protocol.CodeOK {
		var p protocol.Problem
		if err = p.Decode(r.Body); err == nil {
			return &Refusal{Code: r.Code, Detail: p.Detail, Leader: p.Leader}
		}
	}
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", address, q.What, err)
	}
	return nil
}

// exchange sends a question over the kept connection, or over a new one if that turns
// out to be closed: the member may have closed it, or been started again.
func (c *Client) exchange(ctx context.Context, address string, q protocol.PeerRequest) (protocol.Reply, error) {
	for {
		k, kept, err := c.to(ctx, address)
		if err != nil {
			return protocol.Reply{}, err
		}
		r, err := k.ask(ctx, q)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		c.forget(address, k)
		if !kept {
			return r, err
		}
	}
}

// forget has the next question to an address open another connection.
func (c *Client) forget(address string, k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[address] == k {
		delete(c.conns, address)
	}
}

// to returns the connection to an address, and whether it was there before.
func (c *Client) to(ctx context.Context, address string) (k *conn, kept bool, err error) {
	c.mu.Lock()
	k, kept = c.conns[address]
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, false, net.ErrClosed
	}
	if kept {
		return k, true, nil
	}
	raw, err := c.dial(ctx, address)
	if err != nil {
		return nil, false, err
	}
	k = newConn(raw)
	c.mu.Lock()
	switch other, ok := c.conns[address]; {
	case c.closed:
		err = net.ErrClosed
	case ok: // two have dialed at the same time
		k, kept, err = other, true, errUnused
	default:
		c.conns[address] = k
	}
	c.mu.Unlock()
	if err != nil {
		_ = raw.Close() // nothing was sent over it
		if errors.Is(err, errUnused) {
			return k, kept, nil
		}
		return nil, false, err
	}
	go func() {
		k.read()
		c.forget(address, k)
	}()
	return k, false, nil
}

var errUnused = errors.New("another connection is used")

// conn is a connection to a member, with the questions that wait for their answers.
type conn struct {
	net.Conn
	received atomic.Uint64 // frames
	idle     *time.Timer

	writing sync.Mutex // held while a frame is written; before mu

	mu      sync.Mutex // guards what follows
	next    uint64
	waiting map[uint64]chan protocol.Reply // of capacity 1
	err     error                          // why the connection is closed
}

func newConn(raw net.Conn) *conn {
	k := &conn{Conn: raw, waiting: map[uint64]chan protocol.Reply{}}
	k.idle = time.AfterFunc(idleTimeout, k.closeIdle)
	return k
}

// ask sends a question and waits for its answer.
func (k *conn) ask(ctx context.Context, q protocol.PeerRequest) (protocol.Reply, error) {
	answer := make(chan protocol.Reply, 1)
	k.mu.Lock()
	if k.err != nil {
		defer k.mu.Unlock()
		return protocol.Reply{}, k.err
	}
	k.next++
	q.Type, q.ID = protocol.TypePeer, k.next
	k.waiting[q.ID] = answer
	k.mu.Unlock()
	received := k.received.Load()
	if err := k.write(ctx, q); err != nil {
		k.close(err)
	}
	select {
	case r, ok := <-answer:
		if !ok {
			k.mu.Lock()
			defer k.mu.Unlock()
			return r, k.err
		}
		return r, nil
	case <-ctx.Done():
		k.giveUp(q.ID, received)
		return protocol.Reply{}, contexts.Err(ctx)
	}
}

// giveUp withdraws a question. A connection over which nothing has come since it was
// sent is closed: it may be dead, and the next question is to find out at once.
func (k *conn) giveUp(id, received uint64) {
	k.mu.Lock()
	delete(k.waiting, id)
	k.mu.Unlock()
	if k.received.Load() == received {
		k.close(errors.New("the member does not answer"))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), AskTimeout)
	defer cancel()
	if err := k.write(ctx, protocol.PeerRequest{Type: protocol.TypePeer, ID: id, What: Withdraw}); err != nil {
		k.close(err)
	}
}

func (k *conn) write(ctx context.Context, q protocol.PeerRequest) error {
	b := protocol.EndFrame(append(protocol.BeginFrame(nil), protocol.Encode(q)...), 0)
	k.writing.Lock()
	defer k.writing.Unlock()
	deadline, _ := ctx.Deadline()
	if err := k.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := k.Write(b)
	return err
}

// read hands the answers to who waits for them, until the connection ends.
func (k *conn) read() {
	frames := protocol.NewFrameReader(k.Conn, protocol.MaxFrame)
	for {
		b, err := frames.Next()
		if err != nil {
			k.close(err)
			return
		}
		var r protocol.Reply
		if err := r.Decode(b); err != nil {
			k.close(err)
			return
		}
		r.Body = append([]byte(nil), r.Body...) // the frame is used again
		k.received.Add(1)
		k.idle.Reset(idleTimeout)
		k.mu.Lock()
		answer := k.waiting[r.ID]
		delete(k.waiting, r.ID)
		k.mu.Unlock()
		if answer != nil {
			answer <- r
		}
	}
}

// closeIdle closes a connection over which nobody waits for anything.
func (k *conn) closeIdle() {
	k.mu.Lock()
	busy := len(k.waiting) > 0
	k.mu.Unlock()
	if busy {
		k.idle.Reset(idleTimeout)
		return
	}
	k.close(net.ErrClosed)
}

func (k *conn) close(why error) {
	k.mu.Lock()
	waiting := k.waiting
	if k.err == nil {
		k.err = fmt.Errorf("the connection is closed: %w", why)
	}
	k.waiting = map[uint64]chan protocol.Reply{}
	k.mu.Unlock()
	k.idle.Stop()
	for _, answer := range waiting {
		close(answer)
	}
	_ = k.Conn.Close() // perhaps a second time
}
