package network

import "syscall"

func isMainThread() bool { return syscall.Gettid() == syscall.Getpid() }

// childAttributes: the kernel kills a child whose parent has ended, and the
// signals of a terminal do not reach it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
