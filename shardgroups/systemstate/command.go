package systemstate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// Kind says what a Command does. Numbers are never used again.
type Kind uint8

// The commands of the system group.
const (
	Claim         Kind = 1  // the leader takes the clock: Nonce
	Found         Kind = 2  // the cluster: Cluster, Name, Settings, Member
	AddMember     Kind = 3  // an incarnation: Member; answers its id. The one that it Replaces is removed
	SetAddress    Kind = 4  // an incarnation's address, name and level: Member
	AddReplica    Kind = 5  // a replica of a group on a member: Group, Member.ID; answers the replica's id
	SetReplica    Kind = 6  // a replica's kind: Group, Replica
	RemoveReplica Kind = 7  // Group, Replica.ID
	Form          Kind = 8  // the cluster is formed
	CreateGroups  Kind = 9  // Groups, Partitions
	KeepSessions  Kind = 10 // requests on sessions: Keeps, Renews, Closes, Opens; empty, it only logs the time
	RemoveMember  Kind = 13 // Member.ID
	ReplaceGroup  Kind = 14 // lost its majority's data: Group, and in Groups its successor's Replicas and Backup; answers its id
	Restored      Kind = 15 // a group has been restored from its backup: Group
	RaiseLevel    Kind = 16 // to Member.Level, where every member understands it
	KillSession   Kind = 17 // Kill; answers Left, or Gone
)

// Command is one change of the cluster state. Its Kind decides which fields are used.
type Command struct {
	Kind       Kind
	Nonce      uint64
	Cluster    protocol.UUID
	Name       string
	Settings   Settings
	Member     Member
	Group      protocol.GroupID
	Replica    Replica
	Groups     []Group
	Partitions []protocol.GroupID
	Opens      []Opening
	Keeps      []protocol.SessionID // heartbeats
	Closes     []protocol.SessionID
	Saved      *SavedCluster // of Found
	// Replaces is the incarnation that has the name of the one that AddMember adds, and
	// is known to be dead. Zero: the name is free.
	Replaces protocol.UUID
	Floor    Floor // in memory only: for Found, for AddMember before the cluster is formed, and for ReplaceGroup
	// Renews are sessions that members keep, as their clients have sent something.
	Renews []protocol.SessionID
	Kill   *Kill
}

// Kill ends a session that an operator does not want any more.
type Kill struct {
	Session protocol.SessionID
	Now     bool // at once; else when its time is over, which nothing prolongs
	Reason  string
}

// MaxKeep bounds the Keeps, Renews, Closes and Opens of one command together, so that
// the cost of an entry is bounded. It is far below what can be decoded.
const MaxKeep = 4096

// Opening opens the session of a client, or finds the one it has.
type Opening struct {
	Client protocol.UUID
	TTL    time.Duration
	Source string // where it comes from: no source may have more sessions than are left for the others
	Name   string // of the client, human-readable; may be empty
	// Greets is set if it came with the client's Hello: members keep the session until
	// the client does.
	Greets bool
}

// Opened answers an Opening.
type Opened struct {
	_       struct{} `cbor:",toarray"`
	Session protocol.SessionID
	TTL     time.Duration
	Problem string // why there is none; empty: there is
}

// SavedCluster is what a cluster that is founded anew takes from the one that was lost.
type SavedCluster struct {
	Epoch      protocol.Epoch
	Level      uint32             // of the state
	Next       protocol.SessionID // the first session that was not given out
	Ends       uint64             // number of the last ended session
	NextGroup  protocol.GroupID
	Groups     []Group // without replicas; those with a Backup are restored from it
	Partitions []protocol.GroupID
}

// Answer is the result of a Command.
type Answer struct {
	_       struct{} `cbor:",toarray"`
	Problem string   // why nothing was done; empty: it was
	Member  protocol.MemberID
	Replica protocol.ReplicaID
	Opened  []Opened             // one for each of Opens, in their order
	Gone    []protocol.SessionID // those of Keeps, or of Kill, that have ended
	Group   protocol.GroupID
	// Dropped are those of Renews that members must not renew any more: they have
	// ended, or their clients keep them.
	Dropped []protocol.SessionID
	Left    time.Duration // of Kill: until the session ends
}

