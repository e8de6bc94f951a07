package raftnet

import (
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

// preVoteFilter keeps two replicas that miss their leader at the same time from
// campaigning against each other. Each would win its pre-vote, vote for itself, and
// wait for an election timeout to try again, with the same prospects: on a busy
// machine, where a pre-vote takes a twentieth of that timeout and more, several
// times in a row.
//
// So if two ask for pre-votes at the same time, the one with the longer log, or else
// with the lower number, does not hear the other; and a replica that has granted a
// pre-vote does not ask for any right afterwards. The filter drops messages for
// that, as any network may: no replica votes for another for which it would not
// have voted.
type preVoteFilter struct {
	window time.Duration // how long a pre-vote may take
	now    func() time.Time

	mu      sync.Mutex // guards the following
	asked   map[uint64]preVote
	granted map[uint64]preVote // to others; only term and at are set
}

// preVote is a replica's question whether it may campaign in a term.
type preVote struct {
	replica, term     uint64
	logTerm, logIndex uint64
	at                time.Time
}

func newPreVoteFilter(window time.Duration) *preVoteFilter {
	return &preVoteFilter{window: window, now: time.Now, asked: map[uint64]preVote{}, granted: map[uint64]preVote{}}
}

func isPreVote(m *raftpb.Message) bool {
	return m.Type == raftpb.RequestPreVote || m.Type == raftpb.RequestPreVoteResp
}

// out returns the messages that are to be sent.
func (f *preVoteFilter) out(messages []raftpb.Message) []raftpb.Message {
	return f.filter(messages, func(m *raftpb.Message) bool {
		if m.Type == raftpb.RequestPreVoteResp {
			if !m.Reject {
				f.granted[m.ShardID] = preVote{term: m.Term, at: f.now()}
			}
			return true
		}
		if granted, ok := f.granted[m.ShardID]; ok && granted.term == m.Term && f.now().Sub(granted.at) < f.window {
			return false
		}
		f.asked[m.ShardID] = preVote{m.From, m.Term, m.LogTerm, m.LogIndex, f.now()}
		return true
	})
}

// in returns the messages that the engine is to get.
func (f *preVoteFilter) in(messages []raftpb.Message) []raftpb.Message {
	return f.filter(messages, func(m *raftpb.Message) bool {
		if m.Type != raftpb.RequestPreVote {
			return true
		}
		asked, ok := f.asked[m.ShardID]
		return !ok || asked.term != m.Term || f.now().Sub(asked.at) >= f.window || !asked.beats(m)
	})
}

// beats decides which of two campaigns. Both replicas come to the same answer.
func (p preVote) beats(m *raftpb.Message) bool {
	switch {
	case p.logTerm != m.LogTerm:
		return p.logTerm > m.LogTerm
	case p.logIndex != m.LogIndex:
		return p.logIndex > m.LogIndex
	default:
		return p.replica < m.From
	}
}

// filter returns the messages that pass. Almost always these are all.
func (f *preVoteFilter) filter(messages []raftpb.Message, pass func(*raftpb.Message) bool) []raftpb.Message {
	some := false
	for i := range messages {
		some = some || isPreVote(&messages[i])
	}
	if !some {
		return messages
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var passed []raftpb.Message
	for i := range messages {
		if m := &messages[i]; !isPreVote(m) || pass(m) {
			passed = append(passed, *m)
		}
	}
	return passed
}
