package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// systemVoters returns how many voters the system group of so many members is to
// have; the others have copies without a vote. A fourth voter would raise what a
// majority is, and let no more of them fail.
func systemVoters(members int) int {
	const few, many = 3, 5
	if members < many {
		return few
	}
	return many
}

const (
	// changeTimeout bounds one change of a group's replicas. A group that has no
	// majority must not hold up the others.
	changeTimeout = 2 * time.Second
	// placesPause is the wait after a step that failed.
	placesPause = 500 * time.Millisecond
	// maxPlaceRounds bounds how many plans one step of the coordinator carries
	// out.
	maxPlaceRounds = 20
)

// placeKey names a replica.
type placeKey struct {
	group   protocol.GroupID
	replica protocol.ReplicaID
}

// target is a member that could get a replica of a group.
type target struct {
	group  protocol.GroupID
	member protocol.MemberID
}

// places is what the leader's coordinator remembers of places that are being
// filled. All of it can be found out again: another coordinator starts empty.
type places struct {
	added  map[placeKey]bool // the group knows the replica, and its member too
	caught map[placeKey]bool // the replica had applied all there was
	pause  time.Time         // no step before
	said   string            // the last reason why a place is not filled
}

// clear forgets, where this member leads no longer.
func (p *places) clear() { *p = places{} }

// fillPlaces brings the replicas of all groups to where they should be, as far
// as it goes without waiting. It reports whether something is left to do soon.
//
// The plan follows from the cluster state alone, and each step may be repeated: a
// coordinator that takes over in the middle of one makes it again.
//
//	AddReplica agreed -> the group counts a copy -> its member starts it ->
//	it has caught up -> the group drops the lost one -> RemoveReplica agreed ->
//	the group counts a vote -> SetReplica agreed
func (c *placement) fillPlaces(ctx context.Context, h *shardgroups.Host, running func(systemstate.Member) bool) (again bool, err error) {
	if time.Now().Before(c.places.pause) {
		return false, nil
	}
	full := map[target]string{} // who had no room in one of these rounds, and why
	for range maxPlaceRounds {
		catching := c.followUp(ctx, h, running)
		v := h.System().View()
		if len(c.planPlaces(v, running, full)) == 0 && len(idle(v)) == 0 {
			c.setNoRoom(full)
			if len(full) > 0 {
				c.places.pause = time.Now().Add(placesPause)
			}
			return catching, nil
		}
		if v, err = h.System().Refresh(ctx); err != nil {
			return true, err
		}
		var errs []error
		for _, m := range idle(v) {
			_, err := h.System().Propose(ctx, systemstate.Command{Kind: systemstate.RemoveMember, Member: m})
			errs = append(errs, err)
		}
		for _, s := range c.planPlaces(v, running, full) {
			var short *noRoomError
			switch err := c.takeStep(ctx, h, v, s); {
			case errors.As(err, &short):
				full[target{s.Group, s.Member}] = short.detail
			case err != nil:
				errs = append(errs, fmt.Errorf("%s member %d, group %d: %w", s.Change, s.Member, s.Group, err))
			}
		}
		if err := errors.Join(errs...); err != nil {
			c.setNoRoom(full)
			c.places.pause = time.Now().Add(placesPause)
			return true, err
		}
	}
	return true, nil
}

// planPlaces returns the steps that the cluster state asks for, where those who are
// full are given nothing.
func (c *placement) planPlaces(v *systemstate.ClusterState, running func(systemstate.Member) bool, full map[target]string) []partition.Step {
	want := wantedPlaces(v, running)
	want.CaughtUp = func(g protocol.GroupID, r protocol.ReplicaID) bool { return c.places.caught[placeKey{g, r}] }
	want.NoRoom = func(g protocol.GroupID, m protocol.MemberID) bool { return full[target{g, m}] != "" }
	steps := partition.PlanReplicas(tableOf(v), want)
	return slices.DeleteFunc(steps, func(s partition.Step) bool {
		// One that loads its state gets its copies afterwards; one that has lost its
		// majority's data cannot change any more, and is replaced.
		g, _ := v.Group(s.Group)
		return g.Backup != 0 || c.isLost(v, g)
	})
}

