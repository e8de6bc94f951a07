//go:build !unix

package nemesis

import (
	"errors"
	"os"
)

const canPause = false

func terminate(p *os.Process) error { return p.Kill() }
func pause(*os.Process) error       { return errors.ErrUnsupported }
func resume(*os.Process) error      { return errors.ErrUnsupported }
