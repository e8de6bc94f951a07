package placement

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// addCopy makes a copy known to its group. Its member learns of it from the
// agreement; of the system group, which has the cluster state, it has to be asked.
func (c *Controller) addCopy(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, key replica, o systemstate.Member) error {
	q := peers.Change{Cluster: v.Cluster, Group: key.group, Replica: key.replica, Member: o.Incarnation, What: partition.AddNonVoting}
	if err := c.change(ctx, h, v, q); err != nil {
		return err
	}
	c.grid.Stepped(tune.ReplicaAdded, key.group)
	if key.group != protocol.SystemGroup {
		return nil
	}
	s := peers.Start{Cluster: v.Cluster, Incarnation: o.Incarnation, Replica: key.replica}
	for _, p := range v.Members {
		if at, ok := c.grid.AddressOf(p.ID); ok && !p.Gone {
			s.Peers = append(s.Peers, peers.Self{Incarnation: p.Incarnation, Name: p.Name, Address: at})
		}
	}
	address, _ := c.grid.AddressOf(o.ID)
	return c.grid.Ask(ctx, address, peers.AskStart, s, nil)
}

// takeStep carries one step of a plan out.
func (c *Controller) takeStep(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, s partition.Step) error {
	o, ok := v.Member(s.Member)
	if !ok {
		return errors.New("no such member")
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	system := h.System()
	q := peers.Change{Cluster: v.Cluster, Group: s.Group, Replica: s.Replica, Member: o.Incarnation, What: s.Change}
	switch s.Change {
	case partition.AddNonVoting:
		if s := c.grid.StateOf(o.Incarnation); s.DiskFull || s.Closing {
			return errors.New("its disk is full, or it is about to shut down")
		}
		if err := c.hasHeadroom(ctx, h, v, s.Group, o); err != nil {
			return err
		}
		c.grid.Log.Info("learner added", "group", s.Group, "name", o.Name)
		_, err := system.Propose(ctx, systemstate.Command{
			Kind: systemstate.AddReplica, Group: s.Group, Member: systemstate.Member{ID: s.Member},
		})
		c.grid.Stepped(tune.ReplicaAgreed, s.Group)
		return err
	case partition.Promote:
		// It may have been long since it had caught up.
		if err := c.cfg.CaughtUp(ctx, s.Member, peers.Transfer{Cluster: v.Cluster, Group: s.Group, Replica: s.Replica}); err != nil {
			delete(c.progress.caught, replica{s.Group, s.Replica})
			return err
		}
		if err := c.change(ctx, h, v, q); err != nil {
			return err
		}
		c.grid.Stepped(tune.PromotionMade, s.Group)
		c.grid.Log.Info("learner promoted: it has caught up", "group", s.Group, "name", o.Name)
		_, err := system.Propose(ctx, systemstate.Command{
			Kind: systemstate.SetReplica, Group: s.Group, Replica: systemstate.Replica{ID: s.Replica},
		})
		c.grid.Stepped(tune.PromotionDone, s.Group)
		return err
	default:
		if err := c.change(ctx, h, v, q); err != nil {
			return err
		}
		c.grid.Stepped(tune.DropMade, s.Group)
		c.grid.Log.Info("replica removed from its group", "group", s.Group, "name", o.Name, "replica", s.Replica)
		_, err := system.Propose(ctx, systemstate.Command{
			Kind: systemstate.RemoveReplica, Group: s.Group, Replica: systemstate.Replica{ID: s.Replica},
		})
		c.grid.Stepped(tune.DropAgreed, s.Group)
		return err
	}
}

// change has a group's leader change its replicas.
func (c *Controller) change(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, q peers.Change) error {
	leader, _ := c.grid.LeaderIn(v, q.Group)
	switch leader {
	case 0:
		return fmt.Errorf("group %d has no leader", q.Group)
	case c.grid.Self():
		return c.MakeChange(ctx, h, q)
	}
	address, ok := c.grid.AddressOf(leader)
	if !ok {
		return fmt.Errorf("the address of member %d is not known", leader)
	}
	return c.grid.Ask(ctx, address, peers.AskChange, q, nil)
}

// MakeChange changes the replicas of a group that is led here.
func (c *Controller) MakeChange(ctx context.Context, h membership.Engine, q peers.Change) error {
	if !h.LeaderOf(q.Group).Self {
		return peers.Refuse(protocol.CodeNotLeader, "this member does not lead group %d", q.Group)
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	switch q.What {
	case partition.AddNonVoting:
		return h.AddNonVoting(ctx, q.Group, q.Replica, q.Member)
	case partition.Promote:
		return h.AddVoter(ctx, q.Group, q.Replica, q.Member)
	case partition.Remove:
		return h.RemoveReplica(ctx, q.Group, q.Replica)
	}
	return peers.Refuse(protocol.CodeInvalid, "an unknown change")
}

// createGroups agrees on the first data groups.
func (c *Controller) createGroups(ctx context.Context, h membership.Engine, v *systemstate.ClusterState) error {
	members, replicas := membership.Living(v), int(v.Settings.Replicas)
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
		group := systemstate.Group{ID: g.ID, GracePeriod: c.cfg.GracePeriod(), Generation: v.Floor.Generation(), Revision: v.Floor.Revision()}
		for _, r := range g.Replicas {
			group.Replicas = append(group.Replicas, systemstate.Replica{ID: r.ID, Member: r.Member, Initial: true})
			group.NextReplica = max(group.NextReplica, r.ID+1)
		}
		create.Groups = append(create.Groups, group)
	}
	_, err = h.System().Propose(ctx, create)
	c.grid.Stepped(tune.GroupsAgreed, protocol.SystemGroup)
	return err
}
