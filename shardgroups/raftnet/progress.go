package raftnet

import (
	"sync"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// ObservedProgress is what this member, since its start, has observed of another's
// replica: what that replica must have had on disk before it sent its messages. A
// replica whose log holds less has lost data.
type ObservedProgress struct {
	_       struct{} `cbor:",toarray"`
	Group   protocol.GroupID
	Replica protocol.ReplicaID
	Term    uint64 // highest term
	// The highest entry that the replica reported to have, as a follower or in a
	// heartbeat as the leader, and the term of the report.
	HeldTerm, HeldIndex uint64
	// The highest commit index it sent with entries as the leader. A leader sends
	// entries before it has them on disk; what is committed was there before,
	// unless the leader is the group's only voter.
	LedTerm, LedIndex uint64
	// The last vote it gave to this member's replica or asked for itself.
	VoteTerm uint64
	Vote     protocol.ReplicaID
}

// Stored is what a replica has on disk.
type Stored struct {
	Group    protocol.GroupID
	Replica  protocol.ReplicaID
	Term     uint64
	Vote     protocol.ReplicaID
	Commit   uint64
	Snapshot uint64 // index of the newest snapshot; 0: none
	Last     uint64 // index of the last entry, or of the snapshot
}

// Lost reports whether the replica had more than is stored. alone says that its group
// has no other voter.
func (p ObservedProgress) Lost(s Stored, alone bool) bool {
	switch {
	case s.Term < p.Term,
		s.Term == p.HeldTerm && s.Last < p.HeldIndex,
		s.Term == p.LedTerm && s.Last < p.LedIndex && !alone,
		s.Term == p.VoteTerm && s.Vote != p.Vote:
		return !mutants.On(mutants.LossUnseen)
	}
	return false
}

// progressLog records the progress of other replicas from their messages.
type progressLog struct {
	mu   sync.Mutex // guards seen
	seen map[progressKey]*ObservedProgress
}

type progressKey struct{ group, replica uint64 }

// note reads messages before the engine does. Messages that are sent before their
// sender has written to disk prove nothing and are skipped: pre-votes, and Replicate
// except for what it says of the past.
func (l *progressLog) note(messages []raftpb.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range messages {
		m := &messages[i]
		switch m.Type {
		case raftpb.Replicate:
			if p := l.of(m); higher(m.Term, m.Commit, p.LedTerm, p.LedIndex) {
				p.LedTerm, p.LedIndex = m.Term, m.Commit
			}
		case raftpb.ReplicateResp:
			p := l.of(m)
			p.Term = max(p.Term, m.Term)
			if !m.Reject && higher(m.Term, m.LogIndex, p.HeldTerm, p.HeldIndex) {
				p.HeldTerm, p.HeldIndex = m.Term, m.LogIndex
			}
		case raftpb.Heartbeat:
			p := l.of(m)
			p.Term = max(p.Term, m.Term)
			if higher(m.Term, m.Commit, p.HeldTerm, p.HeldIndex) {
				p.HeldTerm, p.HeldIndex = m.Term, m.Commit
			}
		case raftpb.HeartbeatResp:
			p := l.of(m)
			p.Term = max(p.Term, m.Term)
		case raftpb.RequestVote:
			p := l.of(m)
			p.Term = max(p.Term, m.Term)
			p.vote(m.Term, m.From)
		case raftpb.RequestVoteResp:
			p := l.of(m)
			p.Term = max(p.Term, m.Term)
			if !m.Reject {
				p.vote(m.Term, m.To)
			}
		}
	}
}

func higher(term, index, thanTerm, thanIndex uint64) bool {
	return term > thanTerm || term == thanTerm && index > thanIndex
}

func (p *ObservedProgress) vote(term, replica uint64) {
	if term > p.VoteTerm {
		p.VoteTerm, p.Vote = term, protocol.ReplicaID(replica)
	}
}

// maxObserved bounds how many replicas are recorded. It is far more than a cluster has.
const maxObserved = 1 << 16

// of returns the record of a message's sender. mu is held.
func (l *progressLog) of(m *raftpb.Message) *ObservedProgress {
	key := progressKey{m.ShardID, m.From}
	s := l.seen[key]
	if s == nil {
		if l.seen == nil {
			l.seen = map[progressKey]*ObservedProgress{}
		}
		s = &ObservedProgress{Group: protocol.GroupID(m.ShardID), Replica: protocol.ReplicaID(m.From)}
		if len(l.seen) < maxObserved {
			l.seen[key] = s
		}
	}
	return s
}

// Progress returns what was observed of a replica; false: nothing.
func (t *Transport) Progress(g protocol.GroupID, r protocol.ReplicaID) (ObservedProgress, bool) {
	l := &t.progress
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.seen[progressKey{uint64(g), uint64(r)}]
	if p == nil {
		return ObservedProgress{}, false
	}
	return *p, true
}
