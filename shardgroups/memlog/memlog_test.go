package memlog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/shardgroups/memlog"
)

func entries(term, from, to uint64) []raftpb.Entry {
	var all []raftpb.Entry
	for i := from; i <= to; i++ {
		all = append(all, raftpb.Entry{Term: term, Index: i, Cmd: fmt.Appendf(nil, "%d at %d", i, term)})
	}
	return all
}

func save(t testing.TB, l raftio.ILogDB, u raftpb.Update) {
	t.Helper()
	u.ShardID, u.ReplicaID = 1, 2
	if err := l.SaveRaftState([]raftpb.Update{u}, 1); err != nil {
		t.Fatal(err)
	}
}

// read returns the indexes and terms of [low, high).
func read(t testing.TB, l raftio.ILogDB, low, high, most uint64) []raftpb.Entry {
	t.Helper()
	all, size, err := l.IterateEntries(nil, 0, 1, 2, low, high, most)
	if err != nil {
		t.Fatal(err)
	}
	want := uint64(0)
	for _, e := range all {
		want += uint64(e.SizeUpperLimit())
	}
	if size != want {
		t.Fatalf("size %d, the entries have %d", size, want)
	}
	return all
}

const noLimit = 1 << 40

func TestLog_OverwritesAndCompacts(t *testing.T) {
	l := memlog.New()
	if _, err := l.ReadRaftState(1, 2, 0); !errors.Is(err, raftio.ErrNoSavedLog) {
		t.Fatalf("an unknown replica: %v", err)
	}
	save(t, l, raftpb.Update{State: raftpb.State{Term: 1, Commit: 4}, EntriesToSave: entries(1, 1, 10)})
	save(t, l, raftpb.Update{State: raftpb.State{Term: 2, Commit: 4}, EntriesToSave: entries(2, 6, 8)})
	want := append(entries(1, 1, 5), entries(2, 6, 8)...)
	if d := cmp.Diff(want, read(t, l, 1, 11, noLimit)); d != "" {
		t.Errorf("entries that were overwritten: %s", d)
	}
	if d := cmp.Diff(want[2:3], read(t, l, 3, 8, 0)); d != "" {
		t.Errorf("a limit still allows one entry: %s", d)
	}
	if err := l.RemoveEntriesTo(1, 2, 6); err != nil {
		t.Fatal(err)
	}
	if all := read(t, l, 6, 8, noLimit); len(all) != 0 {
		t.Errorf("entries that were removed are read: %v", all)
	}
	if d := cmp.Diff(want[6:], read(t, l, 7, 9, noLimit)); d != "" {
		t.Errorf("entries that were left: %s", d)
	}
	state, err := l.ReadRaftState(1, 2, 6)
	if d := cmp.Diff(raftio.RaftState{State: raftpb.State{Term: 2, Commit: 4}, FirstIndex: 7, EntryCount: 2}, state); d != "" || err != nil {
		t.Errorf("state: %v: %s", err, d)
	}
}

// TestLog_ReceivedSnapshotReplacesTheLog shows that entries before and after a
// snapshot that was received are gone, while one taken here leaves them.
func TestLog_ReceivedSnapshotReplacesTheLog(t *testing.T) {
	l := memlog.New()
	save(t, l, raftpb.Update{State: raftpb.State{Term: 1}, EntriesToSave: entries(1, 1, 10)})
	taken := raftpb.Snapshot{ShardID: 1, Index: 4, Term: 1, Membership: raftpb.Membership{Addresses: map[uint64]string{2: "b"}}}
	if err := l.SaveSnapshots([]raftpb.Update{{ShardID: 1, ReplicaID: 2, Snapshot: taken}}); err != nil {
		t.Fatal(err)
	}
	if n := len(read(t, l, 1, 11, noLimit)); n != 10 {
		t.Errorf("%d entries beside a snapshot taken here, want 10", n)
	}
	if s, err := l.GetSnapshot(1, 2); err != nil || s.Index != 4 || s.Membership.Addresses[2] != "b" {
		t.Errorf("snapshot %+v: %v", s, err)
	}
	save(t, l, raftpb.Update{State: raftpb.State{Term: 3}, Snapshot: raftpb.Snapshot{ShardID: 1, Index: 7, Term: 3}})
	if all := read(t, l, 1, 11, noLimit); len(all) != 0 {
		t.Errorf("entries of before the snapshot: %v", all)
	}
	save(t, l, raftpb.Update{EntriesToSave: entries(3, 8, 9)})
	if n := len(read(t, l, 8, 10, noLimit)); n != 2 {
		t.Errorf("%d entries after the snapshot, want 2", n)
	}
	older := raftpb.Update{ShardID: 1, ReplicaID: 2, Snapshot: raftpb.Snapshot{ShardID: 1, Index: 5}}
	if err := l.SaveSnapshots([]raftpb.Update{older}); err != nil {
		t.Fatal(err)
	}
	if s, _ := l.GetSnapshot(1, 2); s.Index != 7 {
		t.Errorf("an older snapshot replaced %d: %d", 7, s.Index)
	}
}

