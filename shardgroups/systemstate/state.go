package systemstate

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/levels"
)

// MaxLevel is the highest level of state this version understands.
const MaxLevel = levels.Max

// Settings are fixed at the cluster's first start.
type Settings struct {
	Durability string // "disk" or "memory"
	Partitions uint32
	Groups     uint32
	Replicas   uint32
	Limits     protocol.Limits
}

// Member is one incarnation of a member.
type Member struct {
	ID          protocol.MemberID
	Name        string
	Incarnation protocol.UUID
	Address     string
	Level       uint32 // highest level of state that it understands
	// Gone says that its data is lost for ever. It keeps its number until no replica is
	// listed on it. Invariant: no two members that are not Gone have the same Name.
	Gone bool
}

// Replica is a replica of a group on a member.
type Replica struct {
	ID        protocol.ReplicaID
	Member    protocol.MemberID
	NonVoting bool
	// Initial marks one of the group's first replicas, as long as all of them are
	// listed: a first replica that has not run yet starts the group together with the
	// others. Once any of them was removed, it joins the group like a replica that was
	// added.
	Initial bool
}

// Group is a Raft group.
type Group struct {
	ID          protocol.GroupID
	Replicas    []Replica // by ID
	NextReplica protocol.ReplicaID
	Generation  uint16 // rises when data of the group's partitions was lost

	// What follows is given to the group when it begins.

	// Revision is where the revisions of its partitions begin.
	Revision protocol.Revision
	// GracePeriod is how long it refuses operations that hold something.
	GracePeriod time.Duration
	// Ends is the number of the last ended session when the group was made.
	Ends uint64
	// Backup is the group whose backup it is restored from, a file on the member with
	// its only replica; 0: it has its state.
	Backup protocol.GroupID
}

// ClusterState is everything but the sessions. It is immutable.
type ClusterState struct {
	Cluster  protocol.UUID
	Name     string
	Formed   bool
	Settings Settings
	Epoch    protocol.Epoch
	// Level is the level of the system group's state; the data groups follow it.
	// Invariant: no member that is not Gone has a lower one.
	Level      uint32
	NextMember protocol.MemberID
	Members    []Member // by ID
	Groups     []Group  // by ID; the system group is one
	Partitions []protocol.GroupID
	// NextGroup is above the id of every group that ever was.
	NextGroup protocol.GroupID
	// Floor is where the first groups and sessions start.
	Floor Floor
}

