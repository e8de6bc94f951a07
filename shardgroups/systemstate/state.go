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
)

// MaxLevel is the highest level of state this version understands.
const MaxLevel = 1

// maxEnded is how many ended sessions are listed. A group whose leader was
// away while more have ended asks for each of its sessions instead.
const maxEnded = 64 << 10

// maxSessions bounds the sessions of a cluster.
const maxSessions = 100_000

// maxExpired bounds the sessions that one entry ends.
const maxExpired = 1000

// Settings are fixed at the cluster's first start.
type Settings struct {
	_          struct{} `cbor:",toarray"`
	Durability string   // "disk" or "memory"
	Partitions uint32
	Groups     uint32
	Replicas   uint32
	Limits     protocol.Limits
}

// Member is one incarnation of a member.
type Member struct {
	_           struct{} `cbor:",toarray"`
	ID          protocol.MemberID
	Name        string
	Incarnation protocol.UUID
	Address     string
	Level       uint32 // highest level of group state it understands
	// Gone says that its data is lost for ever. It keeps its number until no
	// replica is listed on it.
	// Invariant: of the members that are not gone no two have the same Name.
	Gone bool
}

// Replica is a group's copy on a member.
type Replica struct {
	_         struct{} `cbor:",toarray"`
	ID        protocol.ReplicaID
	Member    protocol.MemberID
	NonVoting bool
	// Initial marks one of the group's first replicas, as long as all of them are
	// listed: one that has not run yet starts the group with them. After the first
	// was removed it joins the group like one that was added.
	Initial bool
}

// Group is a Raft group.
type Group struct {
	_           struct{} `cbor:",toarray"`
	ID          protocol.GroupID
	Replicas    []Replica // by ID
	NextReplica protocol.ReplicaID
	Generation  uint16 // rises when data of the group's partitions was lost

	// What the group is told when it begins.

	// Revision is where the revisions of its partitions begin.
	Revision protocol.Revision
	// HoldOff is how long it hands out nothing that a session holds.
	HoldOff time.Duration
	// Ends is the number of the last ended session when the group was made.
	Ends uint64
	// Seed is the group whose saved state it takes over, from a file that the
	// member of its only replica has; 0: it has its state.
	Seed protocol.GroupID
}

// Session is a client's liveness.
type Session struct {
	_        struct{} `cbor:",toarray"`
	ID       protocol.SessionID
	Client   protocol.UUID
	TTL      time.Duration
	Deadline protocol.LogTime
}

// Agreement is what everybody reads: everything but the sessions. It is never
// changed once it can be seen.
type Agreement struct {
	_        struct{} `cbor:",toarray"`
	Cluster  protocol.UUID
	Name     string
	Formed   bool
	Settings Settings
	Epoch    protocol.Epoch
	// Level is that of the system group's state, to which the data groups follow.
	// Invariant: no member that is not gone has a lower one.
	Level      uint32
	NextMember protocol.MemberID
	Members    []Member // by ID
	Groups     []Group  // by ID; the system group is one
	Partitions []protocol.GroupID
	// NextGroup is above the id of every group there ever was.
	NextGroup protocol.GroupID
}

