package network

import (
	"io"
	"os"
	"os/exec"
	"runtime"

	"github.com/quorate/quorate/internal/procgrid"
)

// Launcher starts processes on a thread of its own. They are in the network
// namespace of that thread, and end with it, even if they are stopped: with us
// at the latest, however we end.
type Launcher struct {
	jobs   chan func()
	closed chan struct{}
}

// NewLauncher starts a thread, has enter called on it first, and returns its
// error.
func NewLauncher(enter func() error) (*Launcher, error) {
	l := &Launcher{jobs: make(chan func()), closed: make(chan struct{})}
	entered := make(chan error)
	onThread(func() {
		err := enter()
		entered <- err
		if err != nil {
			return
		}
		for {
			select {
			case job := <-l.jobs:
				job()
			case <-l.closed:
				return
			}
		}
	})
	return l, <-entered
}

// onThread runs f, and returns meanwhile, on a thread that nothing else has run
// on when it ends: whatever f has done to the thread ends with it.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if !isMainThread() {
			f()
			return // locked: the thread ends
		}
		// The main thread never ends, and what is done to it is done to the process.
		elsewhere := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(elsewhere)
			f()
		}()
		<-elsewhere
		runtime.UnlockOSThread()
	}()
}

// start starts a command.
func (l *Launcher) start(cmd *exec.Cmd) error {
	err := os.ErrClosed
	l.do(func() { err = cmd.Start() })
	return err
}

// do runs f on the thread, unless it has ended.
func (l *Launcher) do(f func()) {
	done := make(chan struct{})
	select {
	case l.jobs <- func() { defer close(done); f() }:
		<-done
	case <-l.closed:
	}
}

// Close ends the thread, and the processes that it has started.
func (l *Launcher) Close() { close(l.closed) }

// Process starts a child that ends with us.
func (l *Launcher) Process(stdout, stderr io.Writer, command ...string) (*procgrid.Process, error) {
	return procgrid.StartProcess(procgrid.Spec{Command: command, Stdout: stdout, Stderr: stderr, Launch: func(cmd *exec.Cmd) error {
		cmd.SysProcAttr = childAttributes()
		return l.start(cmd)
	}})
}
