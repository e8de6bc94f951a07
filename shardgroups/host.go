package shardgroups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftpb"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
	"github.com/quorate/quorate/shardgroups/raftnet"
	"github.com/quorate/quorate/shardgroups/walfs"
	"github.com/quorate/quorate/structures"
)

// Config is what a Host needs of its member.
type Config struct {
	Dir         string        // of the log and the snapshots; exists. With Memory not used
	Memory      bool          // log and state are in memory only; Incarnation is new at every start
	Cluster     protocol.UUID // keeps members of other clusters out
	Incarnation protocol.UUID // of the member's data
	RTT         time.Duration // of one tick; 0: DefaultRTT
	ElectionRTT uint64        // ticks; 0: DefaultElectionRTT
	Kinds       []structures.Kind
	Limits      protocol.Limits
	Logger      *slog.Logger // nil: discards
	// SlowOp is how long an operation may take before a warning is logged; 0: no
	// warning.
	SlowOp time.Duration

	SnapshotBytes uint64 // logged between two snapshots; 0: 32 MiB, in memory 4 MiB
	RetainBytes   uint64 // of log kept before a snapshot; 0: 32 MiB, in memory 12 MiB
	QueueBytes    int    // of requests that wait in a group, each; 0: 64 MiB
	// HistoryBytes is how many bytes of events a new group keeps; 0:
	// groupstate.DefaultHistory. The member that leads a group when its log begins logs
	// its value, which then applies to all replicas, whatever their members are
	// configured with.
	HistoryBytes int
	// LogBufferBytes is the size of a write buffer of the log store on disk, of
	// which it has up to four; 0: 16 MiB.
	LogBufferBytes int
	PeerQueueBytes int    // of messages that wait for one other member; 0: 64 MiB
	DiskBytes      uint64 // size of Dir's file system: on a small one less log is kept; 0: not known
	// FreeSpace returns how many bytes may be written besides the log, for snapshots;
	// nil: there is no limit.
	FreeSpace func() uint64
	// BackupDir holds the backups from which groups of this member are restored; empty:
	// none are.
	BackupDir string

	// TestHooks are for tests.
	TestHooks TestHooks

	// Resolve returns the address of an incarnation. It is called for every connection,
	// must not block, and must not forget a member that is merely suspected.
	Resolve func(protocol.UUID) (address string, ok bool)
	// Dial opens a connection for a purpose to another member, preface written.
	Dial func(ctx context.Context, address string, p protocol.Purpose) (net.Conn, error)

	// LeaderChanged is called, from a goroutine of the Host, after this member has
	// learned of a new leader of a group.
	LeaderChanged func()
	// SystemChanged is called, from a goroutine of the Host, after the local
	// system state has changed in something other than sessions.
	SystemChanged func()
}

// GroupSpec says which replica of which group a member runs.
type GroupSpec struct {
	Group   protocol.GroupID
	Replica protocol.ReplicaID
	// Initial are the first replicas and the incarnations that hold them, the
	// same on each of them. Empty: the replica was added to a running group.
	Initial   map[protocol.ReplicaID]protocol.UUID
	NonVoting bool
}

// Leader is the leader of a group, as this member knows it.
type Leader struct {
	Replica protocol.ReplicaID // 0: not known
	Term    uint64
	Self    bool // this member's replica leads
}

// Request is a request on its way through a group.
type Request struct {
	protocol.Request
	Raw []byte // the encoding of Request, as it arrived
	// Arrived is when it arrived; zero: with Submit. If TimeLeft has passed since then,
	// and the request is still queued, it is answered with CodeExpired.
	Arrived time.Time
	// Done is called exactly once with the reply, whose ID is Request.ID, from
	// any goroutine and perhaps inside Submit. It must not block.
	Done func(protocol.Reply)

	group *Group // that it was submitted to
	cost  int    // of a mutation: the most that it may cost
	// confirms marks a read that asks for nothing but the confirmation that all reads need.
	confirms bool
}

// Host is one member's Raft engine with its replicas.
type Host struct {
	cfg     Config
	moved   bool      // the data was written under another path: snapshots are taken anew
	files   *walfs.FS // nil: in memory
	nh      *dragonboat.NodeHost
	trans   *raftnet.Transport
	reg     *raftnet.Registry
	nonce   uint64 // names this Host in the headers of entries
	mono    *monotime
	system  *System
	ctx     context.Context
	cancel  context.CancelFunc
	workers workers
	events  events
	slow    *slowLog // nil: slow operations are not logged
	panics  logLimit // of structures

	snapshotting sync.Mutex // held while a snapshot is taken: one at a time

	mu     sync.RWMutex // guards the following
	groups map[protocol.GroupID]*Group
	specs  map[protocol.GroupID]GroupSpec
	// suspended is the size of the largest snapshot of a suspended group.
	suspended uint64
	closed    bool
	once      sync.Once
}

