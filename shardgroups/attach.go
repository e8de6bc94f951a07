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

// maxEndsPerEntry bounds the ended sessions that one entry brings (rule 15).
const maxEndsPerEntry = 1000

// sessions is what a leader keeps of its group's sessions, under qmu: which
// are known in the applied state, so that their requests can be logged, and
// the requests of others, parked until the session is attached.
type sessions struct {
	applied     map[protocol.SessionID]struct{}
	parked      map[protocol.SessionID][]*Request
	parkedBytes int
	last        protocol.SessionID // a known one: most requests in a row are of one client
	want        []attach           // to log
}

// maxParkedSessions bounds the sessions that are looked up at a time.
const maxParkedSessions = 1024

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

// forgetKnown is called when sessions have ended: who is still known is looked
// up again.
func (s *sessions) forgetKnown() {
	clear(s.applied)
	s.last = 0
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

// park keeps requests of sessions that the group does not know, or of which
// the leader does not know that it does, and finds out.
func (g *Group) park(qs []*Request) {
	for _, q := range qs {
		id := q.Caller.Session
		g.qmu.Lock()
		if g.stopped {
			g.qmu.Unlock()
			q.refuse(protocol.CodeShutdown)
			continue
		}
		_, busy := g.sessions.parked[id]
		if !busy && len(g.sessions.parked) >= maxParkedSessions || g.sessions.parkedBytes+len(q.Raw) > g.host.cfg.QueueBytes {
			g.qmu.Unlock()
			q.busy("too many requests wait for their session", busyWaitHint)
			continue
		}
		g.sessions.parkedBytes += len(q.Raw)
		if g.sessions.parked == nil {
			g.sessions.parked = map[protocol.SessionID][]*Request{}
		}
		g.sessions.parked[id] = append(g.sessions.parked[id], q)
		g.qmu.Unlock()
		if !busy {
			g.host.spawn(func() { g.attach(id) })
		}
	}
}

// attach makes a session known (rule 14): unless the state knows it, the
// system group is asked whether it lives, and the answer is logged.
func (g *Group) attach(id protocol.SessionID) {
	g.mu.RLock()
	known := g.state.Knows(id)
	g.mu.RUnlock()
	if known {
		g.unpark(id, protocol.CodeOK)
		return
	}
	ctx, cancel := context.WithTimeout(g.host.ctx, lookupTimeout)
	defer cancel()
	lives, end, err := g.host.system.lookup(ctx, id)
	switch {
	case err != nil:
		g.unpark(id, protocol.CodeSessionUnknown)
	case !lives:
		g.unpark(id, protocol.CodeSessionEnded)
	default:
		g.qmu.Lock()
		g.sessions.want = append(g.sessions.want, attach{id, end})
		g.wantEntry = true
		g.qmu.Unlock()
		g.poke()
	}
}

// attached goes on after an entry that attached sessions has been applied.
// One that the state refused, because it may have ended meanwhile, is asked
// for again.
func (g *Group) attached(ids []protocol.SessionID, known []bool) {
	for i, id := range ids {
		if known[i] {
			g.unpark(id, protocol.CodeOK)
		} else {
			g.host.spawn(func() { g.attach(id) })
		}
	}
}

// unpark lets the requests of a session go on, or answers them with code.
func (g *Group) unpark(id protocol.SessionID, code protocol.Code) {
	g.qmu.Lock()
	qs := g.sessions.parked[id]
	delete(g.sessions.parked, id)
	for _, q := range qs {
		g.sessions.parkedBytes -= len(q.Raw)
	}
	if code == protocol.CodeOK {
		g.sessions.learn(id)
		if g.Leader().Self && !g.stopped {
			g.writes = append(g.writes, qs...)
			for _, q := range qs {
				g.queuedBytes += len(q.Raw)
			}
			qs = nil
		}
	}
	g.qmu.Unlock()
	if code == protocol.CodeOK {
		g.poke()
		code = protocol.CodeNoLeader
	}
	for _, q := range qs {
		g.refuseWith(q, code)
	}
}

// addCommands adds what the group itself has to log. qmu is held.
func (g *Group) addCommands(e *entry, b *groupstate.Builder) {
	for _, a := range g.sessions.want {
		b.Attach(a.session, a.end)
		e.attached = append(e.attached, a.session)
	}
	g.sessions.want = nil
	if g.endsFlying == 0 && g.owned > 0 { // what it owns says from where on ends concern it
		if ids := g.host.system.endsAfter(g.endsApplied, maxEndsPerEntry); len(ids) > 0 {
			b.Ends(g.endsApplied, ids)
			g.endsFlying = e.number
		}
	}
	if g.raiseTo != 0 {
		b.Level(g.raiseTo)
		g.raiseTo = 0
	}
	if g.seedChunk != nil {
		g.seedChunk.add(b)
		g.seedChunk = nil
	}
	if g.owned == 0 && g.ownFlying == 0 {
		if o := g.host.system.ownershipOf(g.id); len(o.Owned) > 0 {
			b.Own(o)
			g.ownFlying = e.number
		}
	}
}

// landed notes that an entry is no longer in flight. qmu is held.
func (g *Group) landed(number uint64) {
	if g.endsFlying == number {
		g.endsFlying = 0
	}
	if g.ownFlying == number {
		g.ownFlying = 0
	}
}

// tick looks, ten times a second, whether the group has something to log of
// its own: a deadline that has come, ended sessions, its partitions, clean-up.
func (g *Group) tick(everySecond bool) {
	if !g.Leader().Self {
		return
	}
	if everySecond {
		g.maybeFeed()
	}
	g.mu.RLock()
	clock := g.state.Clock()
	due, has := g.state.NextDue()
	unfinished := g.state.Unfinished()
	ends, owned := g.state.Ends(), g.state.Owned()
	var newEnds []protocol.SessionID
	if owned > 0 {
		newEnds = g.host.system.endsAfter(ends, maxEndsPerEntry)
	}
	concerned := len(newEnds) > 0 && (everySecond || g.state.KnowsAny(newEnds))
	g.mu.RUnlock()

	g.qmu.Lock()
	g.endsApplied, g.owned = ends, owned
	want := unfinished || concerned
	if has {
		if g.claim.epoch == 0 {
			want = want || g.claim.nonce == 0
		} else {
			now := clock.Base.Add(g.host.mono.now() - g.claim.base)
			want = want || due <= now
		}
	}
	if owned == 0 && g.ownFlying == 0 {
		want = want || len(g.host.system.ownershipOf(g.id).Owned) > 0
	}
	if level := g.host.system.View().Level; level > g.level.Load() {
		g.raiseTo, want = level, true
	}
	if want {
		g.wantEntry = true
	}
	g.qmu.Unlock()
	if want {
		g.poke()
	}
}
