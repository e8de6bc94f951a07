package structures

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures/dcounter"
)

type CounterCommands struct {
	Get   counterGet   `cmd:"" help:"Print the value."`
	Set   counterSet   `cmd:"" help:"Set the value."`
	Add   counterAdd   `cmd:"" help:"Add to the value and print the sum."`
	CAS   counterCAS   `cmd:"" name:"cas" help:"Set the value if it is what is expected."`
	Watch counterWatch `cmd:"" help:"Print the value now, and whenever it has changed, or run a command with it."`
}

// Help is the long help of the family.
func (CounterCommands) Help() string {
	return `A counter that nobody has set is 0.

  quorate counter add hits -3
  quorate counter cas config-version 6 7 && deploy
  quorate counter watch config-version -- reload`
}

// counterName names a counter, on a grid.
type counterName struct {
	cli.Connection
	Name string `arg:"" help:"The counter."`
}

// with runs f with the counter.
func (cmd *counterName) with(ctx context.Context, f func(*dcounter.Counter) error) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error { return f(dcounter.New(c, cmd.Name)) })
}

// printValue prints the counter's value.
func (cmd *counterName) printValue(a *cli.App, n int64) error {
	return a.Print(fmt.Sprint(n), cli.Object{"counter": cmd.Name, "value": n})
}

type counterGet struct{ counterName }

// Run runs the command.
func (cmd *counterGet) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(c *dcounter.Counter) error {
		n, err := c.Get(ctx)
		if err != nil {
			return err
		}
		return cmd.printValue(a, n)
	})
}

type counterSet struct {
	counterName
	Value cli.Integer `arg:"" help:"The new value."`
}

// Run runs the command.
func (cmd *counterSet) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(c *dcounter.Counter) error {
		if err := c.Set(ctx, int64(cmd.Value)); err != nil {
			return err
		}
		return a.Print("", cli.Object{"counter": cmd.Name, "value": cmd.Value})
	})
}

type counterAdd struct {
	counterName
	Delta cli.Integer `arg:"" optional:"" default:"1" help:"What to add; 1 if left out."`
}

// Run runs the command.
func (cmd *counterAdd) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(c *dcounter.Counter) error {
		n, err := c.Add(ctx, int64(cmd.Delta))
		if err != nil {
			return err
		}
		return cmd.printValue(a, n)
	})
}

type counterCAS struct {
	counterName
	Old cli.Integer `arg:"" help:"The value it must have."`
	New cli.Integer `arg:"" help:"The new value."`
}

// Run runs the command.
func (cmd *counterCAS) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(c *dcounter.Counter) error {
		set, err := c.CompareAndSet(ctx, int64(cmd.Old), int64(cmd.New))
		if err != nil {
			return err
		}
		if !set {
			return cli.No(fmt.Errorf("counter %s is not %d", cmd.Name, cmd.Old))
		}
		return a.Print("", cli.Object{"counter": cmd.Name, "value": cmd.New})
	})
}
