package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// What members ask of each other.
const (
	askState     = "state"     // who are you, and where do you stand?
	askEnlist    = "enlist"    // enlist with this founder
	askRelease   = "release"   // be free again: the cluster will not be formed
	askStart     = "start"     // start this replica of the system group
	askJoin      = "join"      // admit me to your formed cluster
	askAddress   = "address"   // I have another address now
	askTransfer  = "transfer"  // hand a group over
	askCaughtUp  = "caughtup"  // have you applied all that your replica of this group could have?
	askApplied   = "applied"   // has your replica of this group applied the entry with this index?
	askLeaders   = "leaders"   // who leads the groups you have replicas of?
	askWithout   = "without"   // do you keep your replica of this group running without mine?
	askObserved  = "observed"  // what have you observed of my replicas, and of my runs?
	askLeave     = "leave"     // may I end?
	askChange    = "change"    // change the replicas of a group that you lead
	askSize      = "size"      // what does the state of a group take that you lead?
	askRoom      = "headroom"  // have you the memory to receive a group's state?
	askCondition = "condition" // how are you?
	askRun       = "run"       // is this your present run?
	askSessions  = "sessions"  // open and renew sessions that members keep
)

const (
	// askTimeout bounds one question where the caller's context does not.
	askTimeout = 3 * time.Second
	// joinTimeout bounds one that is passed on to the leader, who calls the asker
	// back and looks for others of its name before it agrees.
	joinTimeout = 9 * time.Second
)

// self says who asks.
type self struct {
	_           struct{} `cbor:",toarray"`
	Incarnation protocol.UUID
	Name        string
	Address     string
	Level       uint32 // of state that it understands
}

// stateReply is where a member stands.
type stateReply struct {
	_              struct{} `cbor:",toarray"`
	Self           self
	Cluster        protocol.UUID // zero: blank
	ClusterName    string
	Formed         bool
	Founder        protocol.UUID // whom it has given itself to; its own: it founds
	FounderAddress string
	Expect         uint32
	Seen           []protocol.UUID // incarnations that answer it
	Known          []string        // addresses it knows of
	Settings       settings
	SystemApplied  uint64            // by its replica of the system group
	Led            bool              // it votes in the system group, and knows its leader
	GracePeriod    int64             // nanoseconds, where a cluster before was lost
	Floor          systemstate.Floor // of a member in memory: what its clock says
	Recovered      protocol.UUID     // the lost cluster that Cluster was founded from
}

// settings are what the members of a cluster must agree on. A zero field has
// no opinion.
type settings struct {
	_          struct{} `cbor:",toarray"`
	Durability string
	Partitions uint32
	Groups     uint32
	Replicas   uint32
}

// enlistment asks a blank member to give itself to a founder.
type enlistment struct {
	_           struct{}      `cbor:",toarray"`
	Incarnation protocol.UUID // that is meant: another one may be at its address by now
	Founder     self
	Cluster     protocol.UUID
	ClusterName string
	Settings    settings
}

// release undoes a enlistment.
type release struct {
	_       struct{} `cbor:",toarray"`
	Founder protocol.UUID
	Cluster protocol.UUID
}

// start tells a member its replica of the system group.
type start struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	// Incarnation is whose replica it is: another one may be at its address by
	// now, and must not take it for its own.
	Incarnation protocol.UUID
	Replica     protocol.ReplicaID
	Peers       []self // to find the others before the log has told
}

// join asks a formed cluster to list the sender.
type join struct {
	_           struct{} `cbor:",toarray"`
	Cluster     protocol.UUID
	Incarnation protocol.UUID
	Name        string
	Address     string
	Level       uint32
}

// self returns who asks.
func (j join) self() self {
	return self{Incarnation: j.Incarnation, Name: j.Name, Address: j.Address, Level: j.Level}
}

// transfer asks the leader of a group to hand it over.
type transfer struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Replica protocol.ReplicaID
}

// applied asks a member that is to lead a group whether it has applied what the
// leader has.
type applied struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Replica protocol.ReplicaID
	Index   uint64
}

// change asks the leader of a group for a change of its replicas.
type change struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Replica protocol.ReplicaID
	Member  protocol.UUID // incarnation that has the replica
	What    partition.Change
}