// wantedPlaces is what the places of a cluster should be like.
func wantedPlaces(v *systemstate.ClusterState, running func(systemstate.Member) bool) partition.Places {
	want := partition.Places{
		Replicas: int(v.Settings.Replicas),
		Targets:  map[protocol.GroupID]partition.Target{protocol.SystemGroup: {Voters: systemVoters(len(living(v))), Copies: len(v.Members)}},
	}
	for _, o := range v.Members {
		switch {
		case o.Gone:
			want.Gone = append(want.Gone, o.ID)
		case running(o):
			want.Running = append(want.Running, o.ID)
		}
	}
	return want
}

// idle returns the members whose data is lost and that no group lists any more.
func idle(v *systemstate.ClusterState) []systemstate.Member {
	var found []systemstate.Member
	for _, o := range v.Members {
		holds := slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool {
			return slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return r.Member == o.ID })
		})
		if o.Gone && !holds {
			found = append(found, o)
		}
	}
	return found
}

// followUp helps the copies that are on their way: it makes sure that their
// group and their member know of them, and asks whether they have caught up. It
// reports whether one has not.
func (c *placement) followUp(ctx context.Context, h *shardgroups.Host, running func(systemstate.Member) bool) (catching bool) {
	v := h.System().View()
	var mu sync.Mutex // guards places.caught and places.added
	var wg sync.WaitGroup
	for _, g := range v.Groups {
		for _, r := range g.Replicas {
			key := placeKey{g.ID, r.ID}
			o, ok := v.Member(r.Member)
			mu.Lock()
			done := c.places.caught[key]
			mu.Unlock()
			if !r.NonVoting || done || !ok || o.Gone || !running(o) {
				continue
			}
			wg.Go(func() {
				mu.Lock()
				added := c.places.added[key]
				mu.Unlock()
				if !added {
					if err := c.addCopy(ctx, h, v, key, o); err != nil {
						c.log.Debug("a learner is not known to its group yet", "group", g.ID, "name", o.Name, "err", err)
						return
					}
				}
				q := transfer{Cluster: v.Cluster, Group: g.ID, Replica: r.ID}
				err := c.Leadership.mayLead(ctx, o.ID, q)
				mu.Lock()
				defer mu.Unlock()
				c.places.note(&c.places.added, key)
				if err != nil {
					catching = true
					c.log.Debug("a learner has not caught up yet", "group", g.ID, "name", o.Name, "err", err)
					return
				}
				c.places.note(&c.places.caught, key)
			})
		}
	}
	wg.Wait()
	return catching
}

func (p *places) note(in *map[placeKey]bool, key placeKey) {
	if *in == nil {
		*in = map[placeKey]bool{}
	}
	(*in)[key] = true
}

// addCopy makes a copy known to its group. Its member learns of it from the
// agreement; of the system group, which has the cluster state, it has to be asked.
func (c *placement) addCopy(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, key placeKey, o systemstate.Member) error {
	q := change{Cluster: v.Cluster, Group: key.group, Replica: key.replica, Member: o.Incarnation, What: partition.AddNonVoting}
	if err := c.change(ctx, h, v, q); err != nil {
		return err
	}
	c.stepped(tune.CopyAdded, key.group)
	if key.group != protocol.SystemGroup {
		return nil
	}
	s := start{Cluster: v.Cluster, Incarnation: o.Incarnation, Replica: key.replica}
	for _, p := range v.Members {
		if at, ok := c.AddressOf(p.ID); ok && !p.Gone {
			s.Peers = append(s.Peers, self{Incarnation: p.Incarnation, Name: p.Name, Address: at})
		}
	}
	address, _ := c.AddressOf(o.ID)
	return ask(ctx, c.cfg.Network, address, askStart, s, nil)
}

