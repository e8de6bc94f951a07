package shardgroups

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
)

// roomInterval is how often a write that found no room is tried again.
const roomInterval = 100 * time.Millisecond

// engineFiles are the files of the engine on disk. dragonboat and Pebble end
// the process where a write fails; here one that finds no room on the file
// system waits until there is some, with everything that comes after it. So the
// member is as one whose disk has stopped: its groups go on without it, and it
// goes on by itself.
//
// Nothing waits for a sync that has failed, nor is it tried again: what was
// written before it may be lost, and the next sync may succeed without it. The
// process ends then, and the log says of what. It is ended here: dragonboat
// takes this kind of file system for one that injects errors in a test, where it
// swallows what its step workers panic of.
//
// A snapshot that is being taken does not wait either: it is given up, and
// with it the room that it took.
type engineFiles struct {
	vfs.FS
	log     *slog.Logger
	syncs   *syncMeter
	ahead   int64        // what a write-ahead log is given before it is written
	end     func(string) // ends the process
	waiting atomic.Int64 // writes that wait for room
}

// swallowed: a test has given the engine a file system of its own.
var swallowed atomic.Bool

// endProcess panics where nobody recovers. It does not return.
func endProcess(why string) {
	go panic(why)
	select {}
}

// failed ends the process for a file of the log that could not be written.
func (e *engineFiles) failed(path, what string, err error) {
	if isSnapshot(path) { // it is given up
		return
	}
	e.log.Error("the disk has failed to "+what+": the process ends, since nobody knows what of the log is durable",
		"file", path, "error", err, "remedy", "look after the disk, then start the member again: what it has is verified")
	e.end("the disk has failed: " + err.Error())
}

// newEngineFiles wraps a file system; nil is the system's.
func newEngineFiles(fs vfs.FS, log *slog.Logger, buffer uint64) *engineFiles {
	end := endProcess
	if fs == nil {
		fs = vfs.Default
	} else { // a test's, which sees to what fails itself
		end = func(string) {}
		swallowed.Store(true)
	}
	return &engineFiles{FS: fs, end: end, log: log, syncs: &syncMeter{now: time.Now}, ahead: int64(buffer + buffer/10)}
}

// forEngine returns the files as dragonboat takes them: it knows its own kinds
// of file systems, of which this one adds nothing.
func (e *engineFiles) forEngine() vfs.FS { return vfs.Wrap(e, noInjector{}) }

type noInjector struct{}

func (noInjector) MaybeError(vfs.Op) error { return nil }

// noRoom is the error of a snapshot that was given up.
type noRoom struct{ error }

func (noRoom) Is(target error) bool { return target == sm.ErrSnapshotAborted }
func (e noRoom) Unwrap() error      { return e.error }

// isSnapshot reports whether a path is of a snapshot that is being taken.
func isSnapshot(path string) bool { return strings.Contains(path, ".generating") }

// isNoRoom reports whether an operation failed for want of room, and did
// nothing.
func isNoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, quotaExceeded)
}

// do carries out an operation on a path until it does not fail for want of
// room.
func (e *engineFiles) do(path string, op func() error) error {
	err := op()
	if err == nil || !isNoRoom(err) {
		return err
	}
	if isSnapshot(path) {
		return noRoom{err}
	}
	began := time.Now()
	if e.waiting.Add(1) == 1 {
		e.log.Error("no free space is left on the disk: what this member has to log waits until there is",
			"file", path, "error", err, "remedy", "make room on the file system of the data directory, or give it more: the member goes on by itself")
	}
	for isNoRoom(err) {
		time.Sleep(roomInterval)
		err = op()
	}
	if e.waiting.Add(-1) == 0 {
		e.log.Info("there is free space on the disk: the log goes on", "after", time.Since(began).Round(time.Millisecond))
	}
	return err
}

func (e *engineFiles) open(path string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = e.do(path, func() error {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	w := &engineFile{File: f, path: path, files: e}
	if d, ok := f.(*os.File); ok {
		w.os = d
	}
	w.isLog = strings.HasSuffix(path, ".log")
	return w, nil
}

// Create creates a file to be written.
func (e *engineFiles) Create(name string) (vfs.File, error) {
	return e.open(name, func() (vfs.File, error) { return e.FS.Create(name) })
}

// OpenForAppend opens a file to be written on.
func (e *engineFiles) OpenForAppend(name string) (vfs.File, error) {
	return e.open(name, func() (vfs.File, error) { return e.FS.OpenForAppend(name) })
}

// ReuseForWrite gives a file another name, to be written from its beginning.
func (e *engineFiles) ReuseForWrite(oldname, newname string) (vfs.File, error) {
	return e.open(newname, func() (vfs.File, error) { return e.FS.ReuseForWrite(oldname, newname) })
}

// Rename gives a file another name.
func (e *engineFiles) Rename(oldname, newname string) error {
	return e.do(newname, func() error { return e.FS.Rename(oldname, newname) })
}

// Link gives a file one more name.
func (e *engineFiles) Link(oldname, newname string) error {
	return e.do(newname, func() error { return e.FS.Link(oldname, newname) })
}

// MkdirAll makes a directory.
func (e *engineFiles) MkdirAll(dir string, perm os.FileMode) error {
	return e.do(dir, func() error { return e.FS.MkdirAll(dir, perm) })
}

// engineFile is a file that the engine writes. It has no Fd: Pebble would sync
// by it, past Sync.
type engineFile struct {
	vfs.File
	os    *os.File // nil: not a file of the system
	path  string
	files *engineFiles
	isLog bool

	// Of a write-ahead log, of whoever writes it.
	written, reserved int64
}

// Write writes all of p, as soon as there is room.
func (f *engineFile) Write(p []byte) (int, error) {
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

// WriteAt writes all of p, as soon as there is room.
func (f *engineFile) WriteAt(p []byte, at int64) (n int, err error) {
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
func (f *engineFile) Sync() error {
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
// leaves the log some room. Where that does not work the log is written
// without.
func (f *engineFile) reserve(n int) {
	if !f.isLog || f.os == nil {
		return
	}
	if f.written+int64(n) > f.reserved {
		_ = reserveBlocks(f.os, f.reserved, f.files.ahead)
		f.reserved += f.files.ahead
	}
	f.written += int64(n)
}
