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

// ControlGroup is a control group of Linux that gives its processes less than the
// machine has. Making one needs root.
type ControlGroup struct{ root, dir string }

// groupLimit is how a version of control groups is told a limit.
type groupLimit struct{ root, marker, file, value string }

// NewMemoryGroup makes a control group whose processes may have so many bytes of
// memory together; what the kernel keeps for them counts, too.
func NewMemoryGroup(name string, bytes int64) (*ControlGroup, error) {
	value := strconv.FormatInt(bytes, 10)
	return newGroup(name,
		groupLimit{"/sys/fs/cgroup", "cgroup.controllers", "memory.max", value},
		groupLimit{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.limit_in_bytes", value})
}

// newCPUGroup makes a control group whose processes have a share of one CPU, in
// percent.
func newCPUGroup(name string, percent int) (*ControlGroup, error) {
	const period = 100_000
	quota := strconv.Itoa(period * percent / 100)
	return newGroup(name,
		groupLimit{"/sys/fs/cgroup", "cgroup.controllers", "cpu.max", fmt.Sprint(quota, " ", period)},
		groupLimit{"/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "cpu.cfs_quota_us", quota},
		groupLimit{"/sys/fs/cgroup/cpu", "tasks", "cpu.cfs_quota_us", quota})
}

// newGroup makes a control group of the first version that the system has.
func newGroup(name string, versions ...groupLimit) (*ControlGroup, error) {
	var problems []error
	for _, v := range versions {
		if _, err := os.Stat(filepath.Join(v.root, v.marker)); err != nil {
			problems = append(problems, err)
			continue
		}
		removeLeft(v.root)
		g := &ControlGroup{v.root, filepath.Join(v.root, fmt.Sprint(groupPrefix, os.Getpid(), "-", name))}
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			problems = append(problems, err)
			continue
		}
		err := os.WriteFile(filepath.Join(g.dir, v.file), []byte(v.value), 0o644)
		if err == nil {
			return g, nil
		}
		problems = append(problems, err, os.Remove(g.dir))
	}
	return nil, fmt.Errorf("make a control group: %w", errors.Join(problems...))
}

// removeLeft removes what runs that were killed have left.
func removeLeft(root string) {
	left, _ := filepath.Glob(filepath.Join(root, groupPrefix+"*"))
	for _, dir := range left {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupPrefix), "-")
		if pid, err := strconv.Atoi(owner); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.Remove(dir) // refused if a process is in it
		}
	}
}

const groupProcesses = "cgroup.procs"

// Through is the command through which another one is in the group from its
// first moment.
func (g *ControlGroup) Through() []string {
	return []string{"/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(g.dir, groupProcesses)}
}

// take puts a process into the group.
func (g *ControlGroup) take(pid int) error { return join(g.dir, pid) }

// release puts a process where it is not limited. One that has ended has left
// already.
func (g *ControlGroup) release(pid int) { _ = join(g.root, pid) }

func join(dir string, pid int) error {
	return os.WriteFile(filepath.Join(dir, groupProcesses), []byte(strconv.Itoa(pid)), 0o644)
}

// Killed returns how many processes the kernel has ended because the group had no
// memory left.
func (g *ControlGroup) Killed() (int, error) {
	for _, file := range []string{"memory.events", "memory.oom_control"} {
		b, err := os.ReadFile(filepath.Join(g.dir, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				return strconv.Atoi(strings.TrimSpace(n))
			}
		}
	}
	return 0, fmt.Errorf("%s does not tell who was ended for want of memory", g.dir)
}

// Remove removes the group, whose processes have ended or were released.
func (g *ControlGroup) Remove() error {
	for range 50 {
		if os.Remove(g.dir) == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond) // the kernel has not let go of the last one yet
	}
	return os.Remove(g.dir)
}
