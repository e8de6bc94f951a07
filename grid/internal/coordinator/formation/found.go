package formation

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// found is the step of a founder whose cluster is not formed.
func (c *Controller) found(ctx context.Context, m *identity.Member) error {
	h, err := c.cfg.Replicas.OpenEngine(m)
	if err != nil {
		return err
	}
	if err := c.startFirst(h, m); err != nil {
		return err
	}
	if c.isLost(ctx, h, m, h.System().View()) {
		return c.BecomeBlank()
	}
	v, err := h.System().Refresh(ctx)
	if err != nil {
		c.grid.SetWaiting("the first leader of the system group")
		return err
	}
	if v.Cluster == (protocol.UUID{}) {
		found := systemstate.Command{
			Kind: systemstate.Found, Cluster: m.Cluster, Name: m.ClusterName,
			Settings: systemstate.Settings{
				Durability: m.Durability, Partitions: m.Partitions, Groups: m.Groups, Replicas: m.Replicas,
				Limits: c.cfg.Limits,
			},
			Member: systemstate.Member{Incarnation: m.Incarnation, Name: m.Name, Address: c.grid.Address(), Level: c.grid.Level()},
		}
		if m.Durability == "memory" {
			found.Floor = c.grid.Floor.Now()
		}
		if m.Recovered != (protocol.UUID{}) {
			saved, err := c.findSavedCluster()
			if err != nil {
				return err
			}
			if saved == nil {
				return membership.Fatalf("the backups that the cluster was to be founded from are gone: start again from what quorate recover has made")
			}
			saved.found(&found)
		}
		_, err := h.System().Propose(ctx, found)
		c.grid.Stepped(tune.ClusterFounded, protocol.SystemGroup)
		return err
	}
	return c.form(ctx, h, m, v)
}

// form brings the expected members into a cluster that is founded, and makes it
// real. It is the step of the founder, and of whoever leads the system group
// without it: what is done already is in the log, whoever has done it.
func (c *Controller) form(ctx context.Context, h membership.Engine, m *identity.Member, v *systemstate.ClusterState) error {
	if v.Formed {
		return c.markFormed()
	}
	expect := max(c.cfg.Expect, 1)
	replies := c.probe(ctx)
	if m.Recovered != (protocol.UUID{}) {
		expect, replies = 1, nil // the others come to it, with nothing
	}
	for _, r := range replies {
		if r.ClusterName != m.ClusterName || r.Cluster == m.Cluster {
			continue
		}
		other := r.Formed
		lower := !r.Formed && r.Founder == r.Self.Incarnation && r.Self.Address < c.grid.Address()
		if other || lower {
			c.grid.Log.Info("another cluster is there already: giving up the one that was being founded", "at", r.Self.Address)
			return c.disband(ctx, m, v)
		}
	}
	for _, r := range replies {
		if _, listed := v.Incarnation(r.Self.Incarnation); !listed && len(membership.Living(v)) >= expect && !returns(v, r.Self) {
			continue
		}
		if err := c.invite(ctx, h, m, v, r); err != nil {
			c.grid.SetWaiting("%s to enlist with this founder: %v", r.Self.Address, err)
			return err
		}
		now, err := h.System().Refresh(ctx)
		if err != nil {
			return err
		}
		v = now
	}
	if n := len(membership.Living(v)); n < expect {
		c.grid.SetWaiting("all expected members to see each other: %d of %d are seen", n, expect)
		return nil
	}
	everybody := func(systemstate.Member) bool { return true }
	if again, err := c.cfg.Placement.Fill(ctx, h, everybody); again || err != nil {
		c.grid.SetWaiting("all of %d members to enter the system group", expect)
		return err
	}
	if v = h.System().View(); !c.cfg.Placement.IsFilled(v, everybody) {
		return nil // paused after a step that failed
	}
	if _, err := h.System().Propose(ctx, systemstate.Command{Kind: systemstate.Form}); err != nil {
		return err
	}
	c.grid.Stepped(tune.FormedLogged, protocol.SystemGroup)
	return c.markFormed()
}

// invite asks a blank member to enlist for this cluster, and lists it.
func (c *Controller) invite(ctx context.Context, h membership.Engine, m *identity.Member, v *systemstate.ClusterState, r peers.StateReply) error {
	blank := r.Cluster == protocol.UUID{}
	ours := r.Cluster == m.Cluster
	if !ours && (!blank || or(r.ClusterName, DefaultClusterName) != m.ClusterName) || int(r.Expect) != c.cfg.Expect {
		return nil
	}
	g := peers.Enlistment{Incarnation: r.Self.Incarnation, Founder: c.grid.Me(), Cluster: m.Cluster, ClusterName: m.ClusterName, Settings: settingsOf(m)}
	if err := c.grid.Ask(ctx, r.Self.Address, peers.AskEnlist, g, nil); err != nil {
		return fmt.Errorf("invite %s: %w", r.Self.Address, err)
	}
	c.grid.Stepped(tune.Enlisted, protocol.SystemGroup)
	if _, ok := v.Incarnation(r.Self.Incarnation); ok {
		return nil
	}
	if err := c.cfg.Admission.list(ctx, h, v, r.Self); err != nil {
		return err
	}
	c.grid.Stepped(tune.MemberListed, protocol.SystemGroup)
	return nil
}

// returns reports whether a member is one that is listed, in a new incarnation.
func returns(v *systemstate.ClusterState, s peers.Self) bool {
	old, ok := v.Named(s.Name)
	return ok && old.Incarnation != s.Incarnation
}

// disband releases the members that have enlisted, and forgets. It goes on
// at the next step if one does not answer.
func (c *Controller) disband(ctx context.Context, m *identity.Member, v *systemstate.ClusterState) error {
	q := peers.Release{Founder: m.Founder, Cluster: m.Cluster}
	errs := make([]error, len(v.Members))
	var asking sync.WaitGroup
	for i, o := range v.Members {
		if o.Incarnation == m.Incarnation {
			continue
		}
		address := c.grid.AddressOrListed(o)
		asking.Go(func() {
			if err := c.grid.Ask(ctx, address, peers.AskRelease, q, nil); err != nil {
				errs[i] = fmt.Errorf("release %s: %w", address, err)
			}
		})
	}
	asking.Wait()
	if err := errors.Join(errs...); err != nil {
		c.grid.SetWaiting("members to be released")
		return err
	}
	return c.forget()
}

// markFormed notes that the cluster is formed.
func (c *Controller) markFormed() error {
	defer c.grid.Stepped(tune.FormedNoted, protocol.SystemGroup)
	return c.grid.Decide(func(dir *identity.Dir) error {
		c.grid.Log.Info("the cluster is formed", "cluster", dir.Member().Cluster)
		return dir.Update(func(m *identity.Member) { m.Formed = true })
	})
}

// startFirst starts the founder's replica of the system group.
func (c *Controller) startFirst(h membership.Engine, m *identity.Member) error {
	return c.cfg.Replicas.StartReplica(h, shardgroups.GroupSpec{
		Group: protocol.SystemGroup, Replica: membership.FirstReplica,
		Initial: map[protocol.ReplicaID]protocol.UUID{membership.FirstReplica: m.Incarnation},
	})
}
