package peers

import (
	"time"

	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// What members ask of each other.
const (
	AskState     = "state"     // who are you, and where do you stand?
	AskEnlist    = "enlist"    // enlist with this founder
	AskRelease   = "release"   // be free again: the cluster will not be formed
	AskStart     = "start"     // start this replica of the system group
	AskJoin      = "join"      // admit me to your formed cluster
	AskAddress   = "address"   // I have another address now
	AskTransfer  = "transfer"  // hand a group over
	AskCaughtUp  = "caughtup"  // have you applied all that your replica of this group could have?
	AskApplied   = "applied"   // has your replica of this group applied the entry with this index?
	AskLeaders   = "leaders"   // who leads the groups you have replicas of?
	AskWithout   = "without"   // do you keep your replica of this group running without mine?
	AskObserved  = "observed"  // what have you observed of my replicas, and of my runs?
	AskLeave     = "leave"     // may I end?
	AskChange    = "change"    // change the replicas of a group that you lead
	AskSize      = "size"      // what does the state of a group take that you lead?
	AskHeadroom  = "headroom"  // have you the memory to receive a group's state?
	AskCondition = "condition" // how are you?
	AskRun       = "run"       // is this your present run?
	AskSessions  = "sessions"  // open and renew sessions that members keep

	// Withdraw is no question: nobody waits any more for the answer to the one with the
	// same ID. It is not answered.
	Withdraw = "withdraw"
)

// Self says who asks.
type Self struct {
	_           struct{} `cbor:",toarray"`
	Incarnation protocol.UUID
	Name        string
	Address     string
	Level       uint32 // of state that it understands
}

// StateReply is where a member stands.
type StateReply struct {
	_              struct{} `cbor:",toarray"`
	Self           Self
	Cluster        protocol.UUID // zero: blank
	ClusterName    string
	Formed         bool
	Founder        protocol.UUID // whom it has given itself to; its own: it founds
	FounderAddress string
	Expect         uint32
	Seen           []protocol.UUID // incarnations that answer it
	Known          []string        // addresses it knows of
	Settings       Settings
	SystemApplied  uint64            // by its replica of the system group
	Led            bool              // it votes in the system group, and knows its leader
	GracePeriod    int64             // nanoseconds, where a cluster before was lost
	Floor          systemstate.Floor // of a member in memory: what its clock says
	Recovered      protocol.UUID     // the lost cluster that Cluster was founded from
}

// Settings are what the members of a cluster must agree on. A zero field has
// no opinion.
type Settings struct {
	_          struct{} `cbor:",toarray"`
	Durability string
	Partitions uint32
	Groups     uint32
	Replicas   uint32
}

// Enlistment asks a blank member to give itself to a founder.
type Enlistment struct {
	_           struct{}      `cbor:",toarray"`
	Incarnation protocol.UUID // that is meant: another one may be at its address by now
	Founder     Self
	Cluster     protocol.UUID
	ClusterName string
	Settings    Settings
}

// Release undoes an Enlistment.
type Release struct {
	_       struct{} `cbor:",toarray"`
	Founder protocol.UUID
	Cluster protocol.UUID
}

// Start tells a member its replica of the system group.
type Start struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	// Incarnation is whose replica it is: another one may be at its address by
	// now, and must not take it for its own.
	Incarnation protocol.UUID
	Replica     protocol.ReplicaID
	Peers       []Self // to find the others before the log has told
}

// Join asks a formed cluster to list the sender.
type Join struct {
	_           struct{} `cbor:",toarray"`
	Cluster     protocol.UUID
	Incarnation protocol.UUID
	Name        string
	Address     string
	Level       uint32
}

// Self returns who asks.
func (j Join) Self() Self {
	return Self{Incarnation: j.Incarnation, Name: j.Name, Address: j.Address, Level: j.Level}
}

// Transfer asks the leader of a group to hand it over.
type Transfer struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Replica protocol.ReplicaID
}

// Applied asks a member that is to lead a group whether it has applied what the
// leader has.
type Applied struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Replica protocol.ReplicaID
	Index   uint64
}

// Change asks the leader of a group for a change of its replicas.
type Change struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Replica protocol.ReplicaID
	Member  protocol.UUID // incarnation that has the replica
	What    partition.Change
}

