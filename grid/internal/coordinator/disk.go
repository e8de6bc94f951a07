package coordinator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

const (
	// promiseLife is how long a member keeps its replica running after it has let
	// another one stop its own. The asker acts within askTimeout.
	promiseLife = 10 * time.Second

	// giveWayEvery is how often a member that is short of room asks the others to
	// take what it runs.
	giveWayEvery = time.Second
)

// room is how a member deals with its disk.
type room struct {
	// Of the run goroutine alone.
	handed time.Time
	asked  map[protocol.GroupID]time.Time
	kept   map[protocol.GroupID]string // why a replica runs on, as was logged
	slow   bool                        // as was announced

	// Of Coordinator.mu.
	level     disk.Level
	suspended map[protocol.GroupID]bool      // replicas that are stopped
	promised  map[protocol.GroupID]time.Time // until then the replica runs: somebody counts on it
}

// SetDisk tells how much room this member's disk has.
func (c *rejoin) SetDisk(l disk.Level) {
	c.mu.Lock()
	same := c.room.level == l
	c.room.level = l
	c.mu.Unlock()
	c.announceDisk()
	if !same {
		c.wake()
	}
}

// announceDisk tells the others that this member is short of room, also until
// replicas that were stopped for it have caught up: the others keep little of
// their logs so long, that these can.
func (c *rejoin) announceDisk() {
	c.mu.Lock()
	l, full := c.room.level, c.room.level >= disk.Full || len(c.room.suspended) > 0
	c.mu.Unlock()
	c.Directory.SetState(func(s *gossip.State) { s.DiskFull, s.DiskOut = full, l >= disk.Out })
}

func (c *rejoin) diskLevel() disk.Level {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room.level
}

