package membership

import (
	"context"
	"net"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Engine runs this member's replicas: a shardgroups.Host, whose methods say more.
type Engine interface {
	System() System
	// Group returns the replica of a data group that runs here, nil if none does.
	Group(id protocol.GroupID) Group
	// Running returns the groups of which a replica runs here, with its number.
	Running() map[protocol.GroupID]protocol.ReplicaID
	LeaderOf(id protocol.GroupID) shardgroups.Leader
	ObservedProgress(id protocol.GroupID, r protocol.ReplicaID) (shardgroups.ObservedProgress, bool)
	SlowDisk() bool

	StartGroup(spec shardgroups.GroupSpec, fresh bool) error
	StopGroup(ctx context.Context, id protocol.GroupID, r protocol.ReplicaID) error
	SuspendGroup(id protocol.GroupID) error
	Close() error

	CaughtUp(ctx context.Context, id protocol.GroupID) error
	AwaitApplied(ctx context.Context, id protocol.GroupID, index uint64) error

	// These change the replicas of a group that is led here.
	AddNonVoting(ctx context.Context, id protocol.GroupID, r protocol.ReplicaID, member protocol.UUID) error
	AddVoter(ctx context.Context, id protocol.GroupID, r protocol.ReplicaID, member protocol.UUID) error
	RemoveReplica(ctx context.Context, id protocol.GroupID, r protocol.ReplicaID) error
}

// System is this member's replica of the system group: a shardgroups.System.
type System interface {
	View() *systemstate.ClusterState
	Applied() uint64
	Leader() shardgroups.Leader
	Highest() systemstate.Floor
	LongestTTL() time.Duration

	Refresh(ctx context.Context) (*systemstate.ClusterState, error)
	Propose(ctx context.Context, c systemstate.Command) (systemstate.Answer, error)
	TransferLeader(ctx context.Context, to protocol.ReplicaID, ready func(ctx context.Context, applied uint64) error) error

	GreetedSessions(ctx context.Context, opens []systemstate.Opening) ([]systemstate.Opened, error)
	RenewSessions(ctx context.Context, ids []protocol.SessionID) ([]protocol.SessionID, error)
}

// Group is this member's replica of a data group: a shardgroups.Group.
type Group interface {
	Leader() shardgroups.Leader
	Footprint() shardgroups.Footprint
	Begun() bool
	Loading() (frames uint64, loading bool)
	TransferLeader(ctx context.Context, to protocol.ReplicaID, ready func(ctx context.Context, applied uint64) error) error
}

// Gossip is what is heard of other members: a gossip.Gossip.
type Gossip interface {
	Hints() []gossip.Hint
	Hint(u protocol.UUID) (gossip.Hint, bool)
	Address(u protocol.UUID) (address string, alive bool)
	SetCluster(cluster protocol.UUID)
	SetState(s gossip.State)
	Serve(c net.Conn)
	Leave()
	Close()
}

// Asker asks other members: a peers.Client.
type Asker interface {
	Ask(ctx context.Context, address, what string, args, out any) error
	Forward(ctx context.Context, address, what string, args, out any) error
}
