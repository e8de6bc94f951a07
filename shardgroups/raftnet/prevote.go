package raftnet

import (
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

// preVoteFilter keeps two replicas that miss their leader at the same time from
// campaigning against each other. Each would win its pre-vote, vote for itself, and
// have to wait for an election timeout before it tries again, with the same prospects.
// On a busy machine, where a pre-vote takes a twentieth of that timeout and more, this
// would happen several times in a row.
//
// So if two replicas ask for pre-votes at the same time, the one with the longer log,
// or else with the lower number, does not hear the other. And a replica that has
// granted a pre-vote does not ask for one right afterwards. The filter only drops
// messages, as any network may: no replica gives a vote that it would not have given
// anyway.
type preVoteFilter struct {
	window time.Duration // how long a pre-vote may take
	now    func() time.Time

	mu      sync.Mutex // guards the following
	asked   map[uint64]preVote
	granted map[uint64]preVote // to others; only term and at are set
}

// preVote is a replica's request for a pre-vote in a term.
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

// out returns the messages to send.
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

// in returns the messages to pass to the engine.
func (f *preVoteFilter) in(messages []raftpb.Message) []raftpb.Message {
	return f.filter(messages, func(m *raftpb.Message) bool {
		if m.Type != raftpb.RequestPreVote {
			return true
		}
		asked, ok := f.asked[m.ShardID]
		return !ok || asked.term != m.Term || f.now().Sub(asked.at) >= f.window || !asked.beats(m)
	})
}

// beats decides which of two replicas campaigns. Both replicas come to the same answer.
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