func refuse(why string) Answer { return Answer{Problem: why} }

func (s *State) run(c *Command) Answer {
	switch c.Kind {
	case Claim:
		s.clock.Epoch++
		s.clock.Holder, s.clock.Base = c.Nonce, s.clock.Now
		return Answer{}
	case KeepSessions:
		return s.keepSessions(c)
	case KillSession:
		if c.Kill == nil {
			return refuse("no session is named")
		}
		return s.kill(c.Kill)
	}
	a := s.cluster.clone()
	r := s.agree(a, c)
	if r.Problem == "" {
		s.cluster = a
	}
	return r
}

// agree carries out a command on a, a copy of the cluster state. Every command is
// idempotent, because the coordinator repeats a command if it does not know its
// outcome.
func (s *State) agree(a *ClusterState, c *Command) Answer {
	switch c.Kind {
	case Found:
		if a.Cluster == c.Cluster {
			return Answer{Member: 1}
		}
		if a.Cluster != (protocol.UUID{}) {
			return refuse("the cluster is founded already")
		}
		a.Cluster, a.Name, a.Settings = c.Cluster, c.Name, c.Settings
		c.Member.ID, c.Member.Level = a.NextMember, max(c.Member.Level, 1)
		a.NextMember++
		a.Members = append(a.Members, c.Member)
		a.Groups = []Group{{
			ID:          protocol.SystemGroup,
			Replicas:    []Replica{{ID: 1, Member: c.Member.ID, Initial: true}},
			NextReplica: 2,
		}}
		a.NextGroup = protocol.SystemGroup + 1
		if c.Saved != nil {
			s.restore(a, c.Saved)
		}
		s.raise(a, c.Floor)
		return Answer{Member: c.Member.ID}
	case AddMember:
		r := a.addMember(c.Member, c.Replaces)
		if r.Problem == "" && !a.Formed {
			s.raise(a, c.Floor)
		}
		return r
	case RaiseLevel:
		return a.raiseLevel(c.Member.Level)
	case SetAddress:
		return a.setAddress(c.Member)
	case RemoveMember:
		for _, g := range a.Groups {
			for _, r := range g.Replicas {
				if r.Member == c.Member.ID {
					return refuse("the member has replicas")
				}
			}
		}
		a.Members = slices.DeleteFunc(a.Members, func(m Member) bool { return m.ID == c.Member.ID })
		a.Epoch++
		return Answer{}
	case AddReplica, SetReplica, RemoveReplica:
		return a.setReplica(c)
	case Form:
		a.Formed = true
		a.Epoch++
		return Answer{}
	case CreateGroups:
		if len(a.Partitions) > 0 {
			return Answer{}
		}
		a.Groups = append(a.Groups, c.Groups...)
		for _, g := range c.Groups {
			a.NextGroup = max(a.NextGroup, g.ID+1)
		}
		a.Partitions = c.Partitions
		a.Epoch++
		return Answer{}
	case ReplaceGroup:
		return s.replaceGroup(a, c)
	case Restored:
		i := slices.IndexFunc(a.Groups, func(g Group) bool { return g.ID == c.Group })
		if i < 0 {
			return refuse("no such group")
		}
		if a.Groups[i].Backup != 0 {
			a.Groups[i].Backup = 0
			a.Epoch++
		}
		return Answer{}
	}
	return refuse("an unknown command")
}