// Member returns the member with an id.
func (a *ClusterState) Member(id protocol.MemberID) (Member, bool) {
	i := slices.IndexFunc(a.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return a.Members[i], true
}

// Incarnation returns the member with an incarnation.
func (a *ClusterState) Incarnation(u protocol.UUID) (Member, bool) {
	i := slices.IndexFunc(a.Members, func(m Member) bool { return m.Incarnation == u })
	if i < 0 {
		return Member{}, false
	}
	return a.Members[i], true
}

// Named returns the member with a name that is not Gone.
func (a *ClusterState) Named(name string) (Member, bool) {
	i := slices.IndexFunc(a.Members, func(m Member) bool { return m.Name == name && !m.Gone })
	if i < 0 {
		return Member{}, false
	}
	return a.Members[i], true
}

// Group returns the group with an id.
func (a *ClusterState) Group(id protocol.GroupID) (Group, bool) {
	i := slices.IndexFunc(a.Groups, func(g Group) bool { return g.ID == id })
	if i < 0 {
		return Group{}, false
	}
	return a.Groups[i], true
}

// MemberOf returns the member that has a group's replica, 0 if the replica is not
// listed.
func (a *ClusterState) MemberOf(group protocol.GroupID, replica protocol.ReplicaID) protocol.MemberID {
	g, _ := a.Group(group)
	for _, r := range g.Replicas {
		if r.ID == replica {
			return r.Member
		}
	}
	return 0
}

func (a *ClusterState) clone() *ClusterState {
	c := *a
	c.Members = slices.Clone(a.Members)
	c.Groups = slices.Clone(a.Groups)
	for i := range c.Groups {
		c.Groups[i].Replicas = slices.Clone(c.Groups[i].Replicas)
	}
	c.Partitions = slices.Clone(a.Partitions)
	return &c
}

// State is the state of the system group.
type State struct {
	cluster  *ClusterState // replaced, never changed
	maxLevel uint32        // that this version understands; MaxLevel outside tests
	clock    groupstate.Clock
	sessions map[protocol.SessionID]Session
	clients  map[protocol.UUID]protocol.SessionID
	next     protocol.SessionID
	ended    []protocol.SessionID // the last of them, oldest first
	ends     uint64               // number of the last of them

	// over is above the sessions that ReplaceGroup has ended. Nothing keeps them alive,
	// and they count as ended in answers. But their ends get their numbers only when
	// their TTL has passed: so what they hold in groups that have lost nothing is not
	// granted to others before the holders can know.
	over protocol.SessionID
	// endedBy counts the ends by their reason.
	endedBy [Ends]uint64
	// leaving is how many sessions are below over. Derived, not replicated.
	leaving int
	// sources counts the other sessions by source. Derived, not replicated.
	sources map[string]int

	maxEnded int // ended sessions that are listed; maxEnded outside tests

	// soonest is a lower bound of the first deadline of a session, so that sessions are
	// scanned only when one may be over. Derived, not replicated.
	soonest protocol.LogTime
}

// New returns the state before the first entry.
func New() *State {
	return &State{
		cluster:  &ClusterState{NextMember: 1, Level: 1},
		maxLevel: MaxLevel,
		maxEnded: maxEnded,
		sources:  map[string]int{},
		sessions: map[protocol.SessionID]Session{},
		clients:  map[protocol.UUID]protocol.SessionID{},
		next:     1,
		soonest:  never,
	}
}

const never = protocol.LogTime(math.MaxInt64)

// ClusterState returns the cluster state. It must not be changed.
func (s *State) ClusterState() *ClusterState { return s.cluster }

// SetMaxLevel makes the state that of an earlier or later version, for tests
// only.
func (s *State) SetMaxLevel(level uint32) { s.maxLevel = level }

// Clock returns the replicated clock.
func (s *State) Clock() groupstate.Clock { return s.clock }

// Apply applies one entry and returns the encoded Answer to its command. An error means
// a broken invariant: an entry that Check refuses, or a level that a listed member does
// not understand, which raiseLevel refuses. Everything else is in the answer.
func (s *State) Apply(entry []byte) (answer []byte, changed bool, err error) {
	h, c, err := decode(entry, s.maxLevel)
	if err != nil {
		return nil, false, err
	}
	if h.ClockEpoch == s.clock.Epoch && h.Elapsed >= 0 {
		s.clock.Now = max(s.clock.Now, s.clock.Base+protocol.LogTime(h.Elapsed))
	}
	before := s.cluster
	a := s.run(&c)
	if level := s.cluster.Level; level > s.maxLevel {
		return nil, false, levels.TooNew("the system group's state", level, s.maxLevel) // it was raised because every listed member understands it
	}
	s.expire()
	return protocol.Encode(a), s.cluster != before, nil
}

// Encode returns the entry that carries a command, in the shape of the header's
// level.
func Encode(h groupstate.Header, c Command) []byte {
	h.Level = max(h.Level, 1)
	var b groupstate.Builder
	b.Reset(h, 256)
	return levels.Append(b.Bytes(), &c, h.Level)
}

func decode(entry []byte, maxLevel uint32) (h groupstate.Header, c Command, err error) {
	h, rest, err := groupstate.ReadHeader(entry)
	if err == nil {
		err = levels.Known("a log entry of the system group", uint64(h.Level), maxLevel)
	}
	if err != nil {
		return h, c, err
	}
	if err := levels.Decode(rest, &c, h.Level); err != nil {
		return h, c, fmt.Errorf("%w: %v", groupstate.ErrEntry, err)
	}
	return h, c, nil
}

// Bounds of what members report of themselves.
const (
	maxName    = 255
	maxAddress = 512

	maxPartitions = 64 << 10 // that a table can hold
)

// Check returns an error if an entry must not be logged. Every replica applies what is
// logged, now and at each restart, so an entry that Apply cannot read would stop them
// all. The proposer calls it (APPLY-2).
func Check(entry []byte) error {
	_, c, err := decode(entry, math.MaxUint32)
	switch n := len(c.Keeps) + len(c.Renews) + len(c.Closes) + len(c.Opens); {
	case err != nil:
		return err
	case n > MaxKeep:
		return fmt.Errorf("a command about %d sessions, at most %d", n, MaxKeep)
	case len(c.Partitions) > maxPartitions:
		return fmt.Errorf("%d partitions, at most %d", len(c.Partitions), maxPartitions)
	case len(c.Name) > maxName || len(c.Member.Name) > maxName:
		return fmt.Errorf("a name of more than %d bytes", maxName)
	case c.Kill != nil && len(c.Kill.Reason) > maxName:
		return fmt.Errorf("a reason of more than %d bytes", maxName)
	case len(c.Member.Address) > maxAddress:
		return fmt.Errorf("an address of more than %d bytes", maxAddress)
	}
	return nil
}

// snapshot is the encoding of a State. The format version and the level precede it.
type snapshot struct {
	ClusterState ClusterState
	Now, Base    protocol.LogTime
	Epoch        uint64
	Holder       uint64
	Sessions     []Session // by ID
	Next         protocol.SessionID
	Ended        []protocol.SessionID
	Ends         uint64
	Over         protocol.SessionID
	EndedBy      []uint64 // by End
}

const snapshotVersion = 1

// Snapshot returns the encoding of the state.
func (s *State) Snapshot() []byte {
	v := snapshot{
		ClusterState: *s.cluster,
		Now:          s.clock.Now, Base: s.clock.Base, Epoch: s.clock.Epoch, Holder: s.clock.Holder,
		Next: s.next, Ended: s.ended, Ends: s.ends, Over: s.over,
		EndedBy: s.endedBy[:],
	}
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		v.Sessions = append(v.Sessions, s.sessions[id])
	}
	level := max(s.cluster.Level, 1)
	return levels.Append(protocol.AppendUint(protocol.AppendUint(nil, snapshotVersion), uint64(level)), &v, level)
}

