package walfs

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/lni/vfs"
)

// fullFS is the system's file system, with no free space while full. A write then
// takes half of what it is given.
type fullFS struct {
	vfs.FS
	full     atomic.Bool
	syncFail atomic.Bool
}

type fullFile struct {
	vfs.File
	fs *fullFS
}

func (f *fullFS) err(path string) error {
	if f.full.Load() {
		return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOSPC}
	}
	return nil
}

func (f *fullFS) Create(name string) (vfs.File, error) {
	if err := f.err(name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name)
	return &fullFile{file, f}, err
}

func (f *fullFile) Write(p []byte) (int, error) {
	if f.fs.full.Load() {
		n, err := f.File.Write(p[:len(p)/2])
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return f.File.Write(p)
}

func (f *fullFile) Sync() error {
	if f.fs.syncFail.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

// locked is a buffer for a logger.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestWritesWaitForFreeSpace: what finds no free space is written once there is some,
// whole and once.
func TestWritesWaitForFreeSpace(t *testing.T) {
	under, said := &fullFS{FS: vfs.Default}, &locked{}
	files := New(under, slog.New(slog.NewTextHandler(said, nil)), 1<<20)
	path := filepath.Join(t.TempDir(), "000001.log")
	f, err := files.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	under.full.Store(true)
	text := []byte(strings.Repeat("0123456789", 1000))
	written := make(chan error, 2)
	go func() {
		n, err := f.Write(text)
		if n != len(text) {
			t.Errorf("%d bytes written of %d", n, len(text))
		}
		written <- err
	}()
	go func() {
		g, err := files.Create(path + ".2")
		if err == nil {
			err = g.Close()
		}
		written <- err
	}()
	for deadline := time.Now().Add(time.Minute); files.waiting.Load() != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("they do not wait")
		}
	}
	select {
	case err := <-written:
		t.Fatalf("written without free space: %v", err)
	default:
	}
	if !strings.Contains(said.String(), "no space left on device") || !strings.Contains(said.String(), path) {
		t.Errorf("the log says %q", said)
	}
	under.full.Store(false)
	for range 2 {
		if err := <-written; err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, text) {
		t.Errorf("%d bytes in the file, %v", len(b), err)
	}
}

// TestSnapshotGivesSpaceBack: a snapshot that finds no free space is given up, in the
// way that dragonboat knows.
func TestSnapshotGivesSpaceBack(t *testing.T) {
	under := &fullFS{FS: vfs.Default}
	files := New(under, slog.New(slog.DiscardHandler), 1<<20)
	dir := filepath.Join(t.TempDir(), "snapshot-1.generating")
	if err := files.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := files.Create(filepath.Join(dir, "snapshot.gbsnap"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	under.full.Store(true)
	_, err = f.Write([]byte("text"))
	if !errors.Is(err, sm.ErrSnapshotAborted) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %v", err)
	}
}

// TestFailedSyncEndsProcess: nothing waits for it, nobody tries it again, and the
// process ends.
func TestFailedSyncEndsProcess(t *testing.T) {
	under, said := &fullFS{FS: vfs.Default}, &locked{}
	files := New(under, slog.New(slog.NewTextHandler(said, nil)), 1<<20)
	f, err := files.Create(filepath.Join(t.TempDir(), "000001.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ended := ""
	files.end = func(why string) { ended = why }
	under.syncFail.Store(true)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v", err)
	}
	if !strings.Contains(ended, "input/output error") {
		t.Errorf("the process ends of %q", ended)
	}
	if !strings.Contains(said.String(), "remedy=") || !strings.Contains(said.String(), "000001.log") {
		t.Errorf("the log says %q", said)
	}
}

// TestReservedBlocks: a write-ahead log has its blocks before they are written,
// and is as long as what was written.
func TestReservedBlocks(t *testing.T) {
	files := New(nil, slog.New(slog.DiscardHandler), 1<<20)
	path := filepath.Join(t.TempDir(), "000001.log")
	f, err := files.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := f.Write(make([]byte, 600<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != 3*600<<10 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}

func TestSyncMeter(t *testing.T) {
	now := time.Unix(0, 0)
	m := &syncMeter{now: func() time.Time { return now }}
	sync := func(d time.Duration) {
		end := m.begin(true)
		now = now.Add(d)
		end()
	}
	want := func(slow bool, when string) {
		t.Helper()
		if m.isSlow() != slow {
			t.Errorf("slow %t %s", !slow, when)
		}
	}
	want(false, "before the first sync")
	for range 3000 {
		sync(time.Millisecond)
	}
	want(false, "with a fast disk")
	for range 5 { // one in two seconds
		sync(300 * time.Millisecond)
		for range 170 {
			sync(10 * time.Millisecond)
		}
	}
	want(false, "with a sync that is slow now and then")
	for range 7 {
		sync(300 * time.Millisecond)
	}
	want(false, "after two seconds")
	for range 10 {
		sync(300 * time.Millisecond)
	}
	want(true, "after five seconds")
	for range 400 {
		sync(10 * time.Millisecond)
	}
	want(true, "after four fast seconds")
	for range 300 {
		sync(10 * time.Millisecond)
	}
	want(false, "after seven fast seconds")

	// One that does not end counts while it goes on.
	m.begin(true)
	for range 5 {
		now = now.Add(time.Second)
		m.isSlow()
	}
	want(true, "with a sync that hangs")
}
