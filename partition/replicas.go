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

// Target is how many replicas a group is to have, at most one a member.
type Target struct {
	Voters int // counted in the majority
	Copies int // with and without a vote; less than Voters: as many
}

// Places is what PlanReplicas works towards.
type Places struct {
	Replicas int // voters wanted of each group that has no Target
	Targets  map[protocol.GroupID]Target
	// Running are the members that can be given a replica. A member of the
	// table that is neither running nor gone is expected back: it keeps its
	// places, and nothing replaces them.
	Running []protocol.MemberID
	Gone    []protocol.MemberID // whose data is lost or given up for ever
	// CaughtUp reports whether a replica is close enough behind to be promoted.
	// Nil: none is.
	CaughtUp func(protocol.GroupID, protocol.ReplicaID) bool
	// NoRoom reports whether a member cannot take a group's state now: others are
	// given it, and the member other groups. Nil: all can.
	NoRoom func(protocol.GroupID, protocol.MemberID) bool
}

// PlanReplicas returns the next step of every group that has one, in the order
// of the groups. A place is filled before the lost one is given up: a replica is
// added without a vote, and once it has caught up the one it stands in for is
// removed, and it is promoted. A member catches up with one group at a time. A
// group that has lost every voter has no step.
//
// A group with one voter gets the others together: two voters are worse than
// one, because each of them can stop the group. So with two members, where more
// voters are wanted, one votes and the other keeps a copy.
//
// The caller carries steps out, in any order, and plans again.
func PlanReplicas(t *Table, want Places) []Step {
	if want.CaughtUp == nil {
		want.CaughtUp = func(protocol.GroupID, protocol.ReplicaID) bool { return false }
	}
	p := places{want: want, held: map[protocol.MemberID]int{}, busy: map[protocol.MemberID]bool{}}
	p.members = living(t, want)
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

// Missing returns how many replicas a group lacks to be fully replicated: those
// on members that do not run, those that a step would add or promote, and those
// whose data is lost and that are listed still.
func Missing(t *Table, g Group, want Places) int {
	p := places{want: want, members: living(t, want)}
	have, voters, lost := 0, 0, 0
	for _, r := range g.Replicas {
		switch {
		case slices.Contains(want.Gone, r.Member):
			lost++
		case slices.Contains(want.Running, r.Member):
			have++
			if !r.NonVoting {
				voters++
			}
		}
	}
	wantVoters, wantCopies := p.target(g)
	return max(wantCopies-have, wantVoters-voters, lost, 0)
}

// living counts the members whose data is not lost.
func living(t *Table, want Places) int {
	n := 0
	for _, m := range t.Members {
		if !slices.Contains(want.Gone, m) {
			n++
		}
	}
	return n
}

type places struct {
	want    Places
	members int                        // that are not gone
	held    map[protocol.MemberID]int  // replicas on a member; looked up, never ranged over
	busy    map[protocol.MemberID]bool // members that catch up; looked up, never ranged over
}

// target returns the voters and copies wanted of a group now.
func (p *places) target(g Group) (voters, copies int) {
	want, ok := p.want.Targets[g.ID]
	if !ok {
		want = Target{Voters: p.want.Replicas}
	}
	voters = min(p.members, want.Voters)
	copies = min(p.members, max(want.Copies, want.Voters))
	has := 0
	for _, r := range g.Replicas {
		if !r.NonVoting {
			has++
		}
	}
	if voters == 2 && want.Voters > 2 && has == 1 {
		voters = 1
	}
	return voters, copies
}

func (p *places) next(t *Table, g Group) (Step, bool) {
	var voters, lost []Replica // on members that are not gone, on those that are
	var caught []Replica       // without a vote, and ready for it
	catching := 0
	for _, r := range g.Replicas {
		gone := slices.Contains(p.want.Gone, r.Member)
		switch {
		case r.NonVoting && gone:
			return Step{Change: Remove, Group: g.ID, Member: r.Member, Replica: r.ID}, true
		case r.NonVoting && p.want.CaughtUp(g.ID, r.ID):
			caught = append(caught, r)
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
	if len(caught) > 0 && len(lost) > 0 {
		// The lost voter goes before its successor gets a vote. The other way round
		// there would be one voter more for a moment, and of four with one lost no
		// second may fail: one that had just returned and died again would stop the
		// group, in memory for ever.
		return Step{Change: Remove, Group: g.ID, Member: lost[0].Member, Replica: lost[0].ID}, true
	}
	wantVoters, wantCopies := p.target(g)
	together := len(voters)+len(caught) >= wantVoters || len(voters) > 1 || len(lost) > 0
	if len(caught) > 0 && len(voters) < wantVoters && together {
		return Step{Change: Promote, Group: g.ID, Member: caught[0].Member, Replica: caught[0].ID}, true
	}
	if len(voters)+len(caught)+catching < wantCopies {
		if m, ok := p.candidate(t, g); ok {
			p.held[m]++
			p.busy[m] = true
			return Step{Change: AddNonVoting, Group: g.ID, Member: m}, true
		}
	}
	var surplus Replica
	switch {
	case len(lost) > 0 && len(voters)+len(lost) > wantVoters:
		surplus = lost[0]
	case len(lost) == 0 && len(voters) > wantVoters:
		surplus = slices.MaxFunc(voters, p.dispensable)
	case len(caught) > 0 && len(voters) >= wantVoters && len(voters)+len(caught)+catching > wantCopies:
		surplus = slices.MaxFunc(caught, p.dispensable)
	default:
		return Step{}, false
	}
	p.held[surplus.Member]--
	return Step{Change: Remove, Group: g.ID, Member: surplus.Member, Replica: surplus.ID}, true
}

// candidate returns the member with the fewest replicas that has none of g and
// is not catching up already. The system group, which is small, comes first:
// from it a member learns of its other replicas.
func (p *places) candidate(t *Table, g Group) (protocol.MemberID, bool) {
	best, found := protocol.MemberID(0), false
	system, listed := t.Group(protocol.SystemGroup)
	first := g.ID == protocol.SystemGroup
	for _, m := range t.Members {
		if _, knows := system.On(m); listed && !first && !knows {
			continue
		}
		if p.want.NoRoom != nil && p.want.NoRoom(g.ID, m) {
			continue
		}
		if _, has := g.On(m); has || p.busy[m] && !first ||
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
