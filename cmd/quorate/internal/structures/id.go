package structures

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/structures/did"
)

type IDCommands struct {
	Next  idNext  `cmd:"" help:"Print ids that nobody else gets."`
	Raise idRaise `cmd:"" help:"Have the ids go on at a number or above."`
}

// Help is the long help of the family.
func (IDCommands) Help() string {
	return `  id=$(quorate id next orders)
  quorate id next orders -n 100
  quorate id raise orders 7001              7000 was the last one elsewhere

Ids are integers that are never given out again. They grow, but for blocks that clients have reserved, and have gaps; the first one is no small number. They cannot be destroyed, and raise never lowers them: what a grid in memory is raised to may not outlive the loss of a group's data.`
}

type idNext struct {
	cli.Connection
	Name string `arg:"" help:"The name of the ids."`
	N    int    `short:"n" help:"How many." default:"1" placeholder:"N"`
}

// Run runs the command.
func (cmd *idNext) Run(ctx context.Context, a *cli.App) error {
	if cmd.N < 1 {
		return &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf("-n=%d: want at least 1", cmd.N)}
	}
	return cmd.Connection.With(ctx, func(c *client.Client) error {
		ids := did.New(c, cmd.Name, did.Block(int64(min(cmd.N, did.MaxBlock))))
		for id, err := range ids.NextN(ctx, cmd.N) {
			if err != nil {
				return err
			}
			if ctx.Err() != nil { // a signal: the ids of a block in hand need no grid
				return contexts.Err(ctx)
			}
			if err := a.Print(fmt.Sprint(id), cli.Object{"name": cmd.Name, "id": id}); err != nil {
				return err
			}
		}
		return nil
	})
}

type idRaise struct {
	cli.Connection
	Name  string      `arg:"" help:"The name of the ids."`
	Least cli.Integer `arg:"" help:"The least id to be given out from now on."`
}

// Run runs the command.
func (cmd *idRaise) Run(ctx context.Context, a *cli.App) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error {
		next, err := did.New(c, cmd.Name).Raise(ctx, int64(cmd.Least))
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(next), cli.Object{"name": cmd.Name, "next": next})
	})
}
