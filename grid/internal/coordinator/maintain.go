package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// caughtUpTimeout bounds the question whether a replica has caught up: one that
// needs longer is no place for a lead.
const caughtUpTimeout = time.Second

// maintain is the step of a member of a formed cluster.
func (c *Coordinator) maintain(ctx context.Context, m *identity.Member) (again bool, err error) {
	if err := c.checkRecovered(ctx, m); err != nil {
		return false, err
	}
	if ok, err := c.complete(ctx, m); !ok || err != nil {
		return true, err
	}
	h, err := c.openHost(m)
	if err != nil {
		return true, err
	}
	if err := c.restart(h, m); err != nil {
		return true, err
	}
	if _, ok := m.Replica(protocol.SystemGroup); !ok {
		return true, c.askToJoin(ctx, m)
	}
	v := h.System().View()
	if v.Cluster == (protocol.UUID{}) {
		c.setWaiting("the log of the system group")
		if c.logNeverComes(ctx, m) {
			c.log.Warn("the log of the system group never arrives: its cluster no longer exists", "cluster", m.Cluster)
			return true, c.becomeBlank()
		}
		return true, nil
	}
	if v.Cluster != m.Cluster {
		return false, fatalf("the system group belongs to cluster %s, this directory to %s: restore the right directory", v.Cluster, m.Cluster)
	}
	if err := c.remember(v); err != nil {
		return true, err
	}
	if v.Settings.Durability == "memory" {
		c.floor.learn(h.System().Highest())
	}
	if h.System().Leader().Replica != 0 {
		c.forgetUnlisted(v) // what is known here is no longer older than the member
	}
	c.tellLife(ctx, m)
	if blank, err := c.mayReform(ctx, h, m, v); blank || err != nil {
		return true, err
	}
	me, ok := v.Incarnation(m.Incarnation)
	if !ok {
		c.setWaiting("the system group to list this member")
		return true, nil
	}
	if me.Gone && !c.isNeeded(ctx, m, v, me.ID) {
		o, _ := v.Named(me.Name)
		return false, fatalf("another incarnation of %s, at %s, has replaced this member: stop one of them, and start this one with an empty data directory", me.Name, o.Address)
	}
	if err := c.reconcile(ctx, h, v, me.ID); err != nil {
		return true, err
	}
	c.tendDisk(ctx, h, v, me.ID)
	c.tendSlowDisk(h)
	if me.Address != c.cfg.Address || me.Name != m.Name || me.Level != c.level {
		if err := c.tellAddress(ctx, h, m); err != nil {
			return true, err
		}
	}
	if err := c.reconcileBackups(ctx, h, v, me.ID); err != nil {
		return true, err
	}
	c.learnLeaders(ctx, h, v)
	c.checkReady(h, v)
	behind := c.watchCatchUp(ctx, h, v, me.ID)
	if !h.System().Leader().Self {
		c.places.clear()
		c.setNoRoom(nil)
		return behind, nil
	}
	again, err = c.lead(ctx, h)
	return again || behind, err
}

