package membership

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// CaughtUpTimeout bounds the question whether a replica has caught up: one that needs
// longer is not fit to lead.
const CaughtUpTimeout = time.Second

// Config is what a Grid needs of its member. The functions must not block.
type Config struct {
	Dir     *identity.Dir
	Address string   // advertised
	Join    []string // addresses to find others at
	Level   uint32   // of state that this member understands
	Network *network.Network
	Packets net.PacketConn
	Peers   Asker
	Gossip  func(gossip.Config) (Gossip, error)
	Logger  *slog.Logger

	Wake      func() // there is something to do
	Changed   func() // tables, leaders or addresses have changed
	Announced func() // a member has announced something of itself, has come or has gone
	// Stepped is called after each step that changes the cluster, with a point of
	// package tune; nil: nobody is told.
	Stepped func(point string, g protocol.GroupID)
}

// Grid is the cluster as one member knows it. It is safe for concurrent use.
type Grid struct {
	*Directory
	*Conditions
	*Status
	Asker
	Log   *slog.Logger
	Floor FloorClock // of what a grid in memory hands out

	cfg    Config
	engine atomic.Pointer[Engine]

	// deciding is held from looking at what the member remembers until what was
	// decided is on disk, so that a decision and its record are one. It is never held
	// across the network. Who only reads what is remembered takes no lock.
	deciding sync.Mutex

	mu     sync.Mutex                          // guards what follows
	remote map[protocol.GroupID]peers.LeaderOf // what others say of groups whose leader is not known here
}

// New returns the Grid of a member that knows nothing but what it remembers. Its
// gossip is to be started.
func New(cfg Config) *Grid {
	g := &Grid{cfg: cfg, Asker: cfg.Peers, Log: cfg.Logger, Status: newStatus(cfg.Logger), remote: map[protocol.GroupID]peers.LeaderOf{}}
	g.Conditions = newConditions(g)
	g.Directory = newDirectory(cfg, g.Conditions)
	m := g.Member()
	for _, p := range m.Peers {
		g.NoteKnown(peers.Self{Incarnation: p.Incarnation, Address: p.Address})
	}
	return g
}

// Member returns what this member remembers of itself.
func (g *Grid) Member() identity.Member { return g.cfg.Dir.Member() }

// Me says who this member is, to others.
func (g *Grid) Me() peers.Self {
	m := g.Member()
	return peers.Self{Incarnation: m.Incarnation, Name: m.Name, Address: g.cfg.Address, Level: g.cfg.Level}
}

// Level returns the highest level of state that this member understands.
func (g *Grid) Level() uint32 { return g.cfg.Level }

// Address returns the address at which others reach this member.
func (g *Grid) Address() string { return g.cfg.Address }

// Join returns the addresses at which this member was told to find others.
func (g *Grid) Join() []string { return g.cfg.Join }

// Dir returns the member's data directory, for what does not change what the member
// remembers; see Decide.
func (g *Grid) Dir() *identity.Dir { return g.cfg.Dir }

// Decide calls f, which looks at what the member remembers, and may change it. Nothing
// else changes it meanwhile. f must not ask anybody.
func (g *Grid) Decide(f func(dir *identity.Dir) error) error {
	g.deciding.Lock()
	defer g.deciding.Unlock()
	return f(g.cfg.Dir)
}

// Wake has the controllers look at once.
func (g *Grid) Wake() { g.cfg.Wake() }

// Changed says that tables, leaders or addresses have changed.
func (g *Grid) Changed() { g.cfg.Changed() }

// Stepped says that a step was taken, see package tune.
func (g *Grid) Stepped(point string, id protocol.GroupID) {
	if g.cfg.Stepped != nil {
		g.cfg.Stepped(point, id)
	}
}

// Engine returns the engine of this member, nil before it has one.
func (g *Grid) Engine() Engine {
	if e := g.engine.Load(); e != nil {
		return *e
	}
	return nil
}

// SetEngine replaces the engine; nil: the member has none any more. It returns the one
// before.
func (g *Grid) SetEngine(e Engine) (before Engine) {
	var next *Engine
	if e != nil {
		next = &e
	}
	if old := g.engine.Swap(next); old != nil {
		return *old
	}
	return nil
}

// View returns what is agreed as this member knows it, nil before it knows.
func (g *Grid) View() *systemstate.ClusterState {
	e := g.Engine()
	if e == nil {
		return nil
	}
	v := e.System().View()
	if v.Cluster == (protocol.UUID{}) {
		return nil
	}
	return v
}

// Self returns this member's number, 0 before it is listed.
func (g *Grid) Self() protocol.MemberID {
	v := g.View()
	if v == nil {
		return 0
	}
	o, _ := v.Incarnation(g.Member().Incarnation)
	return o.ID
}

// AddressOf returns where a member is.
func (g *Grid) AddressOf(id protocol.MemberID) (string, bool) {
	v := g.View()
	if v == nil || id == 0 {
		return "", false
	}
	o, ok := v.Member(id)
	if !ok {
		return "", false
	}
	return g.AddressOrListed(o), true
}

