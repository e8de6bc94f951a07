package raftnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
)

// Config is what a [Transport] needs of its member. All fields are required.
type Config struct {
	// Dial opens a connection for a purpose to another member, preface written.
	Dial func(ctx context.Context, address string, p protocol.Purpose) (net.Conn, error)
	// Ended is called when the process at an address has ended. It must not block.
	Ended func(address string)
	// ElectionTime is the shortest time after which a leader is missed.
	ElectionTime time.Duration
	Logger       *slog.Logger
}

// Transport is dragonboat's transport on the member's one port. Connections that
// others open arrive through [Transport.Serve]. It is its own factory, of one
// engine. It is safe for concurrent use.
type Transport struct {
	cfg      Config
	progress progressLog
	preVotes *preVoteFilter
	reach    *reach
	messages raftio.MessageHandler
	chunks   raftio.ChunkHandler
	ctx      context.Context // until Close
	cancel   context.CancelFunc

	mu        sync.Mutex // guards what follows
	conns     map[net.Conn]struct{}
	inquiring map[string]bool // addresses
	closed    bool
	wg        sync.WaitGroup
}

var (
	_ raftio.ITransport       = (*Transport)(nil)
	_ config.TransportFactory = (*Transport)(nil)
)

// NewTransport returns the transport of an engine that is about to open.
func NewTransport(cfg Config) *Transport {
	t := &Transport{
		cfg: cfg, preVotes: newPreVoteFilter(cfg.ElectionTime), reach: &reach{log: cfg.Logger},
		conns: map[net.Conn]struct{}{}, inquiring: map[string]bool{},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Create is called by the engine when it opens.
func (t *Transport) Create(_ config.NodeHostConfig, m raftio.MessageHandler, c raftio.ChunkHandler) raftio.ITransport {
	t.messages, t.chunks = m, c
	return t
}

// Validate accepts any address: a replica's is that of its incarnation.
func (t *Transport) Validate(string) bool { return true }

// Name returns the name of the transport.
func (t *Transport) Name() string { return transportName }

// Start has nothing to do.
func (t *Transport) Start() error { return nil }

// Close ends the calls of [Transport.Serve] and waits for them.
func (t *Transport) Close() error {
	t.cancel()
	t.mu.Lock()
	t.closed = true
	for c := range t.conns {
		c.Close()
	}
	t.mu.Unlock()
	t.wg.Wait()
	return nil
}

// Deliver passes messages to the engine as if they had arrived.
func (t *Transport) Deliver(b raftpb.MessageBatch) { t.messages(b) }

// Serve reads Raft frames from a connection until it ends. r reads from conn, and
// may have buffered some of it. Nothing that arrives can panic: a frame that does
// not decode ends the connection.
func (t *Transport) Serve(conn net.Conn, r io.Reader) error {
	defer conn.Close()
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return net.ErrClosed
	}
	t.conns[conn] = struct{}{}
	t.wg.Add(1)
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.conns, conn)
		t.mu.Unlock()
		t.wg.Done()
	}()
	br := bufio.NewReaderSize(r, bufferSize)
	var buf []byte
	limit := time.Now().Add(firstLimit)
	for {
		// A member that opens a connection has something to send, and continues a frame
		// that it has begun. So with these limits a stranger cannot occupy a connection
		// or memory for long.
		if err := conn.SetReadDeadline(limit); err != nil {
			return err
		}
		if _, err := br.Peek(headerSize); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(frameLimit)); err != nil {
			return err
		}
		limit = time.Time{}
		kind, payload, err := readFrame(br, buf)
		if err != nil {
			return err
		}
		if cap(payload) <= keepBuffer {
			buf = payload
		}
		if err := t.receive(kind, payload); err != nil {
			return err
		}
	}
}

func (t *Transport) receive(kind byte, payload []byte) (err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("%w: %v", errFrame, e)
		}
	}()
	switch kind {
	case frameBatch:
		var b raftpb.MessageBatch
		if err := b.Unmarshal(payload); err != nil {
			return fmt.Errorf("%w: %v", errFrame, err)
		}
		t.progress.note(b.Requests)
		if b.Requests = t.preVotes.in(b.Requests); len(b.Requests) > 0 {
			t.messages(b)
		}
	case frameChunk:
		var c raftpb.Chunk
		if err := c.Unmarshal(payload); err != nil {
			return fmt.Errorf("%w: %v", errFrame, err)
		}
		if !t.chunks(c) {
			return errors.New("snapshot chunk refused")
		}
	default:
		return fmt.Errorf("%w: type %d", errFrame, kind)
	}
	return nil
}

// GetConnection opens a connection for messages.
func (t *Transport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	return t.connect(ctx, target)
}

// GetSnapshotConnection opens a connection for a snapshot.
func (t *Transport) GetSnapshotConnection(ctx context.Context, target string) (raftio.ISnapshotConnection, error) {
	return t.connect(ctx, target)
}

func (t *Transport) connect(ctx context.Context, target string) (*raftConn, error) {
	c := &raftConn{
		dial: func(ctx context.Context) (net.Conn, error) { return t.dialRaft(ctx, target) },
		lost: func() { t.lost(target) }, preVotes: t.preVotes,
	}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// dialRaft opens a connection, and records whether the address is reachable.
func (t *Transport) dialRaft(ctx context.Context, address string) (net.Conn, error) {
	c, err := t.cfg.Dial(ctx, address, protocol.PurposeRaft)
	switch {
	case err == nil:
		t.reach.reached(address)
	case ctx.Err() == nil:
		t.reach.failed(address, err)
	}
	return c, err
}

// lost is called when a connection to an address has ended.
func (t *Transport) lost(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.inquiring[address] {
		return
	}
	t.inquiring[address] = true
	t.wg.Go(func() {
		t.inquire(address)
		t.mu.Lock()
		delete(t.inquiring, address)
		t.mu.Unlock()
	})
}
