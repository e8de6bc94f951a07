package shardgroups_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/extract"
)

// worn returns a cluster whose member 0 is closed and has everything on its
// disk that a member can have: snapshots, tables, a write-ahead log.
func worn(t *testing.T) *cluster {
	t.Helper()
	c := newTunedCluster(t, func(cfg *shardgroups.Config) { cfg.SnapshotBytes, cfg.RetainBytes = 8<<10, 2<<10 })
	for i := range members {
		c.start(i, true)
	}
	c.found()
	session := c.session(1, time.Hour)
	seq := uint64(0)
	more := func(n int) {
		for range n {
			seq++
			for p := range protocol.PartitionID(partitions) {
				c.do(add(session, p, seq))
			}
		}
	}
	more(40)
	taken := func() bool {
		for _, g := range c.hosts[0].Groups() {
			if g.Status().Snapshots == 0 {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(patience); !taken(); more(10) {
		if time.Now().After(deadline) {
			t.Fatal("no snapshot is taken")
		}
	}
	c.close(0) // the next start makes tables of the write-ahead log
	c.open(0)
	c.start(0, false)
	more(30)
	for g := protocol.SystemGroup; g <= protocol.SystemGroup+groups; g++ {
		if err := c.hosts[0].CaughtUp(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	c.close(0)
	return c
}

func inspect(t *testing.T, dir string) ([]shardgroups.Stored, error) {
	return extract.Inspect(t.Context(), dir, slog.New(slog.DiscardHandler), func(protocol.GroupID, protocol.ReplicaID) bool { return true })
}

// lost reports whether any of the others has seen more than is stored.
func (c *cluster) lost(stored []shardgroups.Stored) bool {
	for _, s := range stored {
		for _, h := range c.hosts[1:] {
			if w, ok := h.ObservedProgress(s.Group, s.Replica); ok && w.Lost(s, false) {
				return true
			}
		}
	}
	return false
}

// essence drops what a replica may forget without harm.
func essence(stored []shardgroups.Stored) []shardgroups.Stored {
	all := slices.Clone(stored)
	for i := range all {
		all[i].Commit, all[i].Snapshot = 0, 0
	}
	return all
}

func TestInspect(t *testing.T) {
	c := worn(t)
	whole, err := inspect(t, c.dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(whole) != 1+groups {
		t.Fatalf("replicas: %+v", whole)
	}
	for _, s := range whole {
		if s.Term == 0 || s.Last == 0 || s.Replica != 1 {
			t.Errorf("stored: %+v", s)
		}
		if s.Group != protocol.SystemGroup && s.Snapshot == 0 {
			t.Errorf("no snapshot: %+v", s)
		}
		seen := 0
		for _, h := range c.hosts[1:] {
			if w, ok := h.ObservedProgress(s.Group, s.Replica); ok {
				seen++
				if w.Lost(s, false) {
					t.Errorf("nothing is lost, and the progress observed says so: stored %+v, seen %+v", s, w)
				}
			}
		}
		if seen == 0 {
			t.Errorf("no member has observed anything of group %d", s.Group)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	found := map[string]int{}
	for kind, pattern := range map[string]string{
		"wal": "*.log", "table": "*.sst", "manifest": "MANIFEST-*", "current": "CURRENT", "snapshot": "*.gbsnap",
		"flag file": "dragonboat.ds", "host id": "NODEHOST.ID",
	} {
		for n := range 12 {
			dir := filepath.Join(t.TempDir(), "raft")
			if err := os.CopyFS(dir, os.DirFS(c.dirs[0])); err != nil {
				t.Fatal(err)
			}
			what := damage(t, rng, dir, pattern, n%4)
			if what == "" {
				t.Fatalf("no file %s", pattern)
			}
			stored, err := inspect(t, dir)
			var damaged *extract.DamagedError
			switch {
			case errors.As(err, &damaged):
				found[kind+": damaged"]++
				if n == 0 {
					t.Logf("%s: %v", what, err)
				}
			case err != nil:
				t.Errorf("%s: %v", what, err)
			case c.lost(stored):
				found[kind+": observed by another member"]++
			case cmp.Equal(essence(whole), essence(stored)):
				found[kind+": nothing is lost"]++
			case len(stored) < len(whole):
				found[kind+": a log is missing"]++
			default:
				t.Errorf("%s, and nobody notices:\n%s", what, cmp.Diff(whole, stored))
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(found)) {
		t.Logf("%s: %d", what, found[what])
	}
}

// damage harms one file below dir that fits a pattern, and says how.
func damage(t *testing.T, rng *rand.Rand, dir, pattern string, how int) string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if ok, _ := filepath.Match(pattern, d.Name()); ok && !d.IsDir() {
			if info, err := d.Info(); err == nil && info.Size() > 0 {
				files = append(files, path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		return ""
	}
	file := files[rng.IntN(len(files))]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// A write-ahead log is longer than what is in it.
	end := len(strings.TrimRight(string(b), "\x00"))
	at := rng.IntN(max(end, 1))
	what := ""
	switch how {
	case 0, 1:
		b[at] ^= 1 << rng.IntN(8)
		what = fmt.Sprintf("a bit of byte %d of %d is flipped", at, end)
	case 2:
		b = b[:at]
		what = fmt.Sprintf("cut to %d of %d bytes", at, end)
	case 3:
		n := min(end-at, 1+rng.IntN(512))
		clear(b[at : at+n])
		what = fmt.Sprintf("%d bytes at %d of %d are zero", n, at, end)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(file) + ": " + what
}