// AddressOrListed returns where a member is: as it is listed, if nothing else is known.
func (g *Grid) AddressOrListed(o systemstate.Member) string {
	if a, ok := g.Resolve(o.Incarnation); ok {
		return a
	}
	return o.Address
}

// Answers reports whether a member is at its address, and nobody else.
func (g *Grid) Answers(ctx context.Context, o systemstate.Member) bool {
	var r peers.StateReply
	return g.Ask(ctx, g.AddressOrListed(o), peers.AskState, g.Me(), &r) == nil && r.Self.Incarnation == o.Incarnation
}

// IsListed reports whether a cluster lists an incarnation that is not replaced.
func IsListed(v *systemstate.ClusterState, u protocol.UUID) bool {
	o, ok := v.Incarnation(u)
	return ok && !o.Gone
}

// LeaderOf returns who leads a group, 0 if that is not known.
func (g *Grid) LeaderOf(id protocol.GroupID) protocol.MemberID {
	m, _ := g.LeaderIn(g.View(), id)
	return m
}

// Leader returns who leads a group, 0 if that is not known, and the term of that
// knowledge.
func (g *Grid) Leader(id protocol.GroupID) (protocol.MemberID, uint64) {
	return g.LeaderIn(g.View(), id)
}

// LeaderIn returns who leads a group of v, 0 if that is not known, and the term of that
// knowledge.
func (g *Grid) LeaderIn(v *systemstate.ClusterState, id protocol.GroupID) (protocol.MemberID, uint64) {
	e := g.Engine()
	if e == nil || v == nil {
		return 0, 0
	}
	m, term := LeadsHere(e, v, id)
	if id == protocol.SystemGroup {
		return m, term
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.remote[id]; r.Term > term || r.Term == term && m == 0 {
		return r.Member, r.Term
	}
	return m, term
}

// LeadsHere returns who leads a group, and in which term, as its replica here knows it.
func LeadsHere(e Engine, v *systemstate.ClusterState, id protocol.GroupID) (protocol.MemberID, uint64) {
	l := e.LeaderOf(id)
	return v.MemberOf(id, l.Replica), l.Term
}

// Leaders returns the leader of every group of v that has a known one.
func (g *Grid) Leaders(v *systemstate.ClusterState) map[protocol.GroupID]protocol.MemberID {
	leaders := map[protocol.GroupID]protocol.MemberID{}
	for _, group := range v.Groups {
		if m, _ := g.LeaderIn(v, group.ID); m != 0 {
			leaders[group.ID] = m
		}
	}
	return leaders
}

// Leaderless returns the groups of which this member knows no leader.
func (g *Grid) Leaderless() []protocol.GroupID {
	v := g.View()
	if v == nil {
		return nil
	}
	var without []protocol.GroupID
	for _, group := range v.Groups {
		if m, _ := g.LeaderIn(v, group.ID); m == 0 {
			without = append(without, group.ID)
		}
	}
	return without
}

// RemoteLeaders returns what others say of groups whose leader is not known here.
func (g *Grid) RemoteLeaders() map[protocol.GroupID]peers.LeaderOf {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.remote)
}

// SetRemoteLeaders keeps what others say, and reports whether it is something else.
func (g *Grid) SetRemoteLeaders(remote map[protocol.GroupID]peers.LeaderOf) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed = !maps.Equal(g.remote, remote)
	g.remote = remote
	return changed
}

// EngineOf returns the engine of a member of the cluster that is meant.
func (g *Grid) EngineOf(cluster protocol.UUID) (Engine, error) {
	e := g.Engine()
	if v := g.View(); e == nil || v == nil || v.Cluster != cluster {
		return nil, peers.ErrAnotherCluster
	}
	return e, nil
}

// EngineWith is EngineOf for a member that has a replica, too.
func (g *Grid) EngineWith(cluster protocol.UUID, id protocol.GroupID, r protocol.ReplicaID) (Engine, error) {
	e, err := g.EngineOf(cluster)
	if err != nil {
		return nil, err
	}
	if m := g.Member(); !m.Runs(id, r) {
		return nil, peers.Refuse(protocol.CodeInvalid, "replica %d of group %d is not here", r, id)
	}
	return e, nil
}

// Leading returns the engine if this member leads the system group of the cluster that
// is meant.
func (g *Grid) Leading(cluster protocol.UUID) (Engine, error) {
	e, err := g.EngineOf(cluster)
	if err != nil {
		return nil, err
	}
	if !e.System().Leader().Self {
		return nil, &peers.Refusal{
			Code: protocol.CodeNotLeader, Detail: "this member does not lead the system group", Leader: g.LeaderOf(protocol.SystemGroup),
		}
	}
	return e, nil
}

// SetAddress has the cluster list a member at another address, name or level. This
// member leads the system group.
func SetAddress(ctx context.Context, e Engine, j peers.Join) error {
	_, err := e.System().Propose(ctx, systemstate.Command{
		Kind:   systemstate.SetAddress,
		Member: systemstate.Member{Incarnation: j.Incarnation, Name: j.Name, Address: j.Address, Level: j.Level},
	})
	return err
}
