package coordinator

import (
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// groupsGrace is how long a member that could serve some groups waits for the
// others before it serves: for their leaders, and for those that are
// restored. A member is started while its groups elect, as a rule, and who waits
// for it wants to use all of them; but a group that has lost its majority may be
// without a leader for ever, and one whose backup was lost is never restored:
// neither must hold up the others.
const groupsGrace = 5 * time.Second

// checkReady says that the member serves once it can: when it knows the leader of each
// group.
func (c *Coordinator) checkReady(v *systemstate.ClusterState) {
	if c.IsReady() {
		return
	}
	if len(v.Partitions) == 0 {
		c.SetWaiting("the first groups")
		return
	}
	without, loading := c.Leaderless(), membership.Loading(v)
	if len(without)+len(loading) > 0 {
		var awaited []string
		if len(loading) > 0 {
			awaited = append(awaited, "the restore of "+membership.GroupsText(loading))
		}
		if len(without) > 0 {
			awaited = append(awaited, "a leader of "+membership.GroupsText(without))
		}
		c.SetWaiting("%s", strings.Join(awaited, ", and "))
		if !c.waitedForGroups(time.Now(), v, without, loading) {
			return
		}
		if len(loading) > 0 {
			c.Log.Warn("the member serves although groups are not restored", "groups", membership.GroupsText(loading))
		}
		if len(without) > 0 {
			c.Log.Warn("the member serves although groups have no leader", "groups", membership.GroupsText(without))
		}
	}
	c.groupsAwaited = time.Time{}
	c.Changed()
	c.SetReady()
}

// waitedForGroups reports whether the member has waited long enough for the
// groups that have no leader or are not restored. If that is so of all data groups,
// nobody could be served.
func (c *Coordinator) waitedForGroups(now time.Time, v *systemstate.ClusterState, without, loading []protocol.GroupID) bool {
	serving := 0 // data groups that can be used
	for _, g := range v.Groups {
		if g.ID != protocol.SystemGroup && !slices.Contains(without, g.ID) && !slices.Contains(loading, g.ID) {
			serving++
		}
	}
	switch {
	case serving == 0:
		c.groupsAwaited = time.Time{}
		return false
	case c.groupsAwaited.IsZero():
		c.groupsAwaited = now
	}
	return now.Sub(c.groupsAwaited) >= groupsGrace
}
