package placement

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// What happens if a majority's data is lost (LOSS-1). A data group of a
// cluster in memory is replaced by an empty one. One on disk is replaced if
// a member offers its backup (restore.go). A cluster whose system group is lost is
// founded anew by a member that has the backups of it in its directory.

// replaceLost gives the partitions of a group that has lost its majority's data
// to a new, empty one. It reports whether it did.
func (c *Controller) replaceLost(ctx context.Context, h membership.Engine) (bool, error) {
	v := h.System().View()
	if v.Settings.Durability != "memory" || !slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool { return c.isLost(v, g) }) {
		return false, nil
	}
	v, err := h.System().Refresh(ctx)
	if err != nil {
		return true, err
	}
	for _, g := range v.Groups {
		if !c.isLost(v, g) || c.isThere(ctx, v, g) {
			continue
		}
		members := c.emptiest(v)
		if len(members) == 0 {
			return true, nil
		}
		next := systemstate.Group{}
		for _, id := range members {
			next.Replicas = append(next.Replicas, systemstate.Replica{Member: id})
		}
		return true, c.replace(ctx, h, v, g, next)
	}
	return false, nil
}

// isLost reports whether a data group has lost its majority's data. A member that
// was replaced and is heard all the same has its data.
func (c *Controller) isLost(v *systemstate.ClusterState, g systemstate.Group) bool {
	heard := func(o systemstate.Member) bool { return o.ID == c.grid.Self() || c.grid.Heard(o.Incarnation) }
	return g.ID != protocol.SystemGroup && g.Backup == 0 && v.LostMajority(g, heard) != nil
}

// isThere reports whether a group that seems to be lost has its majority's data
// after all: members that were replaced answer at their addresses.
func (c *Controller) isThere(ctx context.Context, v *systemstate.ClusterState, g systemstate.Group) bool {
	gone := v.LostMajority(g, nil)
	there := make([]bool, len(gone))
	var asking sync.WaitGroup
	for i, o := range gone {
		asking.Go(func() { there[i] = o.ID == c.grid.Self() || c.grid.Answers(ctx, o) })
	}
	asking.Wait()
	lives := func(o systemstate.Member) bool {
		i := slices.IndexFunc(gone, func(x systemstate.Member) bool { return x.ID == o.ID })
		return i >= 0 && there[i]
	}
	if v.LostMajority(g, lives) != nil {
		return false
	}
	c.grid.Log.Warn("members that were replaced answer: their group is not lost", "group", g.ID, "replicas", c.replicasOf(v, g))
	return true
}

// replace agrees on the successor of a group, and says loudly what is lost.
func (c *Controller) replace(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, g, next systemstate.Group) error {
	replace := systemstate.Command{Kind: systemstate.ReplaceGroup, Group: g.ID, Groups: []systemstate.Group{next}}
	if v.Settings.Durability == "memory" {
		replace.Floor = c.grid.Floor.Now()
	}
	a, err := h.System().Propose(ctx, replace)
	if err != nil || a.Group == 0 {
		return err
	}
	made, _ := h.System().View().Group(a.Group)
	lost := "everything in its partitions is lost, and all sessions of the grid are ended"
	if next.Backup != 0 {
		lost = "what the backup does not have is lost, and all sessions of the grid are ended"
	}
	c.grid.Log.Error("a group has lost the data of its majority and is replaced: "+lost,
		"group", g.ID, "successor", a.Group, "generation", made.Generation, "grace_period", made.GracePeriod,
		"partitions", ranges(v.Partitions, g.ID), "replicas", c.replicasOf(v, g))
	return nil
}

// replicasOf names the members of a group's replicas, and says which are dead.
func (c *Controller) replicasOf(v *systemstate.ClusterState, g systemstate.Group) string {
	var all []string
	for _, r := range g.Replicas {
		o, _ := v.Member(r.Member)
		s := o.Name
		if o.Gone {
			s += " (dead)"
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// ranges prints the partitions of a group: "0-4,7".
func ranges(table []protocol.GroupID, g protocol.GroupID) string {
	var parts []string
	for p := 0; p < len(table); p++ {
		if table[p] != g {
			continue
		}
		first := p
		for p+1 < len(table) && table[p+1] == g {
			p++
		}
		if first == p {
			parts = append(parts, fmt.Sprint(p))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", first, p))
		}
	}
	return strings.Join(parts, ",")
}

// emptiest returns members for the replicas of a new group, those with the
// fewest first. Of two members only one votes: else the loss of either would
// stop the group.
func (c *Controller) emptiest(v *systemstate.ClusterState) []protocol.MemberID {
	load := map[protocol.MemberID]int{}
	for _, g := range v.Groups {
		if g.ID == protocol.SystemGroup || c.isLost(v, g) {
			continue
		}
		for _, r := range g.Replicas {
			load[r.Member]++
		}
	}
	var ids []protocol.MemberID
	for _, o := range v.Members {
		if !o.Gone && (o.ID == c.grid.Self() || c.grid.Heard(o.Incarnation)) {
			ids = append(ids, o.ID)
		}
	}
	slices.SortStableFunc(ids, func(a, b protocol.MemberID) int { return load[a] - load[b] })
	want := int(v.Settings.Replicas)
	if len(ids) == 2 && want > 2 {
		want = 1
	}
	ids = ids[:min(len(ids), want)]
	slices.Sort(ids)
	return ids
}
