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
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// firstReplica is the founder's replica of the system group.
const firstReplica protocol.ReplicaID = 1

// probe asks everyone where they stand and returns the answers, ordered by
// address. It notes in joined who has answered at an address that this member was
// told to find its cluster at.
func (c *formation) probe(ctx context.Context) []stateReply {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	me := c.self()
	targets := c.Directory.targets()
	replies := make([]*stateReply, len(targets))
	var wg sync.WaitGroup
	for i, address := range targets {
		wg.Go(func() {
			var r stateReply
			if err := ask(ctx, c.cfg.Network, address, askState, me, &r); err != nil {
				c.log.Debug("no answer", "address", address, "err", err)
				return
			}
			replies[i] = &r
		})
	}
	wg.Wait()
	var found []stateReply
	c.joined = map[protocol.UUID]bool{}
	for i, r := range replies {
		if r != nil && (slices.Contains(c.cfg.Join, targets[i]) || slices.Contains(c.past.addresses, targets[i])) {
			c.joined[r.Self.Incarnation] = true
		}
		same := func(s stateReply) bool { return r != nil && s.Self.Incarnation == r.Self.Incarnation }
		if r != nil && r.Self.Incarnation != me.Incarnation && !slices.ContainsFunc(found, same) {
			found = append(found, *r)
		}
	}
	slices.SortFunc(found, func(a, b stateReply) int { return strings.Compare(a.Self.Address, b.Self.Address) })
	c.mu.Lock()
	c.seen = found
	for _, r := range found {
		c.floor.learn(r.Floor)
		for _, a := range r.Known {
			if len(c.Directory.callers) < 1024 {
				c.Directory.callers[a] = time.Now()
			}
		}
	}
	c.mu.Unlock()
	return found
}

// seek is the step of a blank member.
func (c *formation) seek(ctx context.Context, m *identity.Member) error {
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
		c.setWaiting("a member of a formed cluster among the addresses to join: %s belongs to one of that name, and is not among them", elsewhere)
		return nil
	}
	expect := c.cfg.Expect
	switch {
	case expect == 0 && len(c.cfg.Join) > 0:
		c.setWaiting("a member of a formed cluster at %s%s", strings.Join(c.cfg.Join, ", "), other)
		return nil
	case expect <= 1:
		return c.becomeFounder()
	}
	// The members that would form the cluster, this one among them.
	set := []self{c.self()}
	odd := "" // who is seen, and does not belong
	for _, r := range replies {
		switch {
		case c.clusterName() != or(r.ClusterName, DefaultClusterName):
			odd = fmt.Sprintf("; %s was started for cluster %q", r.Self.Address, or(r.ClusterName, DefaultClusterName))
		case r.Founder != (protocol.UUID{}):
			c.setWaiting("the founder at %s", r.FounderAddress)
			return nil
		case int(r.Expect) != expect:
			odd = fmt.Sprintf("; %s expects %d", r.Self.Address, r.Expect)
		default:
			set = append(set, r.Self)
		}
	}
	if len(set) < expect {
		c.setWaiting("all expected members to see each other: %d of %d are seen%s", len(set), expect, odd)
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

// wantedName returns the name of the cluster that this member was told to join, or
// belonged to before its memory was lost; empty: any.
func (c *formation) wantedName() string { return or(c.cfg.ClusterName, c.past.name) }

// clusterName returns the name of the cluster that this member, while it is blank,
// forms with others.
func (c *formation) clusterName() string { return or(c.wantedName(), DefaultClusterName) }

// mayJoin reports whether a cluster of a name is the one that is wanted.
func (c *formation) mayJoin(name string) bool {
	want := c.wantedName()
	return want == "" || want == name
}

// maxSkipped bounds what is remembered of clusters that were skipped.
const maxSkipped = 256

// skip says, once, that a formed cluster is not the one that is looked for:
// addresses are used again, and a blank member of one cluster may be known to the
// members of another.
func (c *formation) skip(r stateReply) {
	key := r.Self.Address + " " + r.Cluster.String()
	if c.skipped[key] {
		return
	}
	if len(c.skipped) >= maxSkipped {
		clear(c.skipped)
	}
	c.skipped[key] = true
	c.log.Warn("a member of another cluster is skipped", "address", r.Self.Address, "its_cluster", r.ClusterName, "wanted", c.clusterName())
}

// becomeFounder makes a blank member the founder of a cluster of its own.
func (c *formation) becomeFounder() error {
	name, s := c.clusterName(), c.cfg.Settings
	defer c.stepped(tune.FounderNoted, protocol.SystemGroup)
	c.deciding.Lock()
	defer c.deciding.Unlock()
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
func (c *formation) adopt(r stateReply) error {
	if err := c.agree(r.ClusterName, r.Settings); err != nil {
		return err
	}
	c.deciding.Lock()
	defer c.deciding.Unlock()
	if m := c.dir.Member(); !m.Blank() {
		return nil
	}
	c.Directory.noteKnown(r.Self)
	return c.dir.Update(func(m *identity.Member) {
		m.Cluster, m.ClusterName, m.Formed = r.Cluster, r.ClusterName, true
		m.Durability, m.Partitions = r.Settings.Durability, r.Settings.Partitions
		m.Groups, m.Replicas = r.Settings.Groups, r.Settings.Replicas
		m.Peers = []identity.Peer{{Incarnation: r.Self.Incarnation, Address: r.Self.Address}}
	})
}

// found is the step of a founder whose cluster is not formed.
func (c *formation) found(ctx context.Context, m *identity.Member) error {
	h, err := c.Rejoin.openHost(m)
	if err != nil {
		return err
	}
	if err := c.startFirst(h, m); err != nil {
		return err
	}
	if blank, err := c.mayReform(ctx, h, m, h.System().View()); blank || err != nil {
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
		if m.Durability == "memory" {
			found.Floor = c.floor.now()
		}
		if m.Recovered != (protocol.UUID{}) {
			saved, err := c.findSavedCluster()
			if err != nil {
				return err
			}
			if saved == nil {
				return fatalf("the backups that the cluster was to be founded from are gone: start again from what quorate recover has made")
			}
			saved.found(&found)
		}
		_, err := h.System().Propose(ctx, found)
		c.stepped(tune.ClusterFounded, protocol.SystemGroup)
		return err
	}
	return c.form(ctx, h, m, v)
}

// form brings the expected members into a cluster that is founded, and makes it
// real. It is the step of the founder, and of whoever leads the system group
// without it: what is done already is in the log, whoever has done it.
func (c *formation) form(ctx context.Context, h *shardgroups.Host, m *identity.Member, v *systemstate.ClusterState) error {
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
			c.setWaiting("%s to enlist with this founder: %v", r.Self.Address, err)
			return err
		}
		now, err := h.System().Refresh(ctx)
		if err != nil {
			return err
		}
		v = now
	}
	if n := len(living(v)); n < expect {
		c.setWaiting("all expected members to see each other: %d of %d are seen", n, expect)
		return nil
	}
	everybody := func(systemstate.Member) bool { return true }
	if again, err := c.Placement.fillPlaces(ctx, h, everybody); again || err != nil {
		c.setWaiting("all of %d members to enter the system group", expect)
		return err
	}
	if v = h.System().View(); len(c.Placement.planPlaces(v, everybody, nil)) > 0 {
		return nil // paused after a step that failed
	}
	if _, err := h.System().Propose(ctx, systemstate.Command{Kind: systemstate.Form}); err != nil {
		return err
	}
	c.stepped(tune.FormedLogged, protocol.SystemGroup)
	return c.markFormed()
}

