package member

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/grid"
)

type RecoverCommand struct {
	DataDir string   `required:"" help:"Data directory of the survivor. Nothing in it is changed; no member may use it." placeholder:"D"`
	To      string   `required:"" help:"The data directory to make; empty, or not there yet." placeholder:"E"`
	Group   []uint64 `help:"Only this data group, of a grid whose system group lives; may be repeated. Without it the whole grid is to be founded anew." placeholder:"N"`
	Empty   []uint64 `help:"Let this data group begin empty although the survivor has a replica of it, which cannot be read; may be repeated." placeholder:"N"`
	Lost    bool     `help:"Read the log that the member has set aside as lost, damaged or old (raft/*.lost), instead of its present one."`
	Output  string   `short:"o" enum:"text,json" default:"text" help:"Form of the output: text or json." placeholder:"FORM"`
}

// Help is the long help of the command.
func (RecoverCommand) Help() string {
	return `For a grid with durability disk of which more members than a minority have lost their data for ever. It reads the newest survivor's snapshots and log, without changing them, writes a backup of each group into a new data directory, reads it again to verify it, and says in report.txt what is there and what may be missing. Needs free disk for a copy of the survivor's log and for the backups.

  quorate recover --data-dir /var/lib/quorate --to /var/lib/quorate-recovered
  quorate start --data-dir /var/lib/quorate-recovered --name n1     a new cluster of one, of the same name and settings
  quorate start --data-dir /var/lib/quorate-empty --name n2 --join N1

With --group N, where only a data group is lost: start a member of the grid with the folder backup in its data directory; it offers the backup.`
}

// Run runs the command.
func (cmd *RecoverCommand) Run(ctx context.Context, a *cli.App) error {
	report, err := grid.Recover(ctx, grid.RecoverConfig{
		DataDir: cmd.DataDir, To: cmd.To, Groups: cmd.Group, Empty: cmd.Empty, Lost: cmd.Lost,
		Progress: func(what string) { a.Note("%s", what) },
		Logger:   slog.New(slog.NewTextHandler(a.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	if !a.JSON {
		return a.Print(strings.TrimSpace(report.Text()), nil)
	}
	if err := cli.JsonEncoder(a.Stdout).Encode(report); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}
