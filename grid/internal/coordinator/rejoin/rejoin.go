package rejoin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Config is what a Controller needs of its member.
type Config struct {
	Context context.Context // ends when the member is closed
	Engine  shardgroups.Config
	Tune    func(*shardgroups.Config) // package tune
	Open    func(shardgroups.Config) (membership.Engine, error)
	// Inspect reads all that an engine has left in a directory, see extract.Inspect.
	Inspect    func(ctx context.Context, dir string, log *slog.Logger, had func(protocol.GroupID, protocol.ReplicaID) bool) ([]shardgroups.Stored, error)
	Leadership Leadership
}

// Leadership moves the leadership of groups away from this member: package leadership.
type Leadership interface {
	HandOver(ctx context.Context)
	WithSpace(v *systemstate.ClusterState) []protocol.MemberID
}

// Controller has the replicas run here that are agreed: after a restart, when data was
// lost, and while the disk is full. Its steps are for one goroutine; what answers other
// members, SetDisk and Suspended are safe for concurrent use.
type Controller struct {
	Runs    *Runs
	cfg     Config
	grid    *membership.Grid
	refused atomic.Bool // the cluster has not admitted this member

	// Of the goroutine of the steps.
	started        map[protocol.GroupID]bool
	caughtUp       map[replica]bool // replicas here that have, since they were started
	check          check
	lookedReplaced time.Time
	leaderless     time.Time // since when no leader of the system group is heard of; zero: one is
	space          space

	mu    sync.Mutex // guards what follows
	shown shown
}

// replica names a replica of this member.
type replica struct {
	group   protocol.GroupID
	replica protocol.ReplicaID
}

// New returns the Controller of a member.
func New(cfg Config, grid *membership.Grid) *Controller {
	c := &Controller{
		cfg: cfg, grid: grid, Runs: newRuns(grid),
		shown: shown{suspended: map[protocol.GroupID]bool{}, promised: map[protocol.GroupID]time.Time{}},
	}
	c.Forget()
	return c
}

// Forget forgets the replicas, of which the member has none any more.
func (c *Controller) Forget() {
	c.started, c.caughtUp = map[protocol.GroupID]bool{}, map[replica]bool{}
	c.refused.Store(false)
}

// Refused reports whether the cluster has not admitted this member when it asked last.
func (c *Controller) Refused() bool { return c.refused.Load() }

// Step does the next thing there is to do for a member of a formed cluster. It reports
// whether more is left to be done soon.
func (c *Controller) Step(ctx context.Context, m *identity.Member) (again bool, err error) {
	if ok, err := c.complete(ctx, m); !ok || err != nil {
		return true, err
	}
	e, err := c.OpenEngine(m)
	if err != nil {
		return true, err
	}
	if err := c.restart(e, m); err != nil {
		return true, err
	}
	if _, ok := m.Replica(protocol.SystemGroup); !ok {
		return true, c.askToJoin(ctx, m)
	}
	v := e.System().View()
	switch v.Cluster {
	case m.Cluster:
		return c.follow(ctx, e, m, v)
	case protocol.UUID{}:
		c.grid.SetWaiting("the log of the system group")
		return true, nil
	default:
		return false, membership.Fatalf("the system group belongs to cluster %s, this directory to %s: restore the right directory", v.Cluster, m.Cluster)
	}
}

// follow brings this member to what the cluster has agreed.
func (c *Controller) follow(ctx context.Context, e membership.Engine, m *identity.Member, v *systemstate.ClusterState) (again bool, err error) {
	if err := c.remember(v); err != nil {
		return true, err
	}
	if v.Settings.Durability == "memory" {
		c.grid.Floor.Learn(e.System().Highest())
	}
	if e.System().Leader().Replica != 0 {
		c.leaderless = time.Time{}
		// What is known here is no longer older than the member.
		c.Runs.forget(v)
		c.grid.ForgetUnlisted(v)
	} else if by := c.replacedBy(ctx, m); by != "" {
		return false, membership.Fatalf("%s says that another incarnation of %s has replaced this member: stop one of them, and start this one with an empty data directory", by, m.Name)
	}
	c.Runs.confirm(ctx, m, func(u protocol.UUID) bool { return c.check.answers[u].Noted })
	me, ok := v.Incarnation(m.Incarnation)
	if !ok {
		c.grid.SetWaiting("the system group to list this member")
		return true, nil
	}
	if me.Gone && !c.isNeeded(ctx, m, v, me.ID) {
		o, _ := v.Named(me.Name)
		return false, membership.Fatalf("another incarnation of %s, at %s, has replaced this member: stop one of them, and start this one with an empty data directory", me.Name, o.Address)
	}
	if err := c.reconcile(ctx, e, v, me.ID); err != nil {
		return true, err
	}
	c.reconcileDisk(ctx, e, v, me.ID)
	c.announceSlowDisk(e)
	if me.Address != c.grid.Address() || me.Name != m.Name || me.Level != c.grid.Level() {
		if err := c.announceAddress(ctx, e, m); err != nil {
			return true, err
		}
	}
	return c.watchCatchUp(ctx, e, v, me.ID), nil
}

