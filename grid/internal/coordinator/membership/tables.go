package membership

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// FirstReplica is the founder's replica of the system group.
const FirstReplica protocol.ReplicaID = 1

// TableOf returns the table as the planners take it.
func TableOf(v *systemstate.ClusterState) *partition.Table {
	t := &partition.Table{Epoch: v.Epoch, Partitions: v.Partitions}
	for _, g := range v.Groups {
		group := partition.Group{ID: g.ID}
		for _, r := range g.Replicas {
			group.Replicas = append(group.Replicas, partition.Replica{ID: r.ID, Member: r.Member, NonVoting: r.NonVoting})
		}
		t.Groups = append(t.Groups, group)
	}
	for _, o := range v.Members {
		t.Members = append(t.Members, o.ID)
	}
	return t
}

// VoteTogether reports whether two members vote in one group.
func VoteTogether(v *systemstate.ClusterState, a, b protocol.MemberID) bool {
	votes := func(g systemstate.Group, m protocol.MemberID) bool {
		return slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return r.Member == m && !r.NonVoting })
	}
	return slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool { return votes(g, a) && votes(g, b) })
}

// Voters returns how many replicas of a group vote.
func Voters(g systemstate.Group) int {
	n := 0
	for _, r := range g.Replicas {
		if !r.NonVoting {
			n++
		}
	}
	return n
}

// Living returns the members whose data is not lost.
func Living(v *systemstate.ClusterState) []protocol.MemberID {
	var ids []protocol.MemberID
	for _, o := range v.Members {
		if !o.Gone {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// SystemVoters returns how many voters the system group of so many members is to
// have; the others have copies without a vote. A fourth voter would raise what a
// majority is, and let no more of them fail.
func SystemVoters(members int) int {
	const few, many = 3, 5
	if members < many {
		return few
	}
	return many
}

// WantedReplicas is which replicas a cluster should have, if these members run.
func WantedReplicas(v *systemstate.ClusterState, running func(systemstate.Member) bool) partition.Places {
	want := partition.Places{
		Replicas: int(v.Settings.Replicas),
		Targets:  map[protocol.GroupID]partition.Target{protocol.SystemGroup: {Voters: SystemVoters(len(Living(v))), Copies: len(v.Members)}},
	}
	for _, o := range v.Members {
		switch {
		case o.Gone:
			want.Gone = append(want.Gone, o.ID)
		case running(o):
			want.Running = append(want.Running, o.ID)
		}
	}
	return want
}

// Missing returns how many replicas each group lacks if these members run.
func Missing(v *systemstate.ClusterState, running func(systemstate.Member) bool) map[protocol.GroupID]int {
	want, table := WantedReplicas(v, running), TableOf(v)
	lacks := map[protocol.GroupID]int{}
	for _, g := range table.Groups {
		lacks[g.ID] = partition.Missing(table, g, want)
	}
	return lacks
}

// MissingAtAll returns how many replicas each group lacks even if all members
// run whose data is not lost: those that are not agreed, or have no vote yet.
func MissingAtAll(v *systemstate.ClusterState) map[protocol.GroupID]int {
	return Missing(v, func(systemstate.Member) bool { return true })
}

// Loading returns the groups that refuse requests until they are restored
// from a backup.
func Loading(v *systemstate.ClusterState) []protocol.GroupID {
	var loading []protocol.GroupID
	for _, g := range v.Groups {
		if g.Backup != 0 {
			loading = append(loading, g.ID)
		}
	}
	return loading
}

// GroupsText names groups in a log message.
func GroupsText(ids []protocol.GroupID) string {
	if len(ids) == 1 {
		return fmt.Sprintf("group %d", ids[0])
	}
	var texts []string
	for _, id := range ids {
		texts = append(texts, fmt.Sprint(id))
	}
	return "groups " + strings.Join(texts, ", ")
}
