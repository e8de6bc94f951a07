package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorate/quorate/protocol"
)

// The files that quorate recover puts into a new data directory.
const (
	BackupFolder = "backup"     // backups from which the member's groups are restored
	ReportFile   = "report.txt" // what was recovered, human-readable
)

// Inspection reads a data directory that no process uses. It keeps the directory locked
// until it is closed, and changes nothing in it.
type Inspection struct {
	Member  Member
	RaftDir string
	Aside   string // the log of another incarnation, which was set aside as lost; empty: none
	lock    *os.File
}

// TakeAside makes the Inspection read the log that was set aside. member.json no longer
// lists the replicas of that log.
func (i *Inspection) TakeAside() error {
	if i.Aside == "" {
		return errors.New("no log was set aside as lost: there is no folder raft/*.lost")
	}
	u, err := protocol.ParseUUID(strings.TrimSuffix(filepath.Base(i.Aside), lostSuffix))
	if err != nil {
		return fmt.Errorf("%s: not the name of an incarnation: %w", i.Aside, err)
	}
	i.RaftDir, i.Member.Incarnation, i.Member.Started = i.Aside, u, nil
	return nil
}

// Inspect reads the member.json of a data directory.
func Inspect(path string) (*Inspection, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(path, fileName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("data directory %s: not a member's: it holds no %s", path, fileName)
	case err != nil:
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	lock, err := lockToRead(filepath.Join(path, lockName))
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("data directory %s: in use by another process: stop the member first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	m, err := decode(b)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %s: %w", path, fileName, err), lock.Close())
	}
	d := &Dir{path: path}
	d.m.Store(&m)
	i := &Inspection{Member: m, RaftDir: d.raftDir(), lock: lock}
	if aside, _ := filepath.Glob(filepath.Join(path, raftName, "*"+lostSuffix)); len(aside) > 0 { // the pattern is right
		i.Aside = aside[0]
	}
	return i, nil
}

// Close releases the directory.
func (i *Inspection) Close() error { return i.lock.Close() }

// BackupDir returns the directory for backups of this member's groups; empty if the
// member is in memory.
func (d *Dir) BackupDir() string {
	if d.path == "" {
		return ""
	}
	return filepath.Join(d.path, BackupFolder)
}
