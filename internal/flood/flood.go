// Package flood makes hostile clients: connections that send a member every
// message there is, valid, almost valid and malformed, as fast as it takes them.
// A member may refuse, answer "busy" and hang up; it must neither end nor log
// what cannot be applied.
//
// What is valid concerns sessions that the flood has opened itself, or that were
// never opened, and structures whose names begin with NamePrefix, so that others
// can use the grid meanwhile and be checked.
package flood

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
)

// NamePrefix begins the name of every structure that a flood touches.
const NamePrefix = "flood-"

// Config says what to send, and to whom.
type Config struct {
	Addresses   []string // of members
	Connections int      // at a time, spread over Addresses
	// Bursts is how many bursts of messages each connection sends, those that
	// follow a broken one included; 0: until the context ends.
	Bursts int
	Seed   uint64
	// Heartbeats restricts the flood to heartbeats of sessions that were never opened.
	Heartbeats bool
}

// Report counts what a flood has done.
type Report struct {
	Connections, NotConnected, Bursts, ReplyBytes uint64
}

// Run floods until every connection has sent its bursts, or ctx ends.
func Run(ctx context.Context, cfg Config) Report {
	var f flood
	var all sync.WaitGroup
	for i := range cfg.Connections {
		h := &hostile{
			flood: &f, cfg: &cfg, address: cfg.Addresses[i%len(cfg.Addresses)],
			rng: rand.New(rand.NewPCG(cfg.Seed, uint64(i))),
		}
		all.Go(func() { h.run(ctx) })
	}
	all.Wait()
	return Report{f.connections.Load(), f.notConnected.Load(), f.bursts.Load(), f.replyBytes.Load()}
}

const (
	dialTimeout = 5 * time.Second
	// writeTimeout is for a member that reads no more: the connection is given up.
	writeTimeout = 5 * time.Second
	// again is how soon a connection that has ended is made anew.
	again = 20 * time.Millisecond
)

type flood struct {
	connections, notConnected, bursts, replyBytes atomic.Uint64
}

// hostile is one connection after another.
type hostile struct {
	*flood
	cfg     *Config
	address string
	rng     *rand.Rand
	sent    int
}

func (h *hostile) run(ctx context.Context) {
	for ctx.Err() == nil && (h.cfg.Bursts == 0 || h.sent < h.cfg.Bursts) {
		d := net.Dialer{Timeout: dialTimeout}
		c, err := d.DialContext(ctx, "tcp", h.address)
		if err != nil {
			h.notConnected.Add(1)
			if h.sent++; !contexts.Pause(ctx, 10*again) { // counted, so that a dead member ends the flood
				return
			}
			continue
		}
		h.connections.Add(1)
		end := context.AfterFunc(ctx, func() { _ = c.Close() })
		h.attack(c)
		end()
		_ = c.Close() // perhaps a second time
		if !contexts.Pause(ctx, again) {
			return
		}
	}
}

// attack sends bursts over one connection until it breaks.
func (h *hostile) attack(c net.Conn) {
	purpose := protocol.PurposeClient
	if !h.cfg.Heartbeats && h.rng.IntN(16) == 0 {
		purpose = []protocol.Purpose{protocol.PurposeMember, protocol.PurposeRaft, protocol.PurposeGossip}[h.rng.IntN(3)]
	}
	b := protocol.AppendPreface(nil, purpose)
	var session protocol.SessionID
	frames := protocol.NewFrameReader(c, protocol.MaxFrame)
	if purpose == protocol.PurposeClient {
		hello := protocol.NewHello(h.uuid(), "flood")
		if !h.write(c, appendFrame(b, protocol.Encode(hello))) {
			return
		}
		if c.SetReadDeadline(time.Now().Add(writeTimeout)) != nil {
			return
		}
		if _, err := frames.Next(); err != nil {
			return
		}
		b = nil
		if !h.cfg.Heartbeats {
			session = h.open(c, frames)
		}
		if c.SetReadDeadline(time.Time{}) != nil {
			return
		}
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		n, _ := io.Copy(io.Discard, c)
		h.replyBytes.Add(uint64(n))
	}()
	defer func() {
		_ = c.Close() // ends the reader
		<-gone
	}()
	for h.cfg.Bursts == 0 || h.sent < h.cfg.Bursts {
		burst, broken := h.burst(b, purpose, session)
		h.sent++
		h.bursts.Add(1)
		if !h.write(c, burst) || broken && h.rng.IntN(2) == 0 {
			return
		}
		b = nil
	}
}

// open opens a session of its own, and returns 0 if it gets none.
func (h *hostile) open(c net.Conn, frames *protocol.FrameReader) protocol.SessionID {
	q := protocol.SessionRequest{Type: protocol.TypeSession, ID: 1, Action: protocol.SessionOpen, Client: h.uuid(), TTL: 2000}
	if !h.write(c, appendFrame(nil, protocol.Encode(q))) {
		return 0
	}
	for {
		b, err := frames.Next()
		if err != nil {
			return 0
		}
		var r protocol.Reply
		var s protocol.SessionState
		switch {
		case protocol.PeekType(b) != protocol.TypeReply:
			continue // a table
		case r.Decode(b) != nil || r.Code != protocol.CodeOK || protocol.Decode(r.Body, &s) != nil:
			return 0
		}
		return s.Session
	}
}

func (h *hostile) write(c net.Conn, b []byte) bool {
	if c.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
		return false
	}
	_, err := c.Write(b)
	return err == nil
}

func (h *hostile) uuid() (u protocol.UUID) {
	for i := range u {
		u[i] = byte(h.rng.Uint32())
	}
	return u
}

func appendFrame(dst, message []byte) []byte {
	start := len(dst)
	return protocol.EndFrame(append(protocol.BeginFrame(dst), message...), start)
}
