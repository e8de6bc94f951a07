package membership

import (
	"fmt"
	"testing"

	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// TestSystemVoters: the plan brings the system group to an odd number of voters,
// also where it has too many, and each member to a copy of it.
func TestSystemVoters(t *testing.T) {
	for _, x := range []struct{ members, have, voters int }{
		{1, 1, 1}, {2, 1, 1}, {3, 1, 3}, {4, 1, 3}, {4, 3, 3}, {4, 4, 3}, {5, 1, 5}, {5, 3, 5}, {7, 1, 5}, {7, 5, 5},
	} {
		t.Run(fmt.Sprintf("%d of %d vote", x.have, x.members), func(t *testing.T) {
			v := &systemstate.ClusterState{}
			g := systemstate.Group{ID: protocol.SystemGroup, NextReplica: 1}
			for id := protocol.MemberID(1); int(id) <= x.members; id++ {
				v.Members = append(v.Members, systemstate.Member{ID: id, Name: fmt.Sprint(id)})
				if int(id) <= x.have {
					g.Replicas = append(g.Replicas, systemstate.Replica{ID: g.NextReplica, Member: id})
					g.NextReplica++
				}
			}
			v.Groups = []systemstate.Group{g}
			for range 10 * x.members {
				want := WantedReplicas(v, func(systemstate.Member) bool { return true })
				want.CaughtUp = func(protocol.GroupID, protocol.ReplicaID) bool { return true }
				for _, s := range partition.PlanReplicas(TableOf(v), want) {
					take(&v.Groups[0], s)
				}
			}
			if n := Voters(v.Groups[0]); n != x.voters || len(v.Groups[0].Replicas) != x.members {
				t.Errorf("%d voters of %d replicas, want %d of %d", n, len(v.Groups[0].Replicas), x.voters, x.members)
			}
		})
	}
}

// take does to a group what a step says.
func take(g *systemstate.Group, s partition.Step) {
	for i, r := range g.Replicas {
		switch {
		case r.ID != s.Replica:
		case s.Change == partition.Promote:
			g.Replicas[i].NonVoting = false
		default:
			g.Replicas = append(g.Replicas[:i:i], g.Replicas[i+1:]...)
			return
		}
	}
	if s.Change == partition.AddNonVoting {
		g.Replicas = append(g.Replicas, systemstate.Replica{ID: g.NextReplica, Member: s.Member, NonVoting: true})
		g.NextReplica++
	}
}
