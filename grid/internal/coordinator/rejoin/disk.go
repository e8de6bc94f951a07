package rejoin

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

const (
	// promiseLife is how long a member keeps its replica running after it has let
	// another one stop its own. The asker acts within peers.AskTimeout.
	promiseLife = 10 * time.Second

	// giveWayEvery is how often a member that is short of free space asks the others to
	// take what it runs.
	giveWayEvery = time.Second
)

// space is how a member deals with a disk that has no free space.
type space struct {
	transferred time.Time
	asked       map[protocol.GroupID]time.Time
	kept        map[protocol.GroupID]string // why a replica runs on, as was logged
	slow        bool                        // as was announced
}

// shown is what others may ask of a member whose disk has no free space.
type shown struct {
	level     disk.Level
	suspended map[protocol.GroupID]bool      // replicas that are stopped
	promised  map[protocol.GroupID]time.Time // until then the replica runs: somebody counts on it
}

// SetDisk sets how much free space this member's disk has.
func (c *Controller) SetDisk(l disk.Level) {
	c.mu.Lock()
	same := c.shown.level == l
	c.shown.level = l
	c.mu.Unlock()
	c.announceDisk()
	if !same {
		c.grid.Wake()
	}
}

// announceDisk tells the others that this member is short of free space, also until
// replicas that were stopped for it have caught up: the others keep little of
// their logs so long, that these can.
func (c *Controller) announceDisk() {
	c.mu.Lock()
	l, full := c.shown.level, c.shown.level >= disk.Full || len(c.shown.suspended) > 0
	c.mu.Unlock()
	c.grid.SetState(func(s *gossip.State) { s.DiskFull, s.DiskOut = full, l >= disk.Out })
}

func (c *Controller) diskLevel() disk.Level {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.level
}

