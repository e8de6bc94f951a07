package formation

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Config is what a Controller needs of its member.
type Config struct {
	Expect      int    // members that form the cluster; 0: see DESIGN, first start
	ClusterName string // empty: any; DefaultClusterName if this member founds
	Settings    Settings
	Limits      protocol.Limits
	Replicas    Replicas
	Placement   Placement
	Admission   *Admission
	Forgotten   func() // the member has no replicas any more: it is to become blank
	Reset       func() // the member was made blank after it has served
}

// Replicas runs the first replicas of a cluster: package rejoin.
type Replicas interface {
	OpenEngine(m *identity.Member) (membership.Engine, error)
	StartReplica(e membership.Engine, spec shardgroups.GroupSpec) error
}

// Placement gives the members of a cluster that is being formed their replicas of the
// system group: package placement.
type Placement interface {
	Fill(ctx context.Context, e membership.Engine, running func(systemstate.Member) bool) (again bool, err error)
	IsFilled(v *systemstate.ClusterState, running func(systemstate.Member) bool) bool
	VerifyBackup(g protocol.GroupID) error
}

// Controller takes a blank member to a formed cluster, and back if that is lost. Its
// steps are for one goroutine; what answers other members is safe for concurrent use.
type Controller struct {
	cfg  Config
	grid *membership.Grid

	// Of the goroutine of the steps.
	reform          reform
	joined          map[protocol.UUID]bool // who answered the last probe at an address to join
	skipped         map[string]bool        // members of other clusters that were warned of
	lookedRecovered time.Time

	mu          sync.Mutex         // guards what follows
	seen        []peers.StateReply // of the last probe
	released    protocol.UUID      // the cluster that this member is to leave again
	past        past
	founderName string        // of whom this member has enlisted with
	lostTTL     time.Duration // longest TTL of a session of a cluster that was lost
}

// past is what a process remembers of the cluster in memory that it belonged to
// before its data was lost.
type past struct {
	name      string
	addresses []string // of its members
}

// New returns the Controller of a member.
func New(cfg Config, grid *membership.Grid) *Controller {
	return &Controller{cfg: cfg, grid: grid, skipped: map[string]bool{}}
}

// Step does the next thing there is to do for a member whose cluster is not formed.
func (c *Controller) Step(ctx context.Context, m *identity.Member) error {
	switch {
	case m.Blank():
		return c.seek(ctx, m)
	case m.Founder == m.Incarnation:
		return c.found(ctx, m)
	default:
		return c.await(ctx, m)
	}
}

// Label returns the label of the gossip that a member takes part in: the name of its
// cluster.
func (c *Controller) Label(m *identity.Member) string {
	if m.Blank() {
		return c.clusterName()
	}
	return m.ClusterName
}

// probe asks everyone where they stand and returns the answers, ordered by
// address. It notes in joined who has answered at an address that this member was
// told to find its cluster at.
func (c *Controller) probe(ctx context.Context) []peers.StateReply {
	ctx, cancel := context.WithTimeout(ctx, peers.AskTimeout)
	defer cancel()
	me := c.grid.Me()
	var found []peers.StateReply
	c.joined = map[protocol.UUID]bool{}
	named := append(c.pastAddresses(), c.grid.Join()...)
	for _, a := range membership.AskAll[peers.StateReply](ctx, c.grid, c.grid.Targets(), peers.AskState, me) {
		r := a.Says
		if slices.Contains(named, a.At) {
			c.joined[r.Self.Incarnation] = true
		}
		same := func(s peers.StateReply) bool { return s.Self.Incarnation == r.Self.Incarnation }
		if r.Self.Incarnation != me.Incarnation && !slices.ContainsFunc(found, same) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b peers.StateReply) int { return strings.Compare(a.Self.Address, b.Self.Address) })
	for _, r := range found {
		c.grid.Floor.Learn(r.Floor)
		for _, a := range r.Known {
			c.grid.NoteCaller(a)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = found
	return found
}

func (c *Controller) pastAddresses() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.past.addresses)
}

// wantedName returns the name of the cluster that this member was told to join, or
// belonged to before its memory was lost; empty: any.
func (c *Controller) wantedName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return or(c.cfg.ClusterName, c.past.name)
}

// clusterName returns the name of the cluster that this member, while it is blank,
// forms with others.
func (c *Controller) clusterName() string { return or(c.wantedName(), DefaultClusterName) }

// mayJoin reports whether a cluster of a name is the one that is wanted.
func (c *Controller) mayJoin(name string) bool {
	want := c.wantedName()
	return want == "" || want == name
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
