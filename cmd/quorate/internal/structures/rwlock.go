package structures

import (
	"context"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/drwlock"
)

type RWLockCommands struct {
	Read   rwlockRead   `cmd:"" help:"Hold a lock to read, beside others, while a command runs or until a signal."`
	Write  rwlockWrite  `cmd:"" help:"Hold a lock to write, alone, while a command runs or until a signal."`
	List   rwlockList   `cmd:"" help:"List who holds locks, and how many wait."`
	Show   rwlockShow   `cmd:"" help:"Show who holds a lock and who waits for it."`
	Unlock rwlockUnlock `cmd:"" help:"Take a lock away from who holds it."`
}

// Help is the long help of the family.
func (RWLockCommands) Help() string {
	return `  quorate rwlock read catalogue -- ./report.sh
  quorate rwlock write catalogue --wait 1m --note "release 7" -- ./import.sh
  quorate rwlock list
  quorate rwlock unlock catalogue 281474976710657 --grace 30s --reason "host is gone"

` + holdingHelp("the lock")
}

type rwlockHold struct {
	lockName
	holding
	noted
}

func (cmd *rwlockHold) run(ctx context.Context, a *cli.App,
	acquire func(*drwlock.RWLock, context.Context, ...structures.LockOption) (*structures.Held, error),
) error {
	return cmd.holding.run(ctx, a, &cmd.Connection, "rwlock", cmd.Name, func(ctx context.Context, c *client.Client) (*structures.Held, error) {
		ctx, cancel := waiting(ctx, cmd.Wait)
		defer cancel()
		return acquire(drwlock.New(c, cmd.Name), ctx, cmd.locking(cmd.Wait)...)
	})
}

type rwlockRead struct{ rwlockHold }

// Run runs the command.
func (cmd *rwlockRead) Run(ctx context.Context, a *cli.App) error {
	return cmd.run(ctx, a, (*drwlock.RWLock).RLock)
}

type rwlockWrite struct{ rwlockHold }

// Run runs the command.
func (cmd *rwlockWrite) Run(ctx context.Context, a *cli.App) error {
	return cmd.run(ctx, a, (*drwlock.RWLock).Lock)
}

type rwlockList struct{ holdsList }

// Run runs the command.
func (cmd *rwlockList) Run(ctx context.Context, a *cli.App) error {
	return cmd.run(ctx, a, drwlock.Kind())
}

type rwlockShow struct{ lockName }

// Run runs the command.
func (cmd *rwlockShow) Run(ctx context.Context, a *cli.App) error {
	show := InspectCommand{structure{Connection: cmd.Connection, Kind: "rwlock", Name: cmd.Name}}
	return show.Run(ctx, a)
}

type rwlockUnlock struct {
	lockName
	forced
}

// Run runs the command.
func (cmd *rwlockUnlock) Run(ctx context.Context, a *cli.App) error {
	return cmd.run(ctx, a, &cmd.Connection, drwlock.Kind(), cmd.Name)
}
