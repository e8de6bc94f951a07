package shardgroups

import (
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

// ballots keeps two replicas that miss their leader at the same time from
// standing against each other. Each would find in the round before the vote
// that it may stand, vote for itself, and wait for an election timeout to try
// again, with the same prospects: on a busy machine, where a round takes a
// twentieth of that timeout and more, several times in a row.
//
// So of two that ask at the same time, the one with the longer log, or else with
// the lower number, does not hear the other; and who has said yes does not ask
// for itself right afterwards. Both is done by losing messages, as any network
// may: nobody votes for whom it would not have voted for.
type ballots struct {
	patience time.Duration // how long a round may take
	now      func() time.Time

	mu   sync.Mutex // guards the following
	mine map[uint64]bid
	yes  map[uint64]bid // to others; only term and at are set
}

// bid is a replica's question whether it may stand in a term.
type bid struct {
	replica, term     uint64
	logTerm, logIndex uint64
	at                time.Time
}

func newBallots(patience time.Duration) *ballots {
	return &ballots{patience: patience, now: time.Now, mine: map[uint64]bid{}, yes: map[uint64]bid{}}
}

func isBallot(m *raftpb.Message) bool {
	return m.Type == raftpb.RequestPreVote || m.Type == raftpb.RequestPreVoteResp
}

// out returns the messages that are to be sent.
func (b *ballots) out(messages []raftpb.Message) []raftpb.Message {
	return b.filter(messages, func(m *raftpb.Message) bool {
		if m.Type == raftpb.RequestPreVoteResp {
			if !m.Reject {
				b.yes[m.ShardID] = bid{term: m.Term, at: b.now()}
			}
			return true
		}
		if yes, ok := b.yes[m.ShardID]; ok && yes.term == m.Term && b.now().Sub(yes.at) < b.patience {
			return false
		}
		b.mine[m.ShardID] = bid{m.From, m.Term, m.LogTerm, m.LogIndex, b.now()}
		return true
	})
}

// in returns the messages that the engine is to get.
func (b *ballots) in(messages []raftpb.Message) []raftpb.Message {
	return b.filter(messages, func(m *raftpb.Message) bool {
		if m.Type != raftpb.RequestPreVote {
			return true
		}
		mine, ok := b.mine[m.ShardID]
		return !ok || mine.term != m.Term || b.now().Sub(mine.at) >= b.patience || !mine.beats(m)
	})
}

// beats says which of two stands. Both replicas come to the same answer.
func (b bid) beats(m *raftpb.Message) bool {
	switch {
	case b.logTerm != m.LogTerm:
		return b.logTerm > m.LogTerm
	case b.logIndex != m.LogIndex:
		return b.logIndex > m.LogIndex
	default:
		return b.replica < m.From
	}
}

// filter returns the messages that pass. Almost always these are all.
func (b *ballots) filter(messages []raftpb.Message, pass func(*raftpb.Message) bool) []raftpb.Message {
	some := false
	for i := range messages {
		some = some || isBallot(&messages[i])
	}
	if !some {
		return messages
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var passed []raftpb.Message
	for i := range messages {
		if m := &messages[i]; !isBallot(m) || pass(m) {
			passed = append(passed, *m)
		}
	}
	return passed
}