// addMember adds an incarnation. The one that it replaces is marked as having lost its
// data: names are unique, and its replicas must be replaced. The proposer has found out
// that the replaced incarnation is dead. By now another incarnation may have the name,
// and may live, so a command that is applied late, or twice, replaces no other.
func (a *ClusterState) addMember(m Member, replaces protocol.UUID) Answer {
	if old, ok := a.Incarnation(m.Incarnation); ok {
		if old.Gone {
			return refuse("another incarnation has taken the member's place")
		}
		return Answer{Member: old.ID}
	}
	m.Level = max(m.Level, 1)
	if m.Level < a.Level {
		return a.tooOld(m)
	}
	has, _ := a.Named(m.Name)
	if has.Incarnation != replaces && !mutants.On(mutants.LateJoinReplaces) {
		return refuse(fmt.Sprintf("the member called %s has been replaced in the meantime", m.Name))
	}
	for i := range a.Members {
		if a.Members[i].ID == has.ID {
			a.Members[i].Gone = true
		}
	}
	m.ID, m.Gone = a.NextMember, false
	a.NextMember++
	a.Members = append(a.Members, m)
	a.Epoch++
	return Answer{Member: m.ID}
}

// setAddress sets a member's address, name and level.
func (a *ClusterState) setAddress(m Member) Answer {
	i := slices.IndexFunc(a.Members, func(o Member) bool { return o.Incarnation == m.Incarnation })
	if i < 0 {
		return refuse("no such member")
	}
	o := &a.Members[i]
	if m.Name != "" && m.Name != o.Name {
		if other, ok := a.Named(m.Name); ok {
			return refuse(fmt.Sprintf("a member called %s is at %s: give one of them another name", m.Name, other.Address))
		}
		o.Name = m.Name
	}
	m.Level = max(m.Level, 1)
	if m.Level < a.Level {
		return a.tooOld(m)
	}
	o.Address, o.Level = m.Address, m.Level
	a.Epoch++
	return Answer{Member: o.ID}
}

func (a *ClusterState) tooOld(m Member) Answer {
	return refuse(fmt.Sprintf("the cluster's state has level %d, the version of member %s understands %d: install a newer one", a.Level, m.Name, m.Level))
}

// CommonLevel returns the highest level that every member understands.
func (a *ClusterState) CommonLevel() uint32 {
	level := uint32(math.MaxUint32)
	for _, m := range a.Members {
		if !m.Gone {
			level = min(level, m.Level)
		}
	}
	return level
}

// raiseLevel raises the level, if nobody is left behind.
func (a *ClusterState) raiseLevel(level uint32) Answer {
	switch {
	case level <= a.Level:
		return Answer{}
	case level > a.CommonLevel():
		return refuse("not every member understands the level")
	}
	a.Level = level
	a.Epoch++
	return Answer{}
}

func (a *ClusterState) setReplica(c *Command) Answer {
	i := slices.IndexFunc(a.Groups, func(g Group) bool { return g.ID == c.Group })
	if i < 0 {
		return refuse("no such group")
	}
	g := &a.Groups[i]
	if g.Backup != 0 {
		return refuse("the group is being restored")
	}
	if c.Kind == AddReplica {
		for _, r := range g.Replicas {
			if r.Member == c.Member.ID {
				return Answer{Replica: r.ID}
			}
		}
		if m, ok := a.Member(c.Member.ID); !ok || m.Gone {
			return refuse("no such member")
		}
		r := Replica{ID: g.NextReplica, Member: c.Member.ID, NonVoting: true}
		g.NextReplica++
		g.Replicas = append(g.Replicas, r)
		a.Epoch++
		return Answer{Replica: r.ID}
	}
	j := slices.IndexFunc(g.Replicas, func(r Replica) bool { return r.ID == c.Replica.ID })
	if j < 0 {
		if c.Kind == RemoveReplica {
			return Answer{}
		}
		return refuse("no such replica")
	}
	if c.Kind == RemoveReplica {
		if g.Replicas[j].Initial {
			for i := range g.Replicas {
				g.Replicas[i].Initial = false
			}
		}
		g.Replicas = slices.Delete(g.Replicas, j, j+1)
	} else {
		g.Replicas[j].NonVoting = c.Replica.NonVoting
	}
	a.Epoch++
	return Answer{Replica: c.Replica.ID}
}
