package network

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Cutter cuts clients of this process off from members. Its Dial is for
// client.WithDialer.
type Cutter struct {
	dial func(ctx context.Context, address string) (net.Conn, error)

	mu      sync.Mutex // guards what follows
	cut     map[string]bool
	watches bool          // connections for watches are cut off
	changed chan struct{} // closed and replaced when cut changes
	conns   map[*cuttable]struct{}
}

// NewCutter returns a cutter that cuts nothing. The function dial opens a
// connection to the member of an address.
func NewCutter(dial func(context.Context, string) (net.Conn, error)) *Cutter {
	return &Cutter{dial: dial, cut: map[string]bool{}, changed: make(chan struct{}), conns: map[*cuttable]struct{}{}}
}

// Dial opens a connection to the member of an address.
func (k *Cutter) Dial(ctx context.Context, address string) (net.Conn, error) {
	if err := k.pass(address, nil, ctx.Done(), nil); err != nil {
		return nil, err
	}
	c, err := k.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	w := &cuttable{Conn: c, cutter: k, address: address, done: make(chan struct{}), expired: make(chan struct{})}
	k.mu.Lock()
	k.conns[w] = struct{}{}
	k.mu.Unlock()
	return w, nil
}

// Set cuts an address off, or ends it.
func (k *Cutter) Set(address string, cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut[address] = cut
	close(k.changed)
	k.changed = make(chan struct{})
}

// SetWatches cuts the connections for watches off, or ends it.
func (k *Cutter) SetWatches(cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watches = cut
	close(k.changed)
	k.changed = make(chan struct{})
}

// ResetWatches ends all connections for watches.
func (k *Cutter) ResetWatches() int {
	return k.reset(func(c *cuttable) bool { return c.watches.Load() })
}

// Reset ends all connections to an address; empty: to all.
func (k *Cutter) Reset(address string) int {
	return k.reset(func(c *cuttable) bool { return address == "" || c.address == address })
}

func (k *Cutter) reset(which func(*cuttable) bool) int {
	k.mu.Lock()
	var found []*cuttable
	for c := range k.conns {
		if which(c) {
			found = append(found, c)
		}
	}
	k.mu.Unlock()
	for _, c := range found {
		if t, ok := c.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		_ = c.Close()
	}
	return len(found)
}

// pass waits while an address is cut off, or its connection, which may be nil, or until
// one of the channels is closed.
func (k *Cutter) pass(address string, c *cuttable, done, expired <-chan struct{}) error {
	for {
		k.mu.Lock()
		cut, changed := k.cut[address], k.changed
		if k.watches && c != nil && c.watches.Load() {
			cut = true
		}
		k.mu.Unlock()
		if !cut {
			return nil
		}
		select {
		case <-changed:
		case <-done:
			return net.ErrClosed
		case <-expired:
			return os.ErrDeadlineExceeded
		}
	}
}

// sniffer looks for the first request of a client's connection: that says whether it is
// one for watches.
type sniffer struct {
	seen []byte // of the frames before it
	over bool
}

// take looks at what is written next. It reports whether the first request is in it, and
// registers a watch.
func (s *sniffer) take(p []byte) bool {
	if s.over {
		return false
	}
	s.seen = append(s.seen, p...)
	if len(s.seen) < protocol.PrefaceSize {
		return false
	}
	b := s.seen[protocol.PrefaceSize:]
	for len(b) > 4 {
		size := binary.BigEndian.Uint32(b)
		if uint64(len(b)-4) < uint64(size) {
			break
		}
		frame := b[4 : 4+size]
		b = b[4+size:]
		if protocol.PeekType(frame) != protocol.TypeRequest {
			continue
		}
		var q protocol.Request
		err := q.Decode(frame)
		s.over, s.seen = true, nil
		return err == nil && q.Kind == protocol.KindControl && q.Op == protocol.OpWatch
	}
	s.over = s.over || len(s.seen) > protocol.MaxFrame
	return false
}

// cuttable is a client's connection.
type cuttable struct {
	net.Conn
	cutter  *Cutter
	address string
	once    sync.Once
	done    chan struct{}
	watches atomic.Bool // a watch was registered on it
	sniffer sniffer     // of Write

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	expired chan struct{} // closed when the deadline has passed
}

// Read reads, and holds what it has read while the member is cut off.
func (c *cuttable) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		return n, err
	}
	if held := c.wait(); held != nil {
		return 0, held
	}
	return n, nil
}

// Write writes, once the member is not cut off.
func (c *cuttable) Write(p []byte) (int, error) {
	if c.sniffer.take(p) {
		c.watches.Store(true)
	}
	if held := c.wait(); held != nil {
		return 0, held
	}
	return c.Conn.Write(p)
}

func (c *cuttable) wait() error {
	c.mu.Lock()
	expired := c.expired
	c.mu.Unlock()
	return c.cutter.pass(c.address, c, c.done, expired)
}

// SetDeadline bounds reads and writes, also those that a cut holds.
func (c *cuttable) SetDeadline(t time.Time) error {
	c.until(t)
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline bounds reads; a cut that holds one ends with either deadline.
func (c *cuttable) SetReadDeadline(t time.Time) error {
	c.until(t)
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline bounds writes; a cut that holds one ends with either
// deadline.
func (c *cuttable) SetWriteDeadline(t time.Time) error {
	c.until(t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *cuttable) until(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil && !c.timer.Stop() {
		c.expired = make(chan struct{})
	}
	c.timer = nil
	if t.IsZero() {
		return
	}
	expired := c.expired
	c.timer = time.AfterFunc(time.Until(t), func() { close(expired) })
}

// Close closes the connection.
func (c *cuttable) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.cutter.mu.Lock()
		delete(c.cutter.conns, c)
		c.cutter.mu.Unlock()
	})
	return c.Conn.Close()
}