// Suspended returns the groups whose replicas this member has stopped for want
// of room.
func (c *rejoin) Suspended() []protocol.GroupID {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []protocol.GroupID
	for id := range c.room.suspended {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// reconcileDisk gives way where the disk is short of room: leads go to members that
// have some, then replicas stop where their groups live without them.
func (c *rejoin) reconcileDisk(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, me protocol.MemberID) {
	c.announceDisk()
	level := c.diskLevel()
	if level < disk.Full {
		c.room.kept = nil
		return
	}
	if len(c.roomy(v, me)) > 0 && time.Since(c.room.handed) > giveWayEvery {
		c.room.handed = time.Now()
		handing, cancel := context.WithTimeout(ctx, giveWayEvery)
		c.Leadership.HandOver(handing)
		cancel()
	}
	if level < disk.Hard {
		return
	}
	for id := range h.Running() {
		g, ok := v.Group(id)
		if !ok || time.Since(c.room.asked[id]) < giveWayEvery {
			continue
		}
		c.noteAsked(id)
		if err := c.suspend(ctx, h, v, g, me); err != nil && c.room.kept[id] == "" {
			if c.room.kept == nil {
				c.room.kept = map[protocol.GroupID]string{}
			}
			c.room.kept[id] = err.Error()
			c.log.Warn("no free disk space: a replica runs on, its group refuses writes", "group", id, "reason", err)
		}
	}
}

// transferFromSlowDisk tells the others whether this member's disk is slow. Whoever
// leads the system group then moves its leads to members whose disks are not,
// one at a time, and none to it: a group is as slow as its leader's disk, and
// does without that of a member that follows.
func (c *rejoin) transferFromSlowDisk(h *shardgroups.Host) {
	slow := h.SlowDisk()
	if slow == c.room.slow {
		return
	}
	c.room.slow = slow
	c.Directory.SetState(func(s *gossip.State) { s.DiskSlow = slow })
	if slow {
		c.log.Warn("the disk is slow: other members are to lead")
	} else {
		c.log.Info("the disk is no longer slow")
	}
}

func (c *rejoin) noteAsked(id protocol.GroupID) {
	if c.room.asked == nil {
		c.room.asked = map[protocol.GroupID]time.Time{}
	}
	c.room.asked[id] = time.Now()
}

// suspend stops this member's replica of a group that lives without it.
func (c *rejoin) suspend(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, g systemstate.Group, me protocol.MemberID) error {
	if err := c.servesWithout(ctx, v, g, me); err != nil {
		return err
	}
	c.mu.Lock()
	if time.Now().Before(c.room.promised[g.ID]) {
		c.mu.Unlock()
		return fmt.Errorf("another member has stopped its replica of group %d", g.ID)
	}
	if c.room.suspended == nil {
		c.room.suspended = map[protocol.GroupID]bool{}
	}
	c.room.suspended[g.ID] = true
	c.mu.Unlock()
	c.log.Warn("no free disk space: a replica is stopped until there is", "group", g.ID)
	err := h.SuspendGroup(g.ID)
	delete(c.started, g.ID)
	for _, r := range g.Replicas {
		delete(c.caughtUp, placeKey{g.ID, r.ID}) // once it runs again it is behind
	}
	c.cfg.Changed()
	return err
}

// heldBack reports whether the replica of a group is not to be started for
// want of room. One without which its group has no majority is, so that it can
// be read.
func (c *rejoin) heldBack(ctx context.Context, v *systemstate.ClusterState, g systemstate.Group, me protocol.MemberID) bool {
	if c.started[g.ID] {
		return false
	}
	level := c.diskLevel()
	held := level >= disk.Out || level < disk.Hard && c.otherBehind(v, g.ID, me)
	if level == disk.Hard {
		c.mu.Lock()
		held = c.room.suspended[g.ID]
		c.mu.Unlock()
		if !held || time.Since(c.room.asked[g.ID]) >= giveWayEvery {
			c.noteAsked(g.ID)
			held = c.servesWithout(ctx, v, g, me) == nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !held {
		if c.room.suspended[g.ID] {
			c.log.Info("a replica runs again that was stopped for want of free disk space", "group", g.ID)
		}
		delete(c.room.suspended, g.ID)
		return false
	}
	if c.room.suspended == nil {
		c.room.suspended = map[protocol.GroupID]bool{}
	}
	c.room.suspended[g.ID] = true
	return true
}

// otherBehind reports whether the replica of a group was stopped for want of
// room and has to wait, since another one that runs again has not caught up.
func (c *rejoin) otherBehind(v *systemstate.ClusterState, id protocol.GroupID, me protocol.MemberID) bool {
	c.mu.Lock()
	suspended := c.room.suspended[id]
	c.mu.Unlock()
	if !suspended {
		return false
	}
	for _, g := range v.Groups {
		for _, r := range g.Replicas {
			if r.Member == me && c.started[g.ID] && !c.caughtUp[placeKey{g.ID, r.ID}] {
				return true
			}
		}
	}
	return false
}

// without asks a member whether it keeps its replica of a group running while
// the asker stops its own.
type without struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Member  protocol.MemberID // who asks
}

// servesWithout returns nil where a majority of a group's voters, this member not
// counted, have said that they have all of it and keep running.
func (c *rejoin) servesWithout(ctx context.Context, v *systemstate.ClusterState, g systemstate.Group, me protocol.MemberID) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
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
		address, ok := c.AddressOf(r.Member)
		if r.Member == me || !ok {
			continue
		}
		wg.Go(func() {
			err := ask(ctx, c.cfg.Network, address, askWithout, without{Cluster: v.Cluster, Group: g.ID, Member: me}, nil)
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

func (c *rejoin) onWithout(ctx context.Context, q without) error {
	me := c.Self()
	h, err := c.Peers.hostOf(q.Cluster)
	if err != nil {
		return err
	}
	if h.Group(q.Group) == nil {
		return &refusal{code: protocol.CodeBusy, detail: "its replica does not run"}
	}
	c.mu.Lock()
	no := c.room.suspended[q.Group] || c.room.level == disk.Out || c.room.level == disk.Hard && me < q.Member
	if !no {
		if c.room.promised == nil {
			c.room.promised = map[protocol.GroupID]time.Time{}
		}
		c.room.promised[q.Group] = time.Now().Add(promiseLife)
	}
	c.mu.Unlock()
	if no {
		return &refusal{code: protocol.CodeReadOnly, detail: "it has no free space on its disk either"}
	}
	ctx, cancel := context.WithTimeout(ctx, caughtUpTimeout)
	defer cancel()
	return h.CaughtUp(ctx, q.Group)
}

// roomy are the members, this one left out, that are heard of, have room on
// their disks, and are not about to end.
func (c *rejoin) roomy(v *systemstate.ClusterState, me protocol.MemberID) []protocol.MemberID {
	var ids []protocol.MemberID
	for _, o := range v.Members {
		if s := c.Directory.StateOf(o.Incarnation); o.ID != me && c.Directory.Heard(o.Incarnation) && !s.DiskFull && !s.Closing {
			ids = append(ids, o.ID)
		}
	}
	return ids
}
