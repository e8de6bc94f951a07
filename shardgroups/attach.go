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

// sessions is what a leader keeps of its group's sessions, under qmu: which
// are known in the applied state, so that their requests can be logged, and
// the requests of others, parked until the session is attached.
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

// forgetKnown is called when sessions have ended: who is still known is looked
// up again.
func (s *sessions) forgetKnown() {
	clear(s.applied)
	s.last = 0
}

// forgetSession has a session looked up again of which the state said that it does
// not know it: it may have been found known just before it ended, and been
// learned just after those that are known were forgotten.
func (g *Group) forgetSession(id protocol.SessionID) {
	g.qmu.Lock()
	delete(g.sessions.applied, id)
	g.sessions.last = 0
	g.qmu.Unlock()
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
		if !g.leads() {
			g.qmu.Unlock()
			g.refuseFollower(q)
			continue
		}
		_, busy := g.sessions.parked[id]
		if !busy && len(g.sessions.parked) >= maxParkedSessions || g.sessions.parkedCount >= maxQueuedRequests ||
			g.sessions.parkedBytes+len(q.Raw) > g.host.cfg.QueueBytes {
			g.qmu.Unlock()
			q.busy("too many requests wait for their session", busyWaitHint)
			continue
		}
		g.sessions.parkedBytes += len(q.Raw)
		g.sessions.parkedCount++
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

// attach makes a session known (SESSION-2): unless the state knows it, the
// system group is asked whether it lives, and the answer is logged.
func (g *Group) attach(id protocol.SessionID) {
	g.mu.RLock()
	known := g.state.Sessions().Knows(id)
	g.mu.RUnlock()
	if known {
		g.unpark(id, protocol.CodeOK)
		return
	}
	if g.host.system.over(id) { // for ever: nobody else need be asked
		g.unpark(id, protocol.CodeSessionEnded)
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
		if g.leads() { // otherwise those who were parked have been answered
			g.sessions.want = append(g.sessions.want, attach{id, end})
			g.wantEntry = true
		}
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
		g.sessions.parkedCount--
	}
	if code == protocol.CodeOK {
		g.sessions.learn(id)
		if g.leads() {
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
		switch ids, listed := g.host.system.endsAfter(g.endsApplied, maxEndsPerEntry); {
		case !listed:
			end, next := g.host.system.upTo()
			g.host.cfg.Logger.Info("the list of ended sessions does not reach back far enough: looking each session up",
				"group", uint64(g.id), "applied", g.endsApplied, "end", end)
			b.PassOver(end, next)
			g.endsFlying = e.number
		case len(ids) > 0:
			b.Ends(g.endsApplied, ids)
			g.endsFlying = e.number
		}
	}
	if c := g.sessions.check; c != nil {
		b.Ended(*c)
		g.sessions.check = nil
	}
	if g.raiseTo != 0 {
		b.Level(g.raiseTo)
		g.raiseTo = 0
	}
	if g.restoreBatch != nil {
		g.restoreBatch.Add(b)
		g.restoreBatch = nil
	}
	if g.owned == 0 && g.ownFlying == 0 {
		if o := g.host.system.ownershipOf(g.id); len(o.Owned) > 0 {
			if err := o.Check(); err != nil {
				g.host.cfg.Logger.Error("the group is not told what it owns", "group", uint64(g.id), "error", err)
			} else {
				b.Own(o)
			}
			g.ownFlying = e.number
		}
	}
}

// endsBehind reports whether more sessions have ended than an entry brings: such
// a group follows at once, however idle it is. qmu is held.
func (g *Group) endsBehind() bool {
	return g.owned > 0 && g.host.system.ends.Load() >= g.endsApplied+maxEndsPerEntry
}

// look prepares the next part of the look-up of sessions whose ends were passed
// over, nil if there is none to do. mu is held.
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

// landed notes that an entry is no longer in flight. qmu is held.
func (g *Group) landed(number uint64) {
	if g.endsFlying == number {
		g.endsFlying = 0
		if g.endsBehind() {
			g.wantEntry = true
		}
	}
	if g.ownFlying == number {
		g.ownFlying = 0
	}
}

// A leader logs the time so often that what passes unlogged, and is lost with
// the leader, is at most this part of the life of anything that has a deadline,
// or leastUnlogged.
const (
	lifePart      = 16
	leastUnlogged = time.Second
)

// timeToLog reports whether a leader logs the time: it is now, it was logged at
// last, and nothing is due before due. What is due has lived for longer than it
// still had at last, so a part of that is no more than the same part of any life.
func timeToLog(last, now, due protocol.LogTime, part time.Duration) bool {
	unlogged := now.Sub(last) + tickInterval // at the next look
	return due <= now || unlogged > max(due.Sub(last)/part, leastUnlogged)
}

// tick looks, ten times a second, whether the group has something to log of
// its own: a deadline that has come, or comes nearer, ended sessions, its partitions, clean-up.
func (g *Group) tick(everySecond bool) {
	if !g.Leader().Self {
		return
	}
	if everySecond {
		g.maybeRestore()
	}
	g.mu.RLock()
	clock := g.state.Clock()
	due, has := g.state.NextDue()
	unfinished := g.state.Unfinished()
	ends, owned := g.state.Sessions().Ends(), g.state.Owned()
	var newEnds []protocol.SessionID
	listed := true
	if owned > 0 {
		newEnds, listed = g.host.system.endsAfter(ends, maxEndsPerEntry)
	}
	concerned := !listed || len(newEnds) > 0 && (everySecond || g.state.Sessions().KnowsAny(newEnds))
	check := g.look()
	g.mu.RUnlock()

	g.qmu.Lock()
	g.endsApplied, g.owned = ends, owned
	g.sessions.check = check
	want := unfinished || concerned || check != nil || g.endsBehind()
	if has {
		if g.claim.epoch == 0 {
			want = want || g.claim.nonce == 0
		} else {
			want = want || timeToLog(clock.Now, clock.Base.Add(g.host.mono.now()-g.claim.base), due, lifePart)
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