// A replica that has forgotten what it acknowledged or voted for must never run
// again. Before a member starts the replicas that it had, it reads all of its
// data, and asks the others what they have seen of it. If anything is
// missing the member becomes a new incarnation and joins its cluster without
// data.
//
//	inspect -> ask -> start the replicas
//	   |        |
//	   '--------'--> lost: wait for a leader -> set aside -> join

// tries is how often a member that is heard of, and does not answer, is asked
// before the answers of the others will do.
const tries = 3

// check is how far the member is with that, for one incarnation.
type check struct {
	incarnation protocol.UUID
	passed      bool
	inspected   bool
	stored      []shardgroups.Stored
	lost        string // why the data is not what it was; empty: nothing is known to be wrong
	said        bool   // lost was logged
	asked       map[protocol.UUID]int
	answers     map[protocol.UUID]peers.ProgressReply
}

// complete reports whether the member may start the replicas that it had. If
// data is lost it makes the member a new incarnation.
func (c *Controller) complete(ctx context.Context, m *identity.Member) (bool, error) {
	if c.trusting(m) {
		return true, nil
	}
	if err := c.inspect(m); err != nil {
		return false, err
	}
	k := &c.check
	if k.passed {
		return true, nil
	}
	if len(m.Peers) == 0 {
		if k.lost != "" {
			return false, membership.Fatalf("%s: this is the only member, nobody can give the data back: restore a copy of the data directory, or start with an empty one", k.lost)
		}
		k.passed = true
		return true, nil
	}
	c.askProgress(ctx, m)
	if k.lost == "" {
		k.lost = c.verdict(m)
	}
	if k.lost != "" {
		return false, c.rejoinEmpty(m)
	}
	if n := c.unanswered(m); n > 0 {
		c.grid.SetWaiting("%d more of the other members to say what they have seen of this one's data", n)
		return false, nil
	}
	c.grid.Log.Info("the data on disk is complete, as far as others have seen", "answers", len(k.answers), "replicas", len(k.stored))
	k.passed = true
	return true, nil
}

// trusting reports whether the member takes its data as it is: in memory it
// has none.
func (c *Controller) trusting(m *identity.Member) bool {
	cfg := c.cfg.Engine
	c.cfg.Tune(&cfg)
	return m.Durability == "memory" || cfg.TestHooks.TrustDisk || c.grid.Engine() != nil || mutants.On(mutants.WipedReturns)
}

// inspect reads all of the member's data, once.
func (c *Controller) inspect(m *identity.Member) error {
	k := &c.check
	if k.incarnation != m.Incarnation {
		*k = check{incarnation: m.Incarnation, asked: map[protocol.UUID]int{}, answers: map[protocol.UUID]peers.ProgressReply{}}
	}
	if k.inspected {
		return nil
	}
	c.grid.SetWaiting("the data on disk to be verified")
	dir, err := c.grid.Dir().RaftDir()
	if err != nil {
		return err
	}
	began := time.Now()
	stored, err := c.cfg.Inspect(c.cfg.Context, dir, c.grid.Log, func(g protocol.GroupID, r protocol.ReplicaID) bool {
		had, ok := m.Replica(g)
		return ok && had.Replica == r
	})
	var damaged *extract.DamagedError
	switch {
	case errors.As(err, &damaged):
		k.lost = damaged.Error()
	case c.cfg.Context.Err() != nil:
		return contexts.Err(c.cfg.Context)
	case err != nil:
		return membership.Fatalf("verify the data on disk: %w", err)
	}
	k.inspected, k.stored = true, stored
	for _, r := range m.Started {
		if k.lost == "" && r.Started && !slices.ContainsFunc(stored, func(s shardgroups.Stored) bool { return s.Group == r.Group }) {
			k.lost = fmt.Sprintf("the log of group %d, replica %d, is missing from %s", r.Group, r.Replica, dir)
		}
	}
	c.grid.Log.Debug("the data on disk is verified", "took", time.Since(began), "replicas", len(stored))
	return nil
}

// rejoinEmpty makes a member whose data is lost a new incarnation, once
// somebody is there who can admit it: until then the data stays where it is.
func (c *Controller) rejoinEmpty(m *identity.Member) error {
	k := &c.check
	led := false
	for _, a := range k.answers {
		led = led || a.Led
	}
	if !led {
		if !k.said {
			k.said = true
			c.grid.Log.Error("this member's data is lost: it waits for a leader that can admit it without", "reason", k.lost)
		}
		c.grid.SetWaiting("a leader that can admit this member without its data (%s)", k.lost)
		return nil
	}
	if err := c.grid.Decide((*identity.Dir).Renew); err != nil {
		return err
	}
	now := c.grid.Member()
	c.grid.Log.Error("this member's data is lost: it comes back as a new incarnation and gets the others' data", "reason", k.lost,
		"lost", m.Incarnation.String(), "incarnation", now.Incarnation.String())
	if g := c.grid.Gossip(); g != nil {
		g.Leave() // the others need not miss it first
	}
	return c.grid.StartGossip(c.grid.Label())
}
