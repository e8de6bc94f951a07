package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// What quorate recover puts into a new data directory.
const (
	SeedFolder = "seed"       // the saved states that the member's groups begin with
	ReportFile = "report.txt" // what was recovered, for people
)

// Inspection is a look at a data directory that no process uses. It keeps the
// directory locked until it is closed, and changes nothing in it.
type Inspection struct {
	Member  Member
	RaftDir string
	lock    *os.File
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
	d := &Dir{path: path, m: m}
	return &Inspection{Member: m, RaftDir: d.raftDir(), lock: lock}, nil
}

// Close releases the directory.
func (i *Inspection) Close() error { return i.lock.Close() }

// SeedDir returns where saved states for this member's groups may lie; empty
// where nothing is on disk.
func (d *Dir) SeedDir() string {
	if d.path == "" {
		return ""
	}
	return filepath.Join(d.path, SeedFolder)
}
