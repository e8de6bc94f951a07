package raftnet

import (
	"bytes"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftpb"
)

// FuzzRaftFrame shows that what arrives on a Raft connection is handed on or
// ends the connection, and allocates no more than arrives.
func FuzzRaftFrame(f *testing.F) {
	t := NewTransport(Config{ElectionTime: time.Second})
	t.Create(config.NodeHostConfig{}, func(raftpb.MessageBatch) {}, func(raftpb.Chunk) bool { return true })
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 1, 0})
	f.Add(sentFrame(f))
	f.Fuzz(func(_ *testing.T, b []byte) {
		kind, payload, err := readFrame(bytes.NewReader(b), nil)
		if err == nil {
			_ = t.receive(kind, payload)
		}
		if len(b) > 0 {
			_ = t.receive(b[0]%3, b[1:])
		}
	})
}
