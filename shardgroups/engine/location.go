package engine

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lni/dragonboat/v4/raftpb"
)

// dragonboat pins the name of the host in the path of its data and in a flag
// file, and keeps absolute paths of snapshots in its log. A member survives a
// change of either: AdoptLocation renames and rewrites what is pinned, before the
// engine opens, and reports if paths in the log are old, so that the replicas take
// a snapshot under the new path immediately.

const (
	// FlagFile is the name of dragonboat's small file of what it was; the log is in
	// <dir>/<host>/<deployment>.
	FlagFile = "dragonboat.ds"

	locationFile = "place" // ours, in <dir>: host name and path at the last start
)

// AdoptLocation prepares dir for this host and path, and reports whether either
// has changed since the last start.
func AdoptLocation(dir string) (moved bool, err error) {
	host, err := os.Hostname()
	if err != nil {
		return false, fmt.Errorf("host name: %w", err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	now := host + "\n" + abs + "\n"
	before, err := os.ReadFile(filepath.Join(dir, locationFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case string(before) == now:
		return false, nil
	default:
		moved = true
		if err := adoptHost(dir, host); err != nil {
			return false, fmt.Errorf("adopt the data of another host name: %w", err)
		}
	}
	return moved, os.WriteFile(filepath.Join(dir, locationFile), []byte(now), 0o600)
}

// adoptHost renames the folder of another host's name to this host's.
func adoptHost(dir, host string) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*", "*", "logdb-0"))
	if err != nil || len(logs) != 1 {
		return err
	}
	old := filepath.Dir(filepath.Dir(logs[0]))
	if filepath.Base(old) == host {
		return nil
	}
	if err := RewriteFlagFile(filepath.Join(dir, FlagFile), host); err != nil {
		return err
	}
	return os.Rename(old, filepath.Join(dir, host))
}

// RewriteFlagFile changes the host name in dragonboat's flag file: eight bytes
// of the MD5 of the rest, and a raftpb.RaftDataStatus.
func RewriteFlagFile(name, host string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var s raftpb.RaftDataStatus
	if len(b) < 8 {
		return fmt.Errorf("%s is damaged", name)
	}
	if err := s.Unmarshal(b[8:]); err != nil {
		return fmt.Errorf("%s is damaged: %w", name, err)
	}
	s.Hostname = host
	data, err := s.Marshal()
	if err != nil {
		return err
	}
	sum := md5.Sum(data)
	return os.WriteFile(name, append(sum[8:], data...), 0o600)
}
