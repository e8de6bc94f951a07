package shardgroups

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
)

// A Raft connection carries frames after its preface: length of the payload
// (4 bytes), its CRC-32C (4 bytes), its type (1 byte), the CRC-32C of these nine
// bytes (4 bytes), all big-endian, and the payload in dragonboat's encoding. A
// frame is written with one write and read through a buffer; dragonboat's own
// transport needs three of each.
//
// The header has a checksum of its own, as a length is to be believed before
// the payload is there: a damaged one would swallow all that follows, for
// raftFrameLimit, and nobody would know that the connection is deaf.
const (
	raftHeaderSize  = raftHeaderSum + 4
	raftHeaderSum   = 9              // where the header's own checksum is
	maxRaftFrame    = 64<<20 + 1<<20 // dragonboat's largest batch, and its envelope
	raftBatch       = 1
	raftChunk       = 2
	raftWriteLimit  = 10 * time.Second
	raftReopenLimit = time.Second
	raftFirstLimit  = 10 * time.Second // for the first frame of a connection
	raftFrameLimit  = 30 * time.Second // for the rest of a frame
	raftBufferSize  = 64 << 10
	keepRaftBuffer  = 1 << 20
	raftPurposeName = "quorate"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errRaftFrame = errors.New("damaged raft frame")

// transport is dragonboat's transport on the member's one port. Connections
// that others open arrive through serve.
type transport struct {
	seen     *witnesses
	ballots  *ballots
	dial     func(ctx context.Context, address string, p protocol.Purpose) (net.Conn, error)
	ended    func(address string) // the process there has
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

var _ raftio.ITransport = (*transport)(nil)

// transportFactory hands the transport to dragonboat and keeps hold of it.
type transportFactory struct {
	dial      func(ctx context.Context, address string, p protocol.Purpose) (net.Conn, error)
	ended     func(address string)
	reach     *reach
	ballots   *ballots
	witnesses witnesses
	t         *transport
}

func (f *transportFactory) Create(_ config.NodeHostConfig, m raftio.MessageHandler, c raftio.ChunkHandler) raftio.ITransport {
	f.t = &transport{
		seen: &f.witnesses, ballots: f.ballots, dial: f.dial, ended: f.ended, reach: f.reach, messages: m, chunks: c,
		conns: map[net.Conn]struct{}{}, inquiring: map[string]bool{},
	}
	f.t.ctx, f.t.cancel = context.WithCancel(context.Background())
	return f.t
}

func (f *transportFactory) Validate(string) bool { return true }

func (t *transport) Name() string { return raftPurposeName }

func (t *transport) Start() error { return nil }

// Close ends what serve reads and waits for it.
func (t *transport) Close() error {
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

// serve reads Raft frames from a connection until it ends. Nothing that
// arrives can panic: a frame that does not decode ends the connection.
func (t *transport) serve(conn net.Conn, r io.Reader) error {
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
	br := bufio.NewReaderSize(r, raftBufferSize)
	var buf []byte
	limit := time.Now().Add(raftFirstLimit)
	for {
		// Whoever opens a connection has something to send, and a frame that was
		// begun goes on: a stranger holds neither place nor memory for long.
		if err := conn.SetReadDeadline(limit); err != nil {
			return err
		}
		if _, err := br.Peek(raftHeaderSize); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(raftFrameLimit)); err != nil {
			return err
		}
		limit = time.Time{}
		kind, payload, err := readRaftFrame(br, buf)
		if err != nil {
			return err
		}
		if cap(payload) <= keepRaftBuffer {
			buf = payload
		}
		if err := t.receive(kind, payload); err != nil {
			return err
		}
	}
}

func (t *transport) receive(kind byte, payload []byte) (err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("%w: %v", errRaftFrame, e)
		}
	}()
	switch kind {
	case raftBatch:
		var b raftpb.MessageBatch
		if err := b.Unmarshal(payload); err != nil {
			return fmt.Errorf("%w: %v", errRaftFrame, err)
		}
		t.seen.note(b.Requests)
		if b.Requests = t.ballots.in(b.Requests); len(b.Requests) > 0 {
			t.messages(b)
		}
	case raftChunk:
		var c raftpb.Chunk
		if err := c.Unmarshal(payload); err != nil {
			return fmt.Errorf("%w: %v", errRaftFrame, err)
		}
		if !t.chunks(c) {
			return errors.New("snapshot chunk refused")
		}
	default:
		return fmt.Errorf("%w: type %d", errRaftFrame, kind)
	}
	return nil
}

