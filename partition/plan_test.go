package partition

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
)

func drawFirst(t *rapid.T) First {
	f := First{
		Groups:      rapid.IntRange(1, 7).Draw(t, "groups"),
		Replicas:    rapid.IntRange(1, 5).Draw(t, "replicas"),
		NextReplica: protocol.ReplicaID(rapid.IntRange(1, 9).Draw(t, "next replica")),
	}
	f.Partitions = f.Groups + rapid.IntRange(0, 40).Draw(t, "more partitions")
	for m := range rapid.IntRange(1, 6).Draw(t, "members") {
		f.Members = append(f.Members, protocol.MemberID(3*m+1))
	}
	return f
}

func mustPlan(t *rapid.T, f First) *Table {
	table, err := PlanGroups(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Check(); err != nil {
		t.Fatal(err)
	}
	return table
}

// within reports whether no two counts differ by more than one.
func within(counts map[uint64]int) bool {
	low, high := -1, 0
	for _, n := range counts {
		if low < 0 || n < low {
			low = n
		}
		high = max(high, n)
	}
	return high-low <= 1
}

func TestPlanGroupsIsBalanced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFirst(t)
		table := mustPlan(t, f)
		owned, places := map[uint64]int{}, map[uint64]int{}
		for _, m := range f.Members {
			places[uint64(m)] = 0
		}
		for _, g := range table.Partitions {
			owned[uint64(g)]++
		}
		for _, g := range table.Groups {
			if len(g.Replicas) != min(f.Replicas, len(f.Members)) {
				t.Fatalf("group %d has %d replicas", g.ID, len(g.Replicas))
			}
			for _, r := range g.Replicas {
				places[uint64(r.Member)]++
			}
		}
		if len(owned) != f.Groups || !within(owned) {
			t.Fatalf("partitions owned: %v", owned)
		}
		if !within(places) {
			t.Fatalf("replicas held: %v", places)
		}
		// The order in which members are named does not matter.
		slices.Reverse(f.Members)
		if diff := cmp.Diff(table, mustPlan(t, f)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// dumbSpread tries every assignment: the least sum of squares, and the fewest
// transfers that reach it.
func dumbSpread(groups []Group, leaders map[protocol.GroupID]protocol.MemberID, able []protocol.MemberID) (squares, transfers int) {
	squares, transfers = -1, -1
	load := map[protocol.MemberID]int{}
	var try func(i, moved int)
	try = func(i, moved int) {
		if i == len(groups) {
			sum := 0
			for _, n := range load {
				sum += n * n
			}
			if squares < 0 || sum < squares || sum == squares && moved < transfers {
				squares, transfers = sum, moved
			}
			return
		}
		g := groups[i]
		some := false
		for _, r := range g.Replicas {
			if leaders[g.ID] == 0 || r.NonVoting || !slices.Contains(able, r.Member) {
				continue
			}
			some = true
			next := moved
			if r.Member != leaders[g.ID] {
				next++
			}
			load[r.Member]++
			try(i+1, next)
			load[r.Member]--
		}
		if !some {
			try(i+1, moved)
		}
	}
	try(0, 0)
	return squares, transfers
}

func TestPlanLeadersIsTheBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := mustPlan(t, drawFirst(t))
		leaders := map[protocol.GroupID]protocol.MemberID{}
		for i, g := range table.Groups {
			// Members drop out, so that the replicas restrict who can lead.
			kept := rapid.SliceOfNDistinct(rapid.SampledFrom(g.Replicas), 1, len(g.Replicas),
				func(r Replica) protocol.ReplicaID { return r.ID }).Draw(t, "replicas")
			slices.SortFunc(kept, func(a, b Replica) int { return int(a.ID) - int(b.ID) })
			if len(kept) > 1 && rapid.Bool().Draw(t, "one has no vote") {
				kept[0].NonVoting = true
			}
			table.Groups[i].Replicas = kept
			if leads := rapid.IntRange(-1, len(kept)-1).Draw(t, "leads"); leads >= 0 && !kept[leads].NonVoting {
				leaders[g.ID] = kept[leads].Member
			}
		}
		able := rapid.SliceOfDistinct(rapid.SampledFrom(table.Members), rapid.ID[protocol.MemberID]).Draw(t, "able")
		plan := PlanLeaders(table, leaders, able)

		wantSquares, wantTransfers := dumbSpread(table.Groups, leaders, able)
		for _, s := range plan {
			g, _ := table.Group(s.Group)
			r, ok := g.On(s.To)
			if !ok || r.NonVoting || r.ID != s.Replica || leaders[s.Group] != s.From || !slices.Contains(able, s.To) {
				t.Fatalf("bad transfer %+v", s)
			}
			leaders[s.Group] = s.To
		}
		load := map[protocol.MemberID]int{}
		for _, g := range table.Groups {
			if m := leaders[g.ID]; slices.Contains(able, m) {
				load[m]++
			}
		}
		squares := 0
		for _, n := range load {
			squares += n * n
		}
		if squares != wantSquares || len(plan) != wantTransfers {
			t.Fatalf("%d transfers to a sum of squares of %d, want %d and %d", len(plan), squares, wantTransfers, wantSquares)
		}
		if again := PlanLeaders(table, leaders, able); len(again) != 0 {
			t.Fatalf("ping-pong: %+v", again)
		}
	})
}