// size is what a group's state takes.
type size struct {
	_      struct{} `cbor:",toarray"`
	State  uint64
	Stream uint64
}

// sizeQuery asks for the size of a group.
type sizeQuery struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
}

// roomQuery asks a member for the memory to receive a group's state.
type roomQuery struct {
	_       struct{} `cbor:",toarray"`
	Cluster protocol.UUID
	Group   protocol.GroupID
	Member  protocol.UUID // incarnation that is meant
	Size    size
}

// leadersQuery asks who leads the groups that a member has replicas of.
type leadersQuery struct {
	_ struct{} `cbor:",toarray"`
}

// leadersReply says who leads them.
type leadersReply struct {
	_       struct{} `cbor:",toarray"`
	Leaders []leaderOf
}

// leaderOf is who leads a group, as the sender knows it.
type leaderOf struct {
	_      struct{} `cbor:",toarray"`
	Group  protocol.GroupID
	Term   uint64
	Member protocol.MemberID
}

// refusal is the definite answer of a member that does not do what it was
// asked.
type refusal struct {
	code   protocol.Code
	detail string
	leader protocol.MemberID
}

func (r *refusal) Error() string { return r.detail }

// errAnotherCluster refuses what is meant for the members of another cluster.
var errAnotherCluster = &refusal{code: protocol.CodeWrongGrid, detail: "another cluster"}

// isOlder reports whether a member does not know a question: it is of an older
// version.
func isOlder(err error) bool {
	r := (*refusal)(nil)
	return errors.As(err, &r) && r.code == protocol.CodeUnsupported
}

// ask puts a question to the member at an address. A nil out takes no answer.
func ask(ctx context.Context, n *network.Network, address, what string, args, out any) error {
	return askAs(ctx, n, address, 1, what, args, out)
}

// forwardedID marks a question that another member passes on: once is enough.
const forwardedID = 2

func askAs(ctx context.Context, n *network.Network, address string, id uint64, what string, args, out any) error {
	timeout := askTimeout
	if what == askJoin || what == askAddress {
		timeout = joinTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	l, err := dialPeer(ctx, n, address)
	if err != nil {
		return err
	}
	defer l.close()
	return l.ask(ctx, id, what, args, out)
}

// peerConn is a connection for several questions to a member, one after the other.
type peerConn struct {
	address string
	conn    net.Conn
	frames  *protocol.FrameReader
}

func dialPeer(ctx context.Context, n *network.Network, address string) (*peerConn, error) {
	c, err := n.Dial(ctx, address, protocol.PurposeMember)
	if err != nil {
		return nil, err
	}
	return &peerConn{address, c, protocol.NewFrameReader(c, protocol.MaxFrame)}, nil
}

func (l *peerConn) close() { _ = l.conn.Close() }

// ask puts a question. A connection whose question was not answered is of no further
// use.
func (l *peerConn) ask(ctx context.Context, id uint64, what string, args, out any) error {
	defer context.AfterFunc(ctx, l.close)() // wakes the read
	q := protocol.Encode(protocol.PeerRequest{
		Type: protocol.TypePeer, ID: id, What: what, Args: protocol.Encode(args),
	})
	b := protocol.EndFrame(append(protocol.BeginFrame(nil), q...), 0)
	if _, err := l.conn.Write(b); err != nil {
		return fmt.Errorf("ask %s for %s: %w", l.address, what, err)
	}
	frame, err := l.frames.Next()
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", l.address, what, err)
	}
	var r protocol.Reply
	if err := r.Decode(frame); err != nil {
		return fmt.Errorf("ask %s for %s: %w", l.address, what, err)
	}
	if r.Code != protocol.CodeOK {
		var p protocol.Problem
		if err := p.Decode(r.Body); err != nil {
			return fmt.Errorf("ask %s for %s: %w", l.address, what, err)
		}
		return &refusal{r.Code, p.Detail, p.Leader}
	}
	if out == nil {
		return nil
	}
	if err := protocol.Decode(r.Body, out); err != nil {
		return fmt.Errorf("ask %s for %s: %w", l.address, what, err)
	}
	return nil
}
