package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dsemaphore"
)

type semaphoreCommands struct {
	Init      semaphoreInit      `cmd:"" help:"Give a semaphore its permits, once."`
	Available semaphoreAvailable `cmd:"" help:"Print how many permits are free."`
	Drain     semaphoreDrain     `cmd:"" help:"Take all free permits away and print how many they were."`
	Add       semaphoreAdd       `cmd:"" help:"Add permits; a negative number takes them away."`
	Acquire   semaphoreAcquire   `cmd:"" help:"Hold permits, while a command runs or until a signal."`
}

// Help is the long help of the family.
func (semaphoreCommands) Help() string {
	return `  quorate semaphore init backups 2
  quorate semaphore add backups -1
  quorate semaphore acquire backups --wait 1m -- pg_dump -f dump.sql

acquire runs COMMAND while it holds the permits and exits with its status: 124 if the permits did not come in time, 125 if they were lost (COMMAND gets SIGTERM, five seconds later SIGKILL) or could not be had, 126 or 127 if COMMAND cannot be run or found. COMMAND sees the fencing token in QUORATE_TOKEN. Without COMMAND it prints the token and holds until SIGINT or SIGTERM.`
}

// semaphoreName names a semaphore, on a grid.
type semaphoreName struct {
	connection
	Name string `arg:"" help:"The semaphore."`
}

// with runs f with the semaphore.
func (cmd *semaphoreName) with(ctx context.Context, f func(*dsemaphore.Semaphore) error) error {
	return cmd.connection.with(ctx, func(c *client.Client) error { return f(dsemaphore.New(c, cmd.Name)) })
}

type semaphoreInit struct {
	semaphoreName
	Permits integer `arg:"" help:"How many permits it has."`
}

// Run runs the command.
func (cmd *semaphoreInit) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
		if err := s.Init(ctx, int64(cmd.Permits)); err != nil {
			return err
		}
		return a.print("", object{"semaphore": cmd.Name, "permits": cmd.Permits})
	})
}

type semaphoreAvailable struct{ semaphoreName }

// Run runs the command.
func (cmd *semaphoreAvailable) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
		n, err := s.Available(ctx)
		if err != nil {
			return err
		}
		return a.print(fmt.Sprint(n), object{"semaphore": cmd.Name, "available": n})
	})
}

type semaphoreDrain struct{ semaphoreName }

// Run runs the command.
func (cmd *semaphoreDrain) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
		n, err := s.Drain(ctx)
		if err != nil {
			return err
		}
		return a.print(fmt.Sprint(n), object{"semaphore": cmd.Name, "drained": n})
	})
}

type semaphoreAdd struct {
	semaphoreName
	Permits integer `arg:"" help:"How many to add."`
}

// Run runs the command.
func (cmd *semaphoreAdd) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
		if err := s.AddPermits(ctx, int64(cmd.Permits)); err != nil {
			return err
		}
		return a.print("", object{"semaphore": cmd.Name, "added": cmd.Permits})
	})
}

type semaphoreAcquire struct {
	semaphoreName
	Permits int64          `short:"n" help:"How many permits." default:"1" placeholder:"PERMITS"`
	Wait    *time.Duration `help:"How long to wait for them; 0: not at all. Without it: as long as it takes." placeholder:"D"`
	Command []string       `arg:"" optional:"" name:"command" help:"COMMAND to run, after --."`
}

