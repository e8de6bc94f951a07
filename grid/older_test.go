package grid_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/grid"
)

// olderFile holds the data directory of a version before the first release, whose
// log, snapshots and saved groups were of other forms. None of them is read.
const olderFile = "testdata/older.tar.gz"

// TestOlderDirectory: whoever opens the data directory of an older version says in
// one sentence what to do, and touches nothing.
func TestOlderDirectory(t *testing.T) {
	older := filepath.Join(t.TempDir(), "data")
	unpack(t, olderFile, older)
	saved := t.TempDir() // what recover made of one
	for _, name := range []string{"seed/system.seed", "seed/group-2.seed", "report.txt"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(saved, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(saved, name), []byte("quorate-seed-1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const (
		directory = "format 1 is older than this version of Quorate reads (2): start the version that wrote it, or start with an empty directory"
		groups    = "the groups in seed were saved by an older version, which this one does not read: start the version that wrote them, or remove the folder"
	)
	for _, test := range []struct {
		name string
		dir  string
		open func(dir string) error
		want string
	}{
		{"start", older, startIn(t), directory},
		{"start with saved groups", saved, startIn(t), groups},
		{"check", older, checkOf, directory},
		{"check of saved groups", saved, checkOf, groups},
		{"recover", older, recoverFrom(t, false), directory},
		{"recover what was set aside", older, recoverFrom(t, true), directory},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := contents(t, test.dir)
			before[filepath.Join(test.dir, "member.lock")] = "" // who opens a directory locks it
			err := test.open(test.dir)
			if err == nil {
				t.Fatal("it is opened")
			}
			if s := err.Error(); !strings.HasSuffix(s, test.want) || strings.Contains(s, "\n") || !strings.Contains(s, test.dir) {
				t.Errorf("%s", s)
			}
			after := contents(t, test.dir)
			after[filepath.Join(test.dir, "member.lock")] = ""
			if diff := cmp.Diff(before, after); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func startIn(t *testing.T) func(dir string) error {
	return func(dir string) error {
		m, err := grid.Start(t.Context(), grid.Config{Name: "golden", DataDir: dir, Listen: "127.0.0.1:0"})
		if err == nil {
			m.Close()
		}
		return err
	}
}

func checkOf(dir string) error {
	return grid.Check(grid.Config{Name: "golden", DataDir: dir, Listen: "127.0.0.1:0"})
}

func recoverFrom(t *testing.T, lost bool) func(dir string) error {
	return func(dir string) error {
		_, err := grid.Recover(t.Context(), grid.RecoverConfig{DataDir: dir, To: filepath.Join(t.TempDir(), "new"), Lost: lost})
		return err
	}
}
