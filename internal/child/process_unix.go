//go:build unix

package child

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
)

// shell runs a line of text.
var shell = []string{"/bin/sh", "-c"}

// passedOn are the signals that end a process unless it knows better, and those
// by which a terminal and its shell stop jobs and let them go on.
var passedOn = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGALRM, syscall.SIGTERM,
	syscall.SIGTRAP, syscall.SIGSYS, syscall.SIGUSR1, syscall.SIGUSR2,
	syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGWINCH,
}

// process is a command and its process group, whose leader it is.
type process struct {
	pid      int
	tty      *terminal   // nil: there is none
	waits    atomic.Bool // the group is stopped until it has the terminal
	ended    chan struct{}
	status   int  // set before ended is closed
	signaled bool // so is this
}

// start starts the command in a group of its own.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{ended: make(chan struct{}), tty: openTerminal()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	tie(cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		// The parent whose death ends the command is a thread: this one, which
		// lives as long as the command.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.wait()
			_ = cmd.Process.Release()
		}
	}()
	if err := <-started; err != nil {
		p.tty.close()
		return nil, err
	}
	// A command that reads the terminal has to be in the foreground. One whose
	// output goes into a pipe gets it when it asks only: the other end, a pager,
	// needs it more.
	if isTerminal(cmd.Stdin) && isTerminal(cmd.Stdout) {
		p.tty.give(p.pid)
	}
	return p, nil
}

// wait waits until the command has ended, and lets it go on where the terminal
// has stopped it: a holder that stands still cannot give up in time.
func (p *process) wait() {
	defer close(p.ended)
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			panic("child: bug: wait for the command: " + err.Error())
		case status.Exited():
			p.status = status.ExitStatus()
			return
		case status.Signaled():
			p.status, p.signaled = Signaled+int(status.Signal()), true
			return
		case !status.Stopped():
		case status.StopSignal() == syscall.SIGTSTP:
			p.signal(syscall.SIGCONT)
		case status.StopSignal() == syscall.SIGTTIN, status.StopSignal() == syscall.SIGTTOU:
			p.waits.Store(true)
			p.resume()
		}
	}
}

// resume gives the terminal to a group that has stopped for want of it, where it
// is ours to give.
func (p *process) resume() {
	if p.waits.Load() && p.tty.give(p.pid) {
		p.waits.Store(false)
		p.signal(syscall.SIGCONT)
	}
}

// pass passes a signal on to the group. It reports whether it is one that ends.
func (p *process) pass(s os.Signal) bool {
	switch s {
	case syscall.SIGTSTP:
		return false // see wait
	case syscall.SIGCONT: // of a shell that has brought us to the foreground
		p.resume()
		return false
	case syscall.SIGWINCH:
		p.signal(syscall.SIGWINCH)
		return false
	}
	p.signal(s.(syscall.Signal))
	return true
}

// terminate asks the group to end. A stopped process hears it when it goes on.
func (p *process) terminate() {
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGCONT)
}

func (p *process) kill() { p.signal(syscall.SIGKILL) }

func (p *process) signal(s syscall.Signal) { _ = syscall.Kill(-p.pid, s) }

// empty reports whether no process of the group is left, once the command has
// ended. The dead count until their parent has waited for them: that is us, where
// the system lets us inherit them. The number of a group is not given to another
// process while the group has one.
func (p *process) empty() bool {
	for {
		pid, err := syscall.Wait4(-p.pid, nil, syscall.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	return errors.Is(syscall.Kill(-p.pid, 0), syscall.ESRCH)
}

// close takes the terminal back.
func (p *process) close() {
	p.tty.takeBack(p.pid)
	p.tty.close()
}
