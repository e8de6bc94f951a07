package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/grid/internal/coordinator/formation"
	"github.com/quorate/quorate/grid/internal/coordinator/leadership"
	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/coordinator/placement"
	"github.com/quorate/quorate/grid/internal/coordinator/rejoin"
	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// Config is what a Coordinator needs of its member. Its functions must not block.
type Config struct {
	Dir         *identity.Dir
	Address     string   // advertised
	Join        []string // addresses to find others at
	Expect      int      // members that form the cluster; 0: see DESIGN, first start
	ClusterName string   // empty: any; formation.DefaultClusterName if this member founds
	Settings    formation.Settings
	Network     *network.Network
	Packets     net.PacketConn
	Kinds       []structures.Kind
	Limits      protocol.Limits
	RTT         time.Duration
	SlowOp      time.Duration
	Disk        disk.Level // at the start; see SetDisk
	// Headroom returns how much memory may be taken before the member is full, at
	// least; known is false if it has no limit. If that is less than is needed the
	// next answer is closer.
	Headroom func(need uint64) (free uint64, known bool)
	Tune     func(*shardgroups.Config)              // package tune
	Stepped  func(point string, g protocol.GroupID) // package tune; nil: nobody is told
	Logger   *slog.Logger
	// Changed is called, from goroutines of the Coordinator and its engine, after
	// tables, leaders or addresses have changed.
	Changed func()
	// Announced is called, from a goroutine of the Coordinator, after another
	// member has announced a State of its own, has come or has gone.
	Announced func()
	// Reset is called, from a goroutine of the Coordinator, after the member has
	// lost its cluster and begins anew.
	Reset func()

	// Outside is what lies outside the coordinator, which scripts replace; the zero
	// value is Raft, the network and the gossip.
	Outside Outside
}

// Outside is all that a Coordinator reaches but its data directory.
type Outside struct {
	Open    func(shardgroups.Config) (membership.Engine, error)
	Inspect func(ctx context.Context, dir string, log *slog.Logger, had func(protocol.GroupID, protocol.ReplicaID) bool) ([]shardgroups.Stored, error)
	Gossip  func(gossip.Config) (membership.Gossip, error)
	Peers   membership.Asker
}

// Coordinator is a member's part in its cluster: it wires the controllers, and runs a
// loop for each. It is safe for concurrent use.
type Coordinator struct {
	*membership.Grid
	Formation  *formation.Controller
	Admission  *formation.Admission
	Rejoin     *rejoin.Controller
	Placement  *placement.Controller
	Leadership *leadership.Controller

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	client *peers.Client // nil: the questions go elsewhere

	forming, rejoining, placing, leading *loop

	groupsAwaited time.Time // since when some groups can be used, and not all; zero: none can
}

