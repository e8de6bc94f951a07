package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

var backupKinds = []structures.Kind{dmap.Kind(), dcounter.Kind()}

// backupHeader is that of a data group of 4 partitions.
var backupHeader = archive.Header{Cluster: protocol.UUID{1}, Name: "prod", Partitions: 4, Group: 2, Index: 7, Level: 1}

// archiveOf writes an archive.
func archiveOf(t *testing.T, h archive.Header, fill func(w *archive.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	fill(w)
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// entryRow is a row of a map's entry, as a map keeps it.
func entryRow(instance uint64, key string, size int) archive.Row {
	k := append([]byte{protocol.KeyText}, key...)
	return archive.Row{Instance: instance, Key: k, Value: make([]byte, size), Version: protocol.Version(instance)}
}

// someRows fills a partition with entries of a map, each of a size.
func someRows(w *archive.Writer, p protocol.PartitionID, entries, size int) {
	w.Section(archive.Section{Partition: p, Revision: 100})
	w.Structure(archive.Structure{Instance: 5, Kind: dmap.Kind().ID, Name: "users"})
	w.Row(archive.Row{Instance: 5, Key: []byte{0, 'n'}, Value: []byte{1}})
	for i := range 100_000 {
		if key := fmt.Sprintf("k%06d", i); partition.Of(4, "users", append([]byte{protocol.KeyText}, key...)) == p {
			w.Row(entryRow(5, key, size))
			if entries--; entries == 0 {
				return
			}
		}
	}
}

func openBackup(t *testing.T, b []byte) (*Backup, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, BackupName(2)), b, 0o600); err != nil {
		t.Fatal(err)
	}
	backup, err := OpenBackup(dir, 2)
	if err == nil {
		t.Cleanup(func() { backup.Close() })
	}
	return backup, err
}

