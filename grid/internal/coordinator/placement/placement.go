package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
)

// Config is what a Controller needs of its member.
type Config struct {
	Kinds []structures.Kind
	// Headroom returns how much memory may be taken before the member is full, at
	// least; known is false if it has no limit. If that is less than is needed the
	// next answer is closer.
	Headroom func(need uint64) (free uint64, known bool)
	// CaughtUp returns nil if a member's replica of a group has caught up: package
	// leadership.
	CaughtUp func(ctx context.Context, id protocol.MemberID, q peers.Transfer) error
	// GracePeriod returns how long new groups hand out nothing that a session holds:
	// package formation.
	GracePeriod func() time.Duration
}

// Controller plans which member has which replica, and carries that out one safe step
// at a time, on the member that leads the system group. Its steps are for one
// goroutine; everything else is safe for concurrent use.
type Controller struct {
	cfg  Config
	grid *membership.Grid

	// Of the goroutine of the steps.
	progress progress
	backups  backups

	mu         sync.Mutex                  // guards what follows
	noHeadroom map[protocol.GroupID]string // why a group that is to get a replica waits for memory
}

// New returns the Controller of a member.
func New(cfg Config, grid *membership.Grid) *Controller {
	return &Controller{cfg: cfg, grid: grid}
}

// Forget forgets the cluster, to which the member does not belong any more.
func (c *Controller) Forget() { c.progress.clear() }

// Step does the next thing there is to do, one safe step at a time: it restores groups
// from backups on any member, and does everything else on the one that leads the system
// group. It reports whether more is left to be done soon. If there is nothing to do it
// asks nobody.
func (c *Controller) Step(ctx context.Context, e membership.Engine, v *systemstate.ClusterState, me protocol.MemberID) (again bool, err error) {
	if err := c.reconcileBackups(ctx, e, v, me); err != nil {
		return true, err
	}
	if !e.System().Leader().Self {
		c.progress.clear()
		c.setNoHeadroom(nil)
		return false, nil
	}
	if v = e.System().View(); !v.Formed {
		return true, nil
	}
	if len(v.Partitions) == 0 {
		if v, err = e.System().Refresh(ctx); err != nil || len(v.Partitions) > 0 {
			return true, err
		}
		return true, c.createGroups(ctx, e, v)
	}
	if level := v.CommonLevel(); level > v.Level {
		c.grid.Log.Info("every member understands a higher level of state", "level", level)
		_, err := e.System().Propose(ctx, systemstate.Command{Kind: systemstate.RaiseLevel, Member: systemstate.Member{Level: level}})
		return true, err
	}
	if again, err := c.replaceLost(ctx, e); again || err != nil {
		return true, err
	}
	again, err = c.Fill(ctx, e, func(o systemstate.Member) bool { return o.ID == c.grid.Self() || c.grid.Heard(o.Incarnation) })
	if err != nil && err.Error() != c.progress.said {
		c.progress.said = err.Error()
		c.grid.Log.Warn("a replica is not replaced yet", "err", err)
	}
	return again, nil
}

const (
	// changeTimeout bounds one change of a group's replicas. A group that has no
	// majority must not hold up the others.
	changeTimeout = 2 * time.Second
	// failurePause is the wait after a step that failed.
	failurePause = 500 * time.Millisecond
	// maxRounds bounds how many plans one step of the coordinator carries
	// out.
	maxRounds = 20
)

// replica names a replica.
type replica struct {
	group   protocol.GroupID
	replica protocol.ReplicaID
}

// target is a member that could get a replica of a group.
type target struct {
	group  protocol.GroupID
	member protocol.MemberID
}

// progress is what the leader's coordinator remembers of replicas that are being
// placed. All of it can be found out again: another coordinator starts empty.
type progress struct {
	added  map[replica]bool // the group knows the replica, and its member too
	caught map[replica]bool // the replica had applied all there was
	pause  time.Time        // no step before
	said   string           // the last reason why a replica is not placed
}

// clear forgets what is on its way, if this member leads no longer.
func (p *progress) clear() { *p = progress{} }