// Start begins to work. It does not wait for anything.
func Start(cfg Config) (*Coordinator, error) {
	c, err := newCoordinator(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	return c, nil
}

// start begins to work.
func (c *Coordinator) start() error {
	if err := c.label(); err != nil {
		c.cancel()
		return err
	}
	c.wg.Go(c.run)
	c.wg.Go(func() { c.Confirm(c.ctx) })
	return nil
}

// newCoordinator returns a Coordinator that does nothing by itself.
func newCoordinator(cfg Config) (*Coordinator, error) {
	level := levelOf(cfg.Tune)
	m := cfg.Dir.Member()
	if err := formation.Agrees(&m, cfg.ClusterName, cfg.Settings); err != nil {
		return nil, err
	}
	if m.Level > level {
		return nil, membership.Fatalf("the data directory's state has level %d, this version knows %d: start the version that wrote it, or a later one", m.Level, level)
	}
	c := &Coordinator{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.forming = newLoop("formation", c.form)
	c.rejoining = newLoop("rejoin", c.rejoin)
	c.placing = newLoop("placement", c.place)
	c.leading = newLoop("leadership", c.lead)
	c.connect(&cfg)
	c.Grid = membership.New(membership.Config{
		Dir: cfg.Dir, Address: cfg.Address, Join: cfg.Join, Level: level, Network: cfg.Network, Packets: cfg.Packets,
		Peers: cfg.Outside.Peers, Gossip: cfg.Outside.Gossip, Logger: cfg.Logger,
		Wake: c.wake, Changed: cfg.Changed, Announced: cfg.Announced, Stepped: cfg.Stepped,
	})
	c.Leadership = leadership.New(c.Grid)
	c.Placement = placement.New(placement.Config{
		Kinds: cfg.Kinds, Headroom: cfg.Headroom, CaughtUp: c.Leadership.CaughtUp,
		GracePeriod: func() time.Duration { return c.Formation.GracePeriod() },
	}, c.Grid)
	c.Rejoin = rejoin.New(rejoin.Config{
		Context: c.ctx, Tune: cfg.Tune, Open: cfg.Outside.Open, Inspect: cfg.Outside.Inspect, Leadership: c.Leadership,
		Engine: shardgroups.Config{
			RTT: cfg.RTT, SlowOp: cfg.SlowOp, Kinds: cfg.Kinds, Limits: cfg.Limits, Dial: cfg.Network.Dial,
			LeaderChanged: c.changed, SystemChanged: c.changed,
		},
	}, c.Grid)
	c.Admission = formation.NewAdmission(c.Grid)
	c.Formation = formation.New(formation.Config{
		Expect: cfg.Expect, ClusterName: cfg.ClusterName, Settings: cfg.Settings, Limits: cfg.Limits,
		Replicas: c.Rejoin, Placement: c.Placement, Admission: c.Admission, Forgotten: c.forget, Reset: cfg.Reset,
	}, c.Grid)
	c.Rejoin.SetDisk(cfg.Disk)
	return c, nil
}

// connect has a Coordinator reach the real things unless they are replaced.
func (c *Coordinator) connect(cfg *Config) {
	out := &cfg.Outside
	if out.Open == nil {
		out.Open, out.Inspect = openEngine, extract.Inspect
	}
	if out.Gossip == nil {
		out.Gossip = func(cfg gossip.Config) (membership.Gossip, error) {
			g, err := gossip.Start(cfg)
			if err != nil {
				return nil, err
			}
			return g, nil
		}
	}
	if out.Peers == nil {
		c.client = peers.NewClient(func(ctx context.Context, address string) (net.Conn, error) {
			return cfg.Network.Dial(ctx, address, protocol.PurposeMember)
		})
		out.Peers = c.client
	}
}

// forget forgets what the controllers know of a cluster that the member does not belong
// to any more. Only the goroutine of run calls it, while no other loop runs.
func (c *Coordinator) forget() {
	c.Rejoin.Forget()
	c.Placement.Forget()
	c.Leadership.Forget()
}

// wake has all loops look at once.
func (c *Coordinator) wake() {
	for _, l := range []*loop{c.forming, c.rejoining, c.placing, c.leading} {
		l.wake()
	}
}

// changed is called by the engine after what is agreed, or a leader, has changed.
func (c *Coordinator) changed() {
	c.wake()
	c.ConfirmSoon() // of a member that is listed only now, perhaps
	c.Changed()
}

// levelOf returns the highest level of state that this member understands.
func levelOf(tune func(*shardgroups.Config)) uint32 {
	var cfg shardgroups.Config
	tune(&cfg)
	return cmp.Or(cfg.TestHooks.MaxLevel, groupstate.MaxLevel)
}

// Ready waits until the member serves. Its error says what it waited for.
func (c *Coordinator) Ready(ctx context.Context) error {
	select {
	case <-c.ReadyC():
		return nil
	case <-c.FailedC():
		return c.Failed()
	case <-c.ctx.Done():
		return quorate.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("not ready: %s: %w", c.Waiting(), contexts.Unanswered(ctx))
	}
}

// Host returns the member's engine, nil before it has one.
func (c *Coordinator) Host() *shardgroups.Host {
	if e, ok := c.Engine().(engine); ok {
		return e.Host
	}
	return nil
}

// Stop ends the coordinator's own work. The engine goes on until Close.
func (c *Coordinator) Stop() {
	c.cancel()
	c.wg.Wait()
}

// Close stops everything: the engine, the gossip, the connections to other members.
func (c *Coordinator) Close(leave bool) {
	c.Stop()
	if e := c.Engine(); e != nil {
		if err := e.Close(); err != nil {
			c.Log.Warn("close the log", "err", err)
		}
	}
	if g := c.Gossip(); g != nil {
		if leave {
			g.Leave()
		}
		g.Close()
	}
	if c.client != nil {
		c.client.Close()
	}
}
