package structures

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures/drate"
)

type RateCommands struct {
	Configure rateConfigure `cmd:"" help:"Set the rate and the burst, once."`
	Allow     rateAllow     `cmd:"" help:"Spend tokens if they are there now."`
	Wait      rateWait      `cmd:"" help:"Spend tokens, and wait until they are there."`
	Left      rateLeft      `cmd:"" help:"Print how many tokens are there."`
}

// Help is the long help of the family.
func (RateCommands) Help() string {
	return `  quorate rate configure mails --rate 100 --per 1m --burst 20
  quorate rate allow mails && send
  quorate rate wait mails --wait 10s && send

Exit status: 1 if the tokens are not there, or not in time; 5 if the rate was not configured.`
}

// rateName names a rate limit, on a grid.
type rateName struct {
	cli.Connection
	Name string `arg:"" help:"The rate limit."`
}

// with runs f with the limit.
func (cmd *rateName) with(ctx context.Context, f func(*drate.Limit) error) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error { return f(drate.New(c, cmd.Name)) })
}

type rateConfigure struct {
	rateName
	Rate  int64         `help:"How many tokens come." required:"" placeholder:"N"`
	Per   time.Duration `help:"In which time." default:"1s" placeholder:"D"`
	Burst int64         `help:"How many are there at most; without it as many as come in the time." placeholder:"N"`
}

// Run runs the command.
func (cmd *rateConfigure) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(l *drate.Limit) error {
		if err := l.Configure(ctx, drate.Rate(cmd.Rate, cmd.Per), drate.Burst(cmd.Burst)); err != nil {
			return err
		}
		return a.Print("", cli.Object{"name": cmd.Name, "rate": cmd.Rate, "per": cmd.Per.String(), "burst": cmd.Burst})
	})
}

type rateAllow struct {
	rateName
	N int64 `short:"n" help:"How many tokens." default:"1" placeholder:"N"`
}

// Run runs the command.
func (cmd *rateAllow) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(l *drate.Limit) error {
		return spend(ctx, a, l, cmd.Name, cmd.N)
	})
}

// spend spends tokens if they are there now.
func spend(ctx context.Context, a *cli.App, l *drate.Limit, name string, n int64) error {
	ok, err := l.Allow(ctx, n)
	if err == nil && !ok {
		err = fmt.Errorf("%w: the tokens are not there now", quorate.ErrNotInTime)
	}
	if err != nil {
		return err
	}
	return a.Print("", cli.Object{"name": name, "spent": n})
}

type rateWait struct {
	rateName
	N    int64          `short:"n" help:"How many tokens." default:"1" placeholder:"N"`
	Wait *time.Duration `help:"How long to wait at most; 0: not at all. Without it: as long as it takes." placeholder:"D"`
}

// Validate checks what the grammar cannot.
func (cmd *rateWait) Validate() error { return checkWait(cmd.Wait) }

// Run runs the command.
func (cmd *rateWait) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(l *drate.Limit) error {
		if cmd.Wait != nil && *cmd.Wait == 0 {
			return spend(ctx, a, l, cmd.Name, cmd.N)
		}
		if cmd.Wait != nil {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, *cmd.Wait)
			defer cancel()
		}
		if err := l.Wait(ctx, cmd.N); err != nil {
			return err
		}
		return a.Print("", cli.Object{"name": cmd.Name, "spent": cmd.N})
	})
}

type rateLeft struct{ rateName }

// Run runs the command.
func (cmd *rateLeft) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(l *drate.Limit) error {
		n, err := l.Left(ctx)
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(n), cli.Object{"name": cmd.Name, "left": n})
	})
}
