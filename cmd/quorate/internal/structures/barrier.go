package structures

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dbarrier"
)

type BarrierCommands struct {
	Wait   barrierWait   `cmd:"" help:"Wait until all parties have come."`
	Double barrierDouble `cmd:"" help:"Run a command together with others: enter, and leave, when all have."`
}

// Help is the long help of the family.
func (BarrierCommands) Help() string {
	return `  quorate barrier wait loaded -n 3 && start
  quorate barrier double job -n 3 -- compute

wait prints the round in which the parties have met, and ends at once for all of them. double runs COMMAND when as many have entered, and ends when COMMAND has ended with all of them; COMMAND sees the round in QUORATE_TOKEN. Who gives up before the others have come is not counted; one that dies inside is waited for until its session has ended, --ttl. Exit status: 1 if not all have come in time; with COMMAND that of COMMAND, or 124, 125, 126 and 127 as of semaphore acquire.`
}

type barrierWait struct {
	cli.Connection
	Name    string         `arg:"" help:"The barrier."`
	Parties int            `short:"n" required:"" help:"How many meet." placeholder:"N"`
	Wait    *time.Duration `help:"How long to wait; 0: not at all. Without it: as long as it takes." placeholder:"D"`
}

// Validate checks what the grammar cannot.
func (cmd *barrierWait) Validate() error { return checkWait(cmd.Wait) }

// Run runs the command.
func (cmd *barrierWait) Run(ctx context.Context, a *cli.App) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error {
		ctx, cancel := waiting(ctx, cmd.Wait)
		defer cancel()
		var opts []dbarrier.WaitOption
		if cmd.Wait != nil {
			opts = append(opts, dbarrier.Wait(*cmd.Wait))
		}
		arrival, err := dbarrier.New(c, cmd.Name, cmd.Parties).Await(ctx, opts...)
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(arrival.Round), cli.Object{"barrier": cmd.Name, "index": arrival.Index, "round": arrival.Round})
	})
}

type barrierDouble struct {
	cli.Connection
	Name    string `arg:"" help:"The barrier."`
	Parties int    `short:"n" required:"" help:"How many meet." placeholder:"N"`
	Note    string `help:"Who enters, for quorate inspect." placeholder:"TEXT"`
	holding
}

// Run runs the command.
func (cmd *barrierDouble) Run(ctx context.Context, a *cli.App) error {
	var round dbarrier.Round
	err := cmd.holding.run(ctx, a, &cmd.Connection, "barrier", cmd.Name, func(ctx context.Context, c *client.Client) (*structures.Held, error) {
		ctx, cancel := waiting(ctx, cmd.holding.Wait)
		defer cancel()
		opts := []dbarrier.EnterOption{dbarrier.Note(cmd.Note)}
		if cmd.holding.Wait != nil {
			opts = append(opts, dbarrier.Wait(*cmd.holding.Wait))
		}
		inside, err := dbarrier.NewDouble(c, cmd.Name, cmd.Parties).Enter(ctx, opts...)
		if err != nil {
			return nil, err
		}
		round = inside.Round()
		return inside.Held, nil
	})
	// It has left. If COMMAND has ended by itself, wait for the others.
	if round == 0 || err != nil && !errors.Is(err, cli.ErrSilent) || ctx.Err() != nil {
		return err
	}
	left := cmd.Connection.With(ctx, func(c *client.Client) error {
		return dbarrier.NewDouble(c, cmd.Name, cmd.Parties).AwaitLeft(ctx, round)
	})
	if err == nil {
		return left
	}
	return err
}