// Run runs the command.
func (cmd *semaphoreAcquire) Run(ctx context.Context, a *app) error {
	if len(cmd.Command) == 0 {
		return cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
			held, err := cmd.acquire(ctx, s)
			if err != nil {
				return err
			}
			if err := a.print(fmt.Sprint(uint64(held.Token())), object{"semaphore": cmd.Name, "token": uint64(held.Token())}); err != nil {
				return errors.Join(err, cmd.release(held))
			}
			select {
			case <-ctx.Done():
				return cmd.release(held)
			case <-held.Context().Done():
				return fmt.Errorf("semaphore %s: the permits were lost: %w", cmd.Name, context.Cause(held.Context()))
			}
		})
	}
	path, err := exec.LookPath(cmd.Command[0])
	if err != nil {
		code := exitNotFound
		if errors.Is(err, os.ErrPermission) {
			code = exitNotRunnable
		}
		return &exitError{code: code, err: err}
	}
	err = cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
		held, err := cmd.acquire(ctx, s)
		if err != nil {
			return err
		}
		return a.runHolding(ctx, held, path, cmd)
	})
	var e *exitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotInTime):
		return &exitError{code: exitNotAcquired, err: err}
	case errors.As(err, &e) && e.code != exitNo:
		return err
	default:
		return &exitError{code: exitOurs, err: err}
	}
}

var errNotInTime = errors.New("the permits were not free in time")

// acquire waits for the permits as the flags say.
func (cmd *semaphoreAcquire) acquire(ctx context.Context, s *dsemaphore.Semaphore) (*structures.Held, error) {
	notInTime := no(fmt.Errorf("semaphore %s: %w", cmd.Name, errNotInTime))
	if cmd.Wait != nil && *cmd.Wait == 0 {
		held, ok, err := s.TryAcquire(ctx, cmd.Permits)
		if err == nil && !ok {
			err = notInTime
		}
		return held, err
	}
	ctx, cancel := waiting(ctx, cmd.Wait)
	defer cancel()
	held, err := s.Acquire(ctx, cmd.Permits)
	if gaveUp(ctx, err) {
		return nil, notInTime
	}
	return held, err
}

// release gives the permits back, also when the command was told to stop.
func (cmd *semaphoreAcquire) release(held *structures.Held) error {
	ctx, cancel := context.WithTimeout(context.Background(), cmd.Timeout)
	defer cancel()
	return held.Release(ctx)
}

// killAfter is how long a command has to end after SIGTERM.
const killAfter = 5 * time.Second

// runHolding runs the command while the permits are held. A SIGTERM is passed
// on to the command; a SIGINT comes to it from the terminal anyway.
func (a *app) runHolding(ctx context.Context, held *structures.Held, path string, cmd *semaphoreAcquire) error {
	child := exec.Command(path, cmd.Command[1:]...)
	child.Args[0] = cmd.Command[0]
	child.Stdin, child.Stdout, child.Stderr = a.stdin, a.stdout, a.stderr
	child.Env = append(os.Environ(), fmt.Sprintf("QUORATE_TOKEN=%d", uint64(held.Token())))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), cmd.release(held))
	}
	if err := child.Start(); err != nil {
		return &exitError{code: exitNotRunnable, err: errors.Join(err, cmd.release(held))}
	}
	ended := make(chan struct{})
	var status error
	go func() {
		defer close(ended)
		status = child.Wait()
	}()
	for {
		select {
		case s := <-signals:
			if s != os.Interrupt {
				terminate(child.Process)
			}
		case <-held.Context().Done():
			a.note("quorate: semaphore %s: the permits were lost; ending the command", cmd.Name)
			terminate(child.Process)
			select {
			case <-ended:
			case <-time.After(killAfter):
				_ = child.Process.Kill()
				<-ended
			}
			return &exitError{code: exitOurs, err: fmt.Errorf("semaphore %s: the permits were lost: %w", cmd.Name, context.Cause(held.Context()))}
		case <-ended:
			if err := cmd.release(held); err != nil {
				a.note("quorate: release: %v", err)
			}
			return commandStatus(child, status)
		}
	}
}

// terminate asks a process to end; where there is no way to ask, it ends it.
func terminate(p *os.Process) {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.Kill()
	}
}

// commandStatus turns how a command ended into our exit status, as a shell
// does: a signal is 128 and its number.
func commandStatus(child *exec.Cmd, err error) error {
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return &exitError{code: exitOurs, err: err}
	}
	code := exit.ExitCode()
	if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return &exitError{code: code, err: errSilent}
}
