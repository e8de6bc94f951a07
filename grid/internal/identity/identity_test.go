package identity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d, err := Open(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: mode %v, error %v", info.Mode(), err)
	}
	cluster := NewUUID()
	err = d.Update(func(m *Member) {
		m.Cluster, m.ClusterName, m.Founder = cluster, "prod", NewUUID()
		m.Started = append(m.Started, Replica{Group: 1, Replica: 2, Started: true})
		m.Peers = []Peer{{Incarnation: NewUUID(), Address: "10.0.0.1:7170", Voter: true, Run: Run{3, 1 << 63}}}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := d.Member()
	want.Starts++
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = Open(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if diff := cmp.Diff(want, d.Member()); diff != "" {
		t.Errorf("member.json after reopening (-want +got):\n%s", diff)
	}
	if err := d.Forget(); err != nil {
		t.Fatal(err)
	}
	if m := d.Member(); !m.Blank() || m.Incarnation == want.Incarnation || len(m.Started) != 0 {
		t.Errorf("after Forget: %+v", m)
	}
	if err := d.Update(func(m *Member) { m.Cluster, m.Formed = cluster, true }); err != nil {
		t.Fatal(err)
	}
	if err := d.Forget(); err == nil {
		t.Error("a member of a formed cluster was forgotten")
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    []string // parts of the error: reason and remedy
	}{
		{"foreign", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "thesis.tex"), "")
		}, []string{"thesis.tex", "empty directory"}},
		{"newer format", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member.json"), `{"format": 7, "sharding": "new"}`)
		}, []string{"format 7", "newer", "start the version that wrote it"}},
		{"older format", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member.json"), `{"format": 1, "incarnation": []}`)
		}, []string{"format 1 is older than this version of Quorate reads (2): start the version that wrote it, or start with an empty directory"}},
		{"no format", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member.json"), sealed("{\n  \"name\": \"n1\"\n}\n"))
		}, []string{"damaged", "format 0", "start with an empty directory"}},
		{"groups of an older version", func(t *testing.T, dir string) {
			mkdir(t, filepath.Join(dir, "seed"))
		}, []string{"seed", "older version", "start the version that wrote them, or remove the folder"}},
		{"groups of an older version beside a member's", func(t *testing.T, dir string) {
			d, err := Open(dir, "n1")
			if err != nil {
				t.Fatal(err)
			}
			d.Close()
			mkdir(t, filepath.Join(dir, "seed"))
		}, []string{"seed", "older version", "start the version that wrote them, or remove the folder"}},
		{"a file that is called like a folder", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "seed"), "")
		}, []string{"it holds seed and no member.json", "empty directory"}},
		{"not JSON", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member.json"), `{"format": 2`)
		}, []string{"damaged", "restore"}},
		{"no incarnation", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member.json"), sealed(`{
  "format": 2,
  "incarnatoin": "x"
}
`))
		}, []string{"damaged", "without incarnation"}},
		{"no checksum", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member.json"), `{"format": 2}`)
		}, []string{"damaged", "no checksum", "start with an empty directory"}},
		{"bad incarnation", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member.json"), sealed(`{
  "format": 2,
  "incarnation": "x"
}
`))
		}, []string{"damaged", "bad UUID"}},
		{"second process", func(t *testing.T, dir string) {
			d, err := Open(dir, "n1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
		}, []string{"in use by another process", "directory of its own"}},
		{"a file", func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			write(t, dir, "")
		}, []string{"not a directory", "name another one"}},
		{"read only", func(t *testing.T, dir string) {
			if os.Geteuid() == 0 {
				t.Skip("root may write everywhere")
			}
			if err := os.Chmod(dir, 0o500); err != nil {
				t.Fatal(err)
			}
		}, []string{"not writable", "write access"}},
		{"settings of the engine", func(t *testing.T, dir string) {
			cwd := t.TempDir()
			write(t, filepath.Join(cwd, "dragonboat-soft-settings.json"), "{}")
			t.Chdir(cwd)
		}, []string{"dragonboat-soft-settings.json", "remove it"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.prepare(t, dir)
			d, err := Open(dir, "n1")
			if err == nil {
				d.Close()
				t.Fatal("opened")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestVolatile shows that a member in memory is a new one each time, remembers
// what it is told while it runs, and writes nothing.
func TestVolatile(t *testing.T) {
	t.Chdir(t.TempDir())
	a, err := Volatile("n1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Volatile("n1")
	if err != nil {
		t.Fatal(err)
	}
	if a.Member().Incarnation == b.Member().Incarnation || !a.Volatile() {
		t.Error("two members in memory are one")
	}
	if err := a.Update(func(m *Member) { m.ClusterName = "c" }); err != nil || a.Member().ClusterName != "c" {
		t.Errorf("cluster %q: %v", a.Member().ClusterName, err)
	}
	before := a.Member().Incarnation
	if err := a.Forget(); err != nil || a.Member().Incarnation == before || !new(a.Member()).Blank() {
		t.Errorf("forgotten: %+v: %v", a.Member(), err)
	}
	if dir, err := a.RaftDir(); dir != "" || err != nil {
		t.Errorf("directory %q: %v", dir, err)
	}
	if files, _ := os.ReadDir("."); len(files) != 0 {
		t.Errorf("it wrote %v", files)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
