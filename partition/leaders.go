package partition

import (
	"slices"

	"github.com/quorate/quorate/protocol"
)

// Transfer hands the leadership of a group from one member to another.
type Transfer struct {
	Group    protocol.GroupID
	From, To protocol.MemberID
	Replica  protocol.ReplicaID // of the group on To
}

// PlanLeaders returns the fewest transfers after which the leaders of the data
// groups are spread as evenly as their replicas allow, in the order of the
// groups. Leaders says who leads now; a group that is missing has no known
// leader and is left alone. Able are the members that may lead: a group led by
// another, for example by one that is about to leave, is handed to one of them.
//
// After a plan was carried out there is nothing left to do. The system group
// counts for nobody, and moves only when its leader may not lead.
func PlanLeaders(t *Table, leaders map[protocol.GroupID]protocol.MemberID, able []protocol.MemberID) []Transfer {
	s := spread{members: slices.Compact(slices.Sorted(slices.Values(able)))}
	s.load = make([]int, len(s.members))
	for _, g := range t.Groups {
		if leader := leaders[g.ID]; leader != 0 {
			s.add(g, leader)
		}
	}
	s.place(false)
	for s.improve() {
	}
	s.place(true)
	var plan []Transfer
	for _, l := range s.groups {
		if l.now == l.was {
			continue
		}
		to, _ := l.On(s.members[l.now])
		plan = append(plan, Transfer{
			Group: l.ID, From: leaders[l.ID], To: to.Member, Replica: to.ID,
		})
	}
	return plan
}

// spread is an assignment of groups to members that is made better step by
// step. A member is named by its index in members.
type spread struct {
	members []protocol.MemberID // who may lead, ascending
	load    []int               // data groups a member leads
	groups  []led
}

// led is a group that has a leader, and could be led by somebody able.
type led struct {
	Group
	can []int // who could lead it; ascending, never empty
	was int   // who leads it; nobody: one that may not
	now int   // who shall; nobody until place has run
}

const nobody = -1

func (s *spread) add(g Group, leader protocol.MemberID) {
	l := led{Group: g, was: nobody, now: nobody}
	for i, m := range s.members {
		if r, ok := g.On(m); ok && !r.NonVoting {
			l.can = append(l.can, i)
			if m == leader {
				l.was, l.now = i, i
			}
		}
	}
	if len(l.can) == 0 {
		return
	}
	if l.now != nobody && g.ID != protocol.SystemGroup {
		s.load[l.now]++
	}
	s.groups = append(s.groups, l)
}

// place gives every group of a sort whose leader may not lead to the one with
// the least to do. The system group is placed by itself, because it is not
// counted.
func (s *spread) place(system bool) {
	for i := range s.groups {
		l := &s.groups[i]
		if l.now != nobody || (l.ID == protocol.SystemGroup) != system {
			continue
		}
		l.now = slices.MinFunc(l.can, func(a, b int) int { return s.load[a] - s.load[b] })
		if !system {
			s.load[l.now]++
		}
	}
}

// step is an edge of the graph that improve searches: it hands groups[group]
// from one member to another, or, with group nobody, enters or leaves the
// member that ends up with one group less or more.
type step struct {
	from, to int
	group    int
	cost     int
}

// improve makes the assignment cheaper and reports whether it could. The cost
// is the sum of the squares of the loads, and among equals the number of
// transfers. It is a flow of least cost: an assignment is the cheapest if and
// only if its residual graph has no cycle of negative cost. Taking groups from
// the busiest member until nobody is much busier would be simpler, but can
// take more transfers than it needs.
func (s *spread) improve() bool {
	outside := len(s.members) // the node where chains of transfers begin and end
	steps := s.steps(outside)
	// Bellman and Ford, from every node at once.
	distance := make([]int, outside+1)
	by := make([]int, outside+1) // the step by which a node was last reached
	last := nobody
	for range outside + 1 {
		last = nobody
		for i, e := range steps {
			if d := distance[e.from] + e.cost; d < distance[e.to] {
				distance[e.to], by[e.to] = d, i
				last = e.to
			}
		}
		if last == nobody {
			return false
		}
	}
	// A node that is still getting cheaper hangs off a negative cycle: going
	// back once per node ends inside it.
	for range outside + 1 {
		last = steps[by[last]].from
	}
	for at := last; ; {
		e := steps[by[at]]
		if e.group != nobody {
			s.groups[e.group].now = e.to
			s.load[e.from]--
			s.load[e.to]++
		}
		if at = e.from; at == last {
			return true
		}
	}
}

func (s *spread) steps(outside int) []step {
	// Larger than any difference in transfers, so that these decide only among
	// assignments that are spread alike.
	weight := 2*len(s.groups) + 1
	var steps []step
	for m, load := range s.load {
		if load > 0 {
			steps = append(steps, step{from: outside, to: m, group: nobody, cost: -weight * (2*load - 1)})
		}
		steps = append(steps, step{from: m, to: outside, group: nobody, cost: weight * (2*load + 1)})
	}
	for i, l := range s.groups {
		if l.now == nobody || l.ID == protocol.SystemGroup {
			continue
		}
		for _, m := range l.can {
			if m != l.now {
				steps = append(steps, step{from: l.now, to: m, group: i, cost: l.moved(m) - l.moved(l.now)})
			}
		}
	}
	return steps
}

// moved is 1 where m leading the group takes a transfer that could be saved.
func (l *led) moved(m int) int {
	if l.was == nobody || l.was == m {
		return 0
	}
	return 1
}
