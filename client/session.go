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
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
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
	client  *Client
	cluster *cluster // of the grid that has opened it
	id      protocol.SessionID
	ttl     time.Duration
	lease   context.Context // ends before anyone else can be granted what is held
	stop    context.CancelCauseFunc
	lost    chan struct{} // closed when the contexts of what it held have ended
	ended   atomic.Bool   // a member has said so: no mutation is sent under it any more
	slots   []atomic.Pointer[slotTable]
	keeper  *structures.Keeper // of what it holds

	mu        sync.Mutex
	acked     time.Time // when the last heartbeat that was acknowledged was sent
	suspended bool      // receivers of events were notified that a heartbeat is overdue
}

// since returns how much time may have passed from sent to now: the larger of monotonic
// and wall time, because monotonic time stops while a machine is suspended.
func since(sent, now time.Time) time.Duration {
	return max(now.Sub(sent), now.Round(0).Sub(sent.Round(0)))
}

// leastMargin is the least time between the end of a holder's context and the first
// moment at which the grid may grant to another what it held.
func leastMargin(ttl time.Duration) time.Duration { return max(ttl/10, 500*time.Millisecond) }

// holdFor returns how long after sending a heartbeat the client relies on what it
// holds: the TTL less 1/32, because clocks differ in speed, less the time that holders
// have to stop (SESSION-4).
func holdFor(ttl, margin time.Duration) time.Duration {
	return mutantHoldFor(ttl, ttl-ttl/32-margin)
}

// table returns the slots of a partition.
func (s *session) table(p protocol.PartitionID) *slotTable {
	if t := s.slots[p].Load(); t != nil {
		return t
	}
	limit := int(s.client.limits.Load().Slots)
	if limit == 0 {
		limit = int(protocol.DefaultLimits().Slots)
	}
	t := &slotTable{limit: limit}
	if !s.slots[p].CompareAndSwap(nil, t) {
		return s.slots[p].Load()
	}
	return t
}

// ack records a heartbeat that was acknowledged. Giving up is final: an acknowledgement
// after it has no effect.
func (s *session) ack(sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease.Err() != nil || !sent.After(s.acked) {
		return
	}
	s.acked = sent
	if s.suspended && !s.overdue(since(sent, time.Now())) {
		s.suspended = false
		s.publish(SessionOpen, nil)
	}
}

// overdue reports whether a heartbeat is overdue after a silence: they come every fifth
// of the TTL.
func (s *session) overdue(silence time.Duration) bool { return silence > 2*s.ttl/5 }

// publish notifies the receivers of a change. mu is held.
func (s *session) publish(state SessionState, err error) {
	s.client.sessions.events.publish(SessionEvent{Session: s.id, State: state, Err: err})
}

// lose gives up what the session holds, for ever, and opens another session.
func (s *session) lose(why string) { s.loseBy(quorate.ErrSessionLost, why) }

func (s *session) loseBy(cause error, why string) {
	if s.giveUp(cause) {
		s.client.log.Warn("session lost", "session", s.id, "reason", why)
		s.client.sessions.lost.Add(1)
		s.client.sessions.open()
	}
}

// giveUp ends the contexts of what the session holds, and reports the loss only after
// that (SESSION-7): whoever learns of the loss may acquire again, and must not meet a
// former holder in the same process that still runs. It reports whether this is the
// first call.
func (s *session) giveUp(cause error) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.lost:
		return false
	default:
	}
	mutantStop(s.stop)(cause) // the contexts end one after the other, the lease first
	s.keeper.LeaseEnded()
	state := SessionLost
	if cause == quorate.ErrClosed {
		state = SessionClosed
	}
	s.publish(state, cause)
	close(s.lost)
	return true
}

// end handles a member's answer that the session has ended. why is what the member says,
// if an operator killed the session.
func (s *session) end(why string) {
	s.ended.Store(true)
	if why == "" {
		s.lose("it has ended at the grid")
	} else {
		s.loseBy(fmt.Errorf("%w: %s", quorate.ErrSessionLost, why), why)
	}
	s.client.sessions.open()
}

