package rejoin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// restart starts the replicas that were running before.
func (c *Controller) restart(h membership.Engine, m *identity.Member) error {
	for _, r := range m.Started {
		spec := shardgroups.GroupSpec{Group: r.Group, Replica: r.Replica, NonVoting: r.NonVoting}
		switch {
		case r.Group == protocol.SystemGroup && m.Founder == m.Incarnation:
			spec.Initial = map[protocol.ReplicaID]protocol.UUID{membership.FirstReplica: m.Incarnation}
		case r.Group != protocol.SystemGroup && !r.Started:
			continue // reconcile knows with whom it is to be started
		case r.Group != protocol.SystemGroup && (c.diskLevel() >= disk.Hard || slices.Contains(c.Suspended(), r.Group)):
			continue // reconcile knows whether the group lives without it
		}
		if err := c.StartReplica(h, spec); err != nil {
			return err
		}
	}
	return nil
}

// reconcile starts the replicas of data groups that the tables list for this
// member, and stops those that they do not list any more.
func (c *Controller) reconcile(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, me protocol.MemberID) error {
	if len(c.dropped(v, me)) > 0 {
		// What is known here may be older than the replica: only what is agreed now
		// may end it.
		now, err := h.System().Refresh(ctx)
		if err != nil {
			return err
		}
		v = now
		for _, r := range c.dropped(v, me) {
			if err := c.dropReplica(ctx, h, r); err != nil {
				return err
			}
		}
	}
	for _, g := range v.Groups {
		if g.ID == protocol.SystemGroup {
			continue
		}
		for _, r := range g.Replicas {
			if r.Member != me || c.heldBack(ctx, v, g, me) {
				continue
			}
			spec := shardgroups.GroupSpec{Group: g.ID, Replica: r.ID, NonVoting: r.NonVoting}
			if r.Initial {
				initial, err := initialOf(v, g)
				if err != nil {
					return err
				}
				spec.Initial = initial
			}
			if err := c.StartReplica(h, spec); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropped returns the replicas of data groups that this member has started and
// that the tables do not list.
func (c *Controller) dropped(v *systemstate.ClusterState, me protocol.MemberID) []identity.Replica {
	m := c.grid.Member()
	return slices.DeleteFunc(m.Started, func(r identity.Replica) bool {
		g, _ := v.Group(r.Group)
		return r.Group == protocol.SystemGroup || slices.ContainsFunc(g.Replicas, func(x systemstate.Replica) bool {
			return x.ID == r.Replica && x.Member == me
		})
	})
}

// dropReplica stops a replica that its group has removed, and removes its data.
// member.json forgets it first: data that is left behind is only litter, a
// replica that is remembered without its log would be taken for lost.
func (c *Controller) dropReplica(ctx context.Context, h membership.Engine, r identity.Replica) error {
	c.grid.Log.Info("a replica was removed from its group: stopping it", "group", r.Group, "replica", r.Replica)
	if err := c.grid.Decide(func(dir *identity.Dir) error {
		return dir.Update(func(m *identity.Member) {
			m.Started = slices.DeleteFunc(m.Started, func(o identity.Replica) bool { return o.Group == r.Group })
		})
	}); err != nil {
		return err
	}
	delete(c.started, r.Group)
	return h.StopGroup(ctx, r.Group, r.Replica)
}

// initialOf returns the first replicas of a group and the incarnations that
// hold them, as every one of them starts it.
func initialOf(v *systemstate.ClusterState, g systemstate.Group) (map[protocol.ReplicaID]protocol.UUID, error) {
	initial := map[protocol.ReplicaID]protocol.UUID{}
	for _, r := range g.Replicas {
		if !r.Initial {
			continue
		}
		o, ok := v.Member(r.Member)
		if !ok {
			return nil, fmt.Errorf("group %d: its first replica %d is on member %d, which is not listed", g.ID, r.ID, r.Member)
		}
		initial[r.ID] = o.Incarnation
	}
	return initial, nil
}

// remember keeps in member.json what the next start needs before the log can be
// read: the others, where they are and with whom this member votes, and the
// level of state, for a start of another version.
func (c *Controller) remember(v *systemstate.ClusterState) error {
	return c.grid.Decide(func(dir *identity.Dir) error { return c.rememberIn(dir, v) })
}

func (c *Controller) rememberIn(dir *identity.Dir, v *systemstate.ClusterState) error {
	m := dir.Member()
	runs := map[protocol.UUID]identity.Run{}
	for _, p := range m.Peers {
		runs[p.Incarnation] = p.Run
	}
	me, _ := v.Incarnation(m.Incarnation)
	var others []identity.Peer
	for _, o := range v.Members {
		if o.Incarnation != m.Incarnation && !o.Gone {
			others = append(others, identity.Peer{
				Incarnation: o.Incarnation, Address: o.Address, Voter: membership.VoteTogether(v, me.ID, o.ID), Run: runs[o.Incarnation],
			})
			c.grid.NoteKnown(peers.Self{Incarnation: o.Incarnation, Address: o.Address})
		}
	}
	started := slices.Clone(m.Started)
	for i, r := range started {
		if g, ok := v.Group(r.Group); ok {
			started[i].Alone = membership.Voters(g) == 1
		}
	}
	if slices.Equal(others, m.Peers) && slices.Equal(started, m.Started) && v.Level <= m.Level {
		return nil
	}
	return dir.Update(func(m *identity.Member) {
		m.Peers, m.Started, m.Level = others, started, max(v.Level, m.Level)
	})
}

// OpenEngine opens the engine for the cluster that the member belongs to, or has
// enlisted for. One that is open is returned.
func (c *Controller) OpenEngine(m *identity.Member) (membership.Engine, error) {
	if h := c.grid.Engine(); h != nil {
		return h, nil
	}
	if !m.Formed && !c.trusting(m) {
		if err := c.inspect(m); err != nil {
			return nil, err
		}
		if lost := c.check.lost; lost != "" {
			return nil, membership.Fatalf("%s: the cluster was never formed and holds nothing: start all its members with empty data directories", lost)
		}
	}
	dir, err := c.grid.Dir().RaftDir()
	if err != nil {
		return nil, err
	}
	cfg := c.cfg.Engine
	cfg.Dir, cfg.Memory, cfg.Cluster, cfg.Incarnation = dir, dir == "", m.Cluster, m.Incarnation
	cfg.Logger, cfg.Resolve, cfg.BackupDir = c.grid.Log, c.grid.Resolve, c.grid.Dir().BackupDir()
	c.cfg.Tune(&cfg)
	h, err := c.cfg.Open(cfg)
	if err != nil {
		return nil, membership.Fatalf("open the log in %s: %w", dir, err)
	}
	c.grid.SetEngine(h)
	if g := c.grid.Gossip(); g != nil {
		g.SetCluster(m.Cluster)
	}
	return h, nil
}

// StartReplica starts a replica, once. It is noted in member.json before and
// after, so that a log that is missing later is known to be lost.
func (c *Controller) StartReplica(h membership.Engine, spec shardgroups.GroupSpec) error {
	if c.started[spec.Group] {
		return nil
	}
	note := func(dir *identity.Dir, started bool) error {
		m := dir.Member()
		r, ok := m.Replica(spec.Group)
		if ok && r.Replica != spec.Replica {
			return fmt.Errorf("group %d: replica %d is to be started, %d was", spec.Group, spec.Replica, r.Replica)
		}
		if ok && (r.Started || !started) {
			return nil
		}
		return dir.Update(func(m *identity.Member) {
			m.Started = slices.DeleteFunc(m.Started, func(r identity.Replica) bool { return r.Group == spec.Group })
			m.Started = append(m.Started, identity.Replica{
				Group: spec.Group, Replica: spec.Replica, NonVoting: spec.NonVoting, Started: started,
			})
		})
	}
	if err := c.grid.Decide(func(dir *identity.Dir) error { return note(dir, false) }); err != nil {
		return err
	}
	m := c.grid.Member()
	r, _ := m.Replica(spec.Group)
	// The log has its promotion: the engine takes it from where it began.
	spec.NonVoting = r.NonVoting
	err := h.StartGroup(spec, !r.Started)
	if errors.Is(err, shardgroups.ErrLogMissing) {
		return membership.Fatalf("the log of group %d is gone from the data directory, which says it was there: start the member with an empty data directory", spec.Group)
	}
	if errors.Is(err, shardgroups.ErrEngineFailed) {
		return membership.Fatalf("replica %d of group %d cannot be started: %w: start the member again; if that fails, too, set its data directory aside and start it with an empty one: it gets its data from the others", spec.Replica, spec.Group, err)
	}
	if err != nil {
		return fmt.Errorf("start replica %d of group %d: %w", spec.Replica, spec.Group, err)
	}
	c.started[spec.Group] = true
	return c.grid.Decide(func(dir *identity.Dir) error { return note(dir, true) })
}

// catchUpTimeout bounds one look whether this member's replicas have caught up.
const catchUpTimeout = 500 * time.Millisecond

// watchCatchUp announces whether a replica of this member has not caught up
// since it was started here. Once all have it asks nothing.
func (c *Controller) watchCatchUp(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, me protocol.MemberID) (behind bool) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	var mu sync.Mutex // guards caughtUp and behind
	var wg sync.WaitGroup
	for _, g := range v.Groups {
		for _, r := range g.Replicas {
			key := replica{g.ID, r.ID}
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
	c.grid.SetState(func(s *gossip.State) { s.Behind = behind })
	return behind
}
