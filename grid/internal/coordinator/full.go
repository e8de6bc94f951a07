package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Missing returns how many replicas each group lacks to be fully replicated, as
// this member knows it: those that the cluster state does not list yet, those on
// members that are not heard, and on members that have not caught up since they
// were started. It asks nobody.
func (c *placement) Missing() map[protocol.GroupID]int {
	v := c.View()
	if v == nil {
		return nil
	}
	me := c.member().Incarnation
	return missing(v, func(o systemstate.Member) bool {
		return (o.Incarnation == me || c.Directory.Heard(o.Incarnation)) && !c.Directory.StateOf(o.Incarnation).Behind
	})
}

// missing returns how many replicas each group lacks where these members run.
func missing(v *systemstate.ClusterState, running func(systemstate.Member) bool) map[protocol.GroupID]int {
	want, table := wantedPlaces(v, running), tableOf(v)
	lacks := map[protocol.GroupID]int{}
	for _, g := range table.Groups {
		lacks[g.ID] = partition.Missing(table, g, want)
	}
	return lacks
}

// missingAtAll returns how many replicas each group lacks even where all members
// run whose data is not lost: places that are not filled, or have no vote yet.
func missingAtAll(v *systemstate.ClusterState) map[protocol.GroupID]int {
	return missing(v, func(systemstate.Member) bool { return true })
}

// Full returns nil where every group has all its replicas, and they run and
// have caught up: one more member may go then. Otherwise its error says which
// groups miss some.
func (c *placement) Full() error {
	missing := c.Missing()
	if !c.IsReady() || len(missing) == 0 {
		return fmt.Errorf("not ready: %s", c.Waiting())
	}
	var short []string
	for id, n := range missing {
		if n > 0 {
			text := fmt.Sprintf("group %d misses %d", id, n)
			if why := c.NoRoom(id); why != "" {
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

// catchUpTimeout bounds one look whether this member's replicas have caught up.
const catchUpTimeout = 500 * time.Millisecond

// watchCatchUp announces whether a replica of this member has not caught up
// since it was started here. Once all have it asks nothing.
func (c *placement) watchCatchUp(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, me protocol.MemberID) (behind bool) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	var mu sync.Mutex // guards caughtUp and behind
	var wg sync.WaitGroup
	for _, g := range v.Groups {
		for _, r := range g.Replicas {
			key := placeKey{g.ID, r.ID}
			mu.Lock()
			done := c.Rejoin.caughtUp[key]
			mu.Unlock()
			if r.Member != me || done {
				continue
			}
			wg.Go(func() {
				err := h.CaughtUp(ctx, g.ID)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					behind = true
					return
				}
				c.Rejoin.caughtUp[key] = true
			})
		}
	}
	wg.Wait()
	c.Directory.SetState(func(s *gossip.State) { s.Behind = behind })
	return behind
}
