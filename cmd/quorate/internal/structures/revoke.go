package structures

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

type RevokeCommand struct {
	structure
	Hold   uint64        `arg:"" help:"The number of the hold, as inspect prints it."`
	Grace  time.Duration `default:"10s" placeholder:"D" help:"How long its holder may keep it, to end what it does. 0: it ends at once, and only tokens protect what it protected."`
	Ask    bool          `help:"Only ask its holder to release it."`
	Reason string        `placeholder:"TEXT" help:"Why, for the holder and for inspect."`
}

// Help is the long help of the command.
func (RevokeCommand) Help() string {
	return `Takes a hold, such as permits of a semaphore, away from the session that has it. Its holder's client stops what depends on it and says so; then, and once the grace is over, the next in line has it. A holder that cannot be reached keeps it until its session ends, unless the grace is 0. If there is no such hold the exit status is 1.

  quorate inspect semaphore writers
  quorate revoke semaphore writers 281474976710657 --grace 30s --reason "maintenance of the database"`
}

// Run runs the command.
func (cmd *RevokeCommand) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(_ *client.Client, _ *structures.Kind, h *structures.Handle) error {
		opts := []structures.RevokeOption{structures.Grace(cmd.Grace), structures.Reason(cmd.Reason)}
		if cmd.Ask {
			opts = append(opts, structures.AskOnly())
		}
		existed, err := h.Revoke(ctx, protocol.HoldID(cmd.Hold), opts...)
		if err != nil {
			return err
		}
		if !existed {
			return cli.No(fmt.Errorf("%s has no hold %d", h.Object(), cmd.Hold))
		}
		return a.Print("", cli.Object{"kind": cmd.Kind, "name": cmd.Name, "hold": cmd.Hold, "revoked": !cmd.Ask, "asked": cmd.Ask})
	})
}
