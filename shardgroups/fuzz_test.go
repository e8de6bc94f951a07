package shardgroups

import (
	"bytes"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

// FuzzRaftFrame shows that what arrives on a Raft connection is handed on or
// ends the connection, and allocates no more than arrives.
func FuzzRaftFrame(f *testing.F) {
	t := &transport{seen: &witnesses{}, ballots: newBallots(time.Second), messages: func(raftpb.MessageBatch) {}, chunks: func(raftpb.Chunk) bool { return true }}
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 1, 0})
	f.Add(sentRaftFrame(f))
	f.Fuzz(func(_ *testing.T, b []byte) {
		kind, payload, err := readRaftFrame(bytes.NewReader(b), nil)
		if err == nil {
			_ = t.receive(kind, payload)
		}
		if len(b) > 0 {
			_ = t.receive(b[0]%3, b[1:])
		}
	})
}
