//go:build !unix

package disk

import "errors"

// Room returns the bytes that are free for this process on the file system of
// a directory, and its size.
func Room(string) (free, size uint64, err error) { return 0, 0, errors.ErrUnsupported }