// Size is what a group's state takes.
type Size struct {
	_      struct{} `cbor:",toarray"`
	State  uint64
	Stream uint64
}

// SizeQuery asks for the size of a group.
type SizeQuery struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
}

// HeadroomQuery asks a member for the memory to receive a group's state.
type HeadroomQuery struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Member  protocol.UUID // incarnation that is meant
	Size    Size
}

// LeadersQuery asks who leads the groups that a member has replicas of.
type LeadersQuery struct {
	_ struct{} `cbor:",toarray"`
}

// LeadersReply says who leads them.
type LeadersReply struct {
	_       struct{} `cbor:",toarray"`
	Leaders []LeaderOf
}

// LeaderOf is who leads a group, as the sender knows it.
type LeaderOf struct {
	_      struct{} `cbor:",toarray"`
	Group  protocol.GroupID
	Term   uint64
	Member protocol.MemberID
}

// ProgressQuery asks what a member has seen of the sender, and tells of the
// sender's run.
type ProgressQuery struct {
	_        struct{} `cbor:",toarray"`
	Cluster  protocol.UUID
	Self     Self
	Run      uint64 // number of the sender's present run
	Nonce    uint64
	Replicas []ReplicaOf
}

// ReplicaOf names a replica.
type ReplicaOf struct {
	_       struct{} `cbor:",toarray"`
	Group   protocol.GroupID
	Replica protocol.ReplicaID
}

// ProgressReply is what a member has seen.
type ProgressReply struct {
	_     struct{} `cbor:",toarray"`
	Self  Self
	Run   uint64 // number of the last that it was sure of before; 0: none
	Older bool   // that is later than the one it is told of, or another process's
	Noted bool   // it is sure of the one it is told of
	Seen  []shardgroups.ObservedProgress
	// Led says that the member knows the leader of the system group: then, and
	// only then, what follows is what the cluster has agreed.
	Led    bool
	Listed bool            // the sender belongs to the cluster
	Placed bool            // a group lists a replica of the sender, which may have been replaced
	Others []protocol.UUID // who else does
}

// RunQuery asks a member whether a run is its own, and the present one.
type RunQuery struct {
	_           struct{} `cbor:",toarray"`
	Cluster     protocol.UUID
	Incarnation protocol.UUID
	Run         uint64
	Nonce       uint64
}

// ConditionQuery asks a member how it is.
type ConditionQuery struct {
	_           struct{} `cbor:",toarray"`
	Cluster     protocol.UUID
	Incarnation protocol.UUID // who is meant
}

// ConditionReply says how a member is.
type ConditionReply struct {
	_     struct{} `cbor:",toarray"`
	Flags uint64   // gossip.State
}

// Without asks a member whether it keeps its replica of a group running while
// the asker stops its own.
type Without struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Member  protocol.MemberID // who asks
}

// Leave asks a member to do without the sender.
type Leave struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Member  protocol.MemberID
	Groups  []protocol.GroupID // in which both vote
}

// SessionsQuery asks the leader of the system group to open and renew sessions that
// members keep.
type SessionsQuery struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Opens   []Opening
	Renews  []protocol.SessionID
}

// Opening is a systemstate.Opening as it goes from member to member: that one has
// the shape of the log.
type Opening struct {
	_      struct{} `cbor:",toarray"`
	Client protocol.UUID
	TTL    time.Duration
	Source string
	Name   string // of the client
	Greets bool
}

// SessionsReply answers a sessionsQuery.
type SessionsReply struct {
	_       struct{}             `cbor:",toarray"`
	Opened  []systemstate.Opened // in the order of Opens
	Dropped []protocol.SessionID // of Renews: not to be renewed any more
}

// Of returns the cluster whose members are meant.
func (t Transfer) Of() protocol.UUID { return t.Cluster }

// Of returns the cluster whose members are meant.
func (c Change) Of() protocol.UUID { return c.Cluster }

// Of returns the cluster whose members are meant.
func (q SizeQuery) Of() protocol.UUID { return q.Cluster }

// Of returns the cluster whose members are meant.
func (l Leave) Of() protocol.UUID { return l.Cluster }
