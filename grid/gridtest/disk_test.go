package gridtest

import (
	"io"
	"testing"
)

// TestDiskForgets shows that a disk keeps what was synced, and nothing else.
func TestDiskForgets(t *testing.T) {
	t.Parallel()
	d := newDisk()
	create := func(name string) interface {
		io.WriteCloser
		Sync() error
	} {
		f, err := d.fs.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	must(d.fs.MkdirAll("/d", 0o700))
	for _, dir := range []string{"/", "/d"} {
		f, err := d.fs.OpenDir(dir)
		must(err)
		if dir == "/d" {
			kept := create("/d/kept")
			_, err := kept.Write([]byte("synced"))
			must(err, kept.Sync())
			_, err = kept.Write([]byte(", not synced"))
			must(err, kept.Close(), f.Sync())
		}
		must(f.Sync(), f.Close())
	}
	must(create("/d/lost").Close())
	d.left.Store(2) // the second sync or write from now on
	late := create("/d/kept2")
	must(late.Sync(), late.Close())
	if !d.died.Load() {
		t.Error("the disk did not fail")
	}
	d.recover()
	names, err := d.fs.List("/d")
	must(err)
	if len(names) != 1 || names[0] != "kept" {
		t.Errorf("left: %q", names)
	}
	f, err := d.fs.Open("/d/kept")
	must(err)
	b, err := io.ReadAll(f)
	if must(err); string(b) != "synced" {
		t.Errorf("left: %q", b)
	}
}