// restart starts the replicas that were running before.
func (c *Coordinator) restart(h *shardgroups.Host, m *identity.Member) error {
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
func (c *Coordinator) reconcile(ctx context.Context, h *shardgroups.Host, v *systemstate.Agreement, me protocol.MemberID) error {
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
func (c *Coordinator) dropped(v *systemstate.Agreement, me protocol.MemberID) []identity.Replica {
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
func (c *Coordinator) dropReplica(ctx context.Context, h *shardgroups.Host, r identity.Replica) error {
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
func initialOf(v *systemstate.Agreement, g systemstate.Group) (map[protocol.ReplicaID]protocol.UUID, error) {
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
func (c *Coordinator) remember(v *systemstate.Agreement) error {
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
			c.noteKnown(self{Incarnation: o.Incarnation, Address: o.Address})
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
func voteTogether(v *systemstate.Agreement, a, b protocol.MemberID) bool {
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
func (c *Coordinator) askToJoin(ctx context.Context, m *identity.Member) error {
	// All are asked at the same time: addresses that are silent must not use up
	// the time of the one that answers.
	type answer struct {
		by  string
		err error
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	targets := c.targets()
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
		c.log.Debug("not admitted", "by", a.by, "error", a.err)
	}
	if blank, err := c.giveUpJoining(ctx, m); blank || err != nil {
		return err
	}
	if said != nil {
		c.setWaiting("cluster %q to admit this member: %s", m.ClusterName, said.detail)
	} else {
		c.setWaiting("cluster %q to admit this member", m.ClusterName)
	}
	return errNotAdmitted
}

// tellAddress tells everybody that this member is at another address than the
// tables say. Without it the others would send to the old one until they miss
// it there.
func (c *Coordinator) tellAddress(ctx context.Context, h *shardgroups.Host, m *identity.Member) error {
	q := join{Cluster: m.Cluster, Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address, Level: c.level}
	if h.System().Leader().Self {
		return c.setAddress(ctx, h, q)
	}
	targets := c.targets()
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

func (c *Coordinator) setAddress(ctx context.Context, h *shardgroups.Host, q join) error {
	_, err := h.System().Propose(ctx, systemstate.Command{
		Kind:   systemstate.SetAddress,
		Member: systemstate.Member{Incarnation: q.Incarnation, Name: q.Name, Address: q.Address, Level: q.Level},
	})
	return err
}

// lead is the part of the system group's leader: one safe step at a time.
// Where there is nothing to do it asks nobody.
func (c *Coordinator) lead(ctx context.Context, h *shardgroups.Host) (again bool, err error) {
	v := h.System().View()
	if !v.Formed {
		return true, nil
	}
	if len(v.Partitions) == 0 {
		if v, err = h.System().Refresh(ctx); err != nil || len(v.Partitions) > 0 {
			return true, err
		}
		return true, c.createGroups(ctx, h, v)
	}
	if level := v.CommonLevel(); level > v.Level {
		c.log.Info("every member understands a higher level of state", "level", level)
		_, err := h.System().Propose(ctx, systemstate.Command{Kind: systemstate.RaiseLevel, Member: systemstate.Member{Level: level}})
		return true, err
	}
	if again, err := c.replaceLost(ctx, h); again || err != nil {
		return true, err
	}
	again, err = c.fillPlaces(ctx, h, func(o systemstate.Member) bool { return o.ID == c.Self() || c.Heard(o.Incarnation) })
	if err != nil && err.Error() != c.places.said {
		c.places.said = err.Error()
		c.log.Warn("a replica is not replaced yet", "error", err)
	}
	if again {
		return true, nil
	}
	return false, c.spreadLeaders(ctx, h, h.System().View())
}

// createGroups agrees on the first data groups.
func (c *Coordinator) createGroups(ctx context.Context, h *shardgroups.Host, v *systemstate.Agreement) error {
	members, replicas := living(v), int(v.Settings.Replicas)
	if len(members) == 2 && replicas > 2 {
		replicas = 1 // see partition.PlanReplicas
	}
	t, err := partition.PlanGroups(partition.First{
		Partitions: int(v.Settings.Partitions), Groups: int(v.Settings.Groups), Replicas: replicas,
		Members: members, NextReplica: 1,
	})
	if err != nil {
		return err
	}
	create := systemstate.Command{Kind: systemstate.CreateGroups, Partitions: t.Partitions}
	for _, g := range t.Groups {
		group := systemstate.Group{ID: g.ID, GracePeriod: c.gracePeriod(), Generation: v.Floor.Generation(), Revision: v.Floor.Revision()}
		for _, r := range g.Replicas {
			group.Replicas = append(group.Replicas, systemstate.Replica{ID: r.ID, Member: r.Member, Initial: true})
			group.NextReplica = max(group.NextReplica, r.ID+1)
		}
		create.Groups = append(create.Groups, group)
	}
	_, err = h.System().Propose(ctx, create)
	c.stepped(tune.GroupsAgreed, protocol.SystemGroup)
	return err
}

// spreadLeaders asks one leader to hand over one group, where leaders are
// spread unevenly.
func (c *Coordinator) spreadLeaders(ctx context.Context, h *shardgroups.Host, v *systemstate.Agreement) error {
	leaders := c.leaders(v)
	t, ok := c.balance.next(time.Now(), tableOf(v), leaders, c.able(v))
	if !ok {
		return nil
	}
	q := transfer{Cluster: v.Cluster, Group: t.Group, Replica: t.Replica}
	// A leader that is slow to log does not tell in time how far it is. The next
	// one is asked once more before anybody waits.
	if err := c.mayLead(ctx, t.To, q); err != nil && !c.isSlow(v, t.From) {
		return nil // a member that has just come back: later
	}
	c.log.Info("balancing leadership", "group", t.Group, "from", t.From, "to", t.To)
	if t.From == c.Self() {
		return c.handOver(ctx, h, q)
	}
	address, ok := c.AddressOf(t.From)
	if !ok {
		return nil
	}
	return ask(ctx, c.cfg.Network, address, askTransfer, q, nil)
}

func (c *Coordinator) isSlow(v *systemstate.Agreement, id protocol.MemberID) bool {
	o, _ := v.Member(id)
	return c.StateOf(o.Incarnation).DiskSlow
}

// mayLead asks the member that is to lead whether its replica has caught up.
// One that lags does not stand for election, and until the transfer is given
// up nobody writes.
func (c *Coordinator) mayLead(ctx context.Context, to protocol.MemberID, q transfer) error {
	if to == c.Self() {
		ctx, cancel := context.WithTimeout(ctx, caughtUpTimeout)
		defer cancel()
		return c.host.Load().CaughtUp(ctx, q.Group)
	}
	address, ok := c.AddressOf(to)
	if !ok {
		return fmt.Errorf("the address of member %d is not known", to)
	}
	return ask(ctx, c.cfg.Network, address, askCaughtUp, q, nil)
}

// able are the members that may lead: this one and those heard of, but none
// that is about to end, short of room, or slow to log, while another is not; the
// first of these counts most.
func (c *Coordinator) able(v *systemstate.Agreement) []protocol.MemberID {
	var ids []protocol.MemberID
	for _, o := range v.Members {
		if o.ID == c.Self() || c.Heard(o.Incarnation) {
			ids = append(ids, o.ID)
		}
	}
	for _, unfit := range []func(gossip.State) bool{
		func(s gossip.State) bool { return s.Closing },
		func(s gossip.State) bool { return s.DiskFull },
		func(s gossip.State) bool { return s.DiskSlow },
	} {
		fit := slices.DeleteFunc(slices.Clone(ids), func(id protocol.MemberID) bool {
			o, _ := v.Member(id)
			return unfit(c.StateOf(o.Incarnation))
		})
		if len(fit) > 0 {
			ids = fit
		}
	}
	return ids
}

// Heard reports whether an incarnation was heard of lately.
func (c *Coordinator) Heard(u protocol.UUID) bool {
	g := c.gossip.Load()
	if g == nil {
		return false
	}
	h, ok := g.Hint(u)
	return ok && h.Alive
}
