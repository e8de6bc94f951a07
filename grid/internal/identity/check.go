package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Check returns the content of a data directory's member.json, a blank Member if there
// is none, or the reason why Open would refuse the directory. It changes nothing.
func Check(path string) (Member, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Member{}, fmt.Errorf("data directory: %w", err)
	}
	if err := checkSettingsFiles(); err != nil {
		return Member{}, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Member{}, checkWritable(path, existing(path))
	case err != nil:
		return Member{}, fmt.Errorf("data directory %s: %w", path, err)
	case !info.IsDir():
		return Member{}, fmt.Errorf("data directory %s: it is a file: name a directory", path)
	}
	if err := checkOurs(path); err != nil {
		return Member{}, err
	}
	if err := checkWritable(path, path); err != nil {
		return Member{}, err
	}
	name := filepath.Join(path, lockName)
	if _, err := os.Stat(name); err == nil {
		lock, err := lockFile(name)
		if err != nil {
			return Member{}, lockProblem(path, err)
		}
		defer lock.Close()
	}
	b, err := os.ReadFile(filepath.Join(path, fileName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Member{}, nil
	case err != nil:
		return Member{}, fmt.Errorf("data directory %s: %w: make the file readable for this user", path, err)
	}
	m, err := decode(b)
	if err != nil {
		return Member{}, fmt.Errorf("data directory %s: %s: %w", path, fileName, err)
	}
	return m, nil
}

// existing returns the nearest directory above path that exists.
func existing(path string) string {
	for {
		parent := filepath.Dir(path)
		if _, err := os.Stat(parent); err == nil || parent == path {
			return parent
		}
		path = parent
	}
}

// checkWritable tests whether a data directory could be written, or created in dir.
func checkWritable(path, dir string) error {
	f, err := os.CreateTemp(dir, tempName)
	if err != nil {
		return fmt.Errorf("data directory %s: not writable: %w: give the user that runs the member write access", path, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// lockProblem says why a directory could not be locked.
func lockProblem(path string, err error) error {
	if errors.Is(err, errLocked) {
		return fmt.Errorf("data directory %s: in use by another process: stop it, or give this member a directory of its own", path)
	}
	return fmt.Errorf("data directory %s: not writable: %w: give the user that runs the member write access", path, err)
}
