package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// restart starts the replicas that were running before.
func (c *rejoin) restart(h *shardgroups.Host, m *identity.Member) error {
	for _, r := range m.Started {
		spec := shardgroups.GroupSpec{Group: r.Group, Replica: r.Replica, NonVoting: r.NonVoting}
		switch {
		case r.Group == protocol.SystemGroup && m.Founder == m.Incarnation:
			spec.Initial = map[protocol.ReplicaID]protocol.UUID{firstReplica: m.Incarnation}
		case r.Group != protocol.SystemGroup && !r.Started:
			continue // reconcile knows with whom it is to be started
		case r.Group != protocol.SystemGroup && (c.diskLevel() >= disk.Hard || slices.Contains(c.Suspended(), r.Group)):
			continue // reconcile knows whether the group lives without it
		}
		if err := c.startReplica(h, spec); err != nil {
			return err
		}
	}
	return nil
}

// reconcile starts the replicas of data groups that the tables list for this
// member, and stops those that they do not list any more.
func (c *rejoin) reconcile(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, me protocol.MemberID) error {
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
			if err := c.startReplica(h, spec); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropped returns the replicas of data groups that this member has started and
// that the tables do not list.
func (c *rejoin) dropped(v *systemstate.ClusterState, me protocol.MemberID) []identity.Replica {
	m := c.member()
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
func (c *rejoin) dropReplica(ctx context.Context, h *shardgroups.Host, r identity.Replica) error {
	c.log.Info("a replica was removed from its group: stopping it", "group", r.Group, "replica", r.Replica)
	c.deciding.Lock()
	err := c.dir.Update(func(m *identity.Member) {
		m.Started = slices.DeleteFunc(m.Started, func(o identity.Replica) bool { return o.Group == r.Group })
	})
	c.deciding.Unlock()
	if err != nil {
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
func (c *rejoin) remember(v *systemstate.ClusterState) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	m := c.dir.Member()
	lives := map[protocol.UUID]identity.Life{}
	for _, p := range m.Peers {
		lives[p.Incarnation] = p.Life
	}
	me, _ := v.Incarnation(m.Incarnation)
	var peers []identity.Peer
	for _, o := range v.Members {
		if o.Incarnation != m.Incarnation && !o.Gone {
			peers = append(peers, identity.Peer{
				Incarnation: o.Incarnation, Address: o.Address, Voter: voteTogether(v, me.ID, o.ID), Life: lives[o.Incarnation],
			})
			c.Directory.noteKnown(self{Incarnation: o.Incarnation, Address: o.Address})
		}
	}
	started := slices.Clone(m.Started)
	for i, r := range started {
		if g, ok := v.Group(r.Group); ok {
			started[i].Alone = voters(g) == 1
		}
	}
	if slices.Equal(peers, m.Peers) && slices.Equal(started, m.Started) && v.Level <= m.Level {
		return nil
	}
	return c.dir.Update(func(m *identity.Member) {
		m.Peers, m.Started, m.Level = peers, started, max(v.Level, m.Level)
	})
}

// voteTogether reports whether two members vote in one group.
func voteTogether(v *systemstate.ClusterState, a, b protocol.MemberID) bool {
	votes := func(g systemstate.Group, m protocol.MemberID) bool {
		return slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return r.Member == m && !r.NonVoting })
	}
	return slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool { return votes(g, a) && votes(g, b) })
}

func voters(g systemstate.Group) int {
	n := 0
	for _, r := range g.Replicas {
		if !r.NonVoting {
			n++
		}
	}
	return n
}

// askToJoin asks the cluster to list this member and to give it a replica of
// the system group.
func (c *rejoin) askToJoin(ctx context.Context, m *identity.Member) error {
	// All are asked at the same time: addresses that are silent must not use up
	// the time of the one that answers.
	type answer struct {
		by  string
		err error
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	targets := c.Directory.targets()
	answers := make(chan answer, len(targets))
	q := join{Cluster: m.Cluster, Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address, Level: c.level}
	for _, address := range targets {
		go func() { answers <- answer{address, ask(asking, c.cfg.Network, address, askJoin, q, nil)} }()
	}
	var said *refusal
	for range targets {
		a := <-answers
		if a.err == nil {
			c.setWaiting("the first replica of the system group")
			return nil
		}
		errors.As(a.err, &said)
		c.log.Debug("not admitted", "by", a.by, "err", a.err)
	}
	if blank, err := c.Formation.giveUpJoining(ctx, m); blank || err != nil {
		return err
	}
	if said != nil {
		c.setWaiting("cluster %q to admit this member: %s", m.ClusterName, said.detail)
	} else {
		c.setWaiting("cluster %q to admit this member", m.ClusterName)
	}
	return errNotAdmitted
}

// announceAddress tells everybody that this member is at another address than the
// tables say. Without it the others would send to the old one until they miss
// it there.
func (c *rejoin) announceAddress(ctx context.Context, h *shardgroups.Host, m *identity.Member) error {
	q := join{Cluster: m.Cluster, Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address, Level: c.level}
	if h.System().Leader().Self {
		return c.Peers.setAddress(ctx, h, q)
	}
	targets := c.Directory.targets()
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, address := range targets {
		wg.Go(func() { errs[i] = ask(ctx, c.cfg.Network, address, askAddress, q, nil) })
	}
	wg.Wait()
	if len(targets) > 0 && !slices.Contains(errs, nil) {
		return fmt.Errorf("tell the new address: %w", errors.Join(errs...))
	}
	return nil
}

// openHost opens the engine for the cluster the member has given itself to.
func (c *rejoin) openHost(m *identity.Member) (*shardgroups.Host, error) {
	if h := c.host.Load(); h != nil {
		return h, nil
	}
	if !m.Formed && !c.trusting(m) {
		if err := c.inspect(m); err != nil {
			return nil, err
		}
		if lost := c.check.lost; lost != "" {
			return nil, fatalf("%s: the cluster was never formed and holds nothing: start all its members with empty data directories", lost)
		}
	}
	dir, err := c.dir.RaftDir()
	if err != nil {
		return nil, err
	}
	cfg := shardgroups.Config{
		Dir: dir, Memory: dir == "", Cluster: m.Cluster, Incarnation: m.Incarnation,
		RTT: c.cfg.RTT, SlowOp: c.cfg.SlowOp, Kinds: c.cfg.Kinds, Limits: c.cfg.Limits, Logger: c.log,
		Resolve: c.Directory.resolve, Dial: c.cfg.Network.Dial,
		LeaderChanged: c.changed, SystemChanged: c.changed, BackupDir: c.dir.BackupDir(),
	}
	c.cfg.Tune(&cfg)
	h, err := shardgroups.Open(cfg)
	if err != nil {
		return nil, fatalf("open the log in %s: %w", dir, err)
	}
	c.host.Store(h)
	if g := c.gossip.Load(); g != nil {
		g.SetCluster(m.Cluster)
	}
	return h, nil
}
