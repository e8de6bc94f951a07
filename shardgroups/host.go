package shardgroups

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Config is what a Host needs of its member.
type Config struct {
	Dir         string        // of the log and the snapshots; exists
	HostName    string        // pinned in member.json, part of the paths below Dir
	Cluster     protocol.UUID // keeps members of other clusters out
	Incarnation protocol.UUID // this life of the member's data
	RTT         time.Duration // of one tick; 0: 20 ms
	ElectionRTT uint64        // ticks; 0: 20
	Kinds       []structures.Kind
	Limits      protocol.Limits
	Logger      *slog.Logger // nil: discards

	// Resolve returns the address of an incarnation. It is called for every
	// connection that is made, must not block, and forgets nobody on suspicion.
	Resolve func(protocol.UUID) (address string, ok bool)
	// Dial opens a connection for a purpose to another member, preface written.
	Dial func(ctx context.Context, address string, p protocol.Purpose) (net.Conn, error)

	// LeaderChanged is called, from a goroutine of the Host, after the leader of
	// a group has changed as this member knows it.
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

// Leader is who leads a group, as this member knows it.
type Leader struct {
	Replica protocol.ReplicaID // 0: not known
	Term    uint64
	Self    bool // this member's replica leads
}

// Request is a request on its way through a group.
type Request struct {
	protocol.Request
	Raw      []byte    // the encoding of Request
	Deadline time.Time // zero: none; after it, a request still queued is answered CodeExpired
	// Done is called exactly once with the reply, whose ID is Request.ID, from
	// any goroutine and perhaps inside Submit. It must not block.
	Done func(protocol.Reply)
}
