//go:build mutants

package shardgroups

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The planted bugs of the hot path, see package mutants.

// plantLatePiggyback answers a read, which was queued last, with an entry that was
// proposed before the read arrived. mu is held.
func plantLatePiggyback(p *proposer, q *Request) {
	last := len(p.reads) - 1
	if !mutants.On(mutants.LatePiggyback) || last < 0 || p.reads[last] != q {
		return
	}
	for _, e := range p.inFlight {
		e.piggybacked = append(e.piggybacked, q)
		p.reads = p.reads[:last]
		p.queuedBytes -= len(q.Raw)
		return
	}
}

// mutantReadRounds lets one ReadIndex round be under way at a time, so that later
// reads share its result.
func mutantReadRounds(n int) int {
	if mutants.On(mutants.ReadIndexReused) {
		return 1
	}
	return n
}

// plantSharedRound adds the reads to a batch that arrived after its ReadIndex round
// was asked for.
func plantSharedRound(p *proposer, batch []*Request) []*Request {
	if !mutants.On(mutants.ReadIndexReused) {
		return batch
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(batch, p.takeReads()...)
}

// mutantElapsed makes log time pass twice as fast as real time.
func mutantElapsed(elapsed int64) int64 {
	if mutants.On(mutants.FastTime) {
		return 2 * elapsed
	}
	return elapsed
}

// plantEarlyAcknowledgement answers callers that all went well before it has.
func plantEarlyAcknowledgement(e *entry) {
	if !mutants.On(mutants.AckBeforeCommit) {
		return
	}
	for _, q := range e.requests {
		q.answer(structures.OK(protocol.AppendInts(nil, 1)), 1)
		q.Done = func(protocol.Reply) {}
	}
}

// mutantKeepBound lets an entry carry all that clients ask of their sessions.
func mutantKeepBound(bound, asked int) int {
	if mutants.On(mutants.SessionsUnbounded) {
		return asked
	}
	return bound
}
