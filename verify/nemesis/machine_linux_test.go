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
