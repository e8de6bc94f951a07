package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	randv2 "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// session is one session of the client at the system group.
//
//	         lose                      end
//	held ------------> given up ---------------> ended
//	  |  no word for    writes go on under it     ^
//	  |  almost a TTL   until another is open     |
//	  '-------------------------------------------'
//	             a member says that it has ended
type session struct {
	c     *Client
	life  *life // of the grid that has opened it
	id    protocol.SessionID
	ttl   time.Duration
	lease context.Context // ends before anyone else can be granted what is held
	stop  context.CancelCauseFunc
	ended atomic.Bool // a member said so: no mutation is sent under it again
	slots []atomic.Pointer[slotTable]

	mu    sync.Mutex
	acked time.Time // when the last heartbeat that was acknowledged was sent
}

// since returns how much time may have passed from sent to now: the larger of
// monotonic and wall time, because monotonic time stands still in a machine
// that is suspended.
func since(sent, now time.Time) time.Duration {
	return max(now.Sub(sent), now.Round(0).Sub(sent.Round(0)))
}

// holdFor returns for how long after a heartbeat was sent the client counts on
// what it holds: the time to live less 1/32, because clocks run differently,
// less the time that holders have to stop.
func holdFor(ttl time.Duration) time.Duration {
	if mutants.On(mutants.HeldTooLate) {
		return ttl + ttl/4
	}
	return ttl - ttl/32 - max(ttl/10, 500*time.Millisecond)
}

// table returns the slots of a partition.
func (s *session) table(p protocol.PartitionID) *slotTable {
	if t := s.slots[p].Load(); t != nil {
		return t
	}
	limit := int(s.c.limits.Load().Slots)
	if limit == 0 {
		limit = int(protocol.DefaultLimits().Slots)
	}
	t := &slotTable{limit: limit}
	if !s.slots[p].CompareAndSwap(nil, t) {
		return s.slots[p].Load()
	}
	return t
}

// ack counts an acknowledged heartbeat. Giving up is final: after it nothing
// counts any more.
func (s *session) ack(sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease.Err() == nil && sent.After(s.acked) {
		s.acked = sent
	}
}

// lose gives up what the session holds, for ever, and has another opened.
func (s *session) lose(why string) { s.loseBy(quorate.ErrSessionLost, why) }

func (s *session) loseBy(cause error, why string) {
	s.mu.Lock()
	first := s.lease.Err() == nil
	s.stop(cause)
	s.mu.Unlock()
	if first {
		s.c.log.Warn("session lost", "session", s.id, "why", why)
		s.c.sessions.lost.Add(1)
		s.c.sessions.open()
	}
}

// end is for a session that a member says has ended.
func (s *session) end() {
	s.ended.Store(true)
	s.lose("it has ended at the grid")
	s.c.sessions.open()
}

// watch gives up what is held in time. It looks at least every 250 ms: after a
// suspended machine has woken up, a timer alone would fire late.
func (s *session) watch() {
	for {
		s.mu.Lock()
		left := holdFor(s.ttl) - since(s.acked, time.Now())
		s.mu.Unlock()
		if left <= 0 {
			s.lose("no heartbeat was acknowledged in time")
			return
		}
		t := time.NewTimer(min(left, 250*time.Millisecond))
		select {
		case <-t.C:
		case <-s.lease.Done():
			t.Stop()
			return
		}
	}
}

// beat sends the heartbeats.
func (s *session) beat() {
	for {
		t := time.NewTimer(s.ttl / 5)
		select {
		case <-t.C:
		case <-s.lease.Done():
			t.Stop()
			return
		}
		for try := 0; ; try++ {
			sent := time.Now()
			code, _, err := s.c.sessions.exchange(s.lease, s.life, protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: s.id})
			if err == nil && code == protocol.CodeOK {
				s.ack(sent)
				break
			}
			if err == nil && (code == protocol.CodeSessionEnded || code == protocol.CodeSessionUnknown) {
				s.end()
				return
			}
			if !pauseIn(s.lease, backoff(try, 20*time.Millisecond, 300*time.Millisecond)) {
				return
			}
		}
	}
}

// pauseIn waits; it reports false where ctx ended first.
func pauseIn(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sessions opens the client's sessions, one after another.
type sessions struct {
	c       *Client
	current atomic.Pointer[session] // the last that was opened; nil: none yet
	lost    atomic.Uint64

	mu      sync.Mutex
	opened  uint64
	opening chan struct{} // closed when the session being opened is there; nil: none
	err     error         // why the last attempt to open one failed
	closed  bool
}

func (m *sessions) init(c *Client) { m.c = c }

// open has a session opened in the background unless one is held or being
// opened, and returns a channel that is closed when there is one.
func (m *sessions) open() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opening != nil {
		return m.opening
	}
	ready := make(chan struct{})
	if s := m.current.Load(); m.closed || s != nil && s.lease.Err() == nil {
		close(ready)
		return ready
	}
	m.opening = ready
	if !m.c.spawn(func() { m.openNew(ready) }) {
		m.opening = nil
		close(ready)
	}
	return ready
}

func (m *sessions) openNew(ready chan struct{}) {
	s := m.establish()
	m.mu.Lock()
	if s != nil && s.life != m.c.life.Load() {
		m.c.spawn(func() { m.openNew(ready) })
		m.mu.Unlock()
		return
	}
	if s != nil && !m.closed {
		m.current.Store(s)
		m.opened++
		m.err = nil
		m.c.spawn(s.watch)
		m.c.spawn(s.beat)
		m.c.log.Debug("session open", "session", s.id, "ttl", s.ttl)
	}
	m.opening = nil
	close(ready)
	m.mu.Unlock()
}

