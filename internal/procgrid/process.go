package procgrid

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process is a child. It ends when we do: its stdin closes.
type Process struct {
	Cmd   *exec.Cmd
	stdin io.Closer
	Done  chan struct{}
	err   error // set before done is closed
}

func StartProcess(binary string, env []string, stdout, stderr io.Writer, args ...string) (*Process, error) {
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "QUORATE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{Cmd: cmd, stdin: stdin, Done: make(chan struct{})}
	go func() {
		defer close(p.Done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// Ended reports whether the process has ended, and how.
func (p *Process) Ended() (bool, error) {
	select {
	case <-p.Done:
		return true, p.err
	default:
		return false, nil
	}
}

// Wait waits for the end and kills the process when patience is over.
func (p *Process) Wait(patience time.Duration) error {
	defer p.stdin.Close()
	select {
	case <-p.Done:
		return p.err
	case <-time.After(patience):
		_ = p.Cmd.Process.Kill()
		<-p.Done
		return fmt.Errorf("did not end within %v and was killed", patience)
	}
}

// Terminate asks a process to end; where there is no way to ask, it ends it.
func Terminate(p *os.Process) {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.Kill()
	}
}

// Kill ends the process at once, as a power cut would.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.Done
	p.stdin.Close()
}