func TestPlanLeadersLeavesTheSystemGroup(t *testing.T) {
	table, err := PlanGroups(First{Partitions: 9, Groups: 3, Replicas: 3, Members: []protocol.MemberID{1, 2, 3}, NextReplica: 4})
	if err != nil {
		t.Fatal(err)
	}
	system := Group{ID: protocol.SystemGroup, Replicas: []Replica{{ID: 1, Member: 1}, {ID: 2, Member: 2}, {ID: 3, Member: 3}}}
	table.Groups = slices.Insert(table.Groups, 0, system)
	leaders := map[protocol.GroupID]protocol.MemberID{1: 1, 2: 1, 3: 2, 4: 3}
	if plan := PlanLeaders(table, leaders, table.Members); len(plan) != 0 {
		t.Errorf("the system group counts: %+v", plan)
	}
	want := []Transfer{{Group: 1, From: 1, To: 3, Replica: 3}, {Group: 2, From: 1, To: 2, Replica: 5}}
	if diff := cmp.Diff(want, PlanLeaders(table, leaders, []protocol.MemberID{2, 3})); diff != "" {
		t.Error(diff)
	}
}

// TestPlanReplicasIsSafe carries plans out in any order, with members that
// come, go and are lost, and looks that no step is unsafe and that it ends.
func TestPlanReplicasIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFirst(t)
		w := world{table: mustPlan(t, f), next: 100}
		w.places = Places{Replicas: rapid.IntRange(1, 5).Draw(t, "wanted"), Running: slices.Clone(f.Members), CaughtUp: w.caughtUp}
		for event := range rapid.IntRange(0, 3).Draw(t, "events") {
			if rapid.Bool().Draw(t, "lost") {
				lost := rapid.SampledFrom(f.Members).Draw(t, "which")
				w.places.Gone = append(w.places.Gone, lost)
				w.places.Running = slices.DeleteFunc(w.places.Running, func(m protocol.MemberID) bool { return m == lost })
			}
			if rapid.Bool().Draw(t, "joins") {
				fresh := protocol.MemberID(1000 + event)
				w.table.Members = append(w.table.Members, fresh)
				w.places.Running = append(w.places.Running, fresh)
			}
		}
		for round := 0; ; round++ {
			if round > 200 {
				t.Fatal("it does not settle")
			}
			w.steps = PlanReplicas(w.table, w.places)
			if len(w.steps) == 0 {
				break
			}
			adds := map[protocol.MemberID]int{}
			for _, s := range w.steps {
				w.checkStep(t, s)
				if s.Change == AddNonVoting {
					if adds[s.Member]++; adds[s.Member] > 1 {
						t.Fatalf("member %d catches up with two groups at once", s.Member)
					}
				}
			}
			// Some steps are carried out, in some order.
			done := rapid.SliceOfNDistinct(rapid.SampledFrom(w.steps), 1, len(w.steps), rapid.ID[Step]).Draw(t, "done")
			for _, s := range done {
				w.do(s)
				w.caught = append(w.caught, w.next-1)
			}
			if err := w.table.Check(); err != nil {
				t.Fatal(err)
			}
		}
		alive := 0
		for _, m := range w.table.Members {
			if !slices.Contains(w.places.Gone, m) {
				alive++
			}
		}
		for _, g := range w.table.Groups {
			lost := !slices.ContainsFunc(g.Replicas, func(r Replica) bool {
				return !r.NonVoting && !slices.Contains(w.places.Gone, r.Member)
			})
			if lost {
				continue
			}
			votes := 0
			for _, r := range g.Replicas {
				if slices.Contains(w.places.Gone, r.Member) {
					t.Fatalf("group %d settled with %+v", g.ID, r)
				}
				if !r.NonVoting {
					votes++
				}
			}
			pair := votes == 1 && alive == 2 && w.places.Replicas > 2
			if votes != len(g.Replicas) && !pair {
				t.Fatalf("group %d settled with %d votes of %d", g.ID, votes, len(g.Replicas))
			}
			if n := Missing(w.table, g, w.places); n != 0 {
				t.Fatalf("group %d settled, and misses %d", g.ID, n)
			}
			if len(g.Replicas) != min(alive, w.places.Replicas) {
				t.Fatalf("group %d settled with %d replicas, want %d", g.ID, len(g.Replicas), min(alive, w.places.Replicas))
			}
		}
	})
}