// Open starts a member's engine on its directory. No replica runs yet. Zero fields
// of cfg mean their defaults. A log that the engine cannot open is an error, which
// gives the engine's reason. [Host.Close] must be called.
func Open(cfg Config) (*Host, error) {
	cfg.setDefaults()
	engine.BridgeLogs(cfg.Logger)
	moved, what := false, "in memory"
	var files *walfs.FS
	nhc := engine.NodeHostConfig(cfg.Dir, cfg.RTT)
	nhc.MaxSendQueueSize, nhc.MaxReceiveQueueSize = uint64(cfg.PeerQueueBytes), uint64(cfg.PeerQueueBytes)
	engine.FitLog(&nhc.Expert.LogDB, uint64(cfg.LogBufferBytes), cfg.DiskBytes)
	if cfg.Memory {
		engine.InMemory(&nhc)
	} else {
		var err error
		if moved, err = engine.AdoptLocation(cfg.Dir); err != nil {
			return nil, err
		}
		what = "in " + cfg.Dir
		files = walfs.New(cfg.TestHooks.FS, cfg.Logger, nhc.Expert.LogDB.KVWriteBufferSize)
		nhc.Expert.FS = files.ForEngine()
	}
	h := &Host{
		moved: moved, files: files, cfg: cfg, nonce: rand.Uint64(), mono: newMonotime(cfg.TestHooks.Clock),
		reg:    raftnet.NewRegistry(cfg.Resolve),
		groups: map[protocol.GroupID]*Group{},
		specs:  map[protocol.GroupID]GroupSpec{},
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	campaigner := raftnet.NewCampaigner(raftGroups{h}, h.electionTime(), engine.DeploymentID(cfg.Cluster), cfg.Logger)
	h.trans = raftnet.NewTransport(raftnet.Config{
		Dial: cfg.Dial, Ended: campaigner.ProcessEnded, ElectionTime: h.electionTime(), Logger: cfg.Logger,
	})
	h.system = newSystem(h)
	if cfg.SlowOp > 0 {
		h.slow = &slowLog{limit: cfg.SlowOp, log: cfg.Logger}
	}
	h.events.wake = make(chan struct{}, 1)
	nhc.DeploymentID = engine.DeploymentID(cfg.Cluster)
	nhc.NodeHostID = cfg.Incarnation.String()
	nhc.RaftAddress = cfg.Incarnation.String()
	nhc.RaftEventListener = &h.events
	nhc.Expert.TransportFactory = h.trans
	nhc.Expert.NodeRegistryFactory = h.reg
	nh, err := engine.Open(nhc)
	if err != nil {
		return nil, fmt.Errorf("open the log %s: %w", what, err)
	}
	h.nh = nh
	h.spawn(h.dispatch)
	h.spawn(h.ticker)
	if cfg.TestHooks.Opened != nil {
		cfg.TestHooks.Opened(h)
	}
	return h, nil
}

// Close stops the replicas and the engine. It is idempotent.
func (h *Host) Close() error {
	h.once.Do(func() {
		h.mu.Lock()
		h.closed = true
		groups := make([]*Group, 0, len(h.groups))
		for _, g := range h.groups {
			groups = append(groups, g)
		}
		h.mu.Unlock()
		h.cancel()
		for _, g := range groups {
			g.close()
		}
		h.nh.Close()
		h.system.stepDown()
		h.workers.wait()
	})
	return nil
}

// spawn runs f in a goroutine that Close waits for.
func (h *Host) spawn(f func()) { h.workers.run(f) }

// ServeRaft reads Raft messages from a connection whose preface has been read,
// until it ends, and closes it. r reads from conn, and may have buffered some of it.
func (h *Host) ServeRaft(conn net.Conn, r io.Reader) error { return h.trans.Serve(conn, r) }

// StartGroup starts this member's replica of a group. If it runs already StartGroup
// does nothing. If the log does not hold the replica the error is [ErrLogMissing],
// unless fresh is set: a replica that has lost its data must not run again. If the
// engine panics the error is [ErrEngineFailed].
func (h *Host) StartGroup(spec GroupSpec, fresh bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return dragonboat.ErrClosed
	}
	if _, ok := h.specs[spec.Group]; ok {
		return nil
	}
	known := h.nh.HasNodeInfo(uint64(spec.Group), uint64(spec.Replica))
	if known && h.cfg.Memory {
		return fmt.Errorf("group %d, replica %d: %w", spec.Group, spec.Replica, errStartedBefore)
	}
	if !known && !fresh {
		return fmt.Errorf("group %d, replica %d: %w", spec.Group, spec.Replica, ErrLogMissing)
	}
	initial := map[uint64]dragonboat.Target{}
	for id, member := range spec.Initial {
		h.reg.Add(uint64(spec.Group), uint64(id), member.String())
		initial[uint64(id)] = member.String()
	}
	join := len(initial) == 0
	if known {
		initial, join = nil, false
	}
	cfg := engine.ReplicaConfig(spec.Group, spec.Replica, h.cfg.ElectionRTT)
	cfg.IsNonVoting = spec.NonVoting
	var g *Group
	create := func() sm.IConcurrentStateMachine {
		if spec.Group == protocol.SystemGroup {
			return &systemMachine{h.system}
		}
		return &groupMachine{g}
	}
	if spec.Group != protocol.SystemGroup {
		g = newGroup(h, spec)
		g.log.begin(h.cfg.RetainBytes, h.moved)
	} else {
		h.system.log.begin(h.cfg.RetainBytes, h.moved)
	}
	if err := h.startReplica(initial, join, create, cfg); err != nil {
		return fmt.Errorf("start group %d, replica %d: %w", spec.Group, spec.Replica, err)
	}
	h.specs[spec.Group] = spec
	if g != nil {
		h.groups[spec.Group] = g
		g.proposer.start()
		g.hub.Start()
	}
	h.events.again() // the leader may have been reported before the group was added
	return nil
}

