package raftnet

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
)

// fakeGroups is a member with a replica of one group, whose leader is replica 1 at
// address "dead:1".
type fakeGroups struct {
	ctx    context.Context
	me     protocol.ReplicaID
	voters []protocol.ReplicaID
	wg     sync.WaitGroup

	mu       sync.Mutex // guards what follows
	leader   Leader
	began    time.Time
	campaign []time.Duration // when this replica has campaigned
}

func (f *fakeGroups) Replicas() map[protocol.GroupID]protocol.ReplicaID {
	return map[protocol.GroupID]protocol.ReplicaID{2: f.me}
}

func (f *fakeGroups) Leader(protocol.GroupID) Leader {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leader
}

func (f *fakeGroups) Voters(protocol.GroupID) []protocol.ReplicaID { return f.voters }

func (f *fakeGroups) Address(_ protocol.GroupID, r protocol.ReplicaID) (string, bool) {
	return "dead:1", r == 1
}

func (f *fakeGroups) Deliver(b raftpb.MessageBatch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := b.Requests[0]; b.DeploymentId == 7 && m.Type == raftpb.TimeoutNow && m.To == uint64(f.me) && m.From == 1 && m.Term == f.leader.Term {
		f.campaign = append(f.campaign, time.Since(f.began))
	}
}

func (f *fakeGroups) Spawn(run func(context.Context)) { f.wg.Go(func() { run(f.ctx) }) }

// TestCampaigner shows when a replica campaigns after its leader's process has
// ended: in its turn, twice, and not once there is a leader.
func TestCampaigner(t *testing.T) {
	const pause = time.Second // half an election timeout
	for _, test := range []struct {
		name    string
		me      protocol.ReplicaID
		voters  []protocol.ReplicaID
		address string
		elected time.Duration // when there is another leader; 0: never
		want    []time.Duration
	}{
		{"the first of two", 2, []protocol.ReplicaID{3, 1, 2}, "dead:1", 0, []time.Duration{0, 2 * pause}},
		{"the second of two", 3, []protocol.ReplicaID{3, 1, 2}, "dead:1", 0, []time.Duration{pause, 3 * pause}},
		{"another leads before its turn", 3, []protocol.ReplicaID{3, 1, 2}, "dead:1", pause / 2, nil},
		{"another leads before its second turn", 2, []protocol.ReplicaID{3, 1, 2}, "dead:1", pause / 2, []time.Duration{0}},
		{"a learner", 4, []protocol.ReplicaID{3, 1, 2}, "dead:1", 0, nil},
		{"another process", 2, []protocol.ReplicaID{3, 1, 2}, "dead:2", 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeGroups{ctx: t.Context(), me: test.me, voters: test.voters, leader: Leader{Replica: 1, Term: 5}, began: time.Now()}
				c := NewCampaigner(f, 2*pause, 7, slog.New(slog.DiscardHandler))
				for range 3 { // every connection that is lost reports it
					c.ProcessEnded(test.address)
				}
				if test.elected > 0 {
					time.Sleep(test.elected)
					f.mu.Lock()
					f.leader = Leader{Replica: 9, Term: 6}
					f.mu.Unlock()
				}
				f.wg.Wait()
				if len(f.campaign) != len(test.want) {
					t.Fatalf("campaigned at %v, want %v", f.campaign, test.want)
				}
				for i := range test.want {
					if f.campaign[i] != test.want[i] {
						t.Errorf("campaigned at %v, want %v", f.campaign, test.want)
					}
				}
			})
		})
	}
}
