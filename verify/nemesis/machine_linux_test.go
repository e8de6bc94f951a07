package nemesis

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestUnmountLeft: a small disk goes when the run that has made it was killed,
// and no sooner.
func TestUnmountLeft(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, as a small disk does")
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	mounted := func(dir string) bool {
		var own, above syscall.Stat_t
		if err := syscall.Stat(dir, &own); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Stat(filepath.Dir(dir), &above); err != nil {
			t.Fatal(err)
		}
		return own.Dev != above.Dev
	}
	for pid, stays := range map[int]bool{ended.Process.Pid: false, os.Getpid(): true} {
		dir := filepath.Join(t.TempDir(), "small")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount(fmt.Sprintf(mountPrefix+"%d", pid), dir, "tmpfs", 0, "size=65536"); err != nil {
			t.Skip("a small disk cannot be had here: ", err)
		}
		t.Cleanup(func() { unmount(dir) })
		if !mounted(dir) {
			t.Fatal("it was not mounted")
		}
		unmountLeft()
		if mounted(dir) != stays {
			t.Errorf("process %d: mounted %v, want %v", pid, !stays, stays)
		}
	}
}

// TestRemoveLeft: a control group goes when the run that has made it was killed,
// and no sooner.
func TestRemoveLeft(t *testing.T) {
	g, err := NewMemoryGroup("own", 64<<20)
	if err != nil {
		t.Skip("a control group cannot be had here: ", err)
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(g.root, fmt.Sprint(groupPrefix, ended.Process.Pid, "-left"))
	if err := os.Mkdir(left, 0o755); err != nil {
		t.Fatal(err)
	}
	removeLeft(g.root)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("what a run that has ended left: %v", err)
	}
	out, err := exec.Command(g.Through()[0], append(g.Through()[1:], "cat", filepath.Join(g.dir, groupProcesses))...).Output()
	if err != nil || len(out) == 0 {
		t.Errorf("the processes of the group: %q, %v", out, err)
	}
	if n, err := g.Killed(); n != 0 || err != nil {
		t.Errorf("%d killed, %v", n, err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}
