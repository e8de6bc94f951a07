package shardgroups

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/quorate/quorate/protocol"
)

// TestTakeUp_Closed shows that a member which ends does not hand its engine
// anything more, whoever else has ended.
func TestTakeUp_Closed(t *testing.T) {
	h, err := Open(Config{
		Memory: true, Cluster: protocol.UUID{1}, Incarnation: protocol.UUID{2},
		Resolve: func(protocol.UUID) (string, bool) { return "", false },
		Dial: func(context.Context, string, protocol.Purpose) (net.Conn, error) {
			return nil, errors.New("nobody is there")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.takeUp(protocol.SystemGroup, 1, 2, 1) // a group that does not run
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h.takeUp(protocol.SystemGroup, 1, 2, 1)
}
