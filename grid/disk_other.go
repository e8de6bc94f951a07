//go:build !unix

package grid

import "errors"

func diskRoom(string) (free, size uint64, err error) { return 0, 0, errors.ErrUnsupported }
