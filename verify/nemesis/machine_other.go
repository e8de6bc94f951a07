//go:build !linux

package nemesis

import (
	"errors"
	"time"
)

func limitCPU(int, int) (func() error, error) { return nil, errors.ErrUnsupported }

func mountSmall(string, int64) error { return errors.New("needs Linux, to mount a small file system") }

func unmount(string) {}

func needsClock(*Grid) error { return errors.New("needs Linux, to set the clock") }

func setClock(time.Time) error { return errors.ErrUnsupported }
