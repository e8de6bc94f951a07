package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

const (
	stepSoon = 100 * time.Millisecond // between two steps while there is something to do
	stepIdle = time.Second            // while there is nothing

	// stepTimeout bounds one step: a member that does not answer must not hold
	// up what can be done without it.
	stepTimeout = 10 * time.Second
)

// Config is what a Coordinator needs of its member.
type Config struct {
	Dir         *identity.Dir
	Address     string   // advertised
	Join        []string // addresses to find others at
	Expect      int      // members that form the cluster; 0: see DESIGN, first start
	ClusterName string   // empty: any; DefaultClusterName where this member founds
	Settings    Settings
	Network     *network.Network
	Packets     net.PacketConn
	Kinds       []structures.Kind
	Limits      protocol.Limits
	RTT         time.Duration
	SlowOp      time.Duration
	Disk        disk.Level // at the start; see SetDisk
	// Room returns how much memory may be taken before the member is full, at
	// least; known is false where it has no limit. Where that is less than is
	// needed the next answer is closer.
	Room    func(need uint64) (room uint64, known bool)
	Tune    func(*shardgroups.Config)              // package tune
	Stepped func(point string, g protocol.GroupID) // package tune; nil: nobody is told
	Logger  *slog.Logger
	// Changed is called, from goroutines of the Coordinator and its host, after
	// tables, leaders or addresses have changed. It must not block.
	Changed func()
	// Announced is called, from a goroutine of the Coordinator, after another
	// member has announced a State of its own, has come or has gone. It must not
	// block.
	Announced func()
	// Reset is called, from a goroutine of the Coordinator, after the member has
	// lost its cluster and begins anew. It must not block.
	Reset func()
}

// Settings are what this member wants of its cluster. A zero field takes what
// the cluster has, and the default where this member founds.
type Settings struct {
	Durability string
	Partitions int
	Groups     int
	Replicas   int
}

// Defaults of a cluster that sets nothing.
const (
	DefaultClusterName = "quorate"
	DefaultGroups      = 3
	DefaultReplicas    = 3
)

// Coordinator is a member's part in its cluster: it dispatches the steps, and has what
// its parts share. It is safe for concurrent use.
type Coordinator struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	level  uint32                        // of state that this member understands
	poke   chan struct{}                 // of capacity 1: there is something to do
	ready  atomic.Pointer[chan struct{}] // closed when the member serves; another one after its cluster was lost
	failed chan struct{}                 // closed when it never will

	host   atomic.Pointer[shardgroups.Host]
	gossip atomic.Pointer[gossip.Gossip]

	// The parts. Their methods and state that nothing says more of are of the run
	// goroutine alone.
	Formation  formation
	Rejoin     rejoin
	Placement  placement
	Leadership leadership
	Peers      peerServer
	Directory  directory

	floor floorClock // of what a grid in memory hands out

	groupsAwaited time.Time // since when some groups can be used, and not all; zero: none can

	// deciding is held from looking at what the member remembers until what was
	// decided is on disk, so that a decision and its record are one. It is taken
	// before mu, and never held across the network. Who only reads what is
	// remembered takes no lock.
	deciding sync.Mutex
	dir      *identity.Dir

	// mu guards what follows, and in the parts what says so. It is never held across
	// the network or a write to the disk: each message of Raft takes it to find an
	// address.
	mu      sync.Mutex
	waiting string
	err     error // why the member never will serve
}

// formation takes a blank member to a formed cluster, and back if that is lost.
type formation struct {
	*Coordinator

	reform          reform
	joined          map[protocol.UUID]bool // who answered the last probe at an address to join
	skipped         map[string]bool        // members of other clusters that were warned of
	lookedRecovered time.Time

	// Guarded by mu:
	seen        []stateReply  // of the last probe
	released    protocol.UUID // the cluster that this member is to leave again
	past        past
	founderName string        // of whom this member has enlisted with
	lostTTL     time.Duration // longest TTL of a session of a cluster that was lost
}

// rejoin has what runs here be what is agreed: after a restart, when data was lost, and
// while the disk is full.
type rejoin struct {
	*Coordinator

	started        map[protocol.GroupID]bool
	caughtUp       map[placeKey]bool // replicas here that have, since they were started
	room           room
	check          check
	runConfirmed   map[protocol.UUID]bool
	runConfirmedAt time.Time
}

// placement plans which member has which replica, and carries that out one safe step at
// a time, on the member that leads the system group.
type placement struct {
	*Coordinator

	places         places
	backups        backups
	lookedReplaced time.Time

	// Guarded by mu:
	noRoom map[protocol.GroupID]string // why a group that this member finds places for waits for one
}

// leadership decides who leads which group, and who may shut down.
type leadership struct {
	*Coordinator

	balance balance
	search  search

	// Guarded by mu:
	remote  map[protocol.GroupID]leaderOf   // what others say of groups whose leader is not known here
	granted map[protocol.MemberID]time.Time // who may shut down, and since when
}

