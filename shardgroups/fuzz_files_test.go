package shardgroups

import (
	"bytes"
	"context"
	"crypto/md5"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
)

// FuzzSeed shows that a seed of any bytes is opened or refused, and that one
// that passes Check has all the bytes it says.
func FuzzSeed(f *testing.F) {
	file := filepath.Join(f.TempDir(), SeedName(2))
	for _, state := range []string{"", "a state", string(make([]byte, 3000))} {
		name := filepath.Join(f.TempDir(), "seed")
		_, err := writeSeed(name, SeedInfo{Cluster: protocol.UUID{1}, Name: "c", Group: 2, Applied: 7}, func(w io.Writer) error {
			_, err := io.WriteString(w, state)
			return err
		})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, file, b)
		_, _ = Seeds(filepath.Dir(file))
		s, err := OpenSeed(file)
		if err != nil {
			return
		}
		defer s.Close()
		if s.Check() != nil {
			return
		}
		if n, err := io.Copy(io.Discard, s.State()); err != nil || uint64(n) != s.Info.Length {
			t.Errorf("%d bytes of %d, %v", n, s.Info.Length, err)
		}
		if s.Info.Length > 0 {
			if c, err := s.chunk(s.Info.Length - 1); len(c) != 1 || err != nil {
				t.Errorf("%d bytes in the last chunk, %v", len(c), err)
			}
		}
	})
}

// FuzzSnapshotFile shows that a snapshot file of any bytes is found whole or
// damaged.
func FuzzSnapshotFile(f *testing.F) {
	header, err := (&raftpb.SnapshotHeader{Version: 2, ChecksumType: raftpb.CRC32IEEE}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	whole := make([]byte, snapshotHeader)
	whole[0] = byte(len(header))
	copy(whole[8:], header)
	f.Add(append(append(whole, make([]byte, 8)...), snapshotMagic...))
	f.Add(whole[:40])
	file := filepath.Join(f.TempDir(), "snapshot")
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, file, b)
		r, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_ = fuzzedInspection(t).snapshotFile(r)
	})
}

// FuzzFlagFile shows that dragonboat's small files of any bytes are whole or
// damaged, and that one whose host name is changed is whole.
func FuzzFlagFile(f *testing.F) {
	status, err := (&raftpb.RaftDataStatus{Hostname: "before", LogdbType: "sharded-pebble"}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	sum := md5.Sum(status)
	f.Add(append(sum[8:], status...))
	f.Add([]byte("12345678"))
	file := filepath.Join(f.TempDir(), flagFile)
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, file, b)
		_ = fuzzedInspection(t).flagFile(file)
		if rewriteFlagFile(file, "after") != nil {
			return
		}
		if err := fuzzedInspection(t).flagFile(file); err != nil {
			t.Error(err)
		}
	})
}

// FuzzManifest looks for broken records in manifests of any bytes.
func FuzzManifest(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 0, 1, 7})
	f.Add(bytes.Repeat([]byte{1}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, broken := brokenRecord(b); broken && at >= len(b) {
			t.Errorf("broken at %d of %d", at, len(b))
		}
	})
}

func fuzzedInspection(tb testing.TB) *inspection {
	tb.Helper()
	return &inspection{ctx: context.Background(), log: slog.New(slog.DiscardHandler)}
}

func write(tb testing.TB, file string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func read(tb testing.TB, file string) []byte {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
