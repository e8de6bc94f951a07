package shardgroups_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

func inMemory(cfg *shardgroups.Config) {
	cfg.Memory, cfg.Dir = true, ""
	cfg.SnapshotBytes, cfg.RetainBytes = 32<<10, 16<<10
}

// startedInMemory returns three members in memory that have agreed on a
// cluster.
func startedInMemory(t *testing.T) *cluster {
	t.Helper()
	c := newTunedCluster(t, inMemory)
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	return c
}

// outrun writes until what a group had logged when it was called is removed from
// its leader's log.
func (c *cluster) outrun(s protocol.SessionID, p protocol.PartitionID, from uint64) (seq uint64) {
	c.t.Helper()
	g := c.hosts[c.leader(protocol.SystemGroup+1+protocol.GroupID(p%groups))].Group(protocol.SystemGroup + 1 + protocol.GroupID(p%groups))
	start := g.Status().Applied
	for deadline := time.Now().Add(patience); g.Status().Compacted <= start; {
		if time.Now().After(deadline) {
			c.t.Fatal("writes are too slow")
		}
		var all sync.WaitGroup
		for slot := range uint16(8) {
			all.Go(func() {
				q := add(s, p, from+1)
				q.Caller.Slot, q.Highest = slot, 7
				c.do(q)
			})
		}
		all.Wait()
		from++
	}
	return from
}

// TestMemory_LaggingFollowerIsStreamed shows that the log is compacted without
// a state being written, and that a follower that was cut off for longer than
// the log reaches back gets the state streamed.
func TestMemory_LaggingFollowerIsStreamed(t *testing.T) {
	c := startedInMemory(t)
	s := c.session(1, time.Hour)
	c.do(add(s, 0, 1))
	g := protocol.SystemGroup + 1
	lead := c.leader(g)
	away := (lead + 1) % members
	c.isolate(away, true)
	seq := c.outrun(s, 0, 1)
	if n := c.hosts[c.leader(g)].Group(g).Status().Snapshots; n != 0 {
		t.Errorf("the state was written %d times to compact the log", n)
	}
	c.isolate(away, false)
	c.sameHash(g)
	streams := uint64(0)
	for _, h := range c.hosts {
		streams += h.Group(g).Status().Snapshots
	}
	if streams == 0 {
		t.Error("the follower caught up without a stream: the log was not compacted")
	}
	if n, want := c.get(0), int64(1+8*(seq-1)); n != want {
		t.Errorf("%d, want %d", n, want)
	}
}

// TestMemory_NewIncarnationIsStreamed shows that a member that rejoins
// empty, as a new incarnation with new replicas, gets every group by a stream
// while writes go on, and that it votes then.
func TestMemory_NewIncarnationIsStreamed(t *testing.T) {
	c := startedInMemory(t)
	s := c.session(1, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seq := c.outrun(s, 0, 0)
	replaced := (c.leader(protocol.SystemGroup+1) + 1) % members
	c.close(replaced)
	c.mu.Lock()
	c.ids[replaced] = protocol.UUID{3, byte(replaced)}
	c.mu.Unlock()
	c.open(replaced)

	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			seq++
			c.do(add(s, 1, seq))
		}
	})
	const fresh = members + 1
	for g := protocol.SystemGroup; g <= protocol.SystemGroup+groups; g++ {
		lead := c.host(c.leader(g))
		if err := lead.AddNonVoting(ctx, g, fresh, c.ids[replaced]); err != nil {
			t.Fatal(err)
		}
		if err := c.hosts[replaced].StartGroup(shardgroups.GroupSpec{Group: g, Replica: fresh, NonVoting: true}, true); err != nil {
			t.Fatal(err)
		}
		if err := c.hosts[replaced].CaughtUp(ctx, g); err != nil {
			t.Fatal(err)
		}
		if err := c.host(c.leader(g)).AddVoter(ctx, g, fresh, c.ids[replaced]); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	writer.Wait()
	for g := range protocol.GroupID(groups) {
		c.sameHash(protocol.SystemGroup + 1 + g)
	}
	if a, b := c.hosts[replaced].System().View(), c.hosts[(replaced+1)%members].System().View(); fmt.Sprint(a.Members) != fmt.Sprint(b.Members) {
		t.Errorf("the new member knows %v, another %v", a.Members, b.Members)
	}
	if err := c.hosts[replaced].StartGroup(shardgroups.GroupSpec{Group: protocol.SystemGroup + 1, Replica: fresh}, true); err != nil {
		t.Errorf("a replica that runs is started again: %v", err)
	}
}

// TestMemory_MinorityKilled shows that nothing that was acknowledged is lost
// with the members of a minority, be they leaders.
func TestMemory_MinorityKilled(t *testing.T) {
	c := startedInMemory(t)
	s := c.session(1, time.Hour)
	const each = 50
	for seq := uint64(1); seq <= each; seq++ {
		for p := range protocol.PartitionID(partitions) {
			if r := c.do(add(s, p, seq)); r.Code != protocol.CodeOK {
				t.Fatalf("add: code %d: %q", r.Code, r.Body)
			}
			if seq == each/2 && p == 0 {
				c.close(c.leader(protocol.SystemGroup + 1))
			}
		}
	}
	for p := range protocol.PartitionID(partitions) {
		if n := c.get(p); n != each {
			t.Errorf("partition %d: %d, want %d", p, n, each)
		}
	}
}
