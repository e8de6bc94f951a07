package structures

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures/dlatch"
)

type LatchCommands struct {
	Set   latchSet   `cmd:"" help:"Begin a round with a count, and print its number."`
	Down  latchDown  `cmd:"" help:"Take the count down, and print what is left."`
	Count latchCount `cmd:"" help:"Print the count."`
	Wait  latchWait  `cmd:"" help:"Wait until the count is 0."`
}

// Help is the long help of the family.
func (LatchCommands) Help() string {
	return `  round=$(quorate latch set loaded 3)
  quorate latch down loaded --in $round         each of three loaders, when it is done
  quorate latch wait loaded --wait 10m && start

A latch stays at 0 until it is set again. With --in a command is about that round: a worker of an earlier one that is late counts nothing down, and the wait for a round that is over ends at once. Exit status: 1 if the count is not 0 in time, or it is another round; 5 if the latch was not set.`
}

// latchName names a latch, on a grid.
type latchName struct {
	cli.Connection
	Name string `arg:"" help:"The latch."`
}

// with runs f with the latch.
func (cmd *latchName) with(ctx context.Context, f func(*dlatch.Latch) error) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error { return f(dlatch.New(c, cmd.Name)) })
}

type latchSet struct {
	latchName
	Count cli.Integer `arg:"" help:"The count."`
}

// Run runs the command.
func (cmd *latchSet) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(l *dlatch.Latch) error {
		round, err := l.Set(ctx, int64(cmd.Count))
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(round), cli.Object{"latch": cmd.Name, "count": cmd.Count, "round": round})
	})
}

type latchDown struct {
	latchName
	N  int64        `short:"n" help:"By how much." default:"1" placeholder:"N"`
	In dlatch.Round `help:"The round to count in, as set has printed it." placeholder:"ROUND"`
}

// Run runs the command.
func (cmd *latchDown) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(l *dlatch.Latch) error {
		n, err := l.CountDown(ctx, dlatch.By(cmd.N), dlatch.In(cmd.In))
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(n), cli.Object{"latch": cmd.Name, "count": n})
	})
}

type latchCount struct{ latchName }

// Run runs the command.
func (cmd *latchCount) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(l *dlatch.Latch) error {
		n, round, err := l.Count(ctx)
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(n), cli.Object{"latch": cmd.Name, "count": n, "round": round})
	})
}

type latchWait struct {
	latchName
	In   dlatch.Round   `help:"The round to wait for; without it the present one." placeholder:"ROUND"`
	Wait *time.Duration `help:"How long to wait; 0: not at all. Without it: as long as it takes." placeholder:"D"`
}

// Validate checks what the grammar cannot.
func (cmd *latchWait) Validate() error { return checkWait(cmd.Wait) }

// Run runs the command.
func (cmd *latchWait) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(l *dlatch.Latch) error {
		ctx, cancel := waiting(ctx, cmd.Wait)
		defer cancel()
		opts := []dlatch.AwaitOption{dlatch.In(cmd.In)}
		if cmd.Wait != nil {
			opts = append(opts, dlatch.Wait(*cmd.Wait))
		}
		round, err := l.Await(ctx, opts...)
		if err != nil {
			return err
		}
		return a.Print("", cli.Object{"latch": cmd.Name, "round": round})
	})
}
