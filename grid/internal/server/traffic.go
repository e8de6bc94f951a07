package server

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/hub"
)

// traffic is what is in flight on a client connection: the requests that are not
// answered yet, and the frames on their way to the client.
type traffic struct {
	s       *Server
	conn    net.Conn
	watches hub.Sink // of the connection
	quick   int      // of the reader alone: messages that were answered at once, since others had their turn

	inFlight atomic.Int64
	squeezed atomic.Bool // there may be too many bytes in or out: mayRead must be asked before reading on

	mu         sync.Mutex // guards what follows; nothing is called under it
	out        []byte     // frames not yet taken by the writer
	taken      int        // bytes the writer is writing
	full       bool       // the reader waits for answers, or for frames to be written
	closed     bool
	large      map[uint64]int        // bytes of large requests in flight, by id
	inBytes    int                   // sum of large
	countedOut int                   // of out and taken, in the server's count
	written    uint64                // pieces written
	starved    map[*hub.Hub]struct{} // that have events which cannot be sent yet
	more       sync.Cond             // out has grown, or closed
	resume     sync.Cond             // a request in flight was answered, replies were written, or closed
}

func newTraffic(s *Server, conn net.Conn) *traffic {
	t := &traffic{s: s, conn: conn}
	t.more.L, t.resume.L = &t.mu, &t.mu
	return t
}

// reply answers a request in flight. It never blocks.
func (t *traffic) reply(r protocol.Reply) {
	t.mu.Lock()
	t.appendReply(&r)
	t.end(r.ID)
	t.mu.Unlock()
}

// replyLarge answers a read. If too many bytes are on their way to this client, or to
// all of them, the reply is "busy" instead.
func (t *traffic) replyLarge(r protocol.Reply) {
	t.mu.Lock()
	if t.crowded() {
		r = busyOut(r.ID)
	}
	t.appendReply(&r)
	t.end(r.ID)
	t.mu.Unlock()
}

// replyEncoded is reply for an encoded reply.
func (t *traffic) replyEncoded(id uint64, b []byte) {
	t.mu.Lock()
	t.appendFrame(b)
	t.end(id)
	t.mu.Unlock()
}

// send sends a reply to no request in flight.
func (t *traffic) send(r protocol.Reply) {
	t.mu.Lock()
	t.appendReply(&r)
	t.mu.Unlock()
}

// sendFrame sends an encoded message.
func (t *traffic) sendFrame(b []byte) {
	t.mu.Lock()
	t.appendFrame(b)
	t.mu.Unlock()
}

// appendReply encodes straight into the pending buffer. t.mu is held.
func (t *traffic) appendReply(r *protocol.Reply) {
	if t.closed {
		return
	}
	start := len(t.out)
	t.out = protocol.EndFrame(r.Append(protocol.BeginFrame(t.out)), start)
	t.grown(start)
}

// appendFrame is appendReply for an encoded message. t.mu is held.
func (t *traffic) appendFrame(b []byte) {
	if t.closed {
		return
	}
	start := len(t.out)
	t.out = protocol.EndFrame(append(protocol.BeginFrame(t.out), b...), start)
	t.grown(start)
}

// grown wakes the writer, or closes the connection of a client that does not read.
func (t *traffic) grown(before int) {
	t.countOut()
	if len(t.out)+t.taken >= softOutbound {
		t.squeezed.Store(true)
	}
	if len(t.out)+t.taken > hardOutbound {
		t.s.stats.slowReader.Add(1)
		t.s.log.Warn("client does not read its replies: connection closed", "address", addrOf(t.conn), "bytes", len(t.out)+t.taken)
		t.closeLocked()
		t.out = nil
		_ = t.conn.Close() // wakes reader and writer
		return
	}
	if before == 0 {
		t.more.Signal()
	}
}

// idle reports whether nothing is in flight or on its way out.
func (t *traffic) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed || t.inFlight.Load() == 0 && len(t.out) == 0 && t.taken == 0
}

// isClosed reports whether nothing is written any more.
func (t *traffic) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// writing returns how many pieces were written, and whether one is being written.
func (t *traffic) writing() (pieces uint64, busy bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.written, t.taken > 0
}

// finish makes the writer end when it has written everything.
func (t *traffic) finish() {
	t.mu.Lock()
	t.closeLocked()
	t.mu.Unlock()
}

func (t *traffic) closeLocked() {
	t.closed = true
	t.more.Signal()
	t.resume.Signal()
}

