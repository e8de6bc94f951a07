package nemesis

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Names of what a run that is killed leaves behind, and the next one removes.
const (
	groupPrefix = "quorate-verify-" // and ours, and a name
	mountPrefix = "quorate-verify:" // and ours
)

// limitCPU gives a process a share of one CPU, in percent, by a control group
// of its own, and returns what ends that.
func limitCPU(pid, percent int) (end func() error, err error) {
	g, err := newCPUGroup(strconv.Itoa(pid), percent)
	if err != nil {
		return nil, err
	}
	if err := g.take(pid); err != nil {
		return nil, errors.Join(err, g.Remove())
	}
	return func() error {
		g.release(pid)
		return g.Remove()
	}, nil
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