func (h *Host) startReplica(initial map[uint64]dragonboat.Target, join bool, create func() sm.IConcurrentStateMachine, cfg config.Config) (err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("%w: %s", ErrEngineFailed, engine.PanicReason(e))
		}
	}()
	if h.cfg.Memory {
		return h.nh.StartOnDiskReplica(initial, join, func(_, _ uint64) sm.IOnDiskStateMachine { return engine.Volatile{IConcurrentStateMachine: create()} }, cfg)
	}
	return h.nh.StartConcurrentReplica(initial, join, func(_, _ uint64) sm.IConcurrentStateMachine { return create() }, cfg)
}

// errStartedBefore is the error of a replica in memory that was stopped: the state that
// it had applied is lost, and its log does not have it any more.
var errStartedBefore = errors.New("a replica in memory is started once")

// ErrEngineFailed is the error of an engine that has panicked while it started a
// replica. Its locks stay locked, so the process must end.
var ErrEngineFailed = errors.New("the engine has failed")

// ErrLogMissing is the error of a replica that the member has run before and
// whose log is lost.
var ErrLogMissing = engine.ErrLogMissing

// StopGroup stops this member's replica of a data group, if it runs, and removes its
// data. The replica must have been removed from its group: its id cannot be started
// here again. It is an error if another replica of the group runs here.
func (h *Host) StopGroup(ctx context.Context, id protocol.GroupID, replica protocol.ReplicaID) error {
	h.mu.Lock()
	g := h.groups[id]
	if g != nil && g.replica != replica {
		h.mu.Unlock()
		return fmt.Errorf("stop replica %d of group %d: replica %d runs", replica, id, g.replica)
	}
	delete(h.groups, id)
	delete(h.specs, id)
	h.mu.Unlock()
	if g != nil {
		g.close()
	}
	// One that has seen its own removal has stopped by itself.
	err := h.nh.StopReplica(uint64(id), uint64(replica))
	if err != nil && !errors.Is(err, dragonboat.ErrShardNotFound) {
		return fmt.Errorf("stop replica %d of group %d: %w", replica, id, err)
	}
	if err := h.nh.SyncRemoveData(ctx, uint64(id), uint64(replica)); err != nil {
		return fmt.Errorf("remove the data of replica %d of group %d: %w", replica, id, err)
	}
	return nil
}

