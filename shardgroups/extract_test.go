package shardgroups_test

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
)

// TestExtract loses two of three members for ever, and founds a new cluster of
// one from what the third has: all that was acknowledged is there.
func TestExtract(t *testing.T) {
	for _, test := range []struct {
		name      string
		snapshots uint64
	}{{"from the log", 0}, {"from snapshots and the log", 4 << 10}} {
		t.Run(test.name, func(t *testing.T) { testExtract(t, test.snapshots) })
	}
}

func testExtract(t *testing.T, snapshots uint64) {
	const first, second = protocol.SystemGroup + 1, protocol.SystemGroup + 2
	c := newTunedCluster(t, func(cfg *shardgroups.Config) { cfg.SnapshotBytes, cfg.RetainBytes = snapshots, 1 })
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	session := c.session(1, time.Hour)
	for seq := uint64(1); seq <= 40; seq++ {
		for p := range protocol.PartitionID(partitions) {
			c.do(add(session, p, seq))
		}
	}
	if snapshots > 0 {
		wait(t, "snapshots", func() bool { return c.hosts[c.leader(first)].Group(first).Status().Snapshots > 0 })
	}
	// The survivor logs one more, which nobody else gets.
	survivor := c.leader(first)
	for i := range c.hosts {
		if i != survivor {
			c.close(i)
		}
	}
	extra := add(session, 0, 41)
	c.hosts[survivor].Group(first).Submit(&shardgroups.Request{Request: extra, Raw: extra.Append(nil), Done: func(protocol.Reply) {}})
	time.Sleep(50 * time.Millisecond) // whether it is logged in time is counted below
	last := c.hosts[survivor].Group(first).Applied()
	c.close(survivor)

	work, backups := t.TempDir(), t.TempDir()
	if err := os.CopyFS(work, os.DirFS(c.dirs[survivor])); err != nil {
		t.Fatal(err)
	}
	s, err := extract.Open(extract.Config{
		Dir: work, Cluster: c.id, Incarnation: c.ids[survivor], Kinds: []structures.Kind{dcounter.Kind()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	replica := protocol.ReplicaID(survivor + 1)
	var system *extract.Replica
	extras := 0
	for _, g := range []protocol.GroupID{protocol.SystemGroup, first, second} {
		r, err := s.Read(g, replica, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("group %d: snapshot %d, commit %d, last %d, tail %d, sessions %v", g, r.Snapshot, r.Commit, r.Last, r.Tail, r.Sessions)
		if _, err := s.WriteBackup(backups, r); err != nil {
			t.Fatal(err)
		}
		switch g {
		case protocol.SystemGroup:
			system = r
		case first:
			extras = r.Tail
			if r.Last < last || len(r.Sessions) != 1 {
				t.Errorf("read up to %d of %d, sessions %v", r.Last, last, r.Sessions)
			}
		}
		if snapshots > 0 && g == first && r.Snapshot == 0 {
			t.Error("no snapshot was read")
		}
	}
	if _, err := s.Read(9, 1, false); err == nil {
		t.Error("a replica that is not there is read")
	}
	infos, err := extract.Backups(backups)
	if err != nil || len(infos) != 3 {
		t.Fatalf("%d backups, %v", len(infos), err)
	}

	// The new cluster.
	h, err := shardgroups.Open(shardgroups.Config{
		Dir: t.TempDir(), Cluster: protocol.UUID{5}, Incarnation: protocol.UUID{6}, RTT: 5 * time.Millisecond, BackupDir: backups,
		Kinds: []structures.Kind{dcounter.Kind()}, Resolve: func(protocol.UUID) (string, bool) { return "", false },
		Dial: func(context.Context, string, protocol.Purpose) (net.Conn, error) { return nil, os.ErrNotExist },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	one := map[protocol.ReplicaID]protocol.UUID{1: {6}}
	start := func(g protocol.GroupID) {
		if err := h.StartGroup(shardgroups.GroupSpec{Group: g, Replica: 1, Initial: one}, true); err != nil {
			t.Fatal(err)
		}
	}
	start(protocol.SystemGroup)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	saved := system.SavedCluster(func(protocol.GroupID) bool { return true })
	if _, err := h.System().Propose(ctx, systemstate.Command{
		Kind: systemstate.Found, Cluster: protocol.UUID{5}, Name: "test", Settings: system.ClusterState().Settings,
		Member: systemstate.Member{Name: "n1", Incarnation: protocol.UUID{6}}, Saved: saved,
	}); err != nil {
		t.Fatal(err)
	}
	start(first)
	start(second)
	n := &cluster{t: t, id: protocol.UUID{5}, hosts: []*shardgroups.Host{h}}
	wait(t, "the states to be loaded", func() bool {
		for _, g := range []protocol.GroupID{first, second} {
			if _, loading := h.Group(g).Loading(); loading || !h.Group(g).Begun() {
				return false
			}
		}
		return true
	})
	for p := range protocol.PartitionID(partitions) {
		got := n.get(p)
		if want := int64(40); got != want && (p != 0 || extras == 0 || got != want+1) {
			t.Errorf("partition %d: %d, want %d; %d entries beyond the commit index", p, got, want, extras)
		}
	}
	again := n.session(1, time.Hour)
	if again <= session {
		t.Errorf("session %d after %d", again, session)
	}
	if r := n.do(add(again, 3, 1)); r.Code != protocol.CodeOK {
		t.Errorf("a write: code %d %q", r.Code, r.Body)
	}
	if r := submit(h.Group(first), add(session, 0, 42)); r.Code != protocol.CodeSessionEnded && r.Code != protocol.CodeSessionUnknown {
		t.Errorf("a write of a session of the lost cluster: code %d %q", r.Code, r.Body)
	}
}

func wait(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s after %v", what, patience)
		}
	}
}
