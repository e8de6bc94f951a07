package grid_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// members starts n members on disk that form a grid, and returns them with
// their directories.
func members(t *testing.T, n int) (all []*grid.Member, dirs []string) {
	t.Helper()
	var join []string
	for i := range n {
		dirs = append(dirs, filepath.Join(t.TempDir(), fmt.Sprint("n", i+1)))
		all = append(all, start(t, grid.Config{
			Name: fmt.Sprint("n", i+1), DataDir: dirs[i], BootstrapExpect: n, Join: join, Cluster: "prod", Groups: 2,
		}))
		join = append(join, all[i].Addr())
	}
	for _, m := range all {
		ready(t, m)
	}
	return all, dirs
}

// contents hashes the names and bytes of all files below a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestRecover loses two of three data directories, recovers from the third, and
// grows the new cluster again.
func TestRecover(t *testing.T) {
	all, dirs := members(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitTimeout)
	defer cancel()
	cl := all[0].Client()
	m := dmap.New[string, string](cl, "users")
	const entries = 200
	value := strings.Repeat("x", 20<<10)
	for i := range entries {
		if err := m.Put(ctx, fmt.Sprint("k", i), fmt.Sprint(i, value)); err != nil {
			t.Fatal(err)
		}
	}
	hits := dcounter.New(cl, "hits")
	if _, err := hits.Add(ctx, 42); err != nil {
		t.Fatal(err)
	}
	writers := dsemaphore.New(cl, "writers")
	if err := writers.Init(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := writers.Acquire(ctx, 1); err != nil {
		t.Fatal(err)
	}
	jobs := dqueue.New[int](cl, "jobs")
	for i := range 3 {
		if err := jobs.Put(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	for i := len(all) - 1; i >= 0; i-- {
		if err := all[i].Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range dirs[1:] {
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
	}

	before := contents(t, dirs[0])
	to := filepath.Join(t.TempDir(), "new")
	report, err := grid.Recover(ctx, grid.RecoverConfig{DataDir: dirs[0], To: to})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(to, "report.txt"))
	if err != nil || !bytes.Equal(text, []byte(report.Text())) {
		t.Errorf("the written report differs: %v", err)
	}
	t.Logf("%s", text)
	if len(report.Groups) != 3 || len(report.Members) != 3 || report.GracePeriod < 10*time.Second {
		t.Errorf("%+v", report)
	}
	for path, b := range contents(t, dirs[0]) {
		if before[path] != b {
			t.Errorf("%s was changed", path)
		}
		delete(before, path)
	}
	if len(before) > 0 {
		t.Errorf("%d files were removed", len(before))
	}
	if _, err := grid.Recover(ctx, grid.RecoverConfig{DataDir: dirs[0], To: to}); err == nil {
		t.Error("a directory that is not empty is taken")
	}

	one := start(t, grid.Config{Name: "n1", DataDir: to, Listen: all[0].Addr()})
	ready(t, one)
	began := time.Now()
	check := func(c *client.Client) {
		t.Helper()
		m := dmap.New[string, string](c, "users")
		for i := range entries {
			if v, ok, err := m.Get(ctx, fmt.Sprint("k", i)); err != nil || !ok || v != fmt.Sprint(i, value) {
				t.Fatalf("k%d: %d bytes, %t, %v", i, len(v), ok, err)
			}
		}
		if n, err := dcounter.New(c, "hits").Get(ctx); err != nil || n != 42 {
			t.Errorf("counter %d, %v", n, err)
		}
		if n, err := dqueue.New[int](c, "jobs").Len(ctx); err != nil || n != 3 {
			t.Errorf("queue %d, %v", n, err)
		}
	}
	check(one.Client())
	if _, err := os.Stat(filepath.Join(to, "backup", "group-2.archive")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a backup that is restored is there: %v", err)
	}

	// A member that still has the data of the lost cluster is refused.
	if err := os.Rename(dirs[1]+".away", dirs[1]); err != nil {
		t.Fatal(err)
	}
	old := start(t, grid.Config{Name: "n2", DataDir: dirs[1], Join: []string{one.Addr()}})
	says(t, old.Ready(ctx), "recovered from a survivor", "Set its data directory aside")
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	// Empty ones are welcome.
	for i := 2; i <= 3; i++ {
		ready(t, start(t, grid.Config{Name: fmt.Sprint("n", i), DataDir: t.TempDir(), Join: []string{one.Addr()}}))
	}

	// Nothing is granted before the grace period is over.
	if time.Since(began) < report.GracePeriod/2 {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := dsemaphore.New(one.Client(), "writers").Acquire(short, 1)
		says(t, err, "grants nothing")
	}
	check(one.Client())
}

// TestRecover_Backups: nothing is founded on backups that are not whole or do not
// belong together, and the member says which and why.
func TestRecover_Backups(t *testing.T) {
	dir := t.TempDir()
	m := start(t, grid.Config{Name: "n1", DataDir: dir, Groups: 2, Cluster: "prod"})
	ready(t, m)
	users := dmap.New[string, int](m.Client(), "users")
	for i := range 50 {
		if err := users.Put(t.Context(), fmt.Sprint("k", i), i); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "new")
	report, err := grid.Recover(t.Context(), grid.RecoverConfig{DataDir: dir, To: to})
	if err != nil {
		t.Fatal(err)
	}
	rows := uint64(0)
	for _, g := range report.Groups {
		rows += g.Rows
		st, err := os.Stat(filepath.Join(to, "backup", map[bool]string{true: "system.archive", false: fmt.Sprintf("group-%d.archive", g.Group)}[g.Group == 1]))
		if err != nil || uint64(st.Size()) != g.Bytes || g.Frames < 2 {
			t.Errorf("%+v: %v", g, err)
		}
	}
	if rows < 50 || !strings.Contains(report.Text(), "frames, verified") {
		t.Errorf("%d rows of 50 and more:\n%s", rows, report.Text())
	}
	second := filepath.Join(to, "backup", "group-2.archive")
	good, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(good)/2] ^= 1
	version := bytes.Clone(good)
	version[19] = 2
	third, err := os.ReadFile(filepath.Join(to, "backup", "group-3.archive"))
	if err != nil {
		t.Fatal(err)
	}
	var foreign bytes.Buffer
	w, err := archive.NewWriter(&foreign, archive.Header{Cluster: protocol.UUID{9}, Name: "prod", Group: 2})
	if err == nil {
		_, err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for want, b := range map[string][]byte{
		"group-2.archive: frame ":       flipped,
		"its footer is missing":         good[:len(good)-1],
		"an archive of another version": version,
		"not an archive":                []byte("quorate-seed-1\nwhatever it is"),
		"it is the backup of group":     third,
		"are of different clusters":     foreign.Bytes(),
	} {
		if err := os.WriteFile(second, b, 0o600); err != nil {
			t.Fatal(err)
		}
		again := start(t, grid.Config{Name: "n1", DataDir: to})
		says(t, again.Ready(t.Context()), want)
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(second, good, 0o600); err != nil {
		t.Fatal(err)
	}
	again := start(t, grid.Config{Name: "n1", DataDir: to})
	ready(t, again)
	if n, err := dmap.New[string, int](again.Client(), "users").Len(t.Context()); err != nil || n != 50 {
		t.Errorf("%d entries, %v", n, err)
	}
}

// TestRecover_Lost reads what a member has set aside as lost: the directory of
// an incarnation that has nothing yet names it, and with Lost it is read.
func TestRecover_Lost(t *testing.T) {
	all, dirs := members(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitTimeout)
	defer cancel()
	if _, err := dcounter.New(all[0].Client(), "hits").Add(ctx, 42); err != nil {
		t.Fatal(err)
	}
	for i := len(all) - 1; i >= 0; i-- {
		if err := all[i].Close(); err != nil {
			t.Fatal(err)
		}
	}
	d, err := identity.Open(dirs[0], "")
	if err != nil {
		t.Fatal(err)
	}
	before := d.Member().Incarnation
	if err := errors.Join(d.Renew(), d.Close()); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "new")
	_, err = grid.Recover(ctx, grid.RecoverConfig{DataDir: dirs[0], To: to})
	says(t, err, before.String()+".lost", "--lost")
	report, err := grid.Recover(ctx, grid.RecoverConfig{DataDir: dirs[0], To: to, Lost: true})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(report.Text(), before.String()+".lost") || report.Incarnation != before.String() || len(report.Groups) != 3 {
		t.Errorf("%s", report.Text())
	}
	one := start(t, grid.Config{Name: "n1", DataDir: to, Listen: all[0].Addr()})
	ready(t, one)
	if n, err := dcounter.New(one.Client(), "hits").Get(ctx); err != nil || n != 42 {
		t.Errorf("counter %d, %v", n, err)
	}
	_, err = grid.Recover(ctx, grid.RecoverConfig{DataDir: dirs[1], To: filepath.Join(t.TempDir(), "other"), Lost: true})
	says(t, err, "no log was set aside")
}

// TestRecover_Refuses shows what recover does not do.
func TestRecover_Refuses(t *testing.T) {
	dir := t.TempDir()
	m := start(t, grid.Config{DataDir: dir, Groups: 1})
	ready(t, m)
	try := func(cfg grid.RecoverConfig) error {
		_, err := grid.Recover(t.Context(), cfg)
		return err
	}
	says(t, try(grid.RecoverConfig{DataDir: dir, To: t.TempDir()}), "in use", "stop the member")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	says(t, try(grid.RecoverConfig{DataDir: t.TempDir(), To: t.TempDir()}), "not a member's")
	says(t, try(grid.RecoverConfig{DataDir: dir, To: filepath.Join(dir, "x")}), "lies in the survivor's directory")
	says(t, try(grid.RecoverConfig{DataDir: dir, To: dir}), "lies in the survivor's directory")
	says(t, try(grid.RecoverConfig{DataDir: dir, To: t.TempDir(), Groups: []uint64{9}}), "no data group 9")
	says(t, try(grid.RecoverConfig{DataDir: dir, To: t.TempDir(), Groups: []uint64{1}}), "no data group 1")
}
