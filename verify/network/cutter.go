package network

import (
	"context"
	"net"
	"os"
	"sync"
	"time"
)

// Cutter cuts clients of this process off from members. Its Dial is for
// client.WithDialer.
type Cutter struct {
	dial func(ctx context.Context, address string) (net.Conn, error)

	mu      sync.Mutex // guards what follows
	cut     map[string]bool
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
	if err := k.pass(address, ctx.Done(), nil); err != nil {
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

// Reset ends all connections to an address; empty: to all.
func (k *Cutter) Reset(address string) int {
	k.mu.Lock()
	var found []*cuttable
	for c := range k.conns {
		if address == "" || c.address == address {
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

// pass waits while an address is cut off, or until one of the channels is
// closed.
func (k *Cutter) pass(address string, done, expired <-chan struct{}) error {
	for {
		k.mu.Lock()
		cut, changed := k.cut[address], k.changed
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

// cuttable is a client's connection.
type cuttable struct {
	net.Conn
	cutter  *Cutter
	address string
	once    sync.Once
	done    chan struct{}

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
	if held := c.wait(); held != nil {
		return 0, held
	}
	return c.Conn.Write(p)
}

func (c *cuttable) wait() error {
	c.mu.Lock()
	expired := c.expired
	c.mu.Unlock()
	return c.cutter.pass(c.address, c.done, expired)
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