// SuspendGroup stops this member's replica of a data group, if it runs, and keeps its
// data, so that [Host.StartGroup] can start it again. With Config.Memory it returns an
// error, since no data would be kept.
func (h *Host) SuspendGroup(id protocol.GroupID) error {
	if h.cfg.Memory {
		return errStartedBefore
	}
	bytes := h.snapshotBytes(id)
	h.mu.Lock()
	g := h.groups[id]
	delete(h.groups, id)
	delete(h.specs, id)
	h.suspended = max(h.suspended, bytes)
	h.mu.Unlock()
	if g == nil {
		return nil
	}
	g.close()
	err := h.nh.StopReplica(uint64(id), uint64(g.replica))
	if err != nil && !errors.Is(err, dragonboat.ErrShardNotFound) {
		return fmt.Errorf("stop replica %d of group %d: %w", g.replica, id, err)
	}
	return nil
}

// Running returns the replicas of data groups that run here.
func (h *Host) Running() map[protocol.GroupID]protocol.ReplicaID {
	h.mu.RLock()
	defer h.mu.RUnlock()
	running := map[protocol.GroupID]protocol.ReplicaID{}
	for id, g := range h.groups {
		running[id] = g.replica
	}
	return running
}

// Group returns this member's replica of a data group, nil without one.
func (h *Host) Group(id protocol.GroupID) *Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.groups[id]
}

// Groups returns the data groups that run here.
func (h *Host) Groups() []*Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	groups := make([]*Group, 0, len(h.groups))
	for _, g := range h.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *Group) int { return int(a.id) - int(b.id) })
	return groups
}

// SlowDisk reports whether the syncs of this member's log have been slow for some
// seconds.
func (h *Host) SlowDisk() bool { return h.files != nil && h.files.SlowDisk() }

// SyncTimes returns how long the syncs of this member's log took, in nanoseconds; empty
// in memory.
func (h *Host) SyncTimes() Histogram {
	if h.files == nil {
		return Histogram{}
	}
	return h.files.SyncTimes()
}

// System returns this member's replica of the system group.
func (h *Host) System() *System { return h.system }

// LeaderOf returns the leader of a group as its replica here knows it; the zero Leader
// if the replica has not heard from its group yet.
func (h *Host) LeaderOf(id protocol.GroupID) Leader {
	if id == protocol.SystemGroup {
		return h.system.Leader()
	}
	if g := h.Group(id); g != nil {
		return g.Leader()
	}
	return Leader{}
}

func (h *Host) memberOf(g protocol.GroupID, r protocol.ReplicaID) protocol.MemberID {
	return h.system.memberOf(g, r)
}

func (h *Host) systemChanged() { h.events.system() }

// ObservedProgress is what this member has observed of another's replica. Stored is
// what a replica has on disk; it is compared with that.
type (
	ObservedProgress = raftnet.ObservedProgress
	Stored           = raftnet.Stored
)

// ObservedProgress returns what this member has observed of a replica; false:
// nothing.
func (h *Host) ObservedProgress(g protocol.GroupID, r protocol.ReplicaID) (ObservedProgress, bool) {
	return h.trans.Progress(g, r)
}

// raftGroups implements [raftnet.Groups] for the groups of a Host.
type raftGroups struct{ h *Host }

var _ raftnet.Groups = raftGroups{}

func (r raftGroups) Replicas() map[protocol.GroupID]protocol.ReplicaID {
	r.h.mu.RLock()
	defer r.h.mu.RUnlock()
	if r.h.closed {
		return nil
	}
	replicas := make(map[protocol.GroupID]protocol.ReplicaID, len(r.h.specs))
	for id, s := range r.h.specs {
		replicas[id] = s.Replica
	}
	return replicas
}

func (r raftGroups) Leader(id protocol.GroupID) raftnet.Leader {
	return raftnet.Leader(r.h.LeaderOf(id))
}

func (r raftGroups) Voters(id protocol.GroupID) []protocol.ReplicaID {
	g, _ := r.h.system.View().Group(id)
	var voters []protocol.ReplicaID
	for _, replica := range g.Replicas {
		if !replica.NonVoting {
			voters = append(voters, replica.ID)
		}
	}
	return voters
}

func (r raftGroups) Address(id protocol.GroupID, replica protocol.ReplicaID) (string, bool) {
	address, _, err := r.h.reg.Resolve(uint64(id), uint64(replica))
	return address, err == nil
}

func (r raftGroups) Deliver(b raftpb.MessageBatch) {
	r.h.mu.RLock()
	defer r.h.mu.RUnlock()
	if !r.h.closed { // the engine is about to be closed otherwise
		r.h.trans.Deliver(b)
	}
}

func (r raftGroups) Spawn(f func(context.Context)) { r.h.spawn(func() { f(r.h.ctx) }) }
