package structures

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dsemaphore"
)

type SemaphoreCommands struct {
	Init      semaphoreInit      `cmd:"" help:"Give a semaphore its permits, once."`
	Available semaphoreAvailable `cmd:"" help:"Print how many permits are free."`
	Drain     semaphoreDrain     `cmd:"" help:"Take all free permits away and print how many they were."`
	Add       semaphoreAdd       `cmd:"" help:"Add permits; a negative number takes them away."`
	Acquire   semaphoreAcquire   `cmd:"" help:"Hold permits, while a command runs or until a signal."`
}

// Help is the long help of the family.
func (SemaphoreCommands) Help() string {
	return `  quorate semaphore init backups 2
  quorate semaphore add backups -1
  quorate semaphore acquire backups --wait 1m --note "nightly" -- pg_dump -f dump.sql
  quorate semaphore acquire backups --ttl 1m --on-lost 'systemctl stop backup'

acquire runs COMMAND while it holds the permits. COMMAND sees the fencing token in QUORATE_TOKEN and the semaphore in QUORATE_NAME; it is a process group of its own, which gets the signals that quorate gets. Exit status: that of COMMAND, 128 and the number for a signal; 124 if the permits did not come in time; 125 if they were lost or could not be had; 126 or 127 if COMMAND cannot be run or found.

Permits are lost when the grid has not heard from us for --ttl. Before anyone else can be granted them COMMAND and what it has started get SIGTERM, after --kill-after SIGKILL, and the shell runs --on-lost. Without COMMAND the token is printed and the permits are held until SIGINT, SIGTERM or SIGHUP.`
}

// semaphoreName names a semaphore, on a grid.
type semaphoreName struct {
	cli.Connection
	Name string `arg:"" help:"The semaphore."`
}

// with runs f with the semaphore.
func (cmd *semaphoreName) with(ctx context.Context, f func(*dsemaphore.Semaphore) error) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error { return f(dsemaphore.New(c, cmd.Name)) })
}

type semaphoreInit struct {
	semaphoreName
	Permits cli.Integer `arg:"" help:"How many permits it has."`
}

// Run runs the command.
func (cmd *semaphoreInit) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
		if err := s.Init(ctx, int64(cmd.Permits)); err != nil {
			return err
		}
		return a.Print("", cli.Object{"semaphore": cmd.Name, "permits": cmd.Permits})
	})
}

type semaphoreAvailable struct{ semaphoreName }

// Run runs the command.
func (cmd *semaphoreAvailable) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
		n, err := s.Available(ctx)
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(n), cli.Object{"semaphore": cmd.Name, "available": n})
	})
}

type semaphoreDrain struct{ semaphoreName }

// Run runs the command.
func (cmd *semaphoreDrain) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
		n, err := s.Drain(ctx)
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(n), cli.Object{"semaphore": cmd.Name, "drained": n})
	})
}

type semaphoreAdd struct {
	semaphoreName
	Permits cli.Integer `arg:"" help:"How many to add."`
}

// Run runs the command.
func (cmd *semaphoreAdd) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(s *dsemaphore.Semaphore) error {
		if err := s.AddPermits(ctx, int64(cmd.Permits)); err != nil {
			return err
		}
		return a.Print("", cli.Object{"semaphore": cmd.Name, "added": cmd.Permits})
	})
}

type semaphoreAcquire struct {
	semaphoreName
	Permits int64 `short:"n" help:"How many permits." default:"1" placeholder:"PERMITS"`
	holding
	noted
}

// Run runs the command.
func (cmd *semaphoreAcquire) Run(ctx context.Context, a *cli.App) error {
	return cmd.holding.run(ctx, a, &cmd.Connection, "semaphore", cmd.Name, func(ctx context.Context, c *client.Client) (*structures.Held, error) {
		s := dsemaphore.New(c, cmd.Name)
		ctx, cancel := waiting(ctx, cmd.Wait)
		defer cancel()
		return s.Acquire(ctx, cmd.Permits, cmd.locking(cmd.Wait)...)
	})
}
