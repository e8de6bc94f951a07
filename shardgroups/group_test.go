package shardgroups_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures/dcounter"
)

// hits is the name of a counter that lies in a partition.
func hits(p protocol.PartitionID) string {
	for i := 0; ; i++ {
		if name := fmt.Sprint("hits", i); partition.Of(partitions, name, nil) == p {
			return name
		}
	}
}

func add(session protocol.SessionID, p protocol.PartitionID, seq uint64) protocol.Request {
	return protocol.Request{
		Partition: p, Kind: dcounter.Kind().ID, Op: 3, Name: hits(p),
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
	s := c.session(1, time.Hour)
	for seq := uint64(1); seq <= 20; seq++ {
		for p := range protocol.PartitionID(partitions) {
			if r := c.do(add(s, p, seq)); r.Code != protocol.CodeOK {
				t.Fatalf("add: code %d: %q", r.Code, r.Body)
			}
		}
	}
	later := add(s, 1, 21)
	later.Extended = true // an element that this version does not know: it is not logged
	if r := c.do(later); r.Code != protocol.CodeOK {
		t.Fatalf("a request of a later version: code %d: %q", r.Code, r.Body)
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
		want := int64(20)
		if p == later.Partition {
			want++
		}
		if n := c.get(p); n != want {
			t.Errorf("partition %d: %d, want %d", p, n, want)
		}
	}
}

// TestGroup_RefusesAnotherPartition shows that no member takes a request whose
// structure belongs to another partition than the one that it came with: a client
// that hashes otherwise does not open a second structure of the same name.
func TestGroup_RefusesAnotherPartition(t *testing.T) {
	c := newCluster(t)
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	if r := c.do(add(s, 2, 1)); r.Code != protocol.CodeOK {
		t.Fatalf("code %d: %q", r.Code, r.Body)
	}
	for seq, q := range []protocol.Request{add(s, 3, 2), read(3)} {
		q.Name = hits(2)
		if r := c.do(q); r.Code != protocol.CodeInvalid {
			t.Errorf("request %d: code %d: %q, want CodeInvalid", seq, r.Code, r.Body)
		}
	}
}

// TestGroup_CatchesUpBySnapshot shows that a member that was away for longer
// than the log reaches back catches up by a snapshot, to the same state.
func TestGroup_CatchesUpBySnapshot(t *testing.T) {
	c := newTunedCluster(t, func(cfg *shardgroups.Config) { cfg.SnapshotBytes, cfg.RetainBytes = 32<<10, 16<<10 })
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	c.do(add(s, 0, 1))
	away := (c.leader(protocol.SystemGroup+1) + 1) % members
	c.close(away)
	seq := uint64(1)
	snapshots := func() uint64 {
		return c.hosts[c.leader(protocol.SystemGroup+1)].Group(protocol.SystemGroup + 1).Status().Snapshots
	}
	for deadline := time.Now().Add(patience); snapshots() < 2; {
		if time.Now().After(deadline) {
			t.Fatal("no snapshot is taken")
		}
		seq++
		c.do(add(s, 0, seq))
	}
	c.open(away)
	c.start(away, false)
	c.sameHash(protocol.SystemGroup + 1)
	if n := c.get(0); n != int64(seq) {
		t.Errorf("%d, want %d", n, seq)
	}
}

// TestGroup_LeadersComeAndGo shows that counters stay exact while leaders are
// stopped, started and transferred under load, each client repeating under one
// identity.
func TestGroup_LeadersComeAndGo(t *testing.T) {
	c := newCluster(t)
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	stop := make(chan struct{})
	var done sync.WaitGroup
	var counts [partitions]uint64
	for p := range protocol.PartitionID(partitions) {
		done.Go(func() {
			for seq := uint64(1); ; seq++ {
				select {
				case <-stop:
					return
				default:
				}
				if r := c.do(add(s, p, seq)); r.Code != protocol.CodeOK {
					t.Errorf("add: code %d: %q", r.Code, r.Body)
					return
				}
				counts[p] = seq
			}
		})
	}
	for round := range 4 {
		g := protocol.SystemGroup + 1 + protocol.GroupID(round%groups)
		victim := c.leader(g)
		if round%2 == 0 {
			c.close(victim)
			c.leader(g)
			c.open(victim)
			c.start(victim, false)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		to := protocol.ReplicaID((victim+1)%members + 1)
		if err := c.hosts[victim].Group(g).TransferLeader(ctx, to, nil); err != nil {
			t.Logf("transfer: %v", err)
		}
		cancel()
	}
	close(stop)
	done.Wait()
	for p := range protocol.PartitionID(partitions) {
		if n := c.get(p); n != int64(counts[p]) {
			t.Errorf("partition %d: %d, want %d", p, n, counts[p])
		}
	}
	for g := 1; g <= groups; g++ {
		c.sameHash(protocol.SystemGroup + protocol.GroupID(g))
	}
}

// TestGroup_SessionEnds shows that the end of a session reaches a group that
// knows it, and that its mutations are refused from then on.
func TestGroup_SessionEnds(t *testing.T) {
	c := newCluster(t)
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	id := protocol.SystemGroup + 1
	// ask sends a request until it is carried out, or the session has ended.
	ask := func(q protocol.Request) protocol.Code {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			code := submit(c.hosts[c.leader(id)].Group(id), q).Code
			if code == protocol.CodeOK || code == protocol.CodeSessionEnded {
				return code
			}
			if time.Now().After(deadline) {
				t.Fatalf("code %d", code)
			}
			q.Flags |= protocol.FlagRepeat
		}
	}
	s := protocol.SessionID(0)
	for client := byte(1); ; client++ { // until one has not ended before the group knows it
		s = c.session(client, 2*time.Second) // and no heartbeat
		if ask(add(s, 0, 1)) == protocol.CodeOK {
			break
		}
	}
	for seq, deadline := uint64(2), time.Now().Add(patience); ask(add(s, 0, seq)) == protocol.CodeOK; seq++ {
		if time.Now().After(deadline) {
			t.Fatal("the session does not end")
		}
		time.Sleep(50 * time.Millisecond)
	}
	for deadline := time.Now().Add(patience); c.hosts[c.leader(id)].Group(id).Status().State.Sessions > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the group does not forget the session")
		}
	}
	if code := ask(add(s, 0, 1<<20)); code != protocol.CodeSessionEnded {
		t.Errorf("code %d, want CodeSessionEnded", code)
	}
}

// TestHost_SurvivesNewPlace shows that a member's data can be moved, and its
// host renamed.
func TestHost_SurvivesNewPlace(t *testing.T) {
	c := newCluster(t)
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	c.do(add(s, 0, 1))
	c.close(0)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(c.dirs[0], moved); err != nil {
		t.Fatal(err)
	}
	c.dirs[0] = moved
	// What another host would have left: its name in the path and in the flag file.
	if err := os.Rename(filepath.Join(moved, host), filepath.Join(moved, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	c.open(0)
	c.start(0, false)
	c.sameHash(protocol.SystemGroup + 1)
}
