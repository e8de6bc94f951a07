//go:build unix && !linux

package child

import "syscall"

// tie has no means here.
func tie(*syscall.SysProcAttr) {}
