//go:build !unix

package disk

import "errors"

// Space returns the free bytes for this process on the file system of a directory, and
// its size.
func Space(string) (free, size uint64, err error) { return 0, 0, errors.ErrUnsupported }
