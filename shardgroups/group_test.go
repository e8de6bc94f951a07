package shardgroups_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
)

func add(session protocol.SessionID, p protocol.PartitionID, seq uint64) protocol.Request {
	return protocol.Request{
		Partition: p, Kind: dcounter.Kind().ID, Op: 3, Name: "hits",
		Caller: protocol.Caller{Session: session, Sequence: seq}, Body: protocol.AppendInt(protocol.AppendArray(nil, 1), 1),
	}
}

// TestGroup_ServesAndRestarts shows the whole way of a mutation: session,
// attach, entry, exactly-once, reply, and that a restart of all keeps it.
func TestGroup_ServesAndRestarts(t *testing.T) {
	c := newCluster(t)
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Minute)
	for seq := uint64(1); seq <= 20; seq++ {
		for p := range protocol.PartitionID(partitions) {
			if r := c.do(add(s, p, seq)); r.Code != protocol.CodeOK {
				t.Fatalf("add: code %d: %q", r.Code, r.Body)
			}
		}
	}
	if r := c.do(add(s, 0, 20)); r.Code != protocol.CodeOK {
		t.Fatalf("a repeat: code %d", r.Code)
	}
	if r := c.do(add(s, 0, 19)); r.Code != protocol.CodeStale {
		t.Fatalf("a lower sequence: code %d, want CodeStale", r.Code)
	}
	for i := range c.hosts {
		c.close(i)
	}
	for i := range c.hosts {
		c.open(i)
	}
	for i := range c.hosts {
		c.start(i, false)
	}
	for p := range protocol.PartitionID(partitions) {
		r := c.do(protocol.Request{Partition: p, Flags: protocol.FlagRead, Kind: dcounter.Kind().ID, Op: 1, Name: "hits", Body: protocol.AppendArray(nil, 0)})
		if r.Code != protocol.CodeOK {
			t.Fatalf("get: code %d: %q", r.Code, r.Body)
		}
		rd := protocol.NewReader(r.Body)
		rd.Array(1)
		if n := rd.Int(); n != 20 {
			t.Errorf("partition %d: %d, want 20", p, n)
		}
	}
}
