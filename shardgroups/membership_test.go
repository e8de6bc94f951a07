package shardgroups_test

import (
	"context"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// TestReplaceReplica takes a replica from a member, with its data, and gives
// the member another one of the same group.
func TestReplaceReplica(t *testing.T) {
	c := newCluster(t)
	for i := range members {
		c.start(i, true)
	}
	c.found()
	const g = protocol.SystemGroup + 1
	session := c.session(1, time.Hour)
	sequence := uint64(0)
	count := func() {
		t.Helper()
		sequence++
		if r := c.do(add(session, 0, sequence)); r.Code != protocol.CodeOK {
			t.Fatalf("add: code %d: %q", r.Code, r.Body)
		}
	}
	count()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	other := c.host(0) // who may lead or not
	for range 2 {      // every change may be repeated
		must(other.RemoveReplica(ctx, g, 3))
	}
	for range 2 {
		must(c.host(2).StopGroup(ctx, g, 3))
	}
	if r, ok := c.host(2).Running()[g]; ok {
		t.Fatalf("replica %d still runs", r)
	}
	for range 2 {
		must(other.AddNonVoting(ctx, g, 4, c.ids[2]))
	}
	spec := shardgroups.GroupSpec{Group: g, Replica: 4, NonVoting: true}
	must(c.host(2).StartGroup(spec, true))
	count()
	must(c.host(2).CaughtUp(ctx, g))
	for range 2 {
		must(other.AddVoter(ctx, g, 4, c.ids[2]))
	}
	count()
	if n := c.get(0); n != 3 {
		t.Errorf("counter %d, want 3", n)
	}
	c.sameHash(g)
	// It counts: with it, one of the others may go.
	c.close(0)
	count()
	c.close(2)
	c.open(2)
	for id := protocol.SystemGroup; id <= protocol.SystemGroup+groups; id++ {
		s := shardgroups.GroupSpec{Group: id, Replica: 3}
		if id == g {
			s = spec
		}
		must(c.host(2).StartGroup(s, false))
	}
	if n := c.get(0); n != 4 {
		t.Errorf("counter %d, want 4", n)
	}
}
