//go:build unix && !linux

package network

import "syscall"

func isMainThread() bool { return false }

// childAttributes: the signals of a terminal do not reach a child.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