// write is the writer. Each time it writes everything that was appended during its last
// write.
func (t *traffic) write() {
	var spare []byte
	for {
		t.mu.Lock()
		if len(t.out) == 0 {
			for len(t.out) == 0 && !t.closed {
				t.more.Wait()
			}
			// Replies come in runs, those of an entry together: yielding lets the rest
			// of the run share the write.
			t.mu.Unlock()
			runtime.Gosched()
			t.mu.Lock()
		}
		buf := t.out
		t.out, t.taken = spare[:0], len(buf)
		t.mu.Unlock()
		if len(buf) == 0 {
			return
		}
		err := t.writeAll(buf)
		if err != nil {
			t.finish()
			_ = t.conn.Close() // wakes the reader
			return
		}
		if cap(buf) > maxIdleBuffer {
			buf = nil
		}
		spare = buf
	}
}

// writeAll writes in pieces, so that a peer that reads nothing can be told from one
// that reads slowly.
func (t *traffic) writeAll(buf []byte) error {
	for {
		n := min(len(buf), writePiece)
		_, err := t.conn.Write(buf[:n])
		buf = buf[n:]
		t.mu.Lock()
		t.taken = len(buf)
		t.written++
		t.countOut()
		if t.full {
			t.resume.Signal()
		}
		hubs := t.fed()
		t.mu.Unlock()
		for h := range hubs {
			h.Wake(t.watches)
		}
		if err != nil || len(buf) == 0 {
			return err
		}
	}
}

// abort closes the connection at once, without writing the rest.
func (t *traffic) abort() {
	t.mu.Lock()
	t.closeLocked()
	t.out = nil
	t.mu.Unlock()
	_ = t.conn.Close() // wakes reader and writer
}

// throttle blocks the reader while too much is in flight or on its way out. It is false
// if the connection is closed.
func (t *traffic) throttle(limit int64) bool {
	if t.inFlight.Load() < limit && !t.squeezed.Load() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.mayRead(limit) && !t.closed {
		t.full = true
		t.resume.Wait()
	}
	t.full = false
	t.squeezed.Store(false)
	return !t.closed
}

// refuse answers a request that no group has had. The reader calls it.
func (t *traffic) refuse(r protocol.Reply) {
	t.quick++
	if int(r.Code) < protocol.NumCodes {
		t.s.stats.refused[r.Code].Add(1)
	}
	t.reply(r)
}

// begin counts a request in flight, and the bytes of a large one.
func (t *traffic) begin(id uint64, bytes int) {
	t.inFlight.Add(1)
	if bytes < largeBytes {
		return
	}
	t.s.inbound.Add(int64(bytes))
	t.mu.Lock()
	if t.large == nil {
		t.large = map[uint64]int{}
	}
	t.large[id] += bytes
	t.inBytes += bytes
	t.squeezed.Store(t.squeezed.Load() || t.inBytes >= maxInboundConn)
	t.mu.Unlock()
}

// end counts a request as answered. t.mu is held.
func (t *traffic) end(id uint64) {
	t.inFlight.Add(-1)
	if n, ok := t.large[id]; ok {
		delete(t.large, id)
		t.inBytes -= n
		t.s.inbound.Add(int64(-n))
	}
	if t.full {
		t.resume.Signal()
	}
}

// forget subtracts what this connection, which has ended, has added to the server's
// counts.
func (t *traffic) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.inbound.Add(int64(-t.inBytes))
	t.s.outbound.Add(int64(-t.countedOut))
	t.large, t.inBytes, t.countedOut = nil, 0, 0
}

// mayRead reports whether another request may be read. t.mu is held.
func (t *traffic) mayRead(limit int64) bool {
	n := t.inFlight.Load()
	return n < limit && (t.inBytes < maxInboundConn || n == 0) && len(t.out)+t.taken < softOutbound
}

// crowded reports whether too many bytes are on their way out for another large reply
// to a read. t.mu is held.
func (t *traffic) crowded() bool {
	n := len(t.out) + t.taken
	return n > maxOutbound || n > fairOutbound && t.s.outbound.Load() > t.s.cfg.Budget
}

// countOut updates the server's count of bytes on their way out, in coarse steps. t.mu
// is held.
func (t *traffic) countOut() {
	n := len(t.out) + t.taken
	if d := n - t.countedOut; d > countStep || d < -countStep || n == 0 && d != 0 {
		t.s.outbound.Add(int64(d))
		t.countedOut = n
	}
}