// takeStep carries one step of a plan out.
func (c *placement) takeStep(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, s partition.Step) error {
	o, ok := v.Member(s.Member)
	if !ok {
		return errors.New("no such member")
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	system := h.System()
	q := change{Cluster: v.Cluster, Group: s.Group, Replica: s.Replica, Member: o.Incarnation, What: s.Change}
	switch s.Change {
	case partition.AddNonVoting:
		if s := c.Directory.StateOf(o.Incarnation); s.DiskFull || s.Closing {
			return errors.New("its disk is full, or it is about to shut down")
		}
		if err := c.hasRoom(ctx, h, v, s.Group, o); err != nil {
			return err
		}
		c.log.Info("learner added", "group", s.Group, "name", o.Name)
		_, err := system.Propose(ctx, systemstate.Command{
			Kind: systemstate.AddReplica, Group: s.Group, Member: systemstate.Member{ID: s.Member},
		})
		c.stepped(tune.CopyAgreed, s.Group)
		return err
	case partition.Promote:
		// It may have been long since it had caught up.
		if err := c.Leadership.mayLead(ctx, s.Member, transfer{Cluster: v.Cluster, Group: s.Group, Replica: s.Replica}); err != nil {
			delete(c.places.caught, placeKey{s.Group, s.Replica})
			return err
		}
		if err := c.change(ctx, h, v, q); err != nil {
			return err
		}
		c.stepped(tune.PromotionMade, s.Group)
		c.log.Info("learner promoted: it has caught up", "group", s.Group, "name", o.Name)
		_, err := system.Propose(ctx, systemstate.Command{
			Kind: systemstate.SetReplica, Group: s.Group, Replica: systemstate.Replica{ID: s.Replica},
		})
		c.stepped(tune.PromotionDone, s.Group)
		return err
	default:
		if err := c.change(ctx, h, v, q); err != nil {
			return err
		}
		c.stepped(tune.DropMade, s.Group)
		c.log.Info("replica removed from its group", "group", s.Group, "name", o.Name, "replica", s.Replica)
		_, err := system.Propose(ctx, systemstate.Command{
			Kind: systemstate.RemoveReplica, Group: s.Group, Replica: systemstate.Replica{ID: s.Replica},
		})
		c.stepped(tune.DropAgreed, s.Group)
		return err
	}
}

// stepped tells a test how far a place is.
func (c *Coordinator) stepped(point string, g protocol.GroupID) {
	if c.cfg.Stepped != nil {
		c.cfg.Stepped(point, g)
	}
}

// change has a group's leader change its replicas.
func (c *placement) change(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, q change) error {
	leader, _ := c.leader(v, q.Group)
	switch leader {
	case 0:
		return fmt.Errorf("group %d has no leader", q.Group)
	case c.Self():
		return c.makeChange(ctx, h, q)
	}
	address, ok := c.AddressOf(leader)
	if !ok {
		return fmt.Errorf("the address of member %d is not known", leader)
	}
	return ask(ctx, c.cfg.Network, address, askChange, q, nil)
}

// makeChange changes the replicas of a group that is led here.
func (c *placement) makeChange(ctx context.Context, h *shardgroups.Host, q change) error {
	if !h.LeaderOf(q.Group).Self {
		return &refusal{code: protocol.CodeNotLeader, detail: fmt.Sprintf("this member does not lead group %d", q.Group)}
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
	return &refusal{code: protocol.CodeInvalid, detail: "an unknown change"}
}

// createGroups agrees on the first data groups.
func (c *placement) createGroups(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState) error {
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
		group := systemstate.Group{ID: g.ID, GracePeriod: c.Formation.gracePeriod(), Generation: v.Floor.Generation(), Revision: v.Floor.Revision()}
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
