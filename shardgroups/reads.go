package shardgroups

import (
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
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
// replica does not know it or nothing has a deadline. mu is held.
func (g *Group) logTimeNow() protocol.LogTime {
	if _, has := g.state.NextDue(); !has {
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
