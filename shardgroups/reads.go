package shardgroups

import (
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/hub"
)

// maxReadRounds is how many ReadIndex rounds of a group may be in progress.
const maxReadRounds = 2

// readIndexTimeout bounds one round. A fresh leader drops the round until it
// has committed an entry of its own term.
const readIndexTimeout = 500 * time.Millisecond

// readIndex confirms with a majority that this replica still leads, waits until the
// replica has applied everything committed by then, and answers the batch. The batch
// was closed before the confirmation: a read that arrives later needs another round
// (READ-1).
func (p *proposer) readIndex(batch []*Request) {
	p.group.stats.Reads.Add(uint64(len(batch)))
	asked := time.Now()
	limit := readIndexTimeout
	if f := p.host.cfg.TestHooks.ReadIndexTimeout; f != nil {
		limit = f()
	}
	rs, err := p.host.nh.ReadIndex(uint64(p.group.id), limit)
	if err != nil {
		p.endRound()
		for _, q := range batch {
			p.group.refuseWith(q, codeOf(err))
		}
		return
	}
	p.host.spawn(func() {
		r := <-rs.ResultC()
		rs.Release()
		p.endRound()
		switch {
		case r.Completed():
			p.group.readNow(plantSharedRound(p, batch), asked)
		case r.Dropped():
			p.readAgain(batch, true)
		default:
			for _, q := range batch {
				p.group.refuseWith(q, protocol.CodeNoLeader)
			}
		}
	})
}

// endRound notes that a ReadIndex round is over.
func (p *proposer) endRound() {
	p.mu.Lock()
	p.reading--
	more := len(p.reads) > 0
	p.mu.Unlock()
	if more {
		p.poke()
	}
}

// readAgain queues reads whose entry or ReadIndex failed, ahead of those that arrived
// later. A fresh leader drops every ReadIndex, so its reads are piggybacked on an empty
// entry.
func (p *proposer) readAgain(batch []*Request, piggyback bool) {
	if len(batch) == 0 {
		return
	}
	p.mu.Lock()
	leads := p.leads()
	if leads {
		p.reads = append(batch, p.reads...)
		for _, q := range batch {
			p.queuedBytes += len(q.Raw)
		}
		p.wantEntry = p.wantEntry || piggyback
	}
	p.mu.Unlock()
	if leads {
		p.poke()
		return
	}
	for _, q := range batch {
		p.group.refuseFollower(q)
	}
}

// readNow answers reads from the state as it is. asked is when they left the
// queue.
func (g *Group) readNow(batch []*Request, asked time.Time) {
	for len(batch) > 0 {
		batch = batch[g.readSome(batch, asked):]
	}
}

// maxAnswerBytes bounds the answers to reads that are in memory at a time, because a
// batch may read many large values.
const maxAnswerBytes = 1 << 20

// maxLooks bounds the rows that a batch of reads looks at while it holds the state's
// lock, because applying an entry waits for that lock.
const maxLooks = 2000

// logTimeNow returns the log time of an entry that would be proposed now, 0 if this
// replica does not know it. A group in which nothing has a deadline needs it too: reads
// show since when something is held, or waits. mu is held.
func (g *Group) logTimeNow() protocol.LogTime {
	if _, has := g.state.NextDue(); !has && mutants.On(mutants.IdleTimeStands) {
		return 0
	}
	clock := g.state.Clock()
	g.proposer.mu.Lock()
	defer g.proposer.mu.Unlock()
	if !g.proposer.leads() || g.proposer.claim.epoch == 0 || g.proposer.claim.epoch != clock.Epoch {
		return 0
	}
	return clock.Base.Add(g.host.mono.now() - g.proposer.claim.base)
}

// readSome answers the first reads of a batch, and returns how many.
func (g *Group) readSome(batch []*Request, asked time.Time) int {
	var r groupstate.Reader
	answers := make([]protocol.Reply, 0, len(batch))
	began := time.Now()
	size := 0
	g.mu.RLock()
	r.Time = g.logTimeNow()
	for _, q := range batch {
		if q.late(began) {
			answers = append(answers, protocol.Reply{ID: q.ID, Code: protocol.CodeExpired})
			continue
		}
		if q.confirms {
			answers = append(answers, protocol.Reply{ID: q.ID})
			continue
		}
		res, v := r.Read(g.state, &q.Request)
		answers = append(answers, protocol.Reply{ID: q.ID, Code: res.Code, Version: v, Body: res.Body})
		if size += len(res.Body); size > maxAnswerBytes || r.Cost() > maxLooks {
			break
		}
	}
	g.mu.RUnlock()
	now := time.Now()
	for i, q := range batch[:len(answers)] {
		if took := g.measure(q, ClassRead, answers[i].Code, now); g.slow.is(took) {
			g.slow.warn(g, q, stages{asked, began, now})
		}
		q.Done(answers[i])
	}
	return len(answers)
}

// Watch registers a watch for a request with protocol.OpWatch, after a look at it. The
// sink gets the answer, and what is watched until it is dropped or the watch has ended.
func (g *Group) Watch(sink hub.Sink, q *protocol.Request) {
	gate := groupstate.Gate{Kinds: g.kinds, Limits: g.host.cfg.Limits, Level: g.level.Load()}
	w, r := gate.CheckWatch(q)
	if r.Code != protocol.CodeOK {
		sink.Reply(protocol.Reply{ID: q.ID, Code: r.Code, Body: r.Body})
		sink.Forgotten(q.ID)
		return
	}
	g.hub.Watch(sink, q, w)
}

// Hub returns what serves the group's watches.
func (g *Group) Hub() *hub.Hub { return g.hub }

// watchSource is the replica as its hub sees it.
type watchSource struct{ g *Group }

var _ hub.Source = watchSource{}

func (s watchSource) View(f func(groupstate.Watched)) {
	s.g.mu.RLock()
	defer s.g.mu.RUnlock()
	f(s.g.state.Watched())
}

func (s watchSource) Term() uint64 {
	if l := s.g.Leader(); l.Self {
		return l.Term
	}
	return 0
}

func (s watchSource) Leader() protocol.MemberID {
	l := s.g.Leader()
	if l.Replica == 0 || l.Self {
		return 0
	}
	return s.g.host.memberOf(s.g.id, l.Replica)
}

func (s watchSource) Began() protocol.Version {
	listed, ok := s.g.host.system.View().Group(s.g.id)
	if !ok {
		return 0
	}
	return protocol.Version(uint64(listed.Generation)<<48 | uint64(listed.Revision))
}

func (s watchSource) Confirm(done func(protocol.Code)) {
	s.g.Submit(&Request{
		Request: protocol.Request{Flags: protocol.FlagRead, Kind: protocol.KindControl, Op: protocol.OpWatch},
		Done:    func(r protocol.Reply) { done(r.Code) }, confirms: true,
	})
}