// maxSnapshot bounds what Restore reads.
const maxSnapshot = 256 << 20

// Restore replaces the state by a snapshot.
func (s *State) Restore(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxSnapshot+1))
	if err != nil {
		return err
	}
	if len(b) > maxSnapshot {
		return errors.New("the system group's snapshot is too large")
	}
	head := protocol.NewReader(b)
	version, level := head.Uint(), head.Uint()
	if head.Err() == nil && version != snapshotVersion {
		return fmt.Errorf("the system group's snapshot has version %d, this version reads %d: install a newer version", version, snapshotVersion)
	}
	if head.Err() == nil {
		if err := levels.Known("the system group's state", level, s.maxLevel); err != nil {
			return err
		}
	}
	var v snapshot
	if err := levels.Decode(b[len(b)-head.Len():], &v, uint32(level)); err != nil {
		return fmt.Errorf("the system group's snapshot: %w", err)
	}
	if uint64(v.ClusterState.Level) != level {
		return fmt.Errorf("the system group's snapshot: %w: the state has another level", protocol.ErrMalformed)
	}
	n := New()
	cluster := v.ClusterState // a copy, so that a reference to it does not keep the sessions alive
	n.cluster, n.maxLevel, n.maxEnded = &cluster, s.maxLevel, s.maxEnded
	n.over = v.Over
	copy(n.endedBy[:], v.EndedBy)
	n.clock = groupstate.Clock{Now: v.Now, Base: v.Base, Epoch: v.Epoch, Holder: v.Holder}
	for _, x := range v.Sessions {
		n.add(x)
	}
	n.next, n.ended, n.ends = v.Next, v.Ended, v.Ends
	*s = *n
	return nil
}
