package raftnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

// raftConn sends frames. dragonboat uses each from one goroutine.
//
// dragonboat has several connections to a member, and most of them are idle until
// another member leads. If a write on one fails, dragonboat drops all messages for that
// member for half a second and more. A member that was restarted would be cut off that
// way when it is needed most: when a third member dies, and connections from before the
// restart are used again for the first time. So a connection that the other end has
// closed is reopened before it is used.
type raftConn struct {
	dial     func(context.Context) (net.Conn, error)
	lost     func() // the other end has closed a connection
	preVotes *preVoteFilter
	conn     net.Conn
	ended    chan struct{} // closed when conn has ended
	ours     *atomic.Bool  // dragonboat has closed conn
	buf      []byte
}

// open opens the connection, and watches it: nothing is ever sent back, so if the
// reading ends, the connection has ended.
func (c *raftConn) open(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	ended, ours := make(chan struct{}), new(atomic.Bool)
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, conn)
		if !ours.Load() {
			c.lost()
		}
	}()
	c.conn, c.ended, c.ours = conn, ended, ours
	return nil
}

// Close closes the connection and waits for the goroutine that watches it.
func (c *raftConn) Close() {
	c.ours.Store(true)
	c.shut()
}

// shut closes the connection, and waits until it is read to its end.
func (c *raftConn) shut() {
	c.conn.Close()
	<-c.ended
}

// reopen replaces a connection that the other end has closed, whether a write
// has noticed it first or the watching goroutine.
func (c *raftConn) reopen() error {
	c.shut()
	ctx, cancel := context.WithTimeout(context.Background(), reopenLimit)
	defer cancel()
	return c.open(ctx)
}

// SendMessageBatch sends messages. They may arrive twice, as Raft allows.
func (c *raftConn) SendMessageBatch(b raftpb.MessageBatch) error {
	if b.Requests = c.preVotes.out(b.Requests); len(b.Requests) == 0 {
		return nil
	}
	select {
	case <-c.ended:
		if err := c.reopen(); err != nil {
			return err
		}
	default:
	}
	err := c.send(frameBatch, &b, b.SizeUpperLimit())
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if again := c.reopen(); again != nil {
		return errors.Join(err, again)
	}
	return c.send(frameBatch, &b, b.SizeUpperLimit())
}

// SendChunk sends a part of a snapshot.
func (c *raftConn) SendChunk(chunk raftpb.Chunk) error {
	return c.send(frameChunk, &chunk, chunk.Size())
}

func (c *raftConn) send(kind byte, m raftpb.Marshaler, size int) error {
	need := headerSize + size
	buf := c.buf
	if cap(buf) < need {
		buf = make([]byte, max(need, bufferSize))
		if need <= keepBuffer {
			c.buf = buf
		}
	}
	buf = buf[:need]
	n, err := m.MarshalTo(buf[headerSize:])
	if err != nil {
		return fmt.Errorf("encode raft message: %w", err)
	}
	buf = buf[:headerSize+n]
	binary.BigEndian.PutUint32(buf, uint32(n))
	binary.BigEndian.PutUint32(buf[4:], crc32.Checksum(buf[headerSize:], castagnoli))
	buf[8] = kind
	binary.BigEndian.PutUint32(buf[headerSum:], crc32.Checksum(buf[:headerSum], castagnoli))
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	_, err = c.conn.Write(buf)
	return err
}
