package shardgroups

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
)

// TestDeliver_Closed shows that a member that has shut down hands its engine no
// further messages, whichever other process has ended.
func TestDeliver_Closed(t *testing.T) {
	h, err := Open(Config{
		Memory: true, Cluster: protocol.UUID{1}, Incarnation: protocol.UUID{2},
		Resolve: func(protocol.UUID) (string, bool) { return "", false },
		Dial: func(context.Context, string, protocol.Purpose) (net.Conn, error) {
			return nil, errors.New("not reachable")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	timeoutNow := raftpb.MessageBatch{
		DeploymentId: engine.DeploymentID(protocol.UUID{1}), BinVer: raftio.TransportBinVersion,
		Requests: []raftpb.Message{{Type: raftpb.TimeoutNow, ShardID: uint64(protocol.SystemGroup), From: 2, To: 1, Term: 1}},
	}
	raftGroups{h}.Deliver(timeoutNow) // a group that does not run
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	raftGroups{h}.Deliver(timeoutNow)
}