// watch gives up in time what is held. It checks at least every 250 ms, because after a
// machine was suspended a timer alone would fire late.
func (s *session) watch() {
	for {
		s.mu.Lock()
		silence := since(s.acked, time.Now())
		left := holdFor(s.ttl, s.client.cfg.holdMargin) - silence
		if left > 0 && !s.suspended && s.overdue(silence) && s.lease.Err() == nil {
			s.suspended = true
			s.publish(SessionSuspended, nil)
		}
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

// patience returns how long after its request an answer about a session counts, and is
// waited for.
func patience(ttl time.Duration) time.Duration {
	return mutantPatience(max(ttl/4, time.Second))
}

// beat sends the heartbeats. It does not wait for the answer to one before it sends the
// next, so that heartbeats are as frequent if answers are late.
func (s *session) beat() {
	s.mu.Lock()
	opened := since(s.acked, time.Now())
	s.mu.Unlock()
	t := time.NewTimer(max(s.ttl/5-opened, 0))
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.lease.Done():
			return
		}
		t.Reset(s.ttl / 5)
		if !s.client.tasks.spawn(s.heartbeat) {
			return
		}
	}
}

// heartbeat sends one heartbeat. However late it is answered, it counts from the time
// when it was sent.
func (s *session) heartbeat() {
	q := protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: s.id}
	a := s.client.sessions.request(s.lease, s.cluster, q, patience(s.ttl))
	switch {
	case a.err != nil:
	case a.code == protocol.CodeOK:
		s.ack(a.sent)
	default:
		s.end(problemOf(protocol.Reply{Body: a.body}).Detail)
	}
}

// sessions holds the client's sessions, and opens them one after another.
type sessions struct {
	client  *Client
	current atomic.Pointer[session] // the last that was opened; nil: none yet
	lost    atomic.Uint64
	events  sessionEvents

	mu      sync.Mutex
	opened  uint64
	opening chan struct{} // closed when the session that is being opened is open; nil: none
	err     error         // why the last attempt to open one failed
	closed  bool
}

func (m *sessions) init(c *Client) { m.client = c }

// open opens a session in the background, unless one is held or being opened, and
// returns a channel that is closed when there is one.
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
	if !m.client.tasks.spawn(func() { m.openNew(ready) }) {
		m.opening = nil
		close(ready)
	}
	return ready
}

func (m *sessions) openNew(ready chan struct{}) {
	s := m.establish()
	if before := m.current.Load(); before != nil {
		select { // its loss is published before the next session is
		case <-before.lost:
		case <-m.client.ctx.Done():
		}
	}
	m.mu.Lock()
	if s != nil && s.cluster != m.client.table.cluster.Load() {
		m.client.tasks.spawn(func() { m.openNew(ready) })
		m.mu.Unlock()
		return
	}
	if s != nil && !m.closed {
		m.current.Store(s)
		m.events.publish(SessionEvent{Session: s.id, State: SessionOpen})
		m.opened++
		m.err = nil
		m.client.tasks.spawn(s.watch)
		m.client.tasks.spawn(s.beat)
		m.client.tasks.spawn(func() { s.keeper.Run(s.lease) })
		m.client.log.Debug("session open", "session", s.id, "ttl", s.ttl)
	}
	m.opening = nil
	close(ready)
	m.mu.Unlock()
}

