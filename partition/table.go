package partition

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/quorate/quorate/protocol"
)

// DefaultPartitions is how many partitions a cluster has that sets nothing.
const DefaultPartitions = 271

// Table says which group owns each partition, and which members have the groups'
// replicas.
type Table struct {
	Epoch      protocol.Epoch
	Partitions []protocol.GroupID  // the owner, by PartitionID
	Groups     []Group             // Invariant: ascending by ID
	Members    []protocol.MemberID // everyone the cluster lists; Invariant: ascending
}

// Group is a group's replicas. The system group may be among the groups of a
// table; it owns no partition.
type Group struct {
	ID       protocol.GroupID
	Replicas []Replica // Invariant: ascending by ID, at most one a member
}

// Replica is a group's copy on one member.
type Replica struct {
	ID        protocol.ReplicaID
	Member    protocol.MemberID
	NonVoting bool // it catches up, and is not counted in the group's majority
}

// Group returns the group with the given ID.
func (t *Table) Group(id protocol.GroupID) (Group, bool) {
	i, ok := slices.BinarySearchFunc(t.Groups, id, func(g Group, id protocol.GroupID) int {
		return cmp.Compare(g.ID, id)
	})
	if !ok {
		return Group{}, false
	}
	return t.Groups[i], true
}

// On returns the group's replica on a member.
func (g Group) On(m protocol.MemberID) (Replica, bool) {
	for _, r := range g.Replicas {
		if r.Member == m {
			return r, true
		}
	}
	return Replica{}, false
}

// Check returns an error for a table that breaks an invariant.
func (t *Table) Check() error {
	if !ascending(t.Members) {
		return fmt.Errorf("members %v do not ascend", t.Members)
	}
	for i, g := range t.Groups {
		if i > 0 && t.Groups[i-1].ID >= g.ID {
			return fmt.Errorf("group %d does not come after group %d", g.ID, t.Groups[i-1].ID)
		}
		for j, r := range g.Replicas {
			if j > 0 && g.Replicas[j-1].ID >= r.ID {
				return fmt.Errorf("group %d: replica %d does not come after replica %d", g.ID, r.ID, g.Replicas[j-1].ID)
			}
			if _, ok := slices.BinarySearch(t.Members, r.Member); !ok {
				return fmt.Errorf("group %d: replica %d is on member %d, which is not listed", g.ID, r.ID, r.Member)
			}
			if first, _ := g.On(r.Member); first.ID != r.ID {
				return fmt.Errorf("group %d: replicas %d and %d are both on member %d", g.ID, first.ID, r.ID, r.Member)
			}
		}
	}
	for p, owner := range t.Partitions {
		if owner == protocol.SystemGroup {
			return fmt.Errorf("partition %d belongs to the system group", p)
		}
		if _, ok := t.Group(owner); !ok {
			return fmt.Errorf("partition %d belongs to group %d, which does not exist", p, owner)
		}
	}
	return nil
}

func ascending(ids []protocol.MemberID) bool {
	for i := 1; i < len(ids); i++ {
		if ids[i-1] >= ids[i] {
			return false
		}
	}
	return true
}
