package structures

import (
	"context"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dlock"
)

type LockCommands struct {
	Run    lockRun    `cmd:"" default:"withargs" help:"Hold a lock, while a command runs or until a signal; \"run\" may be left out."`
	List   lockList   `cmd:"" help:"List who holds locks, and how many wait."`
	Show   lockShow   `cmd:"" help:"Show who holds a lock and who waits for it."`
	Unlock lockUnlock `cmd:"" help:"Take a lock away from who holds it."`
}

// Help is the long help of the family.
func (LockCommands) Help() string {
	return `  quorate lock deploy -- ./deploy.sh
  quorate lock deploy --wait 1m --note "release 7" -- ./deploy.sh
  quorate lock list
  quorate lock unlock deploy 281474976710657 --grace 30s --reason "host is gone"
  quorate lock run list                                a lock that is called list

` + holdingHelp("the lock")
}

// lockName names a lock, on a grid.
type lockName struct {
	cli.Connection
	Name string `arg:"" help:"The lock."`
}

type lockRun struct {
	lockName
	holding
	noted
}

// Run runs the command.
func (cmd *lockRun) Run(ctx context.Context, a *cli.App) error {
	return cmd.holding.run(ctx, a, &cmd.Connection, "lock", cmd.Name, func(ctx context.Context, c *client.Client) (*structures.Held, error) {
		ctx, cancel := waiting(ctx, cmd.Wait)
		defer cancel()
		return dlock.New(c, cmd.Name).Lock(ctx, cmd.locking(cmd.Wait)...)
	})
}

type lockList struct{ holdsList }

// Run runs the command.
func (cmd *lockList) Run(ctx context.Context, a *cli.App) error {
	return cmd.run(ctx, a, dlock.Kind())
}

type lockShow struct{ lockName }

// Run runs the command.
func (cmd *lockShow) Run(ctx context.Context, a *cli.App) error {
	show := InspectCommand{structure{Connection: cmd.Connection, Kind: "lock", Name: cmd.Name}}
	return show.Run(ctx, a)
}

type lockUnlock struct {
	lockName
	forced
}

// Run runs the command.
func (cmd *lockUnlock) Run(ctx context.Context, a *cli.App) error {
	return cmd.run(ctx, a, &cmd.Connection, dlock.Kind(), cmd.Name)
}