// establish opens a session; it returns nil if the client is closed. The session's time
// counts from the first attempt under its UUID, because any of the attempts may be the
// one that opened it. So a UUID is tried only for a part of the TTL.
func (m *sessions) establish() *session {
	m.mu.Lock()
	id := m.client.id
	if m.opened > 0 {
		rand.Read(id[:])
	}
	m.mu.Unlock()
	for try := 0; m.client.ctx.Err() == nil; try++ {
		first, in := time.Now(), m.client.table.cluster.Load()
		a := m.request(m.client.ctx, in, protocol.SessionRequest{
			Action: protocol.SessionOpen, Client: id, TTL: uint32(m.client.cfg.sessionTTL / time.Millisecond),
		}, patience(m.client.cfg.sessionTTL))
		var state protocol.SessionState
		if a.err == nil && a.code == protocol.CodeOK {
			if a.err = protocol.Decode(a.body, &state); a.err == nil {
				return m.newSession(in, state, first)
			}
			m.failed(a)
		}
		rand.Read(id[:])
		if !contexts.Pause(m.client.ctx, backoff(try, 10*time.Millisecond, 300*time.Millisecond)) {
			return nil
		}
	}
	return nil
}

func (m *sessions) newSession(in *cluster, state protocol.SessionState, sent time.Time) *session {
	s := &session{
		client: m.client, cluster: in, id: state.Session, acked: sent, lost: make(chan struct{}),
		ttl:   time.Duration(state.TTL) * time.Millisecond,
		slots: make([]atomic.Pointer[slotTable], m.client.partitions),
	}
	if s.ttl <= 0 {
		s.ttl = m.client.cfg.sessionTTL
	}
	s.keeper = structures.NewKeeper(m.client, max(s.ttl/5, time.Second), m.client.cfg.holdMargin)
	s.lease, s.stop = context.WithCancelCause(s.keeper.Lease(context.WithValue(m.client.ctx, leaseKey{}, s)))
	return s
}

// leaseKey is the key of a lease's session.
type leaseKey struct{}

// of returns the session of the call's lease, which a reply of this client had.
func (m *sessions) of(c *call) (*session, error) {
	s, ok := c.spec.Lease.Value(leaseKey{}).(*session)
	switch {
	case !ok || s.client != m.client:
		return nil, fmt.Errorf("%w: not a lease of this client", quorate.ErrInvalid)
	case s.cluster != c.cluster:
		return nil, quorate.ErrGridLost
	case s.ended.Load():
		return nil, quorate.ErrSessionLost
	}
	return s, nil
}

// sessionAnswer is the outcome of a session request.
type sessionAnswer struct {
	sent time.Time
	code protocol.Code
	body []byte
	err  error // no answer; nil: code and body are set
}

// definite reports whether every other member would answer the same.
func (a *sessionAnswer) definite() bool {
	return a.err == nil && (a.code == protocol.CodeOK || a.code == protocol.CodeSessionEnded || a.code == protocol.CodeSessionUnknown)
}

// failed records why a session could not be opened.
func (m *sessions) failed(a sessionAnswer) {
	err := a.err
	if err == nil {
		err = &refusal{code: a.code, detail: problemOf(protocol.Reply{Body: a.body}).Detail}
	}
	m.mu.Lock()
	m.err = err
	m.mu.Unlock()
}

// request asks the leader of the system group until there is a definite answer, for at
// most a given time. The answer says when the request that it answers was sent. A
// request that is not answered within the time of an attempt stays in flight, since the
// link may be long or the disks slow. Further requests follow at growing intervals,
// each to the leader at that time.
func (m *sessions) request(ctx context.Context, in *cluster, q protocol.SessionRequest, most time.Duration) sessionAnswer {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	answers := make(chan sessionAnswer)
	send := func() {
		a := m.exchange(ctx, in, q)
		select {
		case answers <- a:
		case <-ctx.Done():
		}
	}
	last := sessionAnswer{err: fmt.Errorf("%w: no answer about the session", context.DeadlineExceeded)}
	for failures, silences := 0, 0; ctx.Err() == nil && in == m.client.table.cluster.Load(); {
		if !m.client.tasks.spawn(send) {
			return sessionAnswer{err: quorate.ErrClosed}
		}
		silence := time.NewTimer(attemptTime() << min(silences, 10))
		select {
		case a := <-answers:
			if a.definite() {
				silence.Stop()
				return a
			}
			if ctx.Err() == nil {
				last = a
				m.failed(a)
			}
			contexts.Pause(ctx, backoff(failures, 20*time.Millisecond, 300*time.Millisecond))
			failures++
		case <-silence.C:
			m.client.refresher.search()
			silences++
		case <-ctx.Done():
		}
		silence.Stop()
	}
	return last
}

