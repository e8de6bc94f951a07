//go:build !linux

package walfs

import (
	"errors"
	"os"
	"syscall"
)

const quotaExceeded = syscall.ENOSPC // what else there is, the systems call differently

func syncData(f *os.File) error { return f.Sync() }

func reserveBlocks(*os.File, int64, int64) error { return errors.ErrUnsupported }
