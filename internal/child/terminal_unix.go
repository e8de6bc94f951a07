//go:build unix

package child

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is the one that controls this process. A nil terminal does nothing.
type terminal struct{ file *os.File }

func openTerminal() *terminal {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return &terminal{f}
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && foreground(f) >= 0
}

// foreground returns the process group in the foreground of a terminal; -1 where
// it is none.
func foreground(f *os.File) int {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return -1
	}
	return group
}

// give puts a group into the foreground. It reports false where we are not there
// ourselves.
func (t *terminal) give(group int) bool {
	if t == nil || foreground(t.file) != unix.Getpgrp() {
		return false
	}
	// From now on we are in the background, from where only a process that
	// ignores SIGTTOU may write or take the terminal back.
	signal.Ignore(syscall.SIGTTOU)
	return unix.IoctlSetPointerInt(int(t.file.Fd()), unix.TIOCSPGRP, group) == nil
}

// takeBack undoes give.
func (t *terminal) takeBack(group int) {
	if t == nil {
		return
	}
	if foreground(t.file) == group {
		_ = unix.IoctlSetPointerInt(int(t.file.Fd()), unix.TIOCSPGRP, unix.Getpgrp())
	}
	signal.Reset(syscall.SIGTTOU)
}

func (t *terminal) close() {
	if t != nil {
		_ = t.file.Close()
	}
}
