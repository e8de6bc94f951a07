package shardgroups

import (
	"context"
	"time"

	"github.com/lni/dragonboat/v4"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Bounds of the requests on sessions that wait at a time. Requests above them are
// answered "busy". The server bounds each client connection before that.
const (
	// maxSessionCallers bounds the requests that wait for an entry. Several heartbeats
	// of one session count several times.
	maxSessionCallers = 256 << 10
	// maxUnknown bounds the requests among them on sessions that this replica does not
	// know.
	maxUnknown = 16 << 10
)

// sessionQueue gathers the requests of clients on their sessions until the next entry:
// heartbeats for a tick, the others until the entry before is applied. Identical
// requests share one ask, so repeats cost no more than their answers.
type sessionQueue struct {
	asks    []*sessionAsk // in order of arrival
	byKey   map[sessionKey]*sessionAsk
	callers int
	urgent  bool                     // more than heartbeats are asked
	unknown gathering[sessionCaller] // of sessions that this replica does not know
}

// The actions of members in the name of their clients, in addition to those of clients:
// opening a session with a client's Hello, and renewing one.
const (
	sessionGreet protocol.SessionAction = 254
	sessionRenew protocol.SessionAction = 255
)

// sessionKey identifies a request: a client opens a session, or a session is kept,
// renewed or closed.
type sessionKey struct {
	action  protocol.SessionAction
	client  protocol.UUID
	session protocol.SessionID
}

type sessionAsk struct {
	key     sessionKey
	ttl     time.Duration
	from    systemstate.Origin
	callers []sessionCaller
}

type sessionCaller struct {
	q    protocol.SessionRequest
	done func(protocol.Reply)
}

func (c sessionCaller) answer(code protocol.Code, body []byte) {
	c.done(protocol.Reply{ID: c.q.ID, Code: code, Body: body})
}

func (c sessionCaller) busy(why string) {
	p := protocol.Problem{Detail: why, Wait: busyWaitHint}
	c.answer(protocol.CodeBusy, p.Append(nil))
}

// Session opens, keeps or closes a session for a client. done is called once, and must
// not block.
func (s *System) Session(q protocol.SessionRequest, from systemstate.Origin, done func(protocol.Reply)) {
	caller := sessionCaller{q, done}
	key := sessionKey{action: q.Action, session: q.Session}
	switch q.Action {
	case protocol.SessionOpen:
		key = sessionKey{action: q.Action, client: q.Client}
		if q.Client == (protocol.UUID{}) {
			p := protocol.Problem{Detail: "a session is opened under the UUID of its client"}
			caller.answer(protocol.CodeInvalid, p.Append(nil))
			return
		}
	case protocol.SessionHeartbeat, protocol.SessionClose:
	default:
		caller.answer(protocol.CodeUnsupported, nil)
		return
	}
	s.session(key, from, caller)
}

// session carries out a request of a client or of a member.
func (s *System) session(key sessionKey, from systemstate.Origin, caller sessionCaller) {
	l := s.Leader()
	if !l.Self {
		code, body := protocol.CodeNoLeader, []byte(nil)
		if l.Replica != 0 {
			p := protocol.Problem{Leader: s.memberOf(protocol.SystemGroup, l.Replica)}
			code, body = protocol.CodeNotLeader, p.Append(nil)
		}
		caller.answer(code, body)
		return
	}
	if opens(key.action) {
		s.ask(key, from, caller)
		return
	}
	// Most requests of a flood are answered here, and cost no entry. A session that is
	// over stays over for ever, so this replica may answer for it even if it lags or no
	// longer leads. A session that it does not know may live all the same.
	s.mu.RLock()
	over, reason := s.state.Over(key.session), s.state.Reason(key.session)
	// What a killed session holds is released when its client closes it.
	over = over && (key.action != protocol.SessionClose || !s.state.Dying(key.session))
	_, next := s.state.UpTo()
	s.mu.RUnlock()
	switch {
	case over:
		caller.answerOver(reason)
	case key.session >= next:
		s.lookUp(caller)
	default:
		s.ask(key, from, caller)
	}
}

func opens(a protocol.SessionAction) bool {
	return a == protocol.SessionOpen || a == sessionGreet
}

// answerOver answers a request on a session that is over, with the reason if it was
// killed. Closing it succeeds.
func (c sessionCaller) answerOver(reason string) {
	if c.q.Action == protocol.SessionClose {
		c.answer(protocol.CodeOK, stateBody(c.q.Session, 0))
		return
	}
	if reason == "" {
		c.answer(protocol.CodeSessionEnded, nil)
		return
	}
	p := protocol.Problem{Detail: "killed: " + reason}
	c.answer(protocol.CodeSessionEnded, p.Append(nil))
}

// ask queues a request for the next entry.
func (s *System) ask(key sessionKey, from systemstate.Origin, caller sessionCaller) {
	s.hmu.Lock()
	u := &s.asked
	if u.callers >= maxSessionCallers {
		s.hmu.Unlock()
		caller.busy("too many requests wait for the sessions' group")
		return
	}
	a := u.byKey[key]
	if a == nil {
		if u.byKey == nil {
			u.byKey = map[sessionKey]*sessionAsk{}
		}
		a = &sessionAsk{key: key, ttl: time.Duration(caller.q.TTL) * time.Millisecond, from: from}
		u.byKey[key] = a
		u.asks = append(u.asks, a)
	}
	a.callers = append(a.callers, caller)
	u.callers++
	urgent := key.action != protocol.SessionHeartbeat && key.action != sessionRenew
	u.urgent = u.urgent || urgent
	s.hmu.Unlock()
	if urgent {
		s.wakeTick()
	}
}

// lookUp finds out about a session that this replica does not know. One confirmation by
// the majority that this replica has applied everything agreed serves all requests that
// wait for it. None of them is logged.
func (s *System) lookUp(caller sessionCaller) {
	s.hmu.Lock()
	start, ok := s.asked.unknown.add(caller, maxUnknown)
	s.hmu.Unlock()
	switch {
	case !ok:
		caller.busy("too many requests for sessions that are not known")
	case start:
		s.host.spawn(s.resolveUnknown)
	}
}

func (s *System) resolveUnknown() {
	for {
		sleep(s.host.ctx)
		s.hmu.Lock()
		callers := s.asked.unknown.take() // before the group is asked
		s.hmu.Unlock()
		if len(callers) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(s.host.ctx, lookupTimeout)
		err := s.barrier(ctx)
		cancel()
		for _, c := range callers {
			s.mu.RLock()
			_, next := s.state.UpTo()
			over, reason := s.state.Over(c.q.Session), s.state.Reason(c.q.Session)
			s.mu.RUnlock()
			switch {
			case err != nil:
				c.answer(protocol.CodeNoLeader, nil)
			case over || c.q.Session >= next: // it was never opened
				c.answerOver(reason)
			default:
				s.ask(sessionKey{action: c.q.Action, session: c.q.Session}, systemstate.Origin{}, c)
			}
		}
	}
}

// takeAsks takes the asks that the next entry carries. hmu is held.
func (s *System) takeAsks() []*sessionAsk {
	u := &s.asked
	n := mutantKeepBound(min(len(u.asks), systemstate.MaxKeep), len(u.asks))
	taken := u.asks[:n:n]
	u.asks = append([]*sessionAsk(nil), u.asks[n:]...)
	for _, a := range taken {
		delete(u.byKey, a.key)
		u.callers -= len(a.callers)
	}
	u.urgent = len(u.asks) > 0
	return taken
}

// poke calls tick if there may be something to do. It does nothing on a leader of a
// grid without sessions, nor on a follower that has never led.
func (s *System) poke() {
	leads := s.Leader().Self
	s.hmu.Lock()
	wants := len(s.asked.asks) > 0 || !leads && s.claim.nonce != 0
	s.hmu.Unlock()
	if !wants && (!leads || s.Sessions() == 0) {
		return
	}
	s.wakeTick()
}

func (s *System) wakeTick() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// tick claims the clock if this replica has become the leader, logs the requests on
// sessions, and logs the time if a session may be over.
func (s *System) tick() {
	for more := true; more; {
		if !s.Leader().Self {
			s.stepDown()
			return
		}
		more = s.logSessions()
	}
}

// logSessions logs one entry about sessions, if there is anything to log, and
// reports whether there should be another immediately.
func (s *System) logSessions() (more bool) {
	s.mu.RLock()
	clock := s.state.Clock()
	deadline, has := s.state.NextDeadline()
	s.mu.RUnlock()
	s.hmu.Lock()
	asks := s.takeAsks()
	claimed := s.claim
	if claimed.epoch != 0 && clock.Holder != claimed.nonce {
		s.claim, claimed = claim{}, claim{}
	}
	s.hmu.Unlock()
	if claimed.epoch == 0 && (has || len(asks) > 0) {
		s.takeClock()
	}
	due := has && claimed.epoch != 0 &&
		timeToLog(clock.Now, clock.Base.Add(s.host.mono.now()-claimed.base), deadline, sessionPart)
	if len(asks) == 0 && !due {
		return false
	}
	c := systemstate.Command{Kind: systemstate.KeepSessions}
	for _, a := range asks {
		switch a.key.action {
		case protocol.SessionOpen, sessionGreet:
			c.Opens = append(c.Opens, systemstate.Opening{
				Client: a.key.client, TTL: a.ttl, Source: a.from.Source, Name: a.from.Name, Greets: a.key.action == sessionGreet,
			})
		case protocol.SessionHeartbeat:
			c.Keeps = append(c.Keeps, a.key.session)
		case sessionRenew:
			c.Renews = append(c.Renews, a.key.session)
		default:
			c.Closes = append(c.Closes, a.key.session)
		}
	}
	answer, code := s.proposeHere(c)
	if code != protocol.CodeOK {
		for _, a := range asks {
			a.reply(code, nil)
		}
		return false
	}
	s.answerAsks(asks, answer)
	s.hmu.Lock()
	defer s.hmu.Unlock()
	return s.asked.urgent
}

// answerAsks answers those whose entry was applied.
func (s *System) answerAsks(asks []*sessionAsk, a systemstate.Answer) {
	ended, dropped := setOf(a.Gone), setOf(a.Dropped)
	opened := a.Opened
	for _, ask := range asks {
		id := ask.key.session
		switch {
		case opens(ask.key.action) && opened[0].Problem != "":
			p := protocol.Problem{Detail: opened[0].Problem, Wait: fullWaitHint}
			ask.reply(protocol.CodeBusy, p.Append(nil))
			opened = opened[1:]
		case opens(ask.key.action):
			ask.reply(protocol.CodeOK, stateBody(opened[0].Session, opened[0].TTL))
			opened = opened[1:]
		case ended[id] && ask.key.action == protocol.SessionHeartbeat, dropped[id] && ask.key.action == sessionRenew:
			s.mu.RLock()
			reason := s.state.Reason(id)
			s.mu.RUnlock()
			for _, c := range ask.callers {
				c.answerOver(reason)
			}
		default:
			s.mu.RLock()
			ttl := s.state.TTL(id) // 0 once it is closed
			s.mu.RUnlock()
			ask.reply(protocol.CodeOK, stateBody(id, ttl))
		}
	}
}

func setOf(ids []protocol.SessionID) map[protocol.SessionID]bool {
	set := make(map[protocol.SessionID]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}

// sessionPart is lifetimePart for sessions. A session that lives is kept five times in
// its TTL, and that logs the time as well. The fraction is so large that the time is
// logged in addition only while all living sessions are silent.
const sessionPart = 4

// fullWaitHint is how many milliseconds a client should wait before it asks again for a
// session that was refused because there are too many: others have to end first.
const fullWaitHint = 1000

func stateBody(id protocol.SessionID, ttl time.Duration) []byte {
	return protocol.Encode(protocol.SessionState{Session: id, TTL: uint32(ttl / time.Millisecond)})
}

func (a *sessionAsk) reply(code protocol.Code, body []byte) {
	for _, c := range a.callers {
		c.answer(code, body)
	}
}

// proposeHere logs a command of the leader and waits until this replica has applied
// it, however slow the disks and links are. It gives up if another replica may lead.
func (s *System) proposeHere(c systemstate.Command) (a systemstate.Answer, code protocol.Code) {
	term := s.Leader().Term
	for began := time.Now(); ; {
		entry := systemstate.Encode(s.header(), c)
		if err := systemstate.Check(entry); err != nil {
			s.host.cfg.Logger.Error("a command of the system group is not proposed", "err", err)
			return a, protocol.CodeInvalid
		}
		data, code := s.awaitEntry(entry, term)
		l := s.Leader()
		switch {
		case code == protocol.CodeOK && protocol.DecodeLarge(data, &a) == nil:
			return a, protocol.CodeOK
		case code != protocol.CodeBusy && code != protocol.CodeNoLeader:
			return a, code
		case !l.Self || l.Term != term || time.Since(began) > lookupTimeout:
			return a, protocol.CodeNoLeader
		}
		if sleep(s.host.ctx); s.host.ctx.Err() != nil {
			return a, protocol.CodeShutdown
		}
	}
}

// awaitEntry proposes an entry and waits for its answer as long as this replica leads
// in the term. Its code says whether the entry was logged.
func (s *System) awaitEntry(entry []byte, term uint64) ([]byte, protocol.Code) {
	rs, err := s.host.nh.Propose(s.host.nh.GetNoOPSession(uint64(protocol.SystemGroup)), entry, proposeTimeout)
	if err != nil {
		return nil, codeOf(err)
	}
	answered := make(chan dragonboat.RequestResult, 1)
	s.host.spawn(func() {
		answered <- <-rs.ResultC()
		rs.Release()
	})
	t := time.NewTicker(tickInterval)
	defer t.Stop()
	for {
		select {
		case r := <-answered:
			switch {
			case r.Completed():
				return r.GetResult().Data, protocol.CodeOK
			case r.Dropped():
				return nil, protocol.CodeNoLeader
			}
			return nil, protocol.CodeUnknown
		case <-t.C:
			if l := s.Leader(); !l.Self || l.Term != term {
				return nil, protocol.CodeUnknown
			}
		case <-s.host.ctx.Done():
			return nil, protocol.CodeUnknown
		}
	}
}

func (s *System) stepDown() {
	s.hmu.Lock()
	asks := s.asked.asks
	s.asked = sessionQueue{unknown: s.asked.unknown}
	s.claim = claim{}
	s.hmu.Unlock()
	for _, a := range asks {
		a.reply(protocol.CodeNoLeader, nil)
	}
}

// gathering holds what waits for one confirmation by the system group's majority, which
// serves all that was gathered before it was asked for. Its owner's lock guards it; the
// zero value is ready for use.
type gathering[T any] struct {
	waiting []T
	asking  bool // a goroutine takes one batch after the other, until one is empty
}

// add adds v, unless most are waiting: then ok is false. start says that nobody is
// asking: the caller starts the goroutine.
func (g *gathering[T]) add(v T, most int) (start, ok bool) {
	if len(g.waiting) >= most {
		return false, false
	}
	g.waiting = append(g.waiting, v)
	start = !g.asking
	g.asking = true
	return start, true
}

// take closes the batch and returns it. If it is empty the goroutine must end.
func (g *gathering[T]) take() []T {
	batch := g.waiting
	g.waiting, g.asking = nil, len(batch) > 0
	return batch
}
