package shardgroups

import (
	"sync"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// Witness is what this member has seen of another's replica since it started:
// what that replica had on its disk before it sent. A replica whose log holds
// less has lost data.
type Witness struct {
	_       struct{} `cbor:",toarray"`
	Group   protocol.GroupID
	Replica protocol.ReplicaID
	Term    uint64 // highest term
	// The highest entry that the replica said it had, as a follower or in
	// a heartbeat as the leader, and the term in which it said so.
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

// Lost reports whether the replica had more than is stored. alone says that
// its group has no other voter.
func (w Witness) Lost(s Stored, alone bool) bool {
	switch {
	case mutants.On(mutants.LossUnseen):
		return false
	case s.Term < w.Term,
		s.Term == w.HeldTerm && s.Last < w.HeldIndex,
		s.Term == w.LedTerm && s.Last < w.LedIndex && !alone,
		s.Term == w.VoteTerm && s.Vote != w.Vote:
		return true
	}
	return false
}

// witnesses notes what arrives from other replicas.
type witnesses struct {
	mu   sync.Mutex // guards seen
	seen map[witnessKey]*Witness
}

type witnessKey struct{ group, replica uint64 }

// note looks at messages before the engine does. Messages that are sent before
// their sender has written (Replicate, except for what it says of the past;
// the rounds before a vote) prove nothing and are passed over.
func (w *witnesses) note(messages []raftpb.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range messages {
		m := &messages[i]
		switch m.Type {
		case raftpb.Replicate:
			if s := w.of(m); higher(m.Term, m.Commit, s.LedTerm, s.LedIndex) {
				s.LedTerm, s.LedIndex = m.Term, m.Commit
			}
		case raftpb.ReplicateResp:
			s := w.of(m)
			s.Term = max(s.Term, m.Term)
			if !m.Reject && higher(m.Term, m.LogIndex, s.HeldTerm, s.HeldIndex) {
				s.HeldTerm, s.HeldIndex = m.Term, m.LogIndex
			}
		case raftpb.Heartbeat:
			s := w.of(m)
			s.Term = max(s.Term, m.Term)
			if higher(m.Term, m.Commit, s.HeldTerm, s.HeldIndex) {
				s.HeldTerm, s.HeldIndex = m.Term, m.Commit
			}
		case raftpb.HeartbeatResp:
			s := w.of(m)
			s.Term = max(s.Term, m.Term)
		case raftpb.RequestVote:
			s := w.of(m)
			s.Term = max(s.Term, m.Term)
			s.vote(m.Term, m.From)
		case raftpb.RequestVoteResp:
			s := w.of(m)
			s.Term = max(s.Term, m.Term)
			if !m.Reject {
				s.vote(m.Term, m.To)
			}
		}
	}
}

func higher(term, index, thanTerm, thanIndex uint64) bool {
	return term > thanTerm || term == thanTerm && index > thanIndex
}

func (w *Witness) vote(term, replica uint64) {
	if term > w.VoteTerm {
		w.VoteTerm, w.Vote = term, protocol.ReplicaID(replica)
	}
}

// maxWitnesses bounds what is noted: far more replicas than a cluster has.
const maxWitnesses = 1 << 16

// of returns the note of a message's sender. mu is held.
func (w *witnesses) of(m *raftpb.Message) *Witness {
	key := witnessKey{m.ShardID, m.From}
	s := w.seen[key]
	if s == nil {
		if w.seen == nil {
			w.seen = map[witnessKey]*Witness{}
		}
		s = &Witness{Group: protocol.GroupID(m.ShardID), Replica: protocol.ReplicaID(m.From)}
		if len(w.seen) < maxWitnesses {
			w.seen[key] = s
		}
	}
	return s
}

// Witness returns what this member has seen of a replica; false: nothing.
func (h *Host) Witness(g protocol.GroupID, r protocol.ReplicaID) (Witness, bool) {
	w := &h.trans.witnesses
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.seen[witnessKey{uint64(g), uint64(r)}]
	if s == nil {
		return Witness{}, false
	}
	return *s, true
}