// Member returns the member with an id.
func (a *Agreement) Member(id protocol.MemberID) (Member, bool) {
	i := slices.IndexFunc(a.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return a.Members[i], true
}

// Incarnation returns the member with an incarnation.
func (a *Agreement) Incarnation(u protocol.UUID) (Member, bool) {
	i := slices.IndexFunc(a.Members, func(m Member) bool { return m.Incarnation == u })
	if i < 0 {
		return Member{}, false
	}
	return a.Members[i], true
}

// Named returns the member with a name, whose data is not lost.
func (a *Agreement) Named(name string) (Member, bool) {
	i := slices.IndexFunc(a.Members, func(m Member) bool { return m.Name == name && !m.Gone })
	if i < 0 {
		return Member{}, false
	}
	return a.Members[i], true
}

// Group returns the group with an id.
func (a *Agreement) Group(id protocol.GroupID) (Group, bool) {
	i := slices.IndexFunc(a.Groups, func(g Group) bool { return g.ID == id })
	if i < 0 {
		return Group{}, false
	}
	return a.Groups[i], true
}

// MemberOf returns the member that has a group's replica, 0 where none is
// listed for it.
func (a *Agreement) MemberOf(group protocol.GroupID, replica protocol.ReplicaID) protocol.MemberID {
	g, _ := a.Group(group)
	for _, r := range g.Replicas {
		if r.ID == replica {
			return r.Member
		}
	}
	return 0
}

func (a *Agreement) clone() *Agreement {
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
	agreement *Agreement // replaced, never changed
	maxLevel  uint32     // that this version understands; MaxLevel outside tests
	clock     groupstate.Clock
	sessions  map[protocol.SessionID]Session
	clients   map[protocol.UUID]protocol.SessionID
	next      protocol.SessionID
	ended     []protocol.SessionID // the last of them, oldest first
	ends      uint64               // number of the last of them

	// over is above the sessions that ReplaceGroup has ended. They are kept alive
	// by nothing, and nobody is told that they live; but they get their number
	// when their TTL has passed, so that what they hold in groups that have lost
	// nothing is not given to others before its holder can know.
	over protocol.SessionID
	// leaving is how many of sessions are below over. Derived, not replicated.
	leaving int

	// soonest is not after the first deadline of a session, so that sessions are
	// looked through only when one may be over. Derived, not replicated.
	soonest protocol.LogTime
}

// New returns the state before the first entry.
func New() *State {
	return &State{
		agreement: &Agreement{NextMember: 1, Level: 1},
		maxLevel:  MaxLevel,
		sessions:  map[protocol.SessionID]Session{},
		clients:   map[protocol.UUID]protocol.SessionID{},
		next:      1,
		soonest:   never,
	}
}

const never = protocol.LogTime(math.MaxInt64)

// setSession writes a session.
func (s *State) setSession(v Session) {
	s.sessions[v.ID] = v
	s.soonest = min(s.soonest, v.Deadline)
}

// Agreement returns what is agreed. It must not be changed.
func (s *State) Agreement() *Agreement { return s.agreement }

// SetMaxLevel makes the state that of an earlier or later version, for tests
// only.
func (s *State) SetMaxLevel(level uint32) { s.maxLevel = level }

// Clock returns the replicated clock.
func (s *State) Clock() groupstate.Clock { return s.clock }

// Sessions returns how many sessions live.
func (s *State) Sessions() int { return len(s.sessions) }

// Lookup reports whether a session lives, and the number of the last that has
// ended.
func (s *State) Lookup(id protocol.SessionID) (lives bool, end uint64) {
	_, ok := s.sessions[id]
	return ok && id >= s.over, s.ends
}

// EndsAfter returns the sessions that ended with the numbers from+1 to at most
// from+limit; false where the list does not reach back to from.
func (s *State) EndsAfter(from uint64, limit int) ([]protocol.SessionID, bool) {
	oldest := s.ends - uint64(len(s.ended)) // number before the first listed
	if from < oldest {
		return nil, false
	}
	if from >= s.ends {
		return nil, true
	}
	rest := s.ended[from-oldest:]
	return slices.Clone(rest[:min(limit, len(rest))]), true
}

// NextDeadline returns a time not after the first deadline of a session, and
// false without sessions.
func (s *State) NextDeadline() (protocol.LogTime, bool) {
	return s.soonest, len(s.sessions) > 0
}

// Apply applies one entry and returns the answer to its command, which Decode
// of the command's answer type reads. Its error is a broken invariant.
func (s *State) Apply(entry []byte) (answer []byte, changed bool, err error) {
	h, rest, err := groupstate.ReadHeader(entry)
	if err != nil {
		return nil, false, err
	}
	if h.ClockEpoch == s.clock.Epoch && h.Elapsed >= 0 {
		s.clock.Now = max(s.clock.Now, s.clock.Base+protocol.LogTime(h.Elapsed))
	}
	var c Command
	if err := protocol.Decode(rest, &c); err != nil {
		return nil, false, fmt.Errorf("%w: %v", groupstate.ErrEntry, err)
	}
	before := s.agreement
	if c.Kind == RaiseLevel && c.Member.Level > s.maxLevel {
		return nil, false, s.tooNew(c.Member.Level)
	}
	a := s.run(&c)
	s.expire()
	return protocol.Encode(a), s.agreement != before, nil
}

// Encode returns the entry that carries a command.
func Encode(h groupstate.Header, c Command) []byte {
	var b groupstate.Builder
	b.Reset(h, 256)
	return append(b.Bytes(), protocol.Encode(c)...)
}

// expire ends sessions whose deadline has come, the earliest first.
func (s *State) expire() {
	if s.clock.Now < s.soonest {
		return
	}
	var due []Session
	later := never
	for _, v := range s.sessions {
		if v.Deadline <= s.clock.Now {
			due = append(due, v)
		} else {
			later = min(later, v.Deadline)
		}
	}
	slices.SortFunc(due, func(a, b Session) int {
		if a.Deadline != b.Deadline {
			return int(min(max(a.Deadline-b.Deadline, -1), 1))
		}
		return int(int64(a.ID) - int64(b.ID))
	})
	if len(due) <= maxExpired { // otherwise the rest go with the next entry
		s.soonest = later
	}
	for _, v := range due[:min(len(due), maxExpired)] {
		s.end(v)
	}
}

func (s *State) end(v Session) {
	delete(s.sessions, v.ID)
	if s.clients[v.Client] == v.ID {
		delete(s.clients, v.Client)
	}
	if v.ID < s.over {
		s.leaving--
	}
	s.ended = append(s.ended, v.ID)
	s.ends++
	if len(s.ended) > 2*maxEnded {
		s.ended = slices.Clone(s.ended[len(s.ended)-maxEnded:])
	}
}

// snapshot is the encoding of a State.
type snapshot struct {
	_         struct{} `cbor:",toarray"`
	Version   uint32
	Agreement Agreement
	Now, Base protocol.LogTime
	Epoch     uint64
	Holder    uint64
	Sessions  []Session // by ID
	Next      protocol.SessionID
	Ended     []protocol.SessionID
	Ends      uint64
	Over      protocol.SessionID
}

const snapshotVersion = 1

// Snapshot returns the encoding of the state.
func (s *State) Snapshot() []byte {
	v := snapshot{
		Version: snapshotVersion, Agreement: *s.agreement,
		Now: s.clock.Now, Base: s.clock.Base, Epoch: s.clock.Epoch, Holder: s.clock.Holder,
		Next: s.next, Ended: s.ended, Ends: s.ends, Over: s.over,
	}
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		v.Sessions = append(v.Sessions, s.sessions[id])
	}
	return protocol.EncodeLarge(v)
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
	var v snapshot
	if err := protocol.DecodeLarge(b, &v); err != nil {
		return fmt.Errorf("the system group's snapshot: %w", err)
	}
	if v.Version != snapshotVersion {
		return fmt.Errorf("the system group's snapshot has version %d, this version reads %d: install a newer version", v.Version, snapshotVersion)
	}
	if v.Agreement.Level > s.maxLevel {
		return s.tooNew(v.Agreement.Level)
	}
	n := New()
	n.agreement, n.maxLevel = &v.Agreement, s.maxLevel
	n.clock = groupstate.Clock{Now: v.Now, Base: v.Base, Epoch: v.Epoch, Holder: v.Holder}
	for _, x := range v.Sessions {
		n.setSession(x)
		n.clients[x.Client] = x.ID // of two the later, which lives
		if x.ID < v.Over {
			n.leaving++
		}
	}
	n.next, n.ended, n.ends, n.over = v.Next, v.Ended, v.Ends, v.Over
	*s = *n
	return nil
}

func (s *State) tooNew(level uint32) error {
	return fmt.Errorf("the system group's state has level %d, this version knows %d: install a newer version", level, s.maxLevel)
}
