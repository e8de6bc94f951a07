package partition

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/quorate/quorate/protocol"
)

// Change is what a Step does to a group's replicas.
type Change uint8

// The changes, in the order a place passes through them.
const (
	AddNonVoting Change = 1 // start a replica that catches up
	Promote      Change = 2 // count it in the majority
	Remove       Change = 3 // for ever; its ID is never used again
)

// String returns the change as logs and scripts print it.
func (c Change) String() string {
	switch c {
	case AddNonVoting:
		return "add"
	case Promote:
		return "promote"
	case Remove:
		return "remove"
	}
	return fmt.Sprintf("change %d", uint8(c))
}

// Step is one change of a group's replicas that is safe to make now.
type Step struct {
	Change  Change
	Group   protocol.GroupID
	Member  protocol.MemberID
	Replica protocol.ReplicaID // 0 with AddNonVoting: the system group gives it out
}

// Places is what PlanReplicas works towards.
type Places struct {
	Replicas int // wanted of each group, at most one a member
	// Running are the members that can be given a replica. A member of the
	// table that is neither running nor gone is expected back: it keeps its
	// places, and nothing replaces them.
	Running []protocol.MemberID
	Gone    []protocol.MemberID // whose data is lost or given up for ever
	// CaughtUp reports whether a replica is close enough behind to be promoted.
	// Nil: none is.
	CaughtUp func(protocol.GroupID, protocol.ReplicaID) bool
}

// PlanReplicas returns the next step of every group that has one, in the order
// of the groups. A place is filled before the lost one is given up: a replica
// is added without a vote, promoted once it has caught up, and only then is the
// one it stands in for removed. A member catches up with one group at a time. A
// group that has lost every voter has no step.
// The caller carries steps out, in any order, and plans again.
func PlanReplicas(t *Table, want Places) []Step {
	if want.CaughtUp == nil {
		want.CaughtUp = func(protocol.GroupID, protocol.ReplicaID) bool { return false }
	}
	p := places{want: want, held: map[protocol.MemberID]int{}, busy: map[protocol.MemberID]bool{}}
	for _, m := range t.Members {
		if !slices.Contains(want.Gone, m) {
			p.target++
		}
	}
	p.target = min(p.target, want.Replicas)
	for _, g := range t.Groups {
		for _, r := range g.Replicas {
			p.held[r.Member]++
			if r.NonVoting && !want.CaughtUp(g.ID, r.ID) {
				p.busy[r.Member] = true
			}
		}
	}
	var plan []Step
	for _, g := range t.Groups {
		if s, ok := p.next(t, g); ok {
			plan = append(plan, s)
		}
	}
	return plan
}

type places struct {
	want   Places
	target int                        // voters wanted of a group
	held   map[protocol.MemberID]int  // replicas on a member; looked up, never ranged over
	busy   map[protocol.MemberID]bool // members that catch up; looked up, never ranged over
}

func (p *places) next(t *Table, g Group) (Step, bool) {
	var voters, lost []Replica // on members that are not gone, on those that are
	catching := 0
	for _, r := range g.Replicas {
		gone := slices.Contains(p.want.Gone, r.Member)
		switch {
		case r.NonVoting && gone:
			return Step{Change: Remove, Group: g.ID, Member: r.Member, Replica: r.ID}, true
		case r.NonVoting && p.want.CaughtUp(g.ID, r.ID):
			return Step{Change: Promote, Group: g.ID, Member: r.Member, Replica: r.ID}, true
		case r.NonVoting:
			catching++
		case gone:
			lost = append(lost, r)
		default:
			voters = append(voters, r)
		}
	}
	if len(voters) == 0 {
		return Step{}, false // nobody is left to learn from: not a matter of places
	}
	if len(voters)+catching < p.target {
		if m, ok := p.candidate(t, g); ok {
			p.held[m]++
			p.busy[m] = true
			return Step{Change: AddNonVoting, Group: g.ID, Member: m}, true
		}
	}
	surplus := lost
	if len(lost) == 0 && len(voters) > p.target {
		surplus = []Replica{slices.MaxFunc(voters, p.dispensable)}
	}
	if len(voters) < p.target || len(surplus) == 0 {
		return Step{}, false
	}
	p.held[surplus[0].Member]--
	return Step{Change: Remove, Group: g.ID, Member: surplus[0].Member, Replica: surplus[0].ID}, true
}

// candidate returns the member with the fewest replicas that has none of g and
// is not catching up already.
func (p *places) candidate(t *Table, g Group) (protocol.MemberID, bool) {
	best, found := protocol.MemberID(0), false
	for _, m := range t.Members {
		if _, has := g.On(m); has || p.busy[m] ||
			!slices.Contains(p.want.Running, m) || slices.Contains(p.want.Gone, m) {
			continue
		}
		if !found || p.held[m] < p.held[best] {
			best, found = m, true
		}
	}
	return best, found
}

// dispensable orders the replicas of a group that has too many: the one to
// remove first is the greatest.
func (p *places) dispensable(a, b Replica) int {
	down := func(r Replica) int {
		if slices.Contains(p.want.Running, r.Member) {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(down(a), down(b)),
		cmp.Compare(p.held[a.Member], p.held[b.Member]),
		cmp.Compare(a.ID, b.ID),
	)
}
