package coordinator

import (
	"context"
	"time"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// caughtUpTimeout bounds the question whether a replica has caught up: one that
// needs longer is no place for a lead.
const caughtUpTimeout = time.Second

// maintain is the step of a member of a formed cluster.
func (c *Coordinator) maintain(ctx context.Context, m *identity.Member) (again bool, err error) {
	if err := c.Formation.checkRecovered(ctx, m); err != nil {
		return false, err
	}
	if ok, err := c.Rejoin.complete(ctx, m); !ok || err != nil {
		return true, err
	}
	h, err := c.Rejoin.openHost(m)
	if err != nil {
		return true, err
	}
	if err := c.Rejoin.restart(h, m); err != nil {
		return true, err
	}
	if _, ok := m.Replica(protocol.SystemGroup); !ok {
		return true, c.Rejoin.askToJoin(ctx, m)
	}
	v := h.System().View()
	if v.Cluster == (protocol.UUID{}) {
		c.setWaiting("the log of the system group")
		if c.Formation.logNeverComes(ctx, m) {
			c.log.Warn("the log of the system group never arrives: its cluster no longer exists", "cluster", m.Cluster)
			return true, c.Formation.becomeBlank()
		}
		return true, nil
	}
	if v.Cluster != m.Cluster {
		return false, fatalf("the system group belongs to cluster %s, this directory to %s: restore the right directory", v.Cluster, m.Cluster)
	}
	if err := c.Rejoin.remember(v); err != nil {
		return true, err
	}
	if v.Settings.Durability == "memory" {
		c.floor.learn(h.System().Highest())
	}
	if h.System().Leader().Replica != 0 {
		c.Directory.forgetUnlisted(v) // what is known here is no longer older than the member
	}
	c.Rejoin.confirmRun(ctx, m)
	if blank, err := c.Formation.mayReform(ctx, h, m, v); blank || err != nil {
		return true, err
	}
	me, ok := v.Incarnation(m.Incarnation)
	if !ok {
		c.setWaiting("the system group to list this member")
		return true, nil
	}
	if me.Gone && !c.Placement.isNeeded(ctx, m, v, me.ID) {
		o, _ := v.Named(me.Name)
		return false, fatalf("another incarnation of %s, at %s, has replaced this member: stop one of them, and start this one with an empty data directory", me.Name, o.Address)
	}
	if err := c.Rejoin.reconcile(ctx, h, v, me.ID); err != nil {
		return true, err
	}
	c.Rejoin.reconcileDisk(ctx, h, v, me.ID)
	c.Rejoin.transferFromSlowDisk(h)
	if me.Address != c.cfg.Address || me.Name != m.Name || me.Level != c.level {
		if err := c.Rejoin.announceAddress(ctx, h, m); err != nil {
			return true, err
		}
	}
	if err := c.Placement.reconcileBackups(ctx, h, v, me.ID); err != nil {
		return true, err
	}
	c.Leadership.learnLeaders(ctx, h, v)
	c.checkReady(h, v)
	behind := c.Placement.watchCatchUp(ctx, h, v, me.ID)
	if !h.System().Leader().Self {
		c.Placement.places.clear()
		c.Placement.setNoRoom(nil)
		return behind, nil
	}
	again, err = c.lead(ctx, h)
	return again || behind, err
}

func (c *peerServer) setAddress(ctx context.Context, h *shardgroups.Host, q join) error {
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
		return true, c.Placement.createGroups(ctx, h, v)
	}
	if level := v.CommonLevel(); level > v.Level {
		c.log.Info("every member understands a higher level of state", "level", level)
		_, err := h.System().Propose(ctx, systemstate.Command{Kind: systemstate.RaiseLevel, Member: systemstate.Member{Level: level}})
		return true, err
	}
	if again, err := c.Placement.replaceLost(ctx, h); again || err != nil {
		return true, err
	}
	again, err = c.Placement.fillPlaces(ctx, h, func(o systemstate.Member) bool { return o.ID == c.Self() || c.Directory.Heard(o.Incarnation) })
	if err != nil && err.Error() != c.Placement.places.said {
		c.Placement.places.said = err.Error()
		c.log.Warn("a replica is not replaced yet", "err", err)
	}
	if again {
		return true, nil
	}
	return false, c.Leadership.spreadLeaders(ctx, h, h.System().View())
}
