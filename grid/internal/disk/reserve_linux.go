package disk

import (
	"errors"
	"os"
	"syscall"
)

// reserve allocates the blocks of a file without writing them, if the file system can
// do that.
func reserve(f *os.File, size uint64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(size))
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return fill(f, size)
	}
	return err
}
