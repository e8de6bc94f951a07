//go:build !unix

package nemesis

import "syscall"

func isMainThread() bool { return false }

func childAttributes() *syscall.SysProcAttr { return nil }