func TestLog_BootstrapAndRemoval(t *testing.T) {
	l := memlog.New()
	if _, err := l.GetBootstrapInfo(1, 2); !errors.Is(err, raftio.ErrNoBootstrapInfo) {
		t.Fatalf("an unknown replica: %v", err)
	}
	b := raftpb.Bootstrap{Join: true, Type: raftpb.OnDiskStateMachine}
	if err := l.SaveBootstrapInfo(1, 2, b); err != nil {
		t.Fatal(err)
	}
	save(t, l, raftpb.Update{State: raftpb.State{Term: 1}, EntriesToSave: entries(1, 1, 3)})
	if got, err := l.GetBootstrapInfo(1, 2); err != nil || got.Type != b.Type {
		t.Errorf("%+v: %v", got, err)
	}
	if all, _ := l.ListNodeInfo(); len(all) != 1 || all[0] != (raftio.NodeInfo{ShardID: 1, ReplicaID: 2}) {
		t.Errorf("replicas %v", all)
	}
	if err := l.RemoveNodeData(1, 2); err != nil {
		t.Fatal(err)
	}
	if all, _ := l.ListNodeInfo(); len(all) != 0 || len(read(t, l, 1, 4, noLimit)) != 0 {
		t.Errorf("something is left of a removed replica: %v", all)
	}
	if err := l.ImportSnapshot(raftpb.Snapshot{ShardID: 1, Index: 9, Term: 2, Type: raftpb.OnDiskStateMachine}, 2); err != nil {
		t.Fatal(err)
	}
	state, err := l.ReadRaftState(1, 2, 9)
	if err != nil || state.State.Commit != 9 || state.State.Term != 2 || state.EntryCount != 0 {
		t.Errorf("imported: %+v: %v", state, err)
	}
}

// TestLog_CompactionFreesMemory shows that the commands of removed entries are
// garbage at once.
func TestLog_CompactionFreesMemory(t *testing.T) {
	const n, size = 64, 1 << 20
	l := memlog.New()
	for i := uint64(1); i <= n; i++ {
		save(t, l, raftpb.Update{State: raftpb.State{Term: 1}, EntriesToSave: []raftpb.Entry{{Term: 1, Index: i, Cmd: make([]byte, size)}}})
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	if err := l.RemoveEntriesTo(1, 2, n-1); err != nil {
		t.Fatal(err)
	}
	if freed := before - heap(); freed < (n-8)*size {
		t.Errorf("%d MiB were freed of %d", freed>>20, n-1)
	}
	if all := read(t, l, n, n+1, noLimit); len(all) != 1 {
		t.Errorf("the last entry: %v", all)
	}
}

// TestLog_AsDragonboats does the same, at random, with this store and with
// dragonboat's Tan, and compares what they answer.
func TestLog_AsDragonboats(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := config.NodeHostConfig{}
	c.Expert.FS = nil
	c.Expert.LogDB = config.GetTinyMemLogDBConfig()
	c.Expert.LogDB.KVWriteBufferSize = 1 << 20
	if err := c.Prepare(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	theirs, err := tan.Factory.Create(c, nil, []string{dir}, []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ours := memlog.New()
	both := []raftio.ILogDB{ours, theirs}

	// What raft does: entries follow, or overwrite what is not committed; the log
	// is compacted below the newest snapshot.
	var last, commit, snapshot, compacted uint64
	term := uint64(1)
	for step := range 600 {
		switch n := rnd.IntN(10); {
		case n < 6:
			from := last + 1
			if n == 0 && last > commit {
				term++
				from = commit + 1 + rnd.Uint64N(last-commit)
			}
			last = from + rnd.Uint64N(20)
			commit = min(last, max(commit, last-min(last, 5)))
			for _, l := range both {
				save(t, l, raftpb.Update{State: raftpb.State{Term: term, Vote: 1, Commit: commit}, EntriesToSave: entries(term, from, last)})
			}
		case n == 6 && commit > snapshot:
			snapshot = commit
			for _, l := range both {
				err := l.SaveSnapshots([]raftpb.Update{{ShardID: 1, ReplicaID: 2, Snapshot: raftpb.Snapshot{ShardID: 1, Index: snapshot, Term: term}}})
				if err != nil {
					t.Fatal(err)
				}
			}
		case n == 7 && snapshot > compacted:
			compacted += 1 + rnd.Uint64N(snapshot-compacted)
			for _, l := range both {
				if err := l.RemoveEntriesTo(1, 2, compacted); err != nil {
					t.Fatal(err)
				}
			}
		}
		if last <= compacted {
			continue
		}
		low := compacted + 1 + rnd.Uint64N(last-compacted)
		high := low + 1 + rnd.Uint64N(last+1-low)
		most := 1 + rnd.Uint64N(3000) // with 0, of which the engine takes one, Tan may return more
		if d := cmp.Diff(read(t, theirs, low, high, most), read(t, ours, low, high, most)); d != "" {
			t.Fatalf("step %d, entries [%d, %d) up to %d bytes: %s", step, low, high, most, d)
		}
		a, errA := theirs.ReadRaftState(1, 2, compacted)
		b, errB := ours.ReadRaftState(1, 2, compacted)
		if errA != nil || errB != nil || a.State != b.State || a.FirstIndex+a.EntryCount != b.FirstIndex+b.EntryCount {
			t.Fatalf("step %d, state from %d: %+v %v, want %+v %v", step, compacted, b, errB, a, errA)
		}
		x, errX := theirs.GetSnapshot(1, 2)
		y, errY := ours.GetSnapshot(1, 2)
		if errX != nil || errY != nil || x.Index != y.Index || x.Term != y.Term {
			t.Fatalf("step %d, snapshot %+v %v, want %+v %v", step, y, errY, x, errX)
		}
	}
}
