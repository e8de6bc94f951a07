package grid_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

var rewrite = flag.Bool("rewrite", false, "write the golden data directory in testdata; never after a release")

// goldenFile holds the data directory of a grid of one member that the first
// version left behind. Every later version must open it.
const goldenFile = "testdata/golden-1.tar.gz"

type goldenUser struct {
	Name string
	Age  int
}

// golden is what the directory holds, as its first life left it.
var golden = struct {
	users map[string]goldenUser
	hits  int64
	jobs  []string
	free  int64
}{
	users: map[string]goldenUser{"ada": {"Ada", 36}, "alan": {"Alan", 41}, "grace": {"Grace", 85}},
	hits:  42,
	jobs:  []string{"first", "second", "third"},
	free:  3,
}

// TestGoldenDirectory opens the directory that the first version wrote, with
// state that is in snapshots and state that is only in the log, reads all of
// it, writes, and opens it again.
func TestGoldenDirectory(t *testing.T) {
	if *rewrite {
		writeGolden(t)
	}
	dir := filepath.Join(t.TempDir(), "data")
	unpack(t, goldenFile, dir)
	for life := range 2 {
		m := start(t, grid.Config{Name: "golden", DataDir: dir})
		ready(t, m)
		checkGolden(t, m.Client(), int64(life))
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func checkGolden(t *testing.T, c *client.Client, life int64) {
	t.Helper()
	ctx := t.Context()
	users := map[string]goldenUser{}
	for e, err := range dmap.New[string, goldenUser](c, "users").All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		users[e.Key] = e.Value
	}
	if diff := cmp.Diff(golden.users, users); diff != "" {
		t.Errorf("map: %s", diff)
	}
	hits := dcounter.New(c, "hits")
	if n, err := hits.Get(ctx); err != nil || n != golden.hits+life {
		t.Errorf("counter: %d, %v, want %d", n, err, golden.hits+life)
	}
	if _, err := hits.Add(ctx, 1); err != nil {
		t.Error(err)
	}
	jobs := dqueue.New[string](c, "jobs")
	if n, err := jobs.Len(ctx); err != nil || n != len(golden.jobs) {
		t.Errorf("queue: %d elements, %v", n, err)
	}
	// Taken and put back at the end: after both lives the order has moved on.
	job, ok, err := jobs.Poll(ctx)
	if want := golden.jobs[life]; err != nil || !ok || job != want {
		t.Errorf("queue: %q, %t, %v, want %q", job, ok, err, want)
	}
	if err := jobs.Put(ctx, job); err != nil {
		t.Error(err)
	}
	permits := dsemaphore.New(c, "permits")
	if n, err := permits.Available(ctx); err != nil || n != golden.free {
		t.Errorf("semaphore: %d permits, %v, want %d", n, err, golden.free)
	}
}

// writeGolden makes the directory anew.
func writeGolden(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	// Snapshots come soon, so that the directory has some, and log after them.
	ctx := tune.With(t.Context(), func(c *shardgroups.Config) { c.SnapshotBytes, c.RetainBytes = 1<<10, 1<<10 })
	m, err := grid.Start(ctx, grid.Config{Name: "golden", DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ready(t, m)
	c := m.Client()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	users := dmap.New[string, goldenUser](c, "users")
	for k, v := range golden.users {
		must(users.Put(t.Context(), k, v))
	}
	filler := dmap.New[int, string](c, "filler")
	for i := range 100 {
		must(filler.Put(t.Context(), i, fmt.Sprint("value ", i)))
	}
	waitForSnapshots(t, dir)
	must(filler.Destroy(t.Context()))
	_, err = dcounter.New(c, "hits").Add(t.Context(), golden.hits)
	must(err)
	for _, job := range golden.jobs {
		must(dqueue.New[string](c, "jobs").Put(t.Context(), job))
	}
	must(dsemaphore.New(c, "permits").Init(t.Context(), golden.free))
	must(m.Close())
	must(pack(dir, goldenFile))
}

func waitForSnapshots(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	for {
		found, err := filepath.Glob(filepath.Join(dir, "raft", "*", "*", "*", "snapshot-*", "*", "snapshot-*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("no snapshot was taken")
		}
	}
}

func pack(dir, file string) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "LOCK" || filepath.Ext(name) == ".lock" {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil || rel == "." {
			return err
		}
		h := &tar.Header{Name: filepath.ToSlash(rel), Mode: 0o600, Typeflag: tar.TypeReg}
		if d.IsDir() {
			h.Name, h.Mode, h.Typeflag = h.Name+"/", 0o700, tar.TypeDir
			return w.WriteHeader(h)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		h.Size = int64(len(b))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
	return errors.Join(err, w.Close(), z.Close())
}

func unpack(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsLocal(h.Name) {
			t.Fatalf("%s holds %s", file, h.Name)
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(name, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
