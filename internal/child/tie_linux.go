package child

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// tie has the command killed when we die, whatever we die of, and us inherit what
// the command leaves behind.
func tie(attributes *syscall.SysProcAttr) {
	attributes.Pdeathsig = syscall.SIGKILL
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // else the system does
}