// Suspended returns the groups whose replicas this member has stopped for want
// of free space.
func (c *Controller) Suspended() []protocol.GroupID {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []protocol.GroupID
	for id := range c.shown.suspended {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// reconcileDisk gives way if the disk is short of free space: leadership goes to members that
// have some, then replicas stop whose groups can do without them.
func (c *Controller) reconcileDisk(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, me protocol.MemberID) {
	c.announceDisk()
	level := c.diskLevel()
	if level < disk.Full {
		c.space.kept = nil
		return
	}
	if len(c.cfg.Leadership.WithSpace(v)) > 0 && time.Since(c.space.transferred) > giveWayEvery {
		c.space.transferred = time.Now()
		handing, cancel := context.WithTimeout(ctx, giveWayEvery)
		c.cfg.Leadership.HandOver(handing)
		cancel()
	}
	if level < disk.Hard {
		return
	}
	for id := range h.Running() {
		g, ok := v.Group(id)
		if !ok || time.Since(c.space.asked[id]) < giveWayEvery {
			continue
		}
		c.noteAsked(id)
		if err := c.suspend(ctx, h, v, g, me); err != nil && c.space.kept[id] == "" {
			if c.space.kept == nil {
				c.space.kept = map[protocol.GroupID]string{}
			}
			c.space.kept[id] = err.Error()
			c.grid.Log.Warn("no free disk space: a replica runs on, its group refuses writes", "group", id, "reason", err)
		}
	}
}

// announceSlowDisk tells the others whether this member's disk is slow. Whoever
// leads the system group then moves its leads to members whose disks are not,
// one at a time, and none to it: a group is as slow as its leader's disk, and
// does without that of a member that follows.
func (c *Controller) announceSlowDisk(h membership.Engine) {
	slow := h.SlowDisk()
	if slow == c.space.slow {
		return
	}
	c.space.slow = slow
	c.grid.SetState(func(s *gossip.State) { s.DiskSlow = slow })
	if slow {
		c.grid.Log.Warn("the disk is slow: other members are to lead")
	} else {
		c.grid.Log.Info("the disk is no longer slow")
	}
}

func (c *Controller) noteAsked(id protocol.GroupID) {
	if c.space.asked == nil {
		c.space.asked = map[protocol.GroupID]time.Time{}
	}
	c.space.asked[id] = time.Now()
}

// suspend stops this member's replica of a group that lives without it.
func (c *Controller) suspend(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, g systemstate.Group, me protocol.MemberID) error {
	if err := c.servesWithout(ctx, v, g, me); err != nil {
		return err
	}
	c.mu.Lock()
	if time.Now().Before(c.shown.promised[g.ID]) {
		c.mu.Unlock()
		return fmt.Errorf("another member has stopped its replica of group %d", g.ID)
	}
	c.shown.suspended[g.ID] = true
	c.mu.Unlock()
	c.grid.Log.Warn("no free disk space: a replica is stopped until there is", "group", g.ID)
	err := h.SuspendGroup(g.ID)
	delete(c.started, g.ID)
	for _, r := range g.Replicas {
		delete(c.caughtUp, replica{g.ID, r.ID}) // once it runs again it is behind
	}
	c.grid.Changed()
	return err
}

// heldBack reports whether the replica of a group is not to be started for
// want of free space. One without which its group has no majority is, so that it can
// be read.
func (c *Controller) heldBack(ctx context.Context, v *systemstate.ClusterState, g systemstate.Group, me protocol.MemberID) bool {
	if c.started[g.ID] {
		return false
	}
	level := c.diskLevel()
	held := level >= disk.Out || level < disk.Hard && c.otherBehind(v, g.ID, me)
	if level == disk.Hard {
		c.mu.Lock()
		held = c.shown.suspended[g.ID]
		c.mu.Unlock()
		if !held || time.Since(c.space.asked[g.ID]) >= giveWayEvery {
			c.noteAsked(g.ID)
			held = c.servesWithout(ctx, v, g, me) == nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !held {
		if c.shown.suspended[g.ID] {
			c.grid.Log.Info("a replica runs again that was stopped for want of free disk space", "group", g.ID)
		}
		delete(c.shown.suspended, g.ID)
		return false
	}
	c.shown.suspended[g.ID] = true
	return true
}

// otherBehind reports whether the replica of a group was stopped for want of
// free space and has to wait, since another one that runs again has not caught up.
func (c *Controller) otherBehind(v *systemstate.ClusterState, id protocol.GroupID, me protocol.MemberID) bool {
	c.mu.Lock()
	suspended := c.shown.suspended[id]
	c.mu.Unlock()
	if !suspended {
		return false
	}
	for _, g := range v.Groups {
		for _, r := range g.Replicas {
			if r.Member == me && c.started[g.ID] && !c.caughtUp[replica{g.ID, r.ID}] {
				return true
			}
		}
	}
	return false
}

// servesWithout returns nil if a majority of a group's voters, this member not
// counted, have said that they have all of it and keep running.
func (c *Controller) servesWithout(ctx context.Context, v *systemstate.ClusterState, g systemstate.Group, me protocol.MemberID) error {
	ctx, cancel := context.WithTimeout(ctx, peers.AskTimeout)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the following
	voters, yes := 0, 0
	var last error
	for _, r := range g.Replicas {
		if r.NonVoting {
			continue
		}
		voters++
		address, ok := c.grid.AddressOf(r.Member)
		if r.Member == me || !ok {
			continue
		}
		wg.Go(func() {
			err := c.grid.Ask(ctx, address, peers.AskWithout, peers.Without{Cluster: v.Cluster, Group: g.ID, Member: me}, nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				yes++
			} else {
				last = err
			}
		})
	}
	wg.Wait()
	if need := voters/2 + 1; yes < need {
		return fmt.Errorf("%d of the %d voters that group %d needs run elsewhere: %w", yes, need, g.ID, orElse(last))
	}
	return nil
}

func orElse(err error) error {
	if err == nil {
		return fmt.Errorf("there are no others")
	}
	return err
}

// OnWithout promises to keep a replica running while the asker stops its own.
func (c *Controller) OnWithout(ctx context.Context, q peers.Without) error {
	me := c.grid.Self()
	h, err := c.grid.EngineOf(q.Cluster)
	if err != nil {
		return err
	}
	if h.Group(q.Group) == nil {
		return peers.Refuse(protocol.CodeBusy, "its replica does not run")
	}
	c.mu.Lock()
	no := c.shown.suspended[q.Group] || c.shown.level == disk.Out || c.shown.level == disk.Hard && me < q.Member
	if !no {
		c.shown.promised[q.Group] = time.Now().Add(promiseLife)
	}
	c.mu.Unlock()
	if no {
		return peers.Refuse(protocol.CodeReadOnly, "it has no free space on its disk either")
	}
	ctx, cancel := context.WithTimeout(ctx, membership.CaughtUpTimeout)
	defer cancel()
	return h.CaughtUp(ctx, q.Group)
}
