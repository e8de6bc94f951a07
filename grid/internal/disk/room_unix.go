//go:build unix

package disk

import "syscall"

// Room returns the bytes that are free for this process on the file system of
// a directory, and its size.
func Room(dir string) (free, size uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), uint64(s.Blocks) * uint64(s.Bsize), nil
}
