package server

import (
	"runtime"

	"github.com/quorate/quorate/protocol"
)

// reply answers a request in flight. It never blocks.
func (c *clientConn) reply(r protocol.Reply) {
	c.mu.Lock()
	c.appendReply(&r)
	c.end(r.ID)
	c.mu.Unlock()
}

// replyLarge answers a read. Where too much is in flight to this client, or
// to all of them, the answer is that it should ask again.
func (c *clientConn) replyLarge(r protocol.Reply) {
	c.mu.Lock()
	if c.crowded() {
		r = busyOut(r.ID)
	}
	c.appendReply(&r)
	c.end(r.ID)
	c.mu.Unlock()
}

// send sends a reply to no request in flight.
func (c *clientConn) send(r protocol.Reply) {
	c.mu.Lock()
	c.appendReply(&r)
	c.mu.Unlock()
}

// sendFrame sends an encoded message.
func (c *clientConn) sendFrame(b []byte) {
	c.mu.Lock()
	c.appendFrame(b)
	c.mu.Unlock()
}

// appendReply encodes straight into the pending buffer. c.mu is held.
func (c *clientConn) appendReply(r *protocol.Reply) {
	if c.closed {
		return
	}
	start := len(c.out)
	c.out = protocol.EndFrame(r.Append(protocol.BeginFrame(c.out)), start)
	c.grown(start)
}

// appendFrame is appendReply for an encoded message. c.mu is held.
func (c *clientConn) appendFrame(b []byte) {
	if c.closed {
		return
	}
	start := len(c.out)
	c.out = protocol.EndFrame(append(protocol.BeginFrame(c.out), b...), start)
	c.grown(start)
}

// grown wakes the writer, or gives up on a client that does not read.
func (c *clientConn) grown(before int) {
	c.countOut()
	if len(c.out)+c.taken >= softOutbound {
		c.squeezed.Store(true)
	}
	if len(c.out)+c.taken > hardOutbound {
		c.s.stats.slowReader.Add(1)
		c.s.log.Warn("client does not read its replies: connection closed", "from", addrOf(c.conn), "bytes", len(c.out)+c.taken)
		c.closeLocked()
		c.out = nil
		_ = c.conn.Close() // wakes reader and writer
		return
	}
	if before == 0 {
		c.more.Signal()
	}
}

// idle reports whether nothing is in flight or on its way out.
func (c *clientConn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed || c.inFlight.Load() == 0 && len(c.out) == 0 && c.taken == 0
}

// finish makes the writer end when it has written what there is.
func (c *clientConn) finish() {
	c.mu.Lock()
	c.closeLocked()
	c.mu.Unlock()
}

func (c *clientConn) closeLocked() {
	c.closed = true
	c.more.Signal()
	c.room.Signal()
}

// write is the writer: it writes what has gathered while it wrote before.
func (c *clientConn) write() {
	var spare []byte
	for {
		c.mu.Lock()
		if len(c.out) == 0 {
			for len(c.out) == 0 && !c.closed {
				c.more.Wait()
			}
			// Replies come in runs, one entry's after the other: what is about to be
			// answered shares the write.
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
		buf := c.out
		c.out, c.taken = spare[:0], len(buf)
		c.mu.Unlock()
		if len(buf) == 0 {
			return
		}
		err := c.writeAll(buf)
		if err != nil {
			c.finish()
			_ = c.conn.Close() // wakes the reader
			return
		}
		if cap(buf) > maxIdleBuffer {
			buf = nil
		}
		spare = buf
	}
}

// writeAll writes in pieces, so that a peer that takes nothing is told from one
// that is slow.
func (c *clientConn) writeAll(buf []byte) error {
	for {
		n := min(len(buf), writePiece)
		_, err := c.conn.Write(buf[:n])
		buf = buf[n:]
		c.mu.Lock()
		c.taken = len(buf)
		c.written++
		c.countOut()
		if c.full {
			c.room.Signal()
		}
		c.mu.Unlock()
		if err != nil || len(buf) == 0 {
			return err
		}
	}
}