// peerServer answers what other members ask, and asks them how they are. Its methods are
// safe for concurrent use.
type peerServer struct {
	*Coordinator

	toConfirm chan struct{} // of capacity 1: something is announced of a member

	// Guarded by mu:
	conditions map[protocol.UUID]*condition
}

// directory knows where members are, from the gossip, from themselves and from the
// tables. Its methods are safe for concurrent use.
type directory struct {
	*Coordinator

	label string // of the gossip; of the run goroutine

	// Guarded by mu:
	callers map[string]time.Time // addresses of members that asked, and when
	known   map[protocol.UUID]string
	told    map[protocol.UUID]told
	state   gossip.State // announced
}

// past is what a process remembers of the cluster in memory that it belonged to
// before its data was lost.
type past struct {
	name      string
	addresses []string // of its members
}

// Start begins to work. It does not wait for anything.
func Start(cfg Config) (*Coordinator, error) {
	c := &Coordinator{
		cfg: cfg, log: cfg.Logger, dir: cfg.Dir, level: levelOf(cfg.Tune),
		poke: make(chan struct{}, 1), failed: make(chan struct{}), waiting: "the first look around",
	}
	c.makeParts()
	c.Rejoin.SetDisk(cfg.Disk)
	ready := make(chan struct{})
	c.ready.Store(&ready)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	m := c.member()
	if err := c.agree(m.ClusterName, wireOf(&m)); err != nil {
		return nil, err
	}
	if m.Level > c.level {
		return nil, fatalf("the data directory's state has level %d, this version knows %d: start the version that wrote it, or a later one", m.Level, c.level)
	}
	for _, p := range m.Peers {
		c.Directory.known[p.Incarnation] = p.Address
	}
	if err := c.Directory.startGossip(); err != nil {
		return nil, err
	}
	c.wg.Go(c.run)
	c.wg.Go(c.Peers.confirm)
	return c, nil
}

// makeParts makes the parts, which all have the Coordinator.
func (c *Coordinator) makeParts() {
	c.Formation = formation{Coordinator: c, skipped: map[string]bool{}}
	c.Rejoin = rejoin{
		Coordinator: c, started: map[protocol.GroupID]bool{}, caughtUp: map[placeKey]bool{}, runConfirmed: map[protocol.UUID]bool{},
	}
	c.Placement = placement{Coordinator: c}
	c.Leadership = leadership{
		Coordinator: c, remote: map[protocol.GroupID]leaderOf{}, granted: map[protocol.MemberID]time.Time{},
	}
	c.Peers = peerServer{Coordinator: c, toConfirm: make(chan struct{}, 1), conditions: map[protocol.UUID]*condition{}}
	c.Directory = directory{
		Coordinator: c, callers: map[string]time.Time{}, known: map[protocol.UUID]string{}, told: map[protocol.UUID]told{},
		state: gossip.State{Behind: true},
	}
}

// levelOf returns the highest level of state that this member understands.
func levelOf(tune func(*shardgroups.Config)) uint32 {
	var cfg shardgroups.Config
	tune(&cfg)
	return or(cfg.TestHooks.MaxLevel, groupstate.MaxLevel)
}

// Ready waits until the member serves. Its error says what it waited for.
func (c *Coordinator) Ready(ctx context.Context) error {
	select {
	case <-*c.ready.Load():
		return nil
	case <-c.failed:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	case <-c.ctx.Done():
		return quorate.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("not ready: %s: %w", c.Waiting(), contexts.Unanswered(ctx))
	}
}

// IsReady reports whether the member serves.
func (c *Coordinator) IsReady() bool {
	select {
	case <-*c.ready.Load():
		return true
	default:
		return false
	}
}

// Failed returns why the member never will serve as it was started, nil where
// it may.
func (c *Coordinator) Failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Waiting says what the member waits for before it serves.
func (c *Coordinator) Waiting() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// Host returns the member's engine, nil before it has one.
func (c *Coordinator) Host() *shardgroups.Host { return c.host.Load() }

// Stop ends the coordinator's own work. The host goes on until Close.
func (c *Coordinator) Stop() {
	c.cancel()
	c.wg.Wait()
}

// Close stops everything: the host, the gossip.
func (c *Coordinator) Close(leave bool) {
	c.Stop()
	if h := c.host.Load(); h != nil {
		if err := h.Close(); err != nil {
			c.log.Warn("close the log", "err", err)
		}
	}
	if g := c.gossip.Load(); g != nil {
		if leave {
			g.Leave()
		}
		g.Close()
	}
}

// stuckAfter is how often a step must have failed with the same error before
// that is worth a warning.
const stuckAfter = 50

// stuckLog warns of a member that does not get on.
type stuckLog struct {
	why   string
	times int
}

func (s *stuckLog) tell(log *slog.Logger, err error) {
	if why := err.Error(); why != s.why {
		*s = stuckLog{why: why}
	}
	if s.times++; s.times == stuckAfter {
		log.Warn("the member makes no progress", "err", err, "attempts", s.times)
	}
}

