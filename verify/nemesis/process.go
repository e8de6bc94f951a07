package nemesis

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// process is a child. It ends when we do: its stdin closes, and on Linux the
// kernel kills it.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{}
	err   error // set before done is closed
}

func startProcess(l *launcher, stdout, stderr io.Writer, command ...string) (*process, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = childAttributes()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "QUORATE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := l.start(cmd); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process at once, as a power cut ends it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
	p.stdin.Close()
}

// terminate asks the process to end, waits, and kills it when patience is over.
func (p *process) terminate(patience time.Duration) error {
	defer p.stdin.Close()
	if err := terminate(p.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		p.kill()
		return fmt.Errorf("did not end within %v and was killed", patience)
	}
}
