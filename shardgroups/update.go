package shardgroups

import (
	"errors"
	"fmt"
	"io"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// groupMachine is a Group as dragonboat sees it: its state machine.
type groupMachine struct{ g *Group }

var _ sm.IConcurrentStateMachine = (*groupMachine)(nil)

// Update applies entries and answers the callers of those that this process
// proposed.
func (m *groupMachine) Update(entries []sm.Entry) ([]sm.Entry, error) {
	g := m.g
	bytes := 0
	sinks := make([]applySink, 0, len(entries))
	began := time.Now()
	own := uint64(0)
	g.mu.Lock()
	for i := range entries {
		cmd := entries[i].Cmd
		bytes += len(cmd)
		h, _, err := groupstate.ReadHeader(cmd)
		if err != nil {
			g.mu.Unlock()
			return nil, fmt.Errorf("group %d, index %d: %w", g.id, entries[i].Index, err)
		}
		sink := applySink{g: g}
		if h.Proposer == g.host.nonce {
			own = h.Number
			if sink.e = g.proposer.complete(h.Number); sink.e != nil {
				sink.joined = sink.e.finish()
			}
		}
		if err := g.state.Apply(cmd, &sink); err != nil {
			g.mu.Unlock()
			g.host.cfg.Logger.Error("a log entry cannot be applied: this replica stops", "group", uint64(g.id), "index", entries[i].Index, "err", err)
			return nil, fmt.Errorf("group %d, index %d: %w", g.id, entries[i].Index, err)
		}
		if sink.e != nil {
			for _, id := range sink.e.attached {
				sink.known = append(sink.known, g.state.Sessions().Knows(id))
			}
		}
		sinks = append(sinks, sink)
		g.applied = entries[i].Index
		entries[i].Result = sm.Result{Value: 1}
	}
	after := appliedState{
		clock: g.state.Clock(), unfinished: g.state.Unfinished(), ends: g.state.Sessions().Ends(), owned: g.state.Owned(),
		index: g.applied, own: own, endings: g.state.Sessions().Endings(),
	}
	g.level.Store(g.state.Level())
	g.partitions.Store(uint32(g.state.Partitions()))
	g.mu.Unlock()

	applied := time.Now()
	g.meter.apply.ObserveTime(applied.Sub(began))
	for i := range sinks {
		sinks[i].finish(began, applied)
	}
	g.proposer.afterApply(after)
	g.log.applied(after.index, len(entries), bytes)
	for i := range sinks {
		if e := sinks[i].e; e != nil {
			g.proposer.mu.Lock()
			g.proposer.completedAt = applied
			g.proposer.completed(e.number)
			g.proposer.mu.Unlock()
			g.proposer.attached(e.attached, sinks[i].known)
		}
	}
	g.proposer.poke()
	g.hub.Applied()
	return entries, nil
}

// appliedState is what the leader's loop needs to know of the state.
type appliedState struct {
	endings    uint64
	clock      groupstate.Clock
	unfinished bool
	ends       uint64
	owned      int
	index      uint64
	own        uint64 // number of the last entry that this process proposed; 0: none was applied
}

// afterApply updates what the proposer knows of the state.
func (p *proposer) afterApply(a appliedState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claim.nonce != 0 {
		switch {
		case a.clock.Holder == p.claim.nonce && p.claim.epoch == 0:
			p.claim.epoch, p.claim.base = a.clock.Epoch, p.host.mono.now()
		case a.clock.Holder != p.claim.nonce && (p.claim.epoch != 0 || a.own >= p.claim.entry):
			// Another leader has claimed the clock since, perhaps in the same batch of
			// entries: a deposed leader's claim may follow this one. Claim again.
			p.claim = claim{}
		}
	}
	if a.unfinished {
		p.wantEntry = true
	}
	if a.endings != p.endings {
		p.endings = a.endings
		p.sessions.forgetKnown()
	}
	p.endsApplied, p.owned = a.ends, a.owned
}

// applySink collects the outcomes of one entry, so that callers are answered
// after the state is unlocked.
type applySink struct {
	g       *Group
	e       *entry
	joined  map[int][]*Request
	answers []answer
	known   []bool // whether the sessions that the entry attached are known now
}

func (s *applySink) Replied(i int, q *protocol.Request, r structures.Result, v protocol.Version) {
	if s.e == nil {
		return
	}
	if s.answers == nil {
		s.answers = make([]answer, 0, len(s.e.requests))
	}
	s.reply(s.e.requests[i], r, v)
	for _, j := range s.joined[i] {
		s.reply(j, r, v)
	}
}

func (s *applySink) reply(q *Request, r structures.Result, v protocol.Version) {
	if !r.IsWaiting() {
		s.answers = append(s.answers, answer{q, ClassWrite, protocol.Reply{ID: q.ID, Code: r.Code, Version: v, Body: r.Body}})
		return
	}
	if old := s.g.await(q); old != nil {
		s.answers = append(s.answers, answer{old, ClassWait, protocol.Reply{ID: old.ID, Code: protocol.CodeUnknown}})
	}
}

func (s *applySink) Granted(p protocol.PartitionID, c protocol.Caller, r structures.Result, v protocol.Version) {
	key := waitKey{p, c}
	qs, ok := s.g.waiting[key]
	if !ok {
		return
	}
	delete(s.g.waiting, key)
	for _, q := range qs {
		s.answers = append(s.answers, answer{q, ClassWait, protocol.Reply{ID: q.ID, Code: r.Code, Version: v, Body: r.Body}})
	}
}

// finish answers the entry's callers, then its piggybacked reads. The reads see a state
// that is not older than the entry, and no other Update of this group runs before this
// one returns.
func (s *applySink) finish(began, applied time.Time) {
	var proposed time.Time
	if s.e != nil {
		proposed = s.e.proposed
		s.g.meter.replicate.ObserveTime(began.Sub(proposed))
	}
	for i := range s.answers {
		a := &s.answers[i]
		if a.reply.Code == protocol.CodeSessionUnknown {
			s.g.proposer.forgetSession(a.q.Caller.Session)
		}
		if a.q.Kind == protocol.KindTxn {
			s.g.meter.transaction(&a.reply)
		}
		took := s.g.measure(a.q, a.class, a.reply.Code, applied)
		if a.class == ClassWrite && s.g.slow.is(took) {
			s.g.slow.warn(s.g, a.q, stages{proposed, began, applied})
		}
		a.q.Done(a.reply)
	}
	if s.e != nil && len(s.e.piggybacked) > 0 {
		s.g.readNow(s.e.piggybacked, proposed)
	}
}

// Lookup is not used: reads go to the state after ReadIndex.
func (m *groupMachine) Lookup(any) (any, error) { return nil, errors.ErrUnsupported }

// PrepareSnapshot copies the trees. Update does not run at the same time, and the lock
// excludes reads.
func (m *groupMachine) PrepareSnapshot() (any, error) {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	return &groupSnapshot{m.g.applied, m.g.state.Prepare()}, nil
}

// groupSnapshot is a copy of the state and the index of the last entry in it.
// It is written as that index, eight bytes big-endian, and the state.
type groupSnapshot struct {
	applied uint64
	state   *groupstate.Snapshot
}

func (s *groupSnapshot) writeTo(w io.Writer, stop <-chan struct{}) error {
	if err := engine.WriteIndex(w, s.applied); err != nil {
		return err
	}
	return s.state.WriteTo(w, stop)
}

// SaveSnapshot writes the copy. If the disk refuses it, this snapshot fails, not
// the process.
func (m *groupMachine) SaveSnapshot(ctx any, w io.Writer, _ sm.ISnapshotFileCollection, stop <-chan struct{}) error {
	snapshot := ctx.(*groupSnapshot)
	err := snapshot.writeTo(w, stop)
	snapshot.state = nil // dragonboat keeps ctx until the next snapshot, which must not keep the copy
	switch {
	case err == nil:
		m.g.stats.Snapshots.Add(1)
		return nil
	case errors.Is(err, io.ErrClosedPipe):
		return sm.ErrSnapshotStopped
	default:
		m.g.host.cfg.Logger.Warn("snapshot failed: it could not be written", "group", uint64(m.g.id), "err", err)
		return sm.ErrSnapshotAborted
	}
}

// RecoverFromSnapshot replaces the state.
func (m *groupMachine) RecoverFromSnapshot(r io.Reader, _ []sm.SnapshotFile, stop <-chan struct{}) error {
	state := m.g.newState()
	applied, err := engine.ReadIndex(r)
	if err != nil {
		return fmt.Errorf("group %d: %w", m.g.id, err)
	}
	if err := state.Restore(r, stop); err != nil {
		if errors.Is(err, io.ErrClosedPipe) {
			return sm.ErrSnapshotStopped
		}
		return fmt.Errorf("group %d: %w", m.g.id, err)
	}
	m.g.mu.Lock()
	m.g.state, m.g.applied = state, applied
	m.g.level.Store(state.Level())
	m.g.partitions.Store(uint32(state.Partitions()))
	m.g.holds.Store(state.Refusing())
	ends, owned := state.Sessions().Ends(), state.Owned()
	m.g.mu.Unlock()
	m.g.proposer.mu.Lock()
	m.g.proposer.endsApplied, m.g.proposer.owned, m.g.proposer.endings = ends, owned, 0
	m.g.proposer.sessions.forgetKnown()
	m.g.proposer.mu.Unlock()
	m.g.hub.Applied()
	return nil
}

// Close is called when the replica is stopped.
func (m *groupMachine) Close() error { return nil }
