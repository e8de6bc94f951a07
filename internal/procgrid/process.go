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
	Done chan struct{} // closed when it has ended

	cmd   *exec.Cmd
	stdin io.Closer
	err   error // set before Done is closed
}

// Spec says which process is started, and how.
type Spec struct {
	Command        []string // the program and its arguments
	Env            []string // beside our own, of which it does not get QUORATE_ variables
	Stdout, Stderr io.Writer
	Launch         func(*exec.Cmd) error // nil: (*exec.Cmd).Start
}

// StartProcess starts a process.
func StartProcess(s Spec) (*Process, error) {
	cmd := exec.Command(s.Command[0], s.Command[1:]...)
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "QUORATE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, s.Env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	launch := s.Launch
	if launch == nil {
		launch = (*exec.Cmd).Start
	}
	if err := launch(cmd); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, stdin: stdin, Done: make(chan struct{})}
	go func() {
		defer close(p.Done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// PID returns its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended reports whether the process has ended, and how.
func (p *Process) Ended() (bool, error) {
	select {
	case <-p.Done:
		return true, p.err
	default:
		return false, nil
	}
}

// Err waits for the end of the process and says how it ended.
func (p *Process) Err() error {
	<-p.Done
	return p.err
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	ended, _ := p.Ended()
	return !ended
}

// Signal does something to the process, such as sending it a signal.
func (p *Process) Signal(f func(*os.Process) error) error { return f(p.cmd.Process) }

// Wait waits for the end and kills the process when patience is over.
func (p *Process) Wait(patience time.Duration) error {
	defer p.stdin.Close()
	select {
	case <-p.Done:
		return p.err
	case <-time.After(patience):
		p.Kill()
		return fmt.Errorf("did not end within %v and was killed", patience)
	}
}

// Terminate asks the process to end, waits, and kills it when patience is over.
// Where there is no way to ask, it ends it.
func (p *Process) Terminate(patience time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.cmd.Process.Kill()
	}
	return p.Wait(patience)
}

// Kill ends the process at once, as a power cut would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.Done
	p.stdin.Close()
}