// invite asks a blank member to give itself to this cluster, and lists it.
func (c *formation) invite(ctx context.Context, h *shardgroups.Host, m *identity.Member, v *systemstate.ClusterState, r stateReply) error {
	blank := r.Cluster == protocol.UUID{}
	ours := r.Cluster == m.Cluster
	if !ours && (!blank || or(r.ClusterName, DefaultClusterName) != m.ClusterName) || int(r.Expect) != c.cfg.Expect {
		return nil
	}
	g := enlistment{Incarnation: r.Self.Incarnation, Founder: c.self(), Cluster: m.Cluster, ClusterName: m.ClusterName, Settings: wireOf(m)}
	if err := ask(ctx, c.cfg.Network, r.Self.Address, askEnlist, g, nil); err != nil {
		return fmt.Errorf("invite %s: %w", r.Self.Address, err)
	}
	c.stepped(tune.Enlisted, protocol.SystemGroup)
	if _, ok := v.Incarnation(r.Self.Incarnation); ok {
		return nil
	}
	if err := c.Peers.list(ctx, h, v, r.Self); err != nil {
		return err
	}
	c.stepped(tune.MemberListed, protocol.SystemGroup)
	return nil
}

// living returns the members whose data is not lost.
func living(v *systemstate.ClusterState) []protocol.MemberID {
	var ids []protocol.MemberID
	for _, o := range v.Members {
		if !o.Gone {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// returns reports whether a member is one that is listed, in a new incarnation.
func returns(v *systemstate.ClusterState, s self) bool {
	old, ok := v.Named(s.Name)
	return ok && old.Incarnation != s.Incarnation
}

// disband releases the members that gave themselves, and forgets. It goes on
// at the next step where one does not answer.
func (c *formation) disband(ctx context.Context, m *identity.Member, v *systemstate.ClusterState) error {
	q := release{Founder: m.Founder, Cluster: m.Cluster}
	errs := make([]error, len(v.Members))
	var asking sync.WaitGroup
	for i, o := range v.Members {
		if o.Incarnation == m.Incarnation {
			continue
		}
		address, ok := c.Directory.resolve(o.Incarnation)
		if !ok {
			address = o.Address
		}
		asking.Go(func() {
			if err := ask(ctx, c.cfg.Network, address, askRelease, q, nil); err != nil {
				errs[i] = fmt.Errorf("release %s: %w", address, err)
			}
		})
	}
	asking.Wait()
	if err := errors.Join(errs...); err != nil {
		c.setWaiting("members to be released")
		return err
	}
	return c.forget()
}

// forget makes the member blank again. Only run calls it.
func (c *formation) forget() error {
	if h := c.host.Swap(nil); h != nil {
		if err := h.Close(); err != nil {
			return err
		}
	}
	c.Rejoin.started, c.Rejoin.caughtUp = map[protocol.GroupID]bool{}, map[placeKey]bool{}
	c.Placement.places.clear()
	c.deciding.Lock()
	err := c.dir.Forget()
	c.deciding.Unlock()
	if err != nil {
		return err
	}
	return c.Directory.startGossip()
}

// await is the step of a member that has given itself to a founder.
func (c *formation) await(ctx context.Context, m *identity.Member) error {
	if c.isReleased() {
		c.log.Info("released by the founder")
		return c.forget()
	}
	h, err := c.Rejoin.openHost(m)
	if err != nil {
		return err
	}
	c.setWaiting("the founder at %s to form the cluster", m.FounderAddress)
	replies := c.probe(ctx) // so that a founder that has moved finds us
	r, ok := m.Replica(protocol.SystemGroup)
	if !ok {
		formed := func(s stateReply) bool { return s.Formed && s.Cluster == m.Cluster }
		if slices.ContainsFunc(replies, formed) {
			return c.markFormed() // without this member, which is to ask for its place now
		}
		return c.giveUpFounder(m, replies)
	}
	if err := c.Rejoin.startReplica(h, shardgroups.GroupSpec{Group: r.Group, Replica: r.Replica, NonVoting: r.NonVoting}); err != nil {
		return err
	}
	v := h.System().View()
	if v.Formed {
		return c.markFormed()
	}
	if v.Cluster == (protocol.UUID{}) {
		return c.giveUpFounder(m, replies)
	}
	if blank, err := c.mayReform(ctx, h, m, v); blank || err != nil {
		return err
	}
	if !h.System().Leader().Self {
		return nil
	}
	// The founder is down, or does not lead any more: the members that it has
	// brought in are a majority, and go on.
	if v, err = h.System().Refresh(ctx); err != nil {
		return err
	}
	return c.form(ctx, h, m, v)
}

// giveUpFounder makes a member in memory blank again whose founder is over, as
// another incarnation at its address, or under its name, proves, before this one has got anything of
// the cluster's log. It holds nothing and votes nowhere: whatever becomes of that
// cluster, it can join it as a new incarnation.
func (c *formation) giveUpFounder(m *identity.Member, replies []stateReply) error {
	c.mu.Lock()
	name := c.founderName
	c.mu.Unlock()
	there := func(s stateReply) bool { return s.Self.Incarnation == m.Founder || s.Formed && s.Cluster == m.Cluster }
	other := func(s stateReply) bool {
		return s.Self.Address == m.FounderAddress || s.Self.Name == name && !c.Directory.Heard(m.Founder)
	}
	if m.Durability != "memory" || slices.ContainsFunc(replies, there) || !slices.ContainsFunc(replies, other) {
		return nil
	}
	c.log.Warn("the founder has lost its memory before the cluster was formed: the member looks for another", "founder", m.FounderAddress)
	return c.becomeBlank()
}

func (c *formation) markFormed() error {
	c.deciding.Lock()
	defer c.stepped(tune.FormedNoted, protocol.SystemGroup)
	defer c.deciding.Unlock()
	c.log.Info("the cluster is formed", "cluster", c.dir.Member().Cluster)
	return c.dir.Update(func(m *identity.Member) { m.Formed = true })
}

// startFirst starts the founder's replica of the system group.
func (c *formation) startFirst(h *shardgroups.Host, m *identity.Member) error {
	return c.Rejoin.startReplica(h, shardgroups.GroupSpec{
		Group: protocol.SystemGroup, Replica: firstReplica,
		Initial: map[protocol.ReplicaID]protocol.UUID{firstReplica: m.Incarnation},
	})
}

// startReplica starts a replica, once. It is noted in member.json before and
// after, so that a log that is missing later is known to be lost.
func (c *rejoin) startReplica(h *shardgroups.Host, spec shardgroups.GroupSpec) error {
	if c.started[spec.Group] {
		return nil
	}
	note := func(started bool) error {
		c.deciding.Lock()
		defer c.deciding.Unlock()
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
		return fatalf("replica %d of group %d cannot be started: %w: start the member again; if that fails, too, set its data directory aside and start it with an empty one: it gets its data from the others", spec.Replica, spec.Group, err)
	}
	if err != nil {
		return fmt.Errorf("start replica %d of group %d: %w", spec.Replica, spec.Group, err)
	}
	c.started[spec.Group] = true
	return note(true)
}

var errNotAdmitted = errors.New("not admitted yet")