// exchange makes one attempt to ask the leader of the system group of cluster in. It
// waits until ctx ends.
func (m *sessions) exchange(ctx context.Context, in *cluster, q protocol.SessionRequest) sessionAnswer {
	c := m.client
	r := c.table.routes()
	leader := c.seeds
	if g := r.groups[protocol.SystemGroup]; leader == nil && g != nil {
		leader = g.leader
	}
	if leader == nil {
		c.refresher.search()
		return sessionAnswer{err: waitUntil(ctx, r.next, "the system group has no leader that is known")}
	}
	n := leader.ordinary.conn.Load()
	if n == nil {
		c.refresher.search()
		if err := waitUntil(ctx, leader.ordinary.open(), "not connected to the leader of the system group"); err != nil {
			if n = leader.ordinary.conn.Load(); n == nil {
				return sessionAnswer{err: err}
			}
		}
	}
	if n.cluster != in {
		return sessionAnswer{err: errConnClosed}
	}
	a := &attempt{done: make(chan struct{}, 1), apart: true}
	q.Type = protocol.TypeSession
	sent := time.Now()
	err := n.sendMessage(a, c.now(), 0, func(id uint64) []byte {
		q.ID = id
		return protocol.Encode(&q)
	})
	if err != nil {
		return sessionAnswer{err: err}
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		if n.abandon(a) {
			return sessionAnswer{err: context.Cause(ctx)}
		}
		<-a.done
	}
	if a.err != nil {
		c.refresher.search()
		return sessionAnswer{err: a.err}
	}
	if a.reply.Code == protocol.CodeNotLeader {
		c.table.hint(protocol.SystemGroup, n.member, problemOf(a.reply).Leader)
		c.refresher.refresh()
	}
	return sessionAnswer{sent: sent, code: a.reply.Code, body: a.reply.Body}
}

// waitUntil waits for ch, for the time of one attempt at most. Its error says why it
// has waited in vain.
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

// need returns the session for a mutation: the last one opened, unless it has ended. A
// call that holds something gets only a session that is held. A call with a lease gets
// the session of the lease.
func (m *sessions) need(ctx context.Context, c *call) (*session, error) {
	if c.spec.Lease != nil {
		return m.of(c)
	}
	for {
		s := m.current.Load()
		if s != nil && s.cluster == c.cluster && !s.ended.Load() && (!c.waiting || s.lease.Err() == nil) {
			return s, nil
		}
		err := c.pause(ctx, time.Hour, m.open(), nil)
		m.mu.Lock()
		closed, why := m.closed, m.err
		m.mu.Unlock()
		switch {
		case closed:
			return nil, quorate.ErrClosed
		case err != nil:
			if why != nil && c.last == nil {
				c.last = fmt.Errorf("no session: %w", why)
			}
			return nil, err
		}
	}
}

// close ends the contexts of what the session holds, waits for the functions that run under
// them, for the hold margin at most, and then ends the session at the grid, for a second at
// most. The session lasts that long without heartbeats: had they stopped by themselves, the
// contexts would have ended a margin before it (LOCK-6).
func (m *sessions) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	s := m.current.Load()
	last := SessionEvent{State: SessionClosed, Err: quorate.ErrClosed}
	if s != nil {
		last.Session = s.id
	}
	defer m.events.finish(last)
	if s == nil || s.ended.Load() || s.lease.Err() != nil {
		return
	}
	s.giveUp(quorate.ErrClosed)
	s.keeper.AwaitRunning(m.client.ctx)
	ctx, cancel := context.WithTimeout(m.client.ctx, time.Second)
	defer cancel()
	m.request(ctx, s.cluster, protocol.SessionRequest{Action: protocol.SessionClose, Session: s.id}, time.Second)
}
