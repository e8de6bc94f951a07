package partition

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/protocol"
)

// First is what a cluster's first table is made from.
type First struct {
	Partitions  int
	Groups      int // at most one a partition
	Replicas    int // wanted of each group; at most one a member is given
	Members     []protocol.MemberID
	NextReplica protocol.ReplicaID // the lowest replica ID never given out
}

// PlanGroups returns a cluster's first table. Data groups are numbered from the
// one after the system group; replica IDs are given out from NextReplica on.
//
// No group owns two partitions more than another, and no member holds two
// replicas more than another.
func PlanGroups(f First) (*Table, error) {
	switch {
	case f.Partitions < 1:
		return nil, fmt.Errorf("plan groups: %d partitions, at least 1", f.Partitions)
	case f.Groups < 1 || f.Groups > f.Partitions:
		return nil, fmt.Errorf("plan groups: %d groups, from 1 to %d (one a partition)", f.Groups, f.Partitions)
	case f.Replicas < 1:
		return nil, fmt.Errorf("plan groups: %d replicas, at least 1", f.Replicas)
	case len(f.Members) == 0:
		return nil, fmt.Errorf("plan groups: no members")
	case f.NextReplica == 0:
		return nil, fmt.Errorf("plan groups: replica IDs start at 1")
	}
	members := slices.Clone(f.Members)
	slices.Sort(members)
	if !ascending(members) {
		return nil, fmt.Errorf("plan groups: members %v name one twice", members)
	}
	t := &Table{Epoch: 1, Members: members}
	first := protocol.SystemGroup + 1
	for p := range f.Partitions {
		t.Partitions = append(t.Partitions, first+protocol.GroupID(p%f.Groups))
	}
	// Going round the members once for all places keeps their counts within one
	// of each other; consecutive places of a group are on different members,
	// because a group has no more places than there are members.
	each := min(f.Replicas, len(members))
	place := 0
	for g := range f.Groups {
		group := Group{ID: first + protocol.GroupID(g)}
		for range each {
			group.Replicas = append(group.Replicas, Replica{
				ID:     f.NextReplica + protocol.ReplicaID(place),
				Member: members[place%len(members)],
			})
			place++
		}
		t.Groups = append(t.Groups, group)
	}
	return t, nil
}

// Move is a partition that changes its owner.
type Move struct {
	Partition protocol.PartitionID
	From, To  protocol.GroupID
}

// PlanMoves returns the partitions whose owner differs between two tables, in
// their order. Both have the same partitions, and a group that is to own a
// partition exists in both.
func PlanMoves(from, to *Table) ([]Move, error) {
	if len(from.Partitions) != len(to.Partitions) {
		return nil, fmt.Errorf("plan moves: %d partitions cannot become %d", len(from.Partitions), len(to.Partitions))
	}
	var moves []Move
	for p, owner := range from.Partitions {
		next := to.Partitions[p]
		if owner == next {
			continue
		}
		for _, t := range []*Table{from, to} {
			if _, ok := t.Group(next); !ok || next == protocol.SystemGroup {
				return nil, fmt.Errorf("plan moves: partition %d cannot move to group %d: it does not own data", p, next)
			}
		}
		moves = append(moves, Move{Partition: protocol.PartitionID(p), From: owner, To: next})
	}
	return moves, nil
}
