package placement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Missing returns how many replicas each group lacks to be fully replicated, as
// this member knows it: those that the cluster state does not list yet, those on
// members that are not heard, and on members that have not caught up since they
// were started. It asks nobody.
func (c *Controller) Missing() map[protocol.GroupID]int {
	v := c.grid.View()
	if v == nil {
		return nil
	}
	me := c.grid.Member().Incarnation
	return membership.Missing(v, func(o systemstate.Member) bool {
		return (o.Incarnation == me || c.grid.Heard(o.Incarnation)) && !c.grid.StateOf(o.Incarnation).Behind
	})
}

// Full returns nil if every group has all its replicas, and they run and
// have caught up: one more member may go then. Otherwise its error says which
// groups miss some.
func (c *Controller) Full() error {
	missing := c.Missing()
	if !c.grid.IsReady() || len(missing) == 0 {
		return fmt.Errorf("not ready: %s", c.grid.Waiting())
	}
	var short []string
	for id, n := range missing {
		if n > 0 {
			text := fmt.Sprintf("group %d misses %d", id, n)
			if why := c.NoHeadroom(id); why != "" {
				text += " (" + why + ")"
			}
			short = append(short, text)
		}
	}
	if len(short) == 0 {
		return nil
	}
	slices.Sort(short)
	return fmt.Errorf("not fully replicated: %s", strings.Join(short, ", "))
}
