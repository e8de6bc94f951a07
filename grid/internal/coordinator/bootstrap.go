package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// firstReplica is the founder's replica of the system group.
const firstReplica protocol.ReplicaID = 1

// probe asks everyone where they stand and returns the answers, ordered by
// address.
func (c *Coordinator) probe(ctx context.Context) []stateReply {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	me := c.self()
	targets := c.targets()
	replies := make([]*stateReply, len(targets))
	var wg sync.WaitGroup
	for i, address := range targets {
		wg.Go(func() {
			var r stateReply
			if err := ask(ctx, c.cfg.Network, address, askState, me, &r); err != nil {
				c.log.Debug("no answer", "address", address, "error", err)
				return
			}
			replies[i] = &r
		})
	}
	wg.Wait()
	var found []stateReply
	for _, r := range replies {
		same := func(s stateReply) bool { return r != nil && s.Self.Incarnation == r.Self.Incarnation }
		if r != nil && r.Self.Incarnation != me.Incarnation && !slices.ContainsFunc(found, same) {
			found = append(found, *r)
		}
	}
	slices.SortFunc(found, func(a, b stateReply) int { return strings.Compare(a.Self.Address, b.Self.Address) })
	c.mu.Lock()
	c.seen = found
	for _, r := range found {
		for _, a := range r.Known {
			if len(c.callers) < 1024 {
				c.callers[a] = time.Now()
			}
		}
	}
	c.mu.Unlock()
	return found
}

// seek is the step of a blank member.
func (c *Coordinator) seek(ctx context.Context, m *identity.Member) error {
	if left, err := c.findRemains(); left != nil || err != nil {
		if err != nil {
			return err
		}
		return c.seekAnew(ctx, left)
	}
	replies := c.probe(ctx)
	for _, r := range replies {
		if r.Formed {
			return c.adopt(r)
		}
	}
	expect := c.cfg.Expect
	switch {
	case expect == 0 && len(c.cfg.Join) > 0:
		c.setWaiting("a member of a formed cluster at %s", strings.Join(c.cfg.Join, ", "))
		return nil
	case expect <= 1:
		return c.becomeFounder()
	}
	// The members that would form the cluster, this one among them.
	set := []self{c.self()}
	odd := "" // who is seen, and does not belong
	for _, r := range replies {
		switch {
		case r.Founder != (protocol.UUID{}):
			c.setWaiting("the founder at %s", r.FounderAddress)
			return nil
		case int(r.Expect) != expect:
			odd = fmt.Sprintf("; %s expects %d", r.Self.Address, r.Expect)
		case c.cfg.ClusterName != r.ClusterName && c.cfg.ClusterName != "" && r.ClusterName != "":
			odd = fmt.Sprintf("; %s was started for cluster %q", r.Self.Address, r.ClusterName)
		default:
			set = append(set, r.Self)
		}
	}
	if len(set) < expect {
		c.setWaiting("%d of %d expected members seen%s", len(set), expect, odd)
		return nil
	}
	slices.SortFunc(set, func(a, b self) int { return strings.Compare(a.Address, b.Address) })
	set = set[:expect]
	if set[0].Incarnation != m.Incarnation {
		c.setWaiting("the founder at %s", set[0].Address)
		return nil
	}
	// All must see all: a member that only the founder sees would be cut off from
	// the others later.
	for _, r := range replies {
		for _, s := range set {
			member := slices.ContainsFunc(set, func(s self) bool { return s.Incarnation == r.Self.Incarnation })
			if member && s.Incarnation != r.Self.Incarnation && !slices.Contains(r.Seen, s.Incarnation) {
				c.setWaiting("%s and %s to see each other", r.Self.Address, s.Address)
				return nil
			}
		}
	}
	return c.becomeFounder()
}