// TestBackups lists backups; each that cannot be used is an error that names the
// file and says what to do, and hides no other.
func TestBackups(t *testing.T) {
	good := archiveOf(t, backupHeader, func(w *archive.Writer) { someRows(w, 1, 3, 10) })
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"group-2.archive":  good,
		"group-3.archive":  good, // renamed
		"group-4.archive":  {},
		"group-5.archive":  []byte("quorate-seed-1\nan old form"),
		"group-6.archive":  []byte(archive.Magic + "\x00\x00\x00\x02"),
		"group-7.archive":  good[:25],
		"group-8.archive":  append(append(bytes.Clone(good[:30]), good[30]^1), good[31:]...),
		"group-02.archive": good, "notes.txt": good, // nobody's
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	headers, err := Backups(dir)
	if len(headers) != 1 || headers[0] != backupHeader || err == nil {
		t.Fatalf("%+v, %v", headers, err)
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{
		"group-3.archive: it is the backup of group 2: give it that group's name",
		"group-4.archive: frame 0 at offset 0: the archive is incomplete, its footer is missing: make it again",
		"group-5.archive: frame 0 at offset 0: not an archive: name another file, or save it again if an older version has written it",
		"group-6.archive: frame 0 at offset 0: an archive of another version: read it with the version of Quorate that has written it, or a later one (version 2, this one reads 1)",
		"group-7.archive: frame 0 at offset 20: the archive is incomplete, its footer is missing: make it again",
		"group-8.archive: frame 0 at offset 20: the archive is damaged: use another copy, or make it again (the sum of the frame)",
	}
	for i, line := range lines {
		if i >= len(want) || line != filepath.Join(dir, want[i]) {
			t.Errorf("error %d: %s", i, line)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d errors, want %d", len(lines), len(want))
	}
	if headers, err := Backups(filepath.Join(dir, "none")); err != nil || headers != nil {
		t.Errorf("without a directory: %v, %v", headers, err)
	}
	if _, err := OpenBackup(dir, 99); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestBackup_Verify reads all of a backup, and refuses rows that lie where no reader
// would look for them.
func TestBackup_Verify(t *testing.T) {
	b, err := openBackup(t, archiveOf(t, backupHeader, func(w *archive.Writer) {
		someRows(w, 1, 30, 10)
		someRows(w, 3, 30, 100_000)
	}))
	if err != nil {
		t.Fatal(err)
	}
	counts, err := b.Verify(backupKinds)
	if err != nil || counts.Partitions != 2 || counts.Structures != 2 || counts.Rows != 62 || counts.Frames < 8 {
		t.Errorf("%+v, %v", counts, err)
	}
	elsewhere := func(key []byte) (p protocol.PartitionID) {
		for p = 0; partition.Of(4, "users", key) == p; p++ {
		}
		return p
	}
	key := append([]byte{protocol.KeyText}, "ada"...)
	for want, fill := range map[string]func(w *archive.Writer){
		`a row of map "users" belongs to partition`: func(w *archive.Writer) {
			w.Section(archive.Section{Partition: elsewhere(key), Revision: 9})
			w.Structure(archive.Structure{Instance: 5, Kind: dmap.Kind().ID, Name: "users"})
			w.Row(entryRow(5, "ada", 1))
		},
		`a row of counter "users" belongs to partition`: func(w *archive.Writer) {
			w.Section(archive.Section{Partition: elsewhere(nil), Revision: 9})
			w.Structure(archive.Structure{Instance: 5, Kind: dcounter.Kind().ID, Name: "users"})
		},
		"a row of no structure": func(w *archive.Writer) {
			w.Section(archive.Section{Partition: 1, Revision: 9})
			w.Structure(archive.Structure{Instance: 5, Kind: dmap.Kind().ID, Name: "users"})
			w.Row(archive.Row{Instance: 6})
		},
		"kind 200, which this version does not know: use a later one": func(w *archive.Writer) {
			w.Section(archive.Section{Partition: 1, Revision: 9})
			w.Structure(archive.Structure{Instance: 5, Kind: 200, Name: "users"})
		},
	} {
		b, err := openBackup(t, archiveOf(t, backupHeader, fill))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Verify(backupKinds); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "at offset") {
			t.Errorf("%v, want %q and where", err, want)
		}
	}
	whole := archiveOf(t, backupHeader, func(w *archive.Writer) { someRows(w, 1, 30, 10) })
	if b, err = openBackup(t, whole[:len(whole)-1]); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Verify(backupKinds); !errors.Is(err, archive.ErrIncomplete) {
		t.Error(err)
	}
}

// TestSystemBackup: the state in a backup of a system group is read with it.
func TestSystemBackup(t *testing.T) {
	h := backupHeader
	h.Group = protocol.SystemGroup
	dir := t.TempDir()
	for _, state := range []string{"no state", ""} {
		b := archiveOf(t, h, func(w *archive.Writer) { w.State([]byte(state)) })
		if err := os.WriteFile(filepath.Join(dir, BackupName(1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		backup, err := OpenBackup(dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := backup.State(); err == nil || !strings.Contains(err.Error(), "system.archive") {
			t.Errorf("%q is taken for a state: %v", state, err)
		}
		if _, err := backup.Verify(backupKinds); err == nil {
			t.Errorf("%q is verified", state)
		}
		backup.Close()
	}
}

// loadingState is a group that waits for an archive of 4 partitions.
func loadingState(t *testing.T) (*groupstate.State, func(fill func(*groupstate.Builder))) {
	t.Helper()
	s := groupstate.New(backupKinds)
	apply := func(fill func(*groupstate.Builder)) {
		var b groupstate.Builder
		b.Reset(groupstate.Header{}, 0)
		fill(&b)
		if err := s.Apply(b.Bytes(), silent{}); err != nil {
			t.Fatal(err)
		}
	}
	apply(func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: 4, Owned: []protocol.PartitionID{1, 3}, Limits: protocol.DefaultLimits(), Loading: true})
	})
	return s, apply
}

// TestStream_TakesOver: a leader that takes over a load goes on where it
// is, and begins anew if it was begun from another backup.
func TestStream_TakesOver(t *testing.T) {
	fill := func(index uint64) *Backup {
		h := backupHeader
		h.Index = index
		b, err := openBackup(t, archiveOf(t, h, func(w *archive.Writer) {
			someRows(w, 1, 20, 200_000)
			someRows(w, 3, 20, 200_000)
		}))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, other := fill(7), fill(8)
	run := func(b *Backup, s *groupstate.State, apply func(func(*groupstate.Builder)), entries int) (done bool) {
		from, loading := s.Loading()
		if !loading {
			return true
		}
		at, err := b.Find(from)
		if err != nil {
			t.Fatal(err)
		}
		if !at.Same {
			apply((&Batch{from.Frames, []archive.Frame{at.Footer}}).Add)
			return false
		}
		stream := b.Stream(at)
		for range entries {
			if err := stream.Read(); err != nil {
				t.Fatal(err)
			}
			size := 0
			for _, f := range stream.Batch.Frames {
				size += len(f.Content)
			}
			if size > maxBatch && len(stream.Batch.Frames) > 1 {
				t.Fatalf("%d bytes in an entry", size)
			}
			apply(stream.Batch.Add)
			apply(stream.Batch.Add) // which may be logged twice
			if _, loading := s.Loading(); !loading {
				return true
			}
		}
		return false
	}
	for entries := 1; entries < 5; entries++ {
		s, apply := loadingState(t)
		leaders := 0
		for ; !run(one, s, apply, entries); leaders++ {
			if leaders > 100 {
				t.Fatal("the load does not end")
			}
		}
		if totals := s.Totals(); totals.Rows != 42 || entries == 1 && leaders < 5 {
			t.Errorf("%d entries a leader, %d leaders: %+v", entries, leaders, totals)
		}
	}
	s, apply := loadingState(t)
	run(one, s, apply, 2)
	if run(other, s, apply, 2) {
		t.Fatal("a load of two backups ends")
	}
	if l, loading := s.Loading(); !loading || l.Frames != 0 || l.Failures != 1 {
		t.Fatalf("%+v, loading %t", l, loading)
	}
	if !run(other, s, apply, 100) {
		t.Error("the load does not begin anew")
	}
	broken := fill(9)
	if err := os.Truncate(broken.f.Name(), 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := broken.Find(groupstate.Loading{}); !errors.Is(err, archive.ErrIncomplete) {
		t.Errorf("a backup that ends early is loaded: %v", err)
	}
}
