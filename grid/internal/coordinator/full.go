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

// Missing returns how many replicas each group lacks to its full strength, as
// this member knows it: those that the agreement does not list yet, those on
// members that are not heard, and on members that have not caught up since they
// were started. It asks nobody.
func (c *Coordinator) Missing() map[protocol.GroupID]int {
	v := c.View()
	if v == nil {
		return nil
	}
	me := c.member().Incarnation
	want := wantedPlaces(v, func(o systemstate.Member) bool {
		return (o.Incarnation == me || c.Heard(o.Incarnation)) && !c.StateOf(o.Incarnation).Behind
	})
	table := tableOf(v)
	missing := map[protocol.GroupID]int{}
	for _, g := range table.Groups {
		missing[g.ID] = partition.Missing(table, g, want)
	}
	return missing
}

// Full returns nil where every group has all its replicas, and they run and
// have caught up: one more member may go then. Otherwise its error says which
// groups miss some.
func (c *Coordinator) Full() error {
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
	return fmt.Errorf("not at full strength: %s", strings.Join(short, ", "))
}

// catchUpTimeout bounds one look whether this member's replicas have caught up.
const catchUpTimeout = 500 * time.Millisecond

// watchCatchUp announces whether a replica of this member has not caught up
// since it was started here. Once all have it asks nothing.
func (c *Coordinator) watchCatchUp(ctx context.Context, h *shardgroups.Host, v *systemstate.Agreement, me protocol.MemberID) (behind bool) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	var mu sync.Mutex // guards caughtUp and behind
	var wg sync.WaitGroup
	for _, g := range v.Groups {
		for _, r := range g.Replicas {
			key := placeKey{g.ID, r.ID}
			mu.Lock()
			done := c.caughtUp[key]
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
				c.caughtUp[key] = true
			})
		}
	}
	wg.Wait()
	c.SetState(func(s *gossip.State) { s.Behind = behind })
	return behind
}