func (w *world) checkStep(t *rapid.T, s Step) {
	g, ok := w.table.Group(s.Group)
	if !ok {
		t.Fatalf("%+v: no such group", s)
	}
	r, has := g.On(s.Member)
	gone := slices.Contains(w.places.Gone, s.Member)
	switch s.Change {
	case AddNonVoting:
		if has || gone || s.Replica != 0 || !slices.Contains(w.places.Running, s.Member) {
			t.Fatalf("bad %+v", s)
		}
	case Promote:
		if r.ID != s.Replica || !r.NonVoting || gone || !w.caughtUp(g.ID, r.ID) {
			t.Fatalf("bad %+v", s)
		}
	case Remove:
		if r.ID != s.Replica {
			t.Fatalf("bad %+v", s)
		}
		left := 0
		for _, other := range g.Replicas {
			if !other.NonVoting && other.ID != r.ID && !slices.Contains(w.places.Gone, other.Member) {
				left++
			}
		}
		if !r.NonVoting && left == 0 {
			t.Fatalf("%+v leaves nobody in group %d", s, g.ID)
		}
	default:
		t.Fatalf("bad %+v", s)
	}
}

// TestPlanReplicas_NoRoom: a member that cannot take one group's state is given
// others, and the group is given to others.
func TestPlanReplicas_NoRoom(t *testing.T) {
	t.Parallel()
	table := &Table{Members: []protocol.MemberID{1, 2, 3}, Groups: []Group{
		{ID: 2, Replicas: []Replica{{ID: 1, Member: 1}}},
		{ID: 3, Replicas: []Replica{{ID: 2, Member: 1}}},
	}}
	want := Places{Replicas: 2, Running: table.Members}
	for _, test := range []struct {
		full [][2]int // group and member
		want []Step
	}{
		{nil, []Step{{Change: AddNonVoting, Group: 2, Member: 2}, {Change: AddNonVoting, Group: 3, Member: 3}}},
		{[][2]int{{2, 2}}, []Step{{Change: AddNonVoting, Group: 2, Member: 3}, {Change: AddNonVoting, Group: 3, Member: 2}}},
		{[][2]int{{2, 2}, {2, 3}}, []Step{{Change: AddNonVoting, Group: 3, Member: 2}}},
	} {
		want.NoRoom = func(g protocol.GroupID, m protocol.MemberID) bool {
			return slices.Contains(test.full, [2]int{int(g), int(m)})
		}
		if diff := cmp.Diff(test.want, PlanReplicas(table, want)); diff != "" {
			t.Errorf("without room %v: %s", test.full, diff)
		}
	}
}
