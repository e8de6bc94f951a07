package formation

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
)

// seek is the step of a blank member.
func (c *Controller) seek(ctx context.Context, m *identity.Member) error {
	if saved, err := c.findSavedCluster(); saved != nil || err != nil {
		if err != nil {
			return err
		}
		return c.foundAnew(ctx, saved)
	}
	replies := c.probe(ctx)
	elsewhere, other := "", ""
	for _, r := range replies {
		joined := c.joined[r.Self.Incarnation]
		switch {
		case !r.Formed:
		case joined && c.mayJoin(r.ClusterName):
			return c.adopt(r)
		case !joined && c.clusterName() == r.ClusterName:
			elsewhere = r.Self.Address
		default:
			c.skip(r)
			if joined {
				other = fmt.Sprintf("; %s belongs to cluster %q, and this member was started for %q: see --cluster", r.Self.Address, r.ClusterName, c.clusterName())
			}
		}
	}
	if elsewhere != "" {
		c.grid.SetWaiting("a member of a formed cluster among the addresses to join: %s belongs to one of that name, and is not among them", elsewhere)
		return nil
	}
	expect := c.cfg.Expect
	switch {
	case expect == 0 && len(c.grid.Join()) > 0:
		c.grid.SetWaiting("a member of a formed cluster at %s%s", strings.Join(c.grid.Join(), ", "), other)
		return nil
	case expect <= 1:
		return c.becomeFounder()
	}
	// The members that would form the cluster, this one among them.
	set := []peers.Self{c.grid.Me()}
	odd := "" // who is seen, and does not belong
	for _, r := range replies {
		switch {
		case c.clusterName() != or(r.ClusterName, DefaultClusterName):
			odd = fmt.Sprintf("; %s was started for cluster %q", r.Self.Address, or(r.ClusterName, DefaultClusterName))
		case r.Founder != (protocol.UUID{}):
			c.grid.SetWaiting("the founder at %s", r.FounderAddress)
			return nil
		case int(r.Expect) != expect:
			odd = fmt.Sprintf("; %s expects %d", r.Self.Address, r.Expect)
		default:
			set = append(set, r.Self)
		}
	}
	if len(set) < expect {
		c.grid.SetWaiting("all expected members to see each other: %d of %d are seen%s", len(set), expect, odd)
		return nil
	}
	slices.SortFunc(set, func(a, b peers.Self) int { return strings.Compare(a.Address, b.Address) })
	set = set[:expect]
	if set[0].Incarnation != m.Incarnation {
		c.grid.SetWaiting("the founder at %s", set[0].Address)
		return nil
	}
	// All must see all: a member that only the founder sees would be cut off from
	// the others later.
	for _, r := range replies {
		for _, s := range set {
			member := slices.ContainsFunc(set, func(s peers.Self) bool { return s.Incarnation == r.Self.Incarnation })
			if member && s.Incarnation != r.Self.Incarnation && !slices.Contains(r.Seen, s.Incarnation) {
				c.grid.SetWaiting("%s and %s to see each other", r.Self.Address, s.Address)
				return nil
			}
		}
	}
	return c.becomeFounder()
}

// maxSkipped bounds what is remembered of clusters that were skipped.
const maxSkipped = 256

// skip says, once, that a formed cluster is not the one that is looked for:
// addresses are used again, and a blank member of one cluster may be known to the
// members of another.
func (c *Controller) skip(r peers.StateReply) {
	key := r.Self.Address + " " + r.Cluster.String()
	if c.skipped[key] {
		return
	}
	if len(c.skipped) >= maxSkipped {
		clear(c.skipped)
	}
	c.skipped[key] = true
	c.grid.Log.Warn("a member of another cluster is skipped", "address", r.Self.Address, "its_cluster", r.ClusterName, "wanted", c.clusterName())
}

// becomeFounder makes a blank member the founder of a cluster of its own.
func (c *Controller) becomeFounder() error {
	name, s := c.clusterName(), c.cfg.Settings
	defer c.grid.Stepped(tune.FounderNoted, protocol.SystemGroup)
	return c.grid.Decide(func(dir *identity.Dir) error {
		if m := dir.Member(); !m.Blank() {
			return nil // it has enlisted with another in the meantime
		}
		return dir.Update(func(m *identity.Member) {
			m.Cluster, m.ClusterName = identity.NewUUID(), name
			m.Founder, m.FounderAddress = m.Incarnation, c.grid.Address()
			m.Durability = or(s.Durability, "disk")
			m.Partitions = uint32(or(s.Partitions, partition.DefaultPartitions))
			m.Groups = uint32(or(s.Groups, DefaultGroups))
			m.Replicas = uint32(or(s.Replicas, DefaultReplicas))
		})
	})
}

// adopt makes a blank member one of a formed cluster. Package rejoin asks the
// cluster to admit it.
func (c *Controller) adopt(r peers.StateReply) error {
	if err := c.agree(r.ClusterName, r.Settings); err != nil {
		return err
	}
	return c.grid.Decide(func(dir *identity.Dir) error {
		if m := dir.Member(); !m.Blank() {
			return nil
		}
		c.grid.NoteKnown(r.Self)
		return dir.Update(func(m *identity.Member) {
			m.Cluster, m.ClusterName, m.Formed = r.Cluster, r.ClusterName, true
			m.Durability, m.Partitions = r.Settings.Durability, r.Settings.Partitions
			m.Groups, m.Replicas = r.Settings.Groups, r.Settings.Replicas
			m.Peers = []identity.Peer{{Incarnation: r.Self.Incarnation, Address: r.Self.Address}}
		})
	})
}
