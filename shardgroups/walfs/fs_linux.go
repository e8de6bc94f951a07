package walfs

import (
	"os"
	"syscall"
)

// quotaExceeded is the error of a write beyond what the file's owner may have.
const quotaExceeded = syscall.EDQUOT

// syncData syncs a file's content, and of what describes it only what is needed
// to read it.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// reserveBlocks gives a file blocks without changing its size.
func reserveBlocks(f *os.File, at, bytes int64) error {
	const keepSize = 1
	return syscall.Fallocate(int(f.Fd()), keepSize, at, bytes)
}
