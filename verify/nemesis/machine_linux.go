package nemesis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Names of what a run that is killed leaves behind, and the next one removes.
const (
	groupPrefix = "quorate-verify-" // and the member's process
	mountPrefix = "quorate-verify:" // and ours
)

// limitCPU gives a process a share of one CPU, in percent, by a control group
// of its own, and returns what ends that.
func limitCPU(pid, percent int) (end func() error, err error) {
	const period = 100_000
	quota := period * percent / 100
	name := fmt.Sprintf(groupPrefix+"%d", pid)
	for _, c := range []struct{ root, marker, file, value string }{
		{"/sys/fs/cgroup", "cgroup.controllers", "cpu.max", fmt.Sprintf("%d %d", quota, period)},
		{"/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "cpu.cfs_quota_us", strconv.Itoa(quota)},
		{"/sys/fs/cgroup/cpu", "tasks", "cpu.cfs_quota_us", strconv.Itoa(quota)},
	} {
		if _, serr := os.Stat(filepath.Join(c.root, c.marker)); serr != nil {
			err = errors.Join(err, serr)
			continue
		}
		left, _ := filepath.Glob(filepath.Join(c.root, groupPrefix+"*"))
		for _, old := range left {
			_ = os.Remove(old) // refused where a process is in it
		}
		dir := filepath.Join(c.root, name)
		if merr := os.Mkdir(dir, 0o755); merr != nil {
			err = errors.Join(err, merr)
			continue
		}
		write := func(dir, file, value string) error {
			return os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644)
		}
		if werr := errors.Join(write(dir, c.file, c.value), write(dir, "cgroup.procs", strconv.Itoa(pid))); werr != nil {
			err = errors.Join(err, werr, os.Remove(dir))
			continue
		}
		return func() error {
			// A process that has ended has left already.
			_ = write(c.root, "cgroup.procs", strconv.Itoa(pid))
			for range 50 {
				if os.Remove(dir) == nil {
					return nil
				}
				time.Sleep(20 * time.Millisecond)
			}
			return os.Remove(dir)
		}, nil
	}
	return nil, err
}

// mountSmall mounts a file system in memory, so small that it can be filled.
func mountSmall(dir string, bytes int64) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, to mount a small file system")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unmountLeft()
	if err := syscall.Mount(fmt.Sprintf(mountPrefix+"%d", os.Getpid()), dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		return fmt.Errorf("mount a small file system: %w", err)
	}
	return nil
}

// unmountLeft unmounts what runs that were killed have left.
func unmountLeft() {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		owner, ours := strings.CutPrefix(fields[0], mountPrefix)
		if pid, err := strconv.Atoi(owner); ours && err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			unmount(fields[1]) // a path with blanks, which the table escapes, stays
		}
	}
}

func unmount(dir string) { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }

func needsClock(*Grid) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, to set the clock")
	}
	return nil
}

func setClock(t time.Time) error {
	tv := syscall.NsecToTimeval(t.UnixNano())
	return syscall.Settimeofday(&tv)
}
