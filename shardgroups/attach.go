package shardgroups

import (
	"context"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// lookupTimeout bounds the question to the system group whether a session
// lives.
const lookupTimeout = 2 * time.Second

// maxEndsPerEntry bounds the ended sessions that one entry brings (SESSION-3).
const maxEndsPerEntry = 1000

// sessions is what a proposer knows of sessions: those that the applied state knows, so
// that their requests can be logged, and the requests of other sessions, which are
// parked until the session is attached. The proposer's mu guards it.
type sessions struct {
	applied     map[protocol.SessionID]struct{}
	parked      map[protocol.SessionID][]*Request
	parkedBytes int
	parkedCount int
	last        protocol.SessionID  // a known one: most requests in a row are of one client
	want        []attach            // to log
	check       *groupstate.Checked // to log
}

// maxParkedSessions bounds the sessions that are looked up at a time.
const maxParkedSessions = 1024

// maxCheckedPerEntry bounds the sessions that are looked up for one entry, after
// ends were passed over.
const maxCheckedPerEntry = 4096

type attach struct {
	session protocol.SessionID
	end     uint64
}

func (s *sessions) known(id protocol.SessionID) bool {
	if id == s.last {
		return true
	}
	if _, ok := s.applied[id]; !ok {
		return false
	}
	s.last = id
	return true
}

func (s *sessions) learn(id protocol.SessionID) {
	if s.applied == nil {
		s.applied = map[protocol.SessionID]struct{}{}
	}
	s.applied[id] = struct{}{}
}

// forgetKnown is called when sessions have ended: the known ones are looked up again.
func (s *sessions) forgetKnown() {
	clear(s.applied)
	s.last = 0
}

// forgetSession forgets a session that the state does not know, so that it is looked up
// again: the look-up may have found it known just before it ended, and have added it
// just after forgetKnown.
func (p *proposer) forgetSession(id protocol.SessionID) {
	p.mu.Lock()
	delete(p.sessions.applied, id)
	p.sessions.last = 0
	p.mu.Unlock()
}

// reset forgets everything and returns the requests that were parked.
func (s *sessions) reset() []*Request {
	var all []*Request
	for _, qs := range s.parked {
		all = append(all, qs...)
	}
	*s = sessions{}
	return all
}

// park keeps the requests of sessions that the group may not know, and finds out
// whether it does.
func (p *proposer) park(qs []*Request) {
	for _, q := range qs {
		id := q.Caller.Session
		p.mu.Lock()
		if !p.leads() {
			p.mu.Unlock()
			p.group.refuseFollower(q)
			continue
		}
		_, busy := p.sessions.parked[id]
		if !busy && len(p.sessions.parked) >= maxParkedSessions || p.sessions.parkedCount >= maxQueuedRequests ||
			p.sessions.parkedBytes+len(q.Raw) > p.host.cfg.QueueBytes {
			p.mu.Unlock()
			q.busy("too many requests wait for their session", busyWaitHint)
			continue
		}
		p.sessions.parkedBytes += len(q.Raw)
		p.sessions.parkedCount++
		if p.sessions.parked == nil {
			p.sessions.parked = map[protocol.SessionID][]*Request{}
		}
		p.sessions.parked[id] = append(p.sessions.parked[id], q)
		p.mu.Unlock()
		if !busy {
			p.host.spawn(func() { p.attach(id) })
		}
	}
}

// attach makes a session known (SESSION-2). Unless the state knows it already, it asks
// the system group whether the session lives, and has the answer logged.
func (p *proposer) attach(id protocol.SessionID) {
	p.group.mu.RLock()
	known := p.group.state.Sessions().Knows(id)
	p.group.mu.RUnlock()
	if known {
		p.unpark(id, protocol.CodeOK)
		return
	}
	if p.host.system.over(id) { // it is over for ever: there is no need to ask the system group
		p.unpark(id, protocol.CodeSessionEnded)
		return
	}
	ctx, cancel := context.WithTimeout(p.host.ctx, lookupTimeout)
	defer cancel()
	lives, end, err := p.host.system.lookup(ctx, id)
	switch {
	case err != nil:
		p.unpark(id, protocol.CodeSessionUnknown)
	case !lives:
		p.unpark(id, protocol.CodeSessionEnded)
	default:
		p.mu.Lock()
		if p.leads() { // otherwise the parked requests have been answered
			p.sessions.want = append(p.sessions.want, attach{id, end})
			p.wantEntry = true
		}
		p.mu.Unlock()
		p.poke()
	}
}

// attached is called after an entry that attached sessions was applied. A session that
// the state has refused, because it may have ended since, is looked up again.
func (p *proposer) attached(ids []protocol.SessionID, known []bool) {
	for i, id := range ids {
		if known[i] {
			p.unpark(id, protocol.CodeOK)
		} else {
			p.host.spawn(func() { p.attach(id) })
		}
	}
}

// unpark queues the parked requests of a session, or answers them with code.
func (p *proposer) unpark(id protocol.SessionID, code protocol.Code) {
	p.mu.Lock()
	qs := p.sessions.parked[id]
	delete(p.sessions.parked, id)
	for _, q := range qs {
		p.sessions.parkedBytes -= len(q.Raw)
		p.sessions.parkedCount--
	}
	if code == protocol.CodeOK {
		p.sessions.learn(id)
		if p.leads() {
			p.writes = append(p.writes, qs...)
			for _, q := range qs {
				p.queuedBytes += len(q.Raw)
			}
			qs = nil
		}
	}
	p.mu.Unlock()
	if code == protocol.CodeOK {
		p.poke()
		code = protocol.CodeNoLeader
	}
	for _, q := range qs {
		p.group.refuseWith(q, code)
	}
}

// addCommands adds the commands that the group itself has to log. mu is held.
func (p *proposer) addCommands(e *entry, b *groupstate.Builder) {
	for _, a := range p.sessions.want {
		b.Attach(a.session, a.end)
		e.attached = append(e.attached, a.session)
	}
	p.sessions.want = nil
	if p.endsInFlight == 0 && p.owned > 0 { // a group that owns nothing does not know where its list of ends begins
		switch ids, listed := p.host.system.endsAfter(p.endsApplied, maxEndsPerEntry); {
		case !listed:
			end, next := p.host.system.upTo()
			p.host.cfg.Logger.Info("the list of ended sessions does not reach back far enough: looking each session up",
				"group", uint64(p.group.id), "applied", p.endsApplied, "end", end)
			b.PassOver(end, next)
			p.endsInFlight = e.number
		case len(ids) > 0:
			b.Ends(p.endsApplied, ids)
			p.endsInFlight = e.number
		}
	}
	if c := p.sessions.check; c != nil {
		b.Ended(*c)
		p.sessions.check = nil
	}
	if p.raiseTo != 0 {
		b.Level(p.raiseTo)
		p.raiseTo = 0
	}
	if p.restoreBatch != nil {
		p.restoreBatch.Add(b)
		p.restoreBatch = nil
	}
	if p.owned == 0 && p.ownInFlight == 0 {
		if o := p.host.system.ownershipOf(p.group.id); len(o.Owned) > 0 {
			if err := o.Check(); err != nil {
				p.host.cfg.Logger.Error("a group cannot be given what it owns", "group", uint64(p.group.id), "err", err)
			} else {
				b.Own(o)
			}
			p.ownInFlight = e.number
		}
	}
}

// endsBehind reports whether more sessions have ended than one entry carries. Then the
// group logs them immediately, however idle it is. mu is held.
func (p *proposer) endsBehind() bool {
	return p.owned > 0 && p.host.system.ends.Load() >= p.endsApplied+maxEndsPerEntry
}

// look prepares the next part of the look-up of sessions whose ends were passed over;
// nil if there is nothing to look up. mu is held.
func (g *Group) look() *groupstate.Checked {
	c, ok := g.state.Sessions().Unchecked(maxCheckedPerEntry)
	if ok {
		c.IDs, ok = g.host.system.endedOf(c)
	}
	if !ok {
		return nil
	}
	return &c
}

// completed notes that an entry is no longer in flight. mu is held.
func (p *proposer) completed(number uint64) {
	if p.endsInFlight == number {
		p.endsInFlight = 0
		if p.endsBehind() {
			p.wantEntry = true
		}
	}
	if p.ownInFlight == number {
		p.ownInFlight = 0
	}
}

// A leader logs the time often enough: the time that is not logged is lost with the
// leader, and it is at most this fraction of the lifetime of anything that has a
// deadline, or leastUnlogged.
const (
	lifetimePart  = 16
	leastUnlogged = time.Second
)

// timeToLog reports whether a leader logs the time. It is now, the last time logged is
// last, and nothing is due before due. Anything with a deadline has a lifetime of at
// least due less last, so a fraction of that is no more than the same fraction of its
// lifetime.
func timeToLog(last, now, due protocol.LogTime, part time.Duration) bool {
	unlogged := now.Sub(last) + tickInterval // at the next look
	return due <= now || unlogged > max(due.Sub(last)/part, leastUnlogged)
}

// tick checks, ten times a second, whether the group itself has something to log: a
// deadline that has come or is near, ended sessions, its partitions, clean-up.
func (p *proposer) tick(everySecond bool) {
	if !p.group.Leader().Self {
		return
	}
	if everySecond {
		p.group.restorer.maybeStart()
	}
	p.group.mu.RLock()
	clock := p.group.state.Clock()
	due, has := p.group.state.NextDue()
	unfinished := p.group.state.Unfinished()
	ends, owned := p.group.state.Sessions().Ends(), p.group.state.Owned()
	var newEnds []protocol.SessionID
	listed := true
	if owned > 0 {
		newEnds, listed = p.host.system.endsAfter(ends, maxEndsPerEntry)
	}
	concerned := !listed || len(newEnds) > 0 && (everySecond || p.group.state.Sessions().KnowsAny(newEnds))
	check := p.group.look()
	p.group.mu.RUnlock()

	p.mu.Lock()
	p.endsApplied, p.owned = ends, owned
	p.sessions.check = check
	want := unfinished || concerned || check != nil || p.endsBehind()
	if has {
		if p.claim.epoch == 0 {
			want = want || p.claim.nonce == 0
		} else {
			want = want || timeToLog(clock.Now, clock.Base.Add(p.host.mono.now()-p.claim.base), due, lifetimePart)
		}
	}
	if owned == 0 && p.ownInFlight == 0 {
		want = want || len(p.host.system.ownershipOf(p.group.id).Owned) > 0
	}
	if level := p.host.system.View().Level; level > p.group.level.Load() {
		p.raiseTo, want = level, true
	}
	if want {
		p.wantEntry = true
	}
	p.mu.Unlock()
	if want {
		p.poke()
	}
}
