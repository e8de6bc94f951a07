//go:build !unix

package network

import "syscall"

func isMainThread() bool { return false }

func childAttributes() *syscall.SysProcAttr { return nil }