// readRaftFrame reads a frame into buf, or into memory that grows only as the
// bytes arrive.
func readRaftFrame(r io.Reader, buf []byte) (byte, []byte, error) {
	var head [raftHeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if crc32.Checksum(head[:raftHeaderSum], castagnoli) != binary.BigEndian.Uint32(head[raftHeaderSum:]) {
		return 0, nil, fmt.Errorf("%w: header", errRaftFrame)
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n == 0 || n > maxRaftFrame {
		return 0, nil, fmt.Errorf("%w: %d bytes", errRaftFrame, n)
	}
	buf, err := protocol.ReadGrowing(r, buf, n)
	if err != nil {
		return 0, nil, err
	}
	if crc32.Checksum(buf, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return 0, nil, fmt.Errorf("%w: checksum", errRaftFrame)
	}
	return head[8], buf, nil
}

func (t *transport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	return t.connect(ctx, target)
}

func (t *transport) GetSnapshotConnection(ctx context.Context, target string) (raftio.ISnapshotConnection, error) {
	return t.connect(ctx, target)
}

func (t *transport) connect(ctx context.Context, target string) (*raftConn, error) {
	c := &raftConn{
		dial: func(ctx context.Context) (net.Conn, error) { return t.dialRaft(ctx, target) },
		lost: func() { t.lost(target) }, ballots: t.ballots,
	}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// dialRaft opens a connection, and has it told when an address is not reached.
func (t *transport) dialRaft(ctx context.Context, address string) (net.Conn, error) {
	c, err := t.dial(ctx, address, protocol.PurposeRaft)
	switch {
	case err == nil:
		t.reach.reached(address)
	case ctx.Err() == nil:
		t.reach.failed(address, err)
	}
	return c, err
}

// lost is called when a connection to an address has ended.
func (t *transport) lost(address string) {
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

// raftConn sends frames. dragonboat uses each from one goroutine.
//
// dragonboat has several to a member, most of them idle until another leads,
// and one whose write fails makes it drop whatever else it has for that member
// for half a second and more. A member that has started again would lose its
// followers, or leaders, that way when it is needed most: when a third dies,
// and a connection from before its start is used for the first time. So a
// connection that the other end has closed is opened again before it is used.
type raftConn struct {
	dial    func(context.Context) (net.Conn, error)
	lost    func() // the other end has closed a connection
	ballots *ballots
	conn    net.Conn
	gone    chan struct{} // closed when nothing comes from conn any more
	ours    *atomic.Bool  // dragonboat has closed conn
	buf     []byte
}

// open opens the connection, and watches it: nothing is ever sent back, so
// whatever ends the reading has ended the connection.
func (c *raftConn) open(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	gone, ours := make(chan struct{}), new(atomic.Bool)
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn)
		if !ours.Load() {
			c.lost()
		}
	}()
	c.conn, c.gone, c.ours = conn, gone, ours
	return nil
}

// Close closes the connection and waits for who watches it.
func (c *raftConn) Close() {
	c.ours.Store(true)
	c.shut()
}

func (c *raftConn) shut() {
	c.conn.Close()
	<-c.gone
}

// reopen replaces a connection that the other end has closed, whether a write
// has shown it first or the watch.
func (c *raftConn) reopen() error {
	c.shut()
	ctx, cancel := context.WithTimeout(context.Background(), raftReopenLimit)
	defer cancel()
	return c.open(ctx)
}

// SendMessageBatch sends messages. They may arrive twice, as Raft allows.
func (c *raftConn) SendMessageBatch(b raftpb.MessageBatch) error {
	if b.Requests = c.ballots.out(b.Requests); len(b.Requests) == 0 {
		return nil
	}
	select {
	case <-c.gone:
		if err := c.reopen(); err != nil {
			return err
		}
	default:
	}
	err := c.send(raftBatch, &b, b.SizeUpperLimit())
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if again := c.reopen(); again != nil {
		return errors.Join(err, again)
	}
	return c.send(raftBatch, &b, b.SizeUpperLimit())
}

func (c *raftConn) SendChunk(chunk raftpb.Chunk) error {
	return c.send(raftChunk, &chunk, chunk.Size())
}

func (c *raftConn) send(kind byte, m raftpb.Marshaler, size int) error {
	need := raftHeaderSize + size
	buf := c.buf
	if cap(buf) < need {
		buf = make([]byte, max(need, raftBufferSize))
		if need <= keepRaftBuffer {
			c.buf = buf
		}
	}
	buf = buf[:need]
	n, err := m.MarshalTo(buf[raftHeaderSize:])
	if err != nil {
		return fmt.Errorf("encode raft message: %w", err)
	}
	buf = buf[:raftHeaderSize+n]
	binary.BigEndian.PutUint32(buf, uint32(n))
	binary.BigEndian.PutUint32(buf[4:], crc32.Checksum(buf[raftHeaderSize:], castagnoli))
	buf[8] = kind
	binary.BigEndian.PutUint32(buf[raftHeaderSum:], crc32.Checksum(buf[:raftHeaderSum], castagnoli))
	if err := c.conn.SetWriteDeadline(time.Now().Add(raftWriteLimit)); err != nil {
		return err
	}
	_, err = c.conn.Write(buf)
	return err
}
