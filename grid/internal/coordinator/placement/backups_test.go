package placement

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// TestBackupThatIsNotOffered: a backup of another cluster, of a group that is there
// no more, or one that is damaged replaces nothing, and the log says why, once.
func TestBackupThatIsNotOffered(t *testing.T) {
	dir, err := identity.Open(t.TempDir(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	ours, lost := protocol.UUID{1}, protocol.UUID{2}
	if err := dir.Update(func(m *identity.Member) { m.Recovered = lost }); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := New(Config{}, membership.New(membership.Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&out, nil))}))
	v := &systemstate.ClusterState{
		Cluster: ours,
		Members: []systemstate.Member{{ID: 5}},
		Groups:  []systemstate.Group{{ID: 1}, {ID: 2, Replicas: []systemstate.Replica{{ID: 1, Member: 5}}}, {ID: 4, Backup: 3}},
	}
	try := func(h archive.Header, cut int) string {
		t.Helper()
		out.Reset()
		if err := os.MkdirAll(dir.BackupDir(), 0o700); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		w, err := archive.NewWriter(&b, h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir.BackupDir(), extract.BackupName(h.Group)), b.Bytes()[:b.Len()-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			c.backups.look(time.Now())
			if err := c.offerBackup(t.Context(), nil, v, 7, h); err != nil {
				t.Fatal(err)
			}
		}
		return out.String()
	}
	header := archive.Header{Cluster: ours, Name: "prod", Partitions: 4, Group: 2, Level: 1}
	other, gone, restored, founded := header, header, header, header
	other.Cluster, gone.Group, restored.Group, founded.Cluster = protocol.UUID{9}, 8, 3, lost
	for _, test := range []struct {
		name string
		h    archive.Header
		cut  int
		want string
	}{
		{"of another cluster", other, 0, "it is of cluster prod (09000000-0000-0000-0000-000000000000), and this one is 01000000-0000-0000-0000-000000000000: remove the file"},
		{"of a group that is there no more", gone, 0, "the group no longer exists: remove the file"},
		{"that is not whole", header, 3, "the archive is incomplete, its footer is missing: make it again"},
		{"that is being restored", restored, 0, ""},
		{"that the cluster was founded from", founded, 0, ""},
	} {
		said := try(test.h, test.cut)
		if want := test.want; strings.Count(said, "\n") != min(len(want), 1) || !strings.Contains(said, want) {
			t.Errorf("a backup %s: it logged\n%s", test.name, said)
		}
	}
	out.Reset()
	for range 3 {
		c.backups.look(time.Now())
		for _, h := range []archive.Header{other, gone} {
			if err := c.offerBackup(t.Context(), nil, v, 7, h); err != nil {
				t.Fatal(err)
			}
		}
		c.logBackups(errors.Join(errors.New("one"), errors.New("another")))
	}
	if said := out.String(); strings.Count(said, "\n") != 4 {
		t.Errorf("of several backups it logged\n%s", said)
	}
}
