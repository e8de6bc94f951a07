package shardgroups

import (
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// maxReadRounds is how many ReadIndex rounds a group has under way.
const maxReadRounds = 2

// readIndexTimeout bounds one round. A fresh leader drops the round until it
// has committed an entry of its own term.
const readIndexTimeout = 500 * time.Millisecond

// readIndex confirms with a majority that this replica still leads, waits
// until it has applied what was committed by then, and answers the batch, which
// was closed before: a read that arrives later needs another round (READ-1).
func (g *Group) readIndex(batch []*Request) {
	g.stats.Reads.Add(uint64(len(batch)))
	asked := time.Now()
	limit := readIndexTimeout
	if f := g.host.cfg.Hooks.ReadIndexTimeout; f != nil {
		limit = f()
	}
	rs, err := g.host.nh.ReadIndex(uint64(g.id), limit)
	if err != nil {
		g.endRound()
		for _, q := range batch {
			g.refuseWith(q, codeOf(err))
		}
		return
	}
	g.host.spawn(func() {
		r := <-rs.ResultC()
		rs.Release()
		g.endRound()
		switch {
		case r.Completed():
			if mutants.On(mutants.ReadIndexReused) {
				batch = append(batch, g.cameMeanwhile()...)
			}
			g.readNow(batch, asked)
		case r.Dropped():
			g.readAgain(batch, true)
		default:
			for _, q := range batch {
				g.refuseWith(q, protocol.CodeNoLeader)
			}
		}
	})
}

// cameMeanwhile is half of a planted bug: reads that came while a round was under
// way share its result.
func (g *Group) cameMeanwhile() []*Request {
	g.qmu.Lock()
	defer g.qmu.Unlock()
	return g.takeReads()
}

func (g *Group) endRound() {
	g.qmu.Lock()
	g.reading--
	more := len(g.reads) > 0
	g.qmu.Unlock()
	if more {
		g.poke()
	}
}

// readAgain queues reads whose entry or ReadIndex came to nothing, before those
// that came later. Those of a fresh leader, which drops every ReadIndex, ride on
// an empty entry.
func (g *Group) readAgain(batch []*Request, ride bool) {
	if len(batch) == 0 {
		return
	}
	g.qmu.Lock()
	leads := g.leads()
	if leads {
		g.reads = append(batch, g.reads...)
		for _, q := range batch {
			g.queuedBytes += len(q.Raw)
		}
		g.wantEntry = g.wantEntry || ride
	}
	g.qmu.Unlock()
	if leads {
		g.poke()
		return
	}
	for _, q := range batch {
		g.refuseFollower(q)
	}
}

// readNow answers reads from the state as it is. asked is when they left the
// queue.
func (g *Group) readNow(batch []*Request, asked time.Time) {
	for len(batch) > 0 {
		batch = batch[g.readSome(batch, asked):]
	}
}

// maxAnswerBytes bounds the answers to reads that are made before they are
// handed on: a batch of reads of large values must not be in memory at once.
const maxAnswerBytes = 1 << 20

// maxLooks bounds the rows that a batch of reads looks at under one hold of the
// state's lock, which an entry that is to be applied waits for.
const maxLooks = 2000

// logTimeNow returns the log time of an entry that would be proposed now, 0 where
// this replica cannot tell or nothing has a deadline. mu is held.
func (g *Group) logTimeNow() protocol.LogTime {
	if _, has := g.state.NextDue(); !has {
		return 0
	}
	clock := g.state.Clock()
	g.qmu.Lock()
	defer g.qmu.Unlock()
	if !g.leads() || g.claim.epoch == 0 || g.claim.epoch != clock.Epoch {
		return 0
	}
	return clock.Base.Add(g.host.mono.now() - g.claim.base)
}

// readSome answers the first of a batch, and returns how many.
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
			g.slow.tell(g, q, stages{asked, began, now})
		}
		q.Done(answers[i])
	}
	return len(answers)
}
