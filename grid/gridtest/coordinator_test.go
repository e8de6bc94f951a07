package gridtest_test

import (
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/protocol"
)

// TestCoordinatorDies kills the coordinator, and pauses it, between any two
// steps of giving a member its places back, in memory and under load: another
// goes on where it was, without it, and nothing is lost. Of the system group and
// the data groups, and of both ways to stop it, each point has one; all under
// QUORATE_SOAK.
func TestCoordinatorDies(t *testing.T) {
	for name, points := range map[string][]string{
		"adding":    {tune.ReplicaAgreed, tune.ReplicaAdded},
		"dropping":  {tune.DropMade, tune.DropAgreed},
		"promoting": {tune.PromotionMade, tune.PromotionDone},
	} {
		var stops []stop
		for i, point := range points {
			stops = append(stops, stop{point: point, kill: i == 0, data: name == "adding" != (i == 0)})
			if os.Getenv("QUORATE_SOAK") != "" {
				stops = append(stops, stop{point: point, kill: i == 0, data: name == "adding" == (i == 0)},
					stop{point: point, kill: i != 0, data: true}, stop{point: point, kill: i != 0})
			}
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			coordinatorDies(t, stops)
		})
	}
}

// stop is where a coordinator is to be stopped, and how.
type stop struct {
	point string
	kill  bool // else it is paused
	data  bool // in a data group, else in the system group
}

// hit is where a coordinator was stopped.
type hit struct {
	member int
	group  protocol.GroupID
}

func coordinatorDies(t *testing.T, stops []stop) {
	var armed atomic.Pointer[stop]
	hits := make(chan hit, 1)
	var c *gridtest.Cluster
	// Of five replicas a group can do without the one that has returned and the
	// coordinator, too.
	c = gridtest.Start(t, 5, gridtest.WithDurability(grid.Memory),
		gridtest.WithConfig(func(_ int, cfg *grid.Config) { cfg.Replicas, cfg.Groups = 5, 2 }),
		gridtest.WithSteps(func(i int, point string, g protocol.GroupID) {
			if at := armed.Load(); at != nil && at.point == point && at.data == (g != protocol.SystemGroup) && armed.CompareAndSwap(at, nil) {
				c.Pause(i)
				hits <- hit{i, g}
			}
		}))
	l := startLoad(t, c.Client(t))
	for _, s := range stops {
		c.WaitFull()
		returns := (c.LeaderOf(protocol.SystemGroup) + 1) % c.Len()
		armed.Store(&s)
		c.Kill(returns)
		c.Restart(returns)
		var h hit
		select {
		case h = <-hits:
		case <-time.After(gridtest.WaitTimeout):
			t.Fatalf("no coordinator has come to: %+v\n%s", s, c.Diagnose())
		}
		began := time.Now()
		if s.kill {
			c.Kill(h.member)
		}
		c.Eventually("the member has its places without that coordinator", func() bool {
			return placed(c, returns, h.member)
		})
		t.Logf("%+v (group %d): member %d is stopped, the places are filled after %v", s, h.group, h.member, time.Since(began))
		if s.kill {
			c.Restart(h.member)
		} else {
			c.Resume(h.member)
		}
	}
	c.WaitFull()
	l.end()
	sameHashes(t, c)
}

// placed reports whether a member votes in all groups, as one knows that is
// neither it nor another.
func placed(c *gridtest.Cluster, member, other int) bool {
	asked := 0
	for asked == member || asked == other {
		asked++
	}
	s, err := c.Status(asked)
	if err != nil {
		return false
	}
	own, err := c.Status(member)
	return err == nil && own.Ready && !slices.ContainsFunc(s.Groups, func(g protocol.StatusGroup) bool {
		return !slices.ContainsFunc(g.Replicas, func(r protocol.StatusReplica) bool {
			return r.Member == own.Member && r.State != protocol.ReplicaNonVoting
		})
	})
}
