package raftnet

import (
	"testing"

	"github.com/lni/dragonboat/v4/raftpb"
)

func TestObservedProgress_Lost(t *testing.T) {
	from := func(m raftpb.Message) raftpb.Message {
		m.ShardID, m.From, m.To = 1, 2, 3
		return m
	}
	for _, test := range []struct {
		name   string
		seen   []raftpb.Message
		stored Stored
		alone  bool
		lost   bool
	}{
		{"nothing seen", nil, Stored{Term: 3, Last: 10}, false, false},
		{"as acknowledged", []raftpb.Message{{Type: raftpb.ReplicateResp, Term: 3, LogIndex: 10}}, Stored{Term: 3, Last: 10}, false, false},
		{"more than acknowledged", []raftpb.Message{{Type: raftpb.ReplicateResp, Term: 3, LogIndex: 10}}, Stored{Term: 3, Last: 11}, false, false},
		{"less than acknowledged", []raftpb.Message{{Type: raftpb.ReplicateResp, Term: 3, LogIndex: 10}}, Stored{Term: 3, Last: 9}, false, true},
		{"overwritten in a later term", []raftpb.Message{{Type: raftpb.ReplicateResp, Term: 3, LogIndex: 10}}, Stored{Term: 4, Last: 9}, false, false},
		{"a term forgotten", []raftpb.Message{{Type: raftpb.HeartbeatResp, Term: 4}}, Stored{Term: 3, Last: 10}, false, true},
		{"a rejection says nothing of the log", []raftpb.Message{{Type: raftpb.ReplicateResp, Term: 3, LogIndex: 10, Reject: true}}, Stored{Term: 3, Last: 9}, false, false},
		{"a vote forgotten", []raftpb.Message{{Type: raftpb.RequestVoteResp, Term: 3}}, Stored{Term: 3}, false, true},
		{"a vote kept", []raftpb.Message{{Type: raftpb.RequestVoteResp, Term: 3}}, Stored{Term: 3, Vote: 3}, false, false},
		{"a vote refused", []raftpb.Message{{Type: raftpb.RequestVoteResp, Term: 3, Reject: true}}, Stored{Term: 3, Vote: 1}, false, false},
		{"its own candidacy forgotten", []raftpb.Message{{Type: raftpb.RequestVote, Term: 3}}, Stored{Term: 3}, false, true},
		{"its own candidacy kept", []raftpb.Message{{Type: raftpb.RequestVote, Term: 3}}, Stored{Term: 3, Vote: 2}, false, false},
		{"a pre-vote", []raftpb.Message{{Type: raftpb.RequestPreVote, Term: 4}, {Type: raftpb.RequestPreVoteResp, Term: 4}}, Stored{Term: 3}, false, false},
		{"committed as the leader", []raftpb.Message{{Type: raftpb.Replicate, Term: 3, Commit: 10}}, Stored{Term: 3, Last: 9}, false, true},
		{"committed as the only voter, before it was on disk", []raftpb.Message{{Type: raftpb.Replicate, Term: 3, Commit: 10}}, Stored{Term: 3, Last: 9}, true, false},
		{"heartbeats of the only voter", []raftpb.Message{{Type: raftpb.Heartbeat, Term: 3, Commit: 10}}, Stored{Term: 3, Last: 9}, true, true},
		{"entries on their way", []raftpb.Message{{Type: raftpb.Replicate, Term: 3, LogIndex: 10, Commit: 5}}, Stored{Term: 3, Last: 9}, false, false},
		{
			"the highest counts",
			[]raftpb.Message{
				{Type: raftpb.ReplicateResp, Term: 3, LogIndex: 12},
				{Type: raftpb.ReplicateResp, Term: 4, LogIndex: 7},
				{Type: raftpb.ReplicateResp, Term: 4, LogIndex: 6},
			},
			Stored{Term: 4, Last: 6},
			false, true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l progressLog
			for _, m := range test.seen {
				l.note([]raftpb.Message{from(m)})
			}
			test.stored.Group, test.stored.Replica = 1, 2
			if s := l.seen[progressKey{1, 2}]; s != nil {
				if got := s.Lost(test.stored, test.alone); got != test.lost {
					t.Errorf("lost: %t; seen %+v, stored %+v", got, *s, test.stored)
				}
			} else if test.lost {
				t.Error("nothing noted")
			}
		})
	}
}

// BenchmarkObservedProgress notes a batch as a busy follower sends it.
func BenchmarkObservedProgress(b *testing.B) {
	var l progressLog
	batch := make([]raftpb.Message, 4)
	for i := range batch {
		batch[i] = raftpb.Message{Type: raftpb.ReplicateResp, ShardID: uint64(i % 3), From: 2, To: 1, Term: 3}
	}
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		for i := range batch {
			batch[i].LogIndex = n
		}
		l.note(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(batch)), "ns/message")
}
