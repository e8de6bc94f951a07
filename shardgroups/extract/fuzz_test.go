package extract

import (
	"bytes"
	"context"
	"crypto/md5"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/shardgroups/engine"
)

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
	file := filepath.Join(f.TempDir(), engine.FlagFile)
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, file, b)
		_ = fuzzedInspection(t).flagFile(file)
		if engine.RewriteFlagFile(file, "after") != nil {
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
