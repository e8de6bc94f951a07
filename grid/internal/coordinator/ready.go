package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// groupsGrace is how long a member that could serve some groups waits for the
// others before it serves: for their leaders, and for those that are
// restored. A member is started while its groups elect, as a rule, and who waits
// for it wants to use all of them; but a group that has lost its majority may be
// without a leader for ever, and one whose backup was lost is never restored,
// and neither must take the others with it.
const groupsGrace = 5 * time.Second

// checkReady closes ready once the member can serve: it knows where each request
// goes. Which groups lack a leader is told by Leaderless, and which their state by
// Loading.
func (c *Coordinator) checkReady(h *shardgroups.Host, v *systemstate.ClusterState) {
	if c.IsReady() {
		return
	}
	if len(v.Partitions) == 0 {
		c.setWaiting("the first groups")
		return
	}
	without, loading := c.Leaderless(), Loading(v)
	if len(without)+len(loading) > 0 {
		var awaited []string
		if len(loading) > 0 {
			awaited = append(awaited, "the restore of "+groupsText(loading))
		}
		if len(without) > 0 {
			awaited = append(awaited, "a leader of "+groupsText(without))
		}
		c.setWaiting("%s", strings.Join(awaited, ", and "))
		if !c.waitedForGroups(time.Now(), v, without, loading) {
			return
		}
		if len(loading) > 0 {
			c.log.Warn("the member serves although groups are not restored", "groups", groupsText(loading))
		}
		if len(without) > 0 {
			c.log.Warn("the member serves although groups have no leader", "groups", groupsText(without))
		}
	}
	c.groupsAwaited = time.Time{}
	c.cfg.Changed()
	close(*c.ready.Load())
}

// waitedForGroups reports whether the member has waited long enough for the
// groups that have no leader or are not restored. Where that is
// so of all data groups, nobody could be served.
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

// Leaderless returns the groups of which this member knows no leader.
func (c *Coordinator) Leaderless() []protocol.GroupID {
	v := c.View()
	if v == nil {
		return nil
	}
	var without []protocol.GroupID
	for _, g := range v.Groups {
		if m, _ := c.leader(v, g.ID); m == 0 {
			without = append(without, g.ID)
		}
	}
	return without
}

func groupsText(ids []protocol.GroupID) string {
	if len(ids) == 1 {
		return fmt.Sprintf("group %d", ids[0])
	}
	var texts []string
	for _, id := range ids {
		texts = append(texts, fmt.Sprint(id))
	}
	return "groups " + strings.Join(texts, ", ")
}
