package leadership

import (
	"testing"
	"time"

	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
)

// TestBalanceGoesOn: leaders are spread although one group has no leader, another
// gets a new one all the time, and the transfer of a third never succeeds.
func TestBalanceGoesOn(t *testing.T) {
	table := &partition.Table{Members: []protocol.MemberID{1, 2}}
	for id := protocol.GroupID(2); id <= 9; id++ {
		table.Groups = append(table.Groups, partition.Group{ID: id, Replicas: []partition.Replica{{ID: 1, Member: 1}, {ID: 2, Member: 2}}})
	}
	const leaderless, unsettled, stuck = 2, 3, 4
	leaders := map[protocol.GroupID]protocol.MemberID{}
	for _, g := range table.Groups {
		if g.ID != leaderless {
			leaders[g.ID] = 1
		}
	}
	var b balance
	now := time.Unix(1000, 0)
	moved := map[protocol.GroupID]int{}
	for range 100 {
		leaders[unsettled] = 3 - leaders[unsettled]
		if g, ok := b.next(now, table, leaders, table.Members); ok {
			moved[g.Group]++
			if g.Group != stuck {
				leaders[g.Group] = g.To
			}
		}
		now = now.Add(time.Second)
	}
	load := map[protocol.MemberID]int{}
	for id, m := range leaders {
		if id != unsettled {
			load[m]++
		}
	}
	if load[1] != 3 || load[2] != 3 || moved[leaderless] > 0 || moved[unsettled] > 0 {
		t.Errorf("leaders %v after the transfers %v", load, moved)
	}
}

// TestBalanceLeavesElectionsAlone: a group that has just elected is not moved, nor
// two at the same time.
func TestBalanceLeavesElectionsAlone(t *testing.T) {
	replicas := []partition.Replica{{ID: 1, Member: 1}, {ID: 2, Member: 2}, {ID: 3, Member: 3}}
	table := &partition.Table{Members: []protocol.MemberID{1, 2, 3}, Groups: []partition.Group{{ID: 2, Replicas: replicas}, {ID: 3, Replicas: replicas}}}
	leaders := map[protocol.GroupID]protocol.MemberID{2: 1, 3: 1}
	able := []protocol.MemberID{2, 3}
	var b balance
	now := time.Unix(1000, 0)
	next := func(after time.Duration) protocol.GroupID {
		now = now.Add(after)
		g, _ := b.next(now, table, leaders, able)
		return g.Group
	}
	for i, x := range []struct {
		after time.Duration
		want  protocol.GroupID
	}{{0, 0}, {settleTime - 1, 0}, {1, 2}, {settleTime - 1, 0}, {1, 3}, {settleTime, 2}} {
		if got := next(x.after); got != x.want {
			t.Errorf("look %d: group %d is moved, want %d", i, got, x.want)
		}
	}
	leaders[2] = 3
	if got := next(settleTime); got != 3 {
		t.Errorf("group %d is moved, want 3: 2 has just elected", got)
	}
}