func (c *Coordinator) run() {
	var stuck stuckLog
	for {
		ctx, cancel := context.WithTimeout(c.ctx, stepTimeout)
		again, err := c.step(ctx)
		cancel()
		var fatal *fatalError
		if errors.As(err, &fatal) {
			c.fail(fatal)
			return
		}
		if err != nil && c.ctx.Err() == nil {
			c.log.Debug("step not done", "err", err)
			if !errors.Is(err, errNotAdmitted) { // of which waiting tells
				stuck.tell(c.log, err)
			}
		} else {
			stuck = stuckLog{}
		}
		wait := stepIdle
		if again || err != nil || !c.IsReady() {
			wait = stepSoon
		}
		select {
		case <-c.ctx.Done():
			return
		case <-c.poke:
			// Changes come in bursts.
			select {
			case <-c.ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		case <-time.After(wait):
		}
	}
}

// step does the next thing there is to do. It reports whether more is left.
func (c *Coordinator) step(ctx context.Context) (again bool, err error) {
	m := c.member()
	if c.Directory.label != c.Directory.labelOf(&m) {
		if err := c.Directory.startGossip(); err != nil {
			return true, err
		}
	}
	switch {
	case m.Blank():
		return true, c.Formation.seek(ctx, &m)
	case !m.Formed && m.Founder == m.Incarnation:
		return true, c.Formation.found(ctx, &m)
	case !m.Formed:
		return true, c.Formation.await(ctx, &m)
	default:
		return c.maintain(ctx, &m)
	}
}

// fatalError is why a member will never serve as it was started.
type fatalError struct{ error }

func fatalf(format string, args ...any) error { return &fatalError{fmt.Errorf(format, args...)} }

func (c *Coordinator) fail(err *fatalError) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err.error
	}
	c.mu.Unlock()
	if first {
		c.log.Error("the member cannot serve", "err", err.error)
		close(c.failed)
	}
}

// Fail makes Ready return err: the member never will serve as it was started.
func (c *Coordinator) Fail(err error) { c.fail(&fatalError{err}) }

func (c *Coordinator) setWaiting(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	c.mu.Lock()
	changed := c.waiting != s
	c.waiting = s
	c.mu.Unlock()
	if changed && !c.IsReady() {
		c.log.Info("waiting", "for", s)
	}
}

func (c *Coordinator) wake() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

func (c *Coordinator) member() identity.Member { return c.dir.Member() }

// Member returns what the member remembers of itself.
func (c *Coordinator) Member() identity.Member { return c.member() }

func (c *Coordinator) self() self {
	m := c.member()
	return self{Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address, Level: c.level}
}

// agree returns a fatal error where a cluster is not as this member wants it.
// A zero value on either side has no opinion.
func (c *Coordinator) agree(name string, s settings) error {
	want := c.cfg.Settings
	if w := c.cfg.ClusterName; w != "" && name != "" && w != name {
		return fatalf("the cluster is called %q, this member was started for %q: give it the right --cluster or --join, or another data directory", name, w)
	}
	if w := want.Durability; w != "" && s.Durability != "" && w != s.Durability {
		return fatalf("the cluster's durability is %s, this member was started with %s: it is fixed at the cluster's first start", s.Durability, w)
	}
	for _, x := range []struct {
		what       string
		have, want int
	}{
		{"partitions", int(s.Partitions), want.Partitions},
		{"groups", int(s.Groups), want.Groups},
		{"replicas", int(s.Replicas), want.Replicas},
	} {
		if x.have != 0 && x.want != 0 && x.have != x.want {
			return fatalf("the cluster has %d %s, this member was started with %d: they are fixed at the cluster's first start", x.have, x.what, x.want)
		}
	}
	return nil
}

// Agrees returns an error where a member's cluster is not as a configuration
// wants it.
func Agrees(m *identity.Member, name string, want Settings) error {
	c := &Coordinator{cfg: Config{ClusterName: name, Settings: want}}
	return c.agree(m.ClusterName, wireOf(m))
}

// wireOf returns the settings of its cluster that a member remembers.
func wireOf(m *identity.Member) settings {
	return settings{Durability: m.Durability, Partitions: m.Partitions, Groups: m.Groups, Replicas: m.Replicas}
}

// wanted are the settings this member was started with.
func (c *Coordinator) wanted() settings {
	s := c.cfg.Settings
	return settings{Durability: s.Durability, Partitions: uint32(s.Partitions), Groups: uint32(s.Groups), Replicas: uint32(s.Replicas)}
}

// callerTTL is how long a member that asked is asked back.
const callerTTL = time.Minute

// told is an address that a member itself has told, and where it was heard
// until then: news of the gossip since then count for more.
type told struct{ address, heard string }

// maxKnown bounds how many incarnations this member keeps addresses of. It
// forgets those that are not listed as soon as it knows who is.
const maxKnown = 4096

func (c *Coordinator) changed() {
	c.wake()
	c.Peers.toldOfState() // of a member that is listed only now, perhaps
	c.cfg.Changed()
}