// Fill brings the replicas of all groups to where they should be, as far
// as it goes without waiting. It reports whether something is left to do soon.
//
// The plan follows from the cluster state alone, and each step may be repeated: a
// coordinator that takes over in the middle of one makes it again.
//
//	AddReplica agreed -> the group counts a copy -> its member starts it ->
//	it has caught up -> the group drops the lost one -> RemoveReplica agreed ->
//	the group counts a vote -> SetReplica agreed
func (c *Controller) Fill(ctx context.Context, h membership.Engine, running func(systemstate.Member) bool) (again bool, err error) {
	if time.Now().Before(c.progress.pause) {
		return false, nil
	}
	full := map[target]string{} // who had no memory in one of these rounds, and why
	for range maxRounds {
		catching := c.followUp(ctx, h, running)
		v := h.System().View()
		if len(c.plan(v, running, full)) == 0 && len(idle(v)) == 0 {
			c.setNoHeadroom(full)
			if len(full) > 0 {
				c.progress.pause = time.Now().Add(failurePause)
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
		for _, s := range c.plan(v, running, full) {
			var short *noHeadroomError
			switch err := c.takeStep(ctx, h, v, s); {
			case errors.As(err, &short):
				full[target{s.Group, s.Member}] = short.detail
			case err != nil:
				errs = append(errs, fmt.Errorf("%s member %d, group %d: %w", s.Change, s.Member, s.Group, err))
			}
		}
		if err := errors.Join(errs...); err != nil {
			c.setNoHeadroom(full)
			c.progress.pause = time.Now().Add(failurePause)
			return true, err
		}
	}
	return true, nil
}

// IsFilled reports whether the replicas of all groups are where they should be.
func (c *Controller) IsFilled(v *systemstate.ClusterState, running func(systemstate.Member) bool) bool {
	return len(c.plan(v, running, nil)) == 0
}

// plan returns the steps that the cluster state asks for. Members that are full
// are given nothing.
func (c *Controller) plan(v *systemstate.ClusterState, running func(systemstate.Member) bool, full map[target]string) []partition.Step {
	want := membership.WantedReplicas(v, running)
	want.CaughtUp = func(g protocol.GroupID, r protocol.ReplicaID) bool { return c.progress.caught[replica{g, r}] }
	want.NoRoom = func(g protocol.GroupID, m protocol.MemberID) bool { return full[target{g, m}] != "" }
	steps := partition.PlanReplicas(membership.TableOf(v), want)
	return slices.DeleteFunc(steps, func(s partition.Step) bool {
		// One that loads its state gets its copies afterwards; one that has lost its
		// majority's data cannot change any more, and is replaced.
		g, _ := v.Group(s.Group)
		return g.Backup != 0 || c.isLost(v, g)
	})
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
func (c *Controller) followUp(ctx context.Context, h membership.Engine, running func(systemstate.Member) bool) (catching bool) {
	v := h.System().View()
	var mu sync.Mutex // guards progress.caught and progress.added
	var wg sync.WaitGroup
	for _, g := range v.Groups {
		for _, r := range g.Replicas {
			key := replica{g.ID, r.ID}
			o, ok := v.Member(r.Member)
			mu.Lock()
			done := c.progress.caught[key]
			mu.Unlock()
			if !r.NonVoting || done || !ok || o.Gone || !running(o) {
				continue
			}
			wg.Go(func() {
				mu.Lock()
				added := c.progress.added[key]
				mu.Unlock()
				if !added {
					if err := c.addCopy(ctx, h, v, key, o); err != nil {
						c.grid.Log.Debug("a learner is not known to its group yet", "group", g.ID, "name", o.Name, "err", err)
						return
					}
				}
				q := peers.Transfer{Cluster: v.Cluster, Group: g.ID, Replica: r.ID}
				err := c.cfg.CaughtUp(ctx, o.ID, q)
				mu.Lock()
				defer mu.Unlock()
				c.progress.note(&c.progress.added, key)
				if err != nil {
					catching = true
					c.grid.Log.Debug("a learner has not caught up yet", "group", g.ID, "name", o.Name, "err", err)
					return
				}
				c.progress.note(&c.progress.caught, key)
			})
		}
	}
	wg.Wait()
	return catching
}

func (p *progress) note(in *map[replica]bool, key replica) {
	if *in == nil {
		*in = map[replica]bool{}
	}
	(*in)[key] = true
}