// establish opens a session; it returns nil when the client is closed. A UUID
// is tried only for a part of the TTL, because the session counts from the
// first attempt: any of them may be the one that opened it.
func (m *sessions) establish() *session {
	m.mu.Lock()
	id := m.c.id
	if m.opened > 0 {
		rand.Read(id[:])
	}
	m.mu.Unlock()
	first, in := time.Now(), m.c.life.Load()
	for try := 0; m.c.ctx.Err() == nil; try++ {
		if now := m.c.life.Load(); now != in || since(first, time.Now()) > m.c.cfg.sessionTTL/4 {
			rand.Read(id[:])
			first, in = time.Now(), now
		}
		code, body, err := m.exchange(m.c.ctx, in, protocol.SessionRequest{
			Action: protocol.SessionOpen, Client: id, TTL: uint32(m.c.cfg.sessionTTL / time.Millisecond),
		})
		var state protocol.SessionState
		if err == nil && code == protocol.CodeOK {
			if err = protocol.Decode(body, &state); err == nil {
				return m.newSession(in, state, first)
			}
		}
		if err == nil {
			err = &refusal{code: code, detail: problemOf(protocol.Reply{Body: body}).Detail}
		}
		m.mu.Lock()
		m.err = err
		m.mu.Unlock()
		if !pauseIn(m.c.ctx, backoff(try, 10*time.Millisecond, 300*time.Millisecond)) {
			return nil
		}
	}
	return nil
}

func (m *sessions) newSession(in *life, state protocol.SessionState, sent time.Time) *session {
	s := &session{
		c: m.c, life: in, id: state.Session, acked: sent,
		ttl:   time.Duration(state.TTL) * time.Millisecond,
		slots: make([]atomic.Pointer[slotTable], m.c.partitions),
	}
	if s.ttl <= 0 {
		s.ttl = m.c.cfg.sessionTTL
	}
	s.lease, s.stop = context.WithCancelCause(m.c.ctx)
	return s
}

// exchange makes one attempt to ask the leader of the system group of the grid
// that is meant.
func (m *sessions) exchange(ctx context.Context, in *life, q protocol.SessionRequest) (protocol.Code, []byte, error) {
	c := m.c
	r := c.routes.Load()
	leader := c.seeds
	if g := r.groups[protocol.SystemGroup]; leader == nil && g != nil {
		leader = g.leader
	}
	if leader == nil {
		c.search()
		return 0, nil, waitUntil(ctx, r.next, "the system group has no leader that is known")
	}
	n := leader.ordinary.conn.Load()
	if n == nil {
		c.search()
		if err := waitUntil(ctx, leader.ordinary.open(), "not connected to the leader of the system group"); err != nil {
			if n = leader.ordinary.conn.Load(); n == nil {
				return 0, nil, err
			}
		}
	}
	if n.life != in {
		return 0, nil, errGone
	}
	f := &flight{done: make(chan struct{}, 1)}
	q.Type = protocol.TypeSession
	now := c.now()
	err := n.sendMessage(f, now, now+attemptTime(), func(id uint64) []byte {
		q.ID = id
		return protocol.Encode(&q)
	})
	if err != nil {
		return 0, nil, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		if n.abandon(f) {
			return 0, nil, context.Cause(ctx)
		}
		<-f.done
	}
	if f.err != nil {
		c.search()
		return 0, nil, f.err
	}
	if f.reply.Code == protocol.CodeNotLeader {
		c.hint(protocol.SystemGroup, n.member, problemOf(f.reply).Leader)
		c.refresh()
	}
	return f.reply.Code, f.reply.Body, nil
}

// waitUntil waits for ch, for the time of an attempt at most, and returns an
// error that says why.
func waitUntil(ctx context.Context, ch <-chan struct{}, why string) error {
	t := time.NewTimer(attemptTime())
	defer t.Stop()
	select {
	case <-ch:
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return errors.New(why)
}

// attemptTime is how long one attempt waits for its answer: 0.3 to 0.5 s.
func attemptTime() time.Duration {
	return 300*time.Millisecond + randv2.N(200*time.Millisecond)
}

// need returns the session for a mutation: the last one opened unless it has
// ended, and with lease only one that is held.
func (m *sessions) need(ctx context.Context, o *op) (*session, error) {
	for {
		s := m.current.Load()
		if s != nil && s.life == o.life && !s.ended.Load() && (!o.waiting || s.lease.Err() == nil) {
			return s, nil
		}
		err := m.c.pause(ctx, o, time.Hour, m.open(), nil)
		m.mu.Lock()
		closed, why := m.closed, m.err
		m.mu.Unlock()
		switch {
		case closed:
			return nil, quorate.ErrClosed
		case err != nil:
			if why != nil && o.last == nil {
				o.last = fmt.Errorf("no session: %w", why)
			}
			return nil, err
		}
	}
}

// close ends the session at the grid, for a second at most.
func (m *sessions) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	s := m.current.Load()
	if s == nil || s.ended.Load() || s.lease.Err() != nil {
		return
	}
	s.stop(quorate.ErrClosed)
	ctx, cancel := context.WithTimeout(m.c.ctx, time.Second)
	defer cancel()
	for try := 0; ; try++ {
		code, _, err := m.exchange(ctx, s.life, protocol.SessionRequest{Action: protocol.SessionClose, Session: s.id})
		if err == nil && (code == protocol.CodeOK || code == protocol.CodeSessionEnded || code == protocol.CodeSessionUnknown) {
			return
		}
		if !pauseIn(ctx, backoff(try, 10*time.Millisecond, 100*time.Millisecond)) {
			return
		}
	}
}
