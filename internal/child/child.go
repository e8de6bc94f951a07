package child

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"time"
)

// Signaled is what a shell adds to the number of the signal that has ended a
// command: it is the exit status then.
const Signaled = 128

// Run starts cmd and waits until it has ended. It returns its exit status, or
// Signaled and the number of the signal that has ended it. An error says that it
// could not be started.
//
// When hold ends, the command's process group gets SIGTERM, and SIGKILL after
// killAfter. While it runs, signals that would end this process are passed on to
// the group instead. The streams of cmd are files, or nil.
func Run(hold context.Context, cmd *exec.Cmd, killAfter time.Duration) (int, error) {
	return run(hold, cmd, killAfter, true)
}

// RunUntil is Run for a command that holds nothing. End is what the signals end that would
// end this process: the group has them passed on, and gets SIGTERM only if there was none, as
// before the command was started. SIGKILL comes killAfter after end all the same.
func RunUntil(end context.Context, cmd *exec.Cmd, killAfter time.Duration) (int, error) {
	return run(end, cmd, killAfter, false)
}

// signalDelay is how long after the end that a signal has made that signal may come here.
const signalDelay = 100 * time.Millisecond

func run(hold context.Context, cmd *exec.Cmd, killAfter time.Duration, holds bool) (int, error) {
	signals := make(chan os.Signal, 16)
	for _, s := range passedOn {
		if !signal.Ignored(s) { // what is ignored (nohup) stays so, here and in the command
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	p, err := start(cmd)
	if err != nil {
		return 0, err
	}
	defer p.close()
	lost, told := hold.Done(), false
	var deadline time.Time // of the group; zero: none
	var ask, kill <-chan time.Time
	for {
		select {
		case s := <-signals:
			told = p.pass(s) || told
		case <-lost:
			lost = nil
			deadline, kill = time.Now().Add(killAfter), time.After(killAfter)
			if holds {
				told = true
				p.terminate()
			} else {
				ask = time.After(signalDelay)
			}
		case <-ask:
			select {
			case s := <-signals: // it is here, and was not looked at yet
				told = p.pass(s) || told
			default:
			}
			if !told {
				told = true
				p.terminate()
			}
		case <-kill:
			p.kill()
		case <-p.ended:
			if told || p.signaled || !deadline.IsZero() {
				if deadline.IsZero() {
					deadline = time.Now().Add(killAfter)
				}
				p.clear(signals, deadline)
			}
			return p.status, nil
		}
	}
}

const (
	// clearEvery is how often clear looks whether the group is empty.
	clearEvery = 5 * time.Millisecond
	// clearGrace is how long clear waits for what it has killed. Where we do not
	// inherit the dead, the first process of a container may never wait for them.
	clearGrace = time.Second
)

// clear ends what is left of the group of a command that has ended: with
// SIGTERM, and at the deadline with SIGKILL.
func (p *process) clear(signals <-chan os.Signal, deadline time.Time) {
	if p.empty() {
		return
	}
	p.terminate()
	tick := time.NewTicker(clearEvery)
	defer tick.Stop()
	for killed := false; !p.empty(); {
		switch late := time.Since(deadline); {
		case killed && late > clearGrace:
			return
		case !killed && late >= 0:
			p.kill()
			killed = true
		}
		select {
		case s := <-signals:
			p.pass(s)
		case <-tick.C:
		}
	}
}
