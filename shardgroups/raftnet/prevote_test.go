package raftnet

import (
	"fmt"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

func ask(from, to, term, logIndex uint64) raftpb.Message {
	return raftpb.Message{Type: raftpb.RequestPreVote, ShardID: 2, From: from, To: to, Term: term, LogTerm: 4, LogIndex: logIndex}
}

func grant(from, to, term uint64) raftpb.Message {
	return raftpb.Message{Type: raftpb.RequestPreVoteResp, ShardID: 2, From: from, To: to, Term: term}
}

// TestPreVoteFilter_OneCampaigns shows, for all orders of what two replicas do that ask
// at the same time, that not both win their pre-vote, and that one does.
func TestPreVoteFilter_OneCampaigns(t *testing.T) {
	for _, tt := range []struct{ one, other uint64 }{{10, 10}, {10, 11}, {11, 10}} {
		// Each asks once; a question that arrives is answered at once. The four
		// events in any order in which a question is sent before it arrives.
		const asks, hears = 0, 1
		orders := [][4]int{ // replica*2 + event
			{0, 1, 2, 3}, {0, 2, 1, 3}, {0, 2, 3, 1}, {2, 0, 1, 3}, {2, 0, 3, 1}, {2, 3, 0, 1}, {0, 3, 2, 1}, {2, 1, 0, 3},
		}
		for _, order := range orders {
			t.Run(fmt.Sprint(tt, order), func(t *testing.T) {
				now := time.Now()
				logs := [2]uint64{tt.one, tt.other}
				var b [2]*preVoteFilter
				for i := range b {
					b[i] = newPreVoteFilter(time.Second)
					b[i].now = func() time.Time { return now }
				}
				var may, asked [2]bool
				deliver := func(from int) {
					to := 1 - from
					m := ask(uint64(from+1), uint64(to+1), 5, logs[from])
					if !asked[from] || len(b[to].in([]raftpb.Message{m})) == 0 || logs[from] < logs[to] {
						return
					}
					if len(b[to].out([]raftpb.Message{grant(uint64(to+1), uint64(from+1), 5)})) == 1 {
						may[from] = true
					}
				}
				for _, e := range order {
					replica, event := e/2, e%2
					if event == asks {
						asked[replica] = len(b[replica].out([]raftpb.Message{ask(uint64(replica+1), uint64(2-replica), 5, logs[replica])})) == 1
					} else if event == hears {
						deliver(1 - replica)
					}
				}
				// What is in flight arrives at last.
				for i := range b {
					if !may[i] {
						deliver(i)
					}
				}
				if may[0] && may[1] {
					t.Error("both may campaign")
				}
				if !may[0] && !may[1] {
					t.Error("neither may campaign")
				}
			})
		}
	}
}

// TestPreVoteFilter_Window shows that what was asked long ago, or for another term,
// keeps no replica from campaigning.
func TestPreVoteFilter_Window(t *testing.T) {
	now := time.Now()
	b := newPreVoteFilter(time.Second)
	b.now = func() time.Time { return now }
	b.out([]raftpb.Message{ask(1, 2, 5, 10)})
	if got := b.in([]raftpb.Message{ask(2, 1, 5, 10)}); len(got) != 0 {
		t.Error("a question that loses is heard")
	}
	if got := b.in([]raftpb.Message{ask(2, 1, 6, 10)}); len(got) != 1 {
		t.Error("a question for another term is not heard")
	}
	now = now.Add(time.Second)
	if got := b.in([]raftpb.Message{ask(2, 1, 5, 10)}); len(got) != 1 {
		t.Error("a later question is not heard")
	}
	b.out([]raftpb.Message{grant(1, 2, 6)})
	if got := b.out([]raftpb.Message{ask(1, 2, 6, 10)}); len(got) != 0 {
		t.Error("a replica that has just granted a pre-vote asks for one")
	}
	heartbeat := raftpb.Message{Type: raftpb.Heartbeat, ShardID: 2}
	if got := b.out([]raftpb.Message{ask(1, 2, 6, 10), heartbeat}); len(got) != 1 || got[0].Type != raftpb.Heartbeat {
		t.Errorf("sent: %v", got)
	}
	now = now.Add(time.Second)
	if got := b.out([]raftpb.Message{ask(1, 2, 6, 10)}); len(got) != 1 {
		t.Error("a replica that granted a pre-vote long ago may not ask")
	}
}
