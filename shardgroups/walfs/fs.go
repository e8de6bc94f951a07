package walfs

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/lni/vfs"

	"github.com/quorate/quorate/shardgroups/histogram"
)

// retryInterval is how often a write that found no free space is tried again.
const retryInterval = 100 * time.Millisecond

// FS is the file system of the engine on disk. It is safe for concurrent use.
type FS struct {
	vfs.FS
	log     *slog.Logger
	syncs   *syncMeter
	ahead   int64        // what a write-ahead log is given before it is written
	end     func(string) // ends the process
	waiting atomic.Int64 // writes that wait for free space
}

// injected: a test has given an engine of this process a file system of its own.
var injected atomic.Bool

// Injected reports whether a test has given an engine of this process a file
// system of its own. Such a test handles failures of its disk by itself.
func Injected() bool { return injected.Load() }

// EndProcess panics in a goroutine in which nobody recovers. It does not return.
func EndProcess(why string) {
	go panic(why)
	select {}
}

// failed ends the process for a file of the log that could not be written.
func (f *FS) failed(path, what string, err error) {
	if isSnapshot(path) { // it is given up
		return
	}
	f.log.Error("the disk has failed to "+what+": the process ends, since nobody knows what of the log is durable",
		"file", path, "err", err, "remedy", "look after the disk, then start the member again: what it has is verified")
	f.end("the disk has failed: " + err.Error())
}

// New wraps a file system; nil is the system's. A write-ahead log is given its
// blocks by a little more than the log store's write buffer at a time.
func New(under vfs.FS, log *slog.Logger, writeBuffer uint64) *FS {
	end := EndProcess
	if under == nil {
		under = vfs.Default
	} else { // a test's, which handles failures itself
		end = func(string) {}
		injected.Store(true)
	}
	return &FS{FS: under, end: end, log: log, syncs: &syncMeter{now: time.Now}, ahead: int64(writeBuffer + writeBuffer/10)}
}

// Memory returns an empty file system in memory.
func Memory() vfs.FS { return vfs.NewMem() }

// SlowDisk reports whether the syncs of the log have been slow for some seconds.
func (f *FS) SlowDisk() bool { return f.syncs.isSlow() }

// SyncTimes returns how long the syncs of the log took, in nanoseconds.
func (f *FS) SyncTimes() histogram.Histogram { return f.syncs.times.Read(histogram.LatencyLow) }

// ForEngine returns the files as dragonboat takes them: it knows its own kinds
// of file systems, of which this one adds nothing.
func (f *FS) ForEngine() vfs.FS { return vfs.Wrap(f, noInjector{}) }

type noInjector struct{}

func (noInjector) MaybeError(vfs.Op) error { return nil }

// noSpace is the error of a snapshot that was given up for want of free space.
type noSpace struct{ error }

func (noSpace) Is(target error) bool { return target == sm.ErrSnapshotAborted }
func (e noSpace) Unwrap() error      { return e.error }

// isSnapshot reports whether a path is of a snapshot that is being taken.
func isSnapshot(path string) bool { return strings.Contains(path, ".generating") }

// isNoSpace reports whether an operation failed for want of free space,
// and did nothing.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, quotaExceeded)
}

// do carries out an operation on a path until it does not fail for want of
// free space.
func (f *FS) do(path string, op func() error) error {
	err := op()
	if err == nil || !isNoSpace(err) {
		return err
	}
	if isSnapshot(path) {
		return noSpace{err}
	}
	began := time.Now()
	if f.waiting.Add(1) == 1 {
		f.log.Error("no free space is left on the disk: what this member has to log waits until there is",
			"file", path, "err", err, "remedy", "free space on the file system of the data directory, or give it more: the member goes on by itself")
	}
	for isNoSpace(err) {
		time.Sleep(retryInterval)
		err = op()
	}
	if f.waiting.Add(-1) == 0 {
		f.log.Info("there is free space on the disk: the log goes on", "after", time.Since(began).Round(time.Millisecond))
	}
	return err
}

func (f *FS) open(path string, open func() (vfs.File, error)) (opened vfs.File, err error) {
	err = f.do(path, func() error {
		opened, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	w := &file{File: opened, path: path, files: f}
	if d, ok := opened.(*os.File); ok {
		w.os = d
	}
	w.isLog = strings.HasSuffix(path, ".log")
	return w, nil
}

// Create creates a file to be written.
func (f *FS) Create(name string) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) { return f.FS.Create(name) })
}

// OpenForAppend opens a file to be written on.
func (f *FS) OpenForAppend(name string) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) { return f.FS.OpenForAppend(name) })
}

// ReuseForWrite gives a file another name, to be written from its beginning.
func (f *FS) ReuseForWrite(oldname, newname string) (vfs.File, error) {
	return f.open(newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname) })
}

// Rename gives a file another name.
func (f *FS) Rename(oldname, newname string) error {
	return f.do(newname, func() error { return f.FS.Rename(oldname, newname) })
}

// Link gives a file one more name.
func (f *FS) Link(oldname, newname string) error {
	return f.do(newname, func() error { return f.FS.Link(oldname, newname) })
}

// MkdirAll makes a directory.
func (f *FS) MkdirAll(dir string, perm os.FileMode) error {
	return f.do(dir, func() error { return f.FS.MkdirAll(dir, perm) })
}

// file is a file that the engine writes. It has no Fd: Pebble would sync
// by it, past Sync.
type file struct {
	vfs.File
	os    *os.File // nil: not a file of the system
	path  string
	files *FS
	isLog bool

	// Of a write-ahead log, of whoever writes it.
	written, reserved int64
}

// Write writes all of p, as soon as there is free space.
func (f *file) Write(p []byte) (int, error) {
	f.reserve(len(p))
	n := 0
	err := f.files.do(f.path, func() error {
		k, err := f.File.Write(p[n:])
		n += k
		return err
	})
	if err != nil {
		f.files.failed(f.path, "write", err)
	}
	return n, err
}

// WriteAt writes all of p, as soon as there is free space.
func (f *file) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.files.do(f.path, func() error {
		n, err = f.File.WriteAt(p, at)
		return err
	})
	if err != nil {
		f.files.failed(f.path, "write", err)
	}
	return n, err
}

// Sync makes durable what was written.
func (f *file) Sync() error {
	done := f.files.syncs.begin(f.isLog)
	var err error
	if f.os != nil {
		err = syncData(f.os)
	} else {
		err = f.File.Sync()
	}
	done()
	if err != nil {
		f.files.failed(f.path, "sync", err)
	}
	return err
}

// reserve gives a write-ahead log its blocks some time before they are written,
// so that a sync has nothing to do but to write them, and a disk that fills up
// leaves the log some free space. If that fails, the log is written without.
func (f *file) reserve(n int) {
	if !f.isLog || f.os == nil {
		return
	}
	if f.written+int64(n) > f.reserved {
		_ = reserveBlocks(f.os, f.reserved, f.files.ahead)
		f.reserved += f.files.ahead
	}
	f.written += int64(n)
}