// becomeFounder makes a blank member the founder of a cluster of its own.
func (c *Coordinator) becomeFounder() error {
	name := c.cfg.ClusterName
	if name == "" {
		name = DefaultClusterName
	}
	s := c.cfg.Settings
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.dir.Member(); !m.Blank() {
		return nil // it has given itself to another in the meantime
	}
	return c.dir.Update(func(m *identity.Member) {
		m.Cluster, m.ClusterName = identity.NewUUID(), name
		m.Founder, m.FounderAddress = m.Incarnation, c.cfg.Address
		m.Durability = or(s.Durability, "disk")
		m.Partitions = uint32(or(s.Partitions, partition.DefaultPartitions))
		m.Groups = uint32(or(s.Groups, DefaultGroups))
		m.Replicas = uint32(or(s.Replicas, DefaultReplicas))
	})
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// adopt makes a blank member one of a formed cluster. The cluster admits it in
// maintain.
func (c *Coordinator) adopt(r stateReply) error {
	if err := c.agree(r.ClusterName, r.Settings); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.dir.Member(); !m.Blank() {
		return nil
	}
	c.known[r.Self.Incarnation] = r.Self.Address
	return c.dir.Update(func(m *identity.Member) {
		m.Cluster, m.ClusterName, m.Formed = r.Cluster, r.ClusterName, true
		m.Durability, m.Partitions = r.Settings.Durability, r.Settings.Partitions
		m.Groups, m.Replicas = r.Settings.Groups, r.Settings.Replicas
		m.Peers = []identity.Peer{{Incarnation: r.Self.Incarnation, Address: r.Self.Address}}
	})
}

// found is the step of a founder whose cluster is not formed.
func (c *Coordinator) found(ctx context.Context, m *identity.Member) error {
	h, err := c.openHost(m)
	if err != nil {
		return err
	}
	if err := c.startFirst(h, m); err != nil {
		return err
	}
	v, err := h.System().Refresh(ctx)
	if err != nil {
		c.setWaiting("the first leader of the system group")
		return err
	}
	if v.Cluster == (protocol.UUID{}) {
		found := systemstate.Command{
			Kind: systemstate.Found, Cluster: m.Cluster, Name: m.ClusterName,
			Settings: systemstate.Settings{
				Durability: m.Durability, Partitions: m.Partitions, Groups: m.Groups, Replicas: m.Replicas,
				Limits: c.cfg.Limits,
			},
			Member: systemstate.Member{Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address, Level: c.level},
		}
		if first := firstSession(m.Durability); first != 0 {
			found.Seed = &systemstate.Seed{Next: first}
		}
		if m.Recovered != (protocol.UUID{}) {
			left, err := c.findRemains()
			if err != nil {
				return err
			}
			if left == nil {
				return fatalf("the saved states that the cluster was to be founded from are gone: start again from what quorate recover has made")
			}
			left.sow(&found)
		}
		_, err := h.System().Propose(ctx, found)
		return err
	}
	if v.Formed {
		return c.markFormed()
	}
	expect := max(c.cfg.Expect, 1)
	replies := c.probe(ctx)
	if m.Recovered != (protocol.UUID{}) {
		expect, replies = 1, nil // the others come to it, with nothing
	}
	for _, r := range replies {
		other := r.Formed && r.Cluster != m.Cluster
		lower := !r.Formed && r.Founder == r.Self.Incarnation && r.Self.Address < c.cfg.Address
		if other || lower {
			c.log.Info("another cluster is there already: giving up the one that was being founded", "at", r.Self.Address)
			return c.disband(ctx, m, v)
		}
	}
	for _, r := range replies {
		if _, listed := v.Incarnation(r.Self.Incarnation); !listed && len(living(v)) >= expect && !returns(v, r.Self) {
			continue
		}
		if err := c.invite(ctx, h, m, v, r); err != nil {
			c.setWaiting("%s to give itself to this founder: %v", r.Self.Address, err)
			return err
		}
		if v, err = h.System().Refresh(ctx); err != nil {
			return err
		}
	}
	if n := len(living(v)); n < expect {
		c.setWaiting("%d of %d expected members seen", n, expect)
		return nil
	}
	everybody := func(systemstate.Member) bool { return true }
	if again, err := c.fillPlaces(ctx, h, everybody); again || err != nil {
		c.setWaiting("all of %d members to enter the system group", expect)
		return err
	}
	if v = h.System().View(); len(c.planPlaces(v, everybody, nil)) > 0 {
		return nil // paused after a step that failed
	}
	if _, err := h.System().Propose(ctx, systemstate.Command{Kind: systemstate.Form}); err != nil {
		return err
	}
	return c.markFormed()
}

// invite asks a blank member to give itself to this founder, and lists it.
func (c *Coordinator) invite(ctx context.Context, h *shardgroups.Host, m *identity.Member, v *systemstate.Agreement, r stateReply) error {
	blank := r.Cluster == protocol.UUID{}
	ours := r.Cluster == m.Cluster
	if !blank && !ours || int(r.Expect) != c.cfg.Expect {
		return nil
	}
	if err := c.mayTakeName(ctx, v, r.Self); err != nil {
		return err
	}
	g := gift{Founder: c.self(), Cluster: m.Cluster, ClusterName: m.ClusterName, Settings: wireOf(m)}
	if err := ask(ctx, c.cfg.Network, r.Self.Address, askGive, g, nil); err != nil {
		return fmt.Errorf("invite %s: %w", r.Self.Address, err)
	}
	if _, ok := v.Incarnation(r.Self.Incarnation); ok {
		return nil
	}
	return c.list(ctx, h, r.Self)
}

// living returns the members whose data is not lost.
func living(v *systemstate.Agreement) []protocol.MemberID {
	var ids []protocol.MemberID
	for _, o := range v.Members {
		if !o.Gone {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// returns reports whether a member is one that is listed, in a new incarnation.
func returns(v *systemstate.Agreement, s self) bool {
	old, ok := v.Named(s.Name)
	return ok && old.Incarnation != s.Incarnation
}

// disband releases the members that gave themselves, and forgets. It goes on
// at the next step where one does not answer.
func (c *Coordinator) disband(ctx context.Context, m *identity.Member, v *systemstate.Agreement) error {
	for _, o := range v.Members {
		if o.Incarnation == m.Incarnation {
			continue
		}
		address, ok := c.resolve(o.Incarnation)
		if !ok {
			address = o.Address
		}
		err := ask(ctx, c.cfg.Network, address, askRelease, release{Founder: m.Incarnation, Cluster: m.Cluster}, nil)
		if err != nil {
			c.setWaiting("%s to be released", address)
			return fmt.Errorf("release %s: %w", address, err)
		}
	}
	return c.forget()
}

// forget makes the member blank again. Only run calls it.
func (c *Coordinator) forget() error {
	if h := c.host.Swap(nil); h != nil {
		if err := h.Close(); err != nil {
			return err
		}
	}
	c.started, c.caughtUp = map[protocol.GroupID]bool{}, map[placeKey]bool{}
	c.places.clear()
	c.mu.Lock()
	err := c.dir.Forget()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.startGossip()
}

// await is the step of a member that has given itself to a founder.
func (c *Coordinator) await(ctx context.Context, m *identity.Member) error {
	if c.isReleased() {
		c.log.Info("released by the founder")
		return c.forget()
	}
	h, err := c.openHost(m)
	if err != nil {
		return err
	}
	c.setWaiting("the founder at %s to form the cluster", m.FounderAddress)
	c.probe(ctx) // so that a founder that has moved finds us
	r, ok := m.Replica(protocol.SystemGroup)
	if !ok {
		return nil
	}
	if err := c.startReplica(h, shardgroups.GroupSpec{Group: r.Group, Replica: r.Replica, NonVoting: r.NonVoting}); err != nil {
		return err
	}
	if h.System().View().Formed {
		return c.markFormed()
	}
	return nil
}

func (c *Coordinator) markFormed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.Info("the cluster is formed", "cluster", c.dir.Member().Cluster)
	return c.dir.Update(func(m *identity.Member) { m.Formed = true })
}

// startFirst starts the founder's replica of the system group.
func (c *Coordinator) startFirst(h *shardgroups.Host, m *identity.Member) error {
	return c.startReplica(h, shardgroups.GroupSpec{
		Group: protocol.SystemGroup, Replica: firstReplica,
		Initial: map[protocol.ReplicaID]protocol.UUID{firstReplica: m.Incarnation},
	})
}

// startReplica starts a replica, once. It is noted in member.json before and
// after, so that a log that is missing later is known to be lost.
func (c *Coordinator) startReplica(h *shardgroups.Host, spec shardgroups.GroupSpec) error {
	if c.started[spec.Group] {
		return nil
	}
	note := func(started bool) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		m := c.dir.Member()
		r, ok := m.Replica(spec.Group)
		if ok && r.Replica != spec.Replica {
			return fmt.Errorf("group %d: replica %d is to be started, %d was", spec.Group, spec.Replica, r.Replica)
		}
		if ok && (r.Started || !started) {
			return nil
		}
		return c.dir.Update(func(m *identity.Member) {
			m.Started = slices.DeleteFunc(m.Started, func(r identity.Replica) bool { return r.Group == spec.Group })
			m.Started = append(m.Started, identity.Replica{
				Group: spec.Group, Replica: spec.Replica, NonVoting: spec.NonVoting, Started: started,
			})
		})
	}
	if err := note(false); err != nil {
		return err
	}
	m := c.member()
	r, _ := m.Replica(spec.Group)
	// The log has its promotion: the engine takes it from where it began.
	spec.NonVoting = r.NonVoting
	err := h.StartGroup(spec, !r.Started)
	if errors.Is(err, shardgroups.ErrLogMissing) {
		return fatalf("the log of group %d is gone from the data directory, which says it was there: start the member with an empty data directory", spec.Group)
	}
	if errors.Is(err, shardgroups.ErrEngineFailed) {
		return fatalf("replica %d of group %d cannot be started: %w: start the member again; where that ends so, too, set its data directory aside and start it with an empty one: it gets its data from the others", spec.Replica, spec.Group, err)
	}
	if err != nil {
		return fmt.Errorf("start replica %d of group %d: %w", spec.Replica, spec.Group, err)
	}
	c.started[spec.Group] = true
	return note(true)
}

var errNotAdmitted = errors.New("not admitted yet")
