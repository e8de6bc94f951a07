package gridtest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// TestMemberFileStalls: while the disk of a member stands still with member.json,
// the groups that it leads go on, no other member campaigns, and the
// sessions of clients live. Each message of Raft looks up an address, and what it
// takes for that must not be held across the write.
func TestMemberFileStalls(t *testing.T) {
	c := gridtest.Start(t, 3)
	cl := c.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()
	m := dmap.New[string, string](cl, "m")
	if err := m.Put(ctx, "k", "0"); err != nil {
		t.Fatal(err)
	}
	permits := dsemaphore.New(cl, "s")
	if err := permits.Init(ctx, 1); err != nil {
		t.Fatal(err)
	}
	permit, err := permits.Acquire(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	key, err := structures.AppendKey(nil, "k")
	if err != nil {
		t.Fatal(err)
	}
	g := cl.Table().Partitions[cl.Partition("m", key)]
	// The leader of the system group would leave the member that is added without
	// its places until it goes on.
	slow := (c.LeaderOf(protocol.SystemGroup) + 1) % 3
	c.MoveLeader(g, slow)
	stalled, resume := c.Sensors(slow).StallMemberFile(t)
	added := c.Add() // each member writes down whom it votes with
	select {
	case <-stalled:
	case <-ctx.Done():
		t.Fatalf("member %d writes nothing\n%s", slow, c.Diagnose())
	}
	// An election that the machine's load has brought about is no fault: one burst
	// under one leader is enough, and a leader that cannot send has none.
	c.Eventually("the member leads throughout a burst of writes", func() bool {
		c.MoveLeader(g, slow)
		for i := range 50 {
			if err := m.Put(ctx, "k", fmt.Sprint(i)); err != nil {
				t.Fatalf("put %d while member.json is being written: %v\n%s", i, err, c.Diagnose())
			}
		}
		return c.LeaderOf(g) == slow
	})
	if permit.Context().Err() != nil {
		t.Errorf("a permit was lost: %v", context.Cause(permit.Context()))
	}
	resume()
	c.WaitFull()
	if c.Member(added) == nil {
		t.Error("the member that was added is down")
	}
}
