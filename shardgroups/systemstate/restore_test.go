package systemstate_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// TestRestore_AgreementHoldsNoSessions: who keeps what was agreed, as every reader
// of the table does, does not keep the sessions that came with it in a snapshot.
func TestRestore_AgreementHoldsNoSessions(t *testing.T) {
	const sessions = 20_000
	s := systemstate.New()
	for i := range sessions {
		var client protocol.UUID
		binary.BigEndian.PutUint32(client[:], uint32(i+1))
		cmd := systemstate.Encode(groupstate.Header{}, systemstate.Command{Kind: systemstate.KeepSessions, Opens: []systemstate.Opening{{Client: client, TTL: time.Minute}}})
		if _, _, err := s.Apply(cmd); err != nil {
			t.Fatal(err)
		}
	}
	if s.Sessions() != sessions {
		t.Fatalf("%d sessions", s.Sessions())
	}
	snapshot := s.Snapshot()
	s = systemstate.New()
	before := heap()
	if err := s.Restore(bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	agreed := s.ClusterState()
	s = nil
	// A session takes 56 bytes in the list of a snapshot.
	if grown := heap() - before; grown > sessions*56/4 {
		t.Errorf("the cluster state alone holds %d bytes", grown)
	}
	runtime.KeepAlive(agreed)
	runtime.KeepAlive(snapshot)
}

// heap returns what is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
