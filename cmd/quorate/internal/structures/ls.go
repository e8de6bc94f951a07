package structures

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/structures"
)

type LsCommand struct {
	cli.Connection
	Kind string `arg:"" optional:"" help:"Only structures of this kind: ${kinds}, or what the grid has beside them."`
}

// Help is the long help of the command.
func (LsCommand) Help() string {
	return `Prints kind, name, how much each structure holds, and the bytes of its keys and values. What a map holds are entries, a queue elements; -o json names the unit. Groups without a leader cannot answer: what they hold is missing, and the exit status is 3.

  quorate ls
  quorate ls map -o json`
}

// Run runs the command.
func (cmd *LsCommand) Run(ctx context.Context, a *cli.App) error {
	all := kinds.All()
	if cmd.Kind != "" {
		k, err := KindNamed(ctx, &cmd.Connection, cmd.Kind)
		if err != nil {
			return err
		}
		all = []structures.Kind{k}
	}
	return cmd.With(ctx, func(c *client.Client) error {
		if cmd.Kind == "" {
			later, err := LaterKinds(ctx, &cmd.Connection)
			if err != nil && !errors.Is(err, quorate.ErrUnsupported) {
				a.Note("quorate: only the kinds that this command knows are listed: %v", err)
			}
			all = append(all, later...)
		}
		return cmd.print(a, listedOf(ctx, c, cmd.Timeout, all))
	})
}

// print prints what was listed; its error is the first of what is missing.
func (cmd *LsCommand) print(a *cli.App, all []kindListing) error {
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	header := "KIND\tNAME\tLENGTH\tBYTES\n"
	var missing error
	for _, k := range all {
		if errors.Is(k.err, quorate.ErrUnsupported) && cmd.Kind == "" {
			continue // the grid does not have this kind yet
		}
		if missing == nil {
			missing = k.err
		}
		for _, l := range k.list {
			if a.JSON {
				err := a.Print("", cli.Object{"kind": k.kind.Name, "name": l.Name, "length": l.Length, "unit": k.kind.Unit, "bytes": l.Bytes})
				if err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(t, "%s%s\t%s\t%d\t%d\n", header, k.kind.Name, cli.LineOf(l.Name), l.Length, l.Bytes)
			header = ""
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return missing
}

// kindListing is the structures of a kind by name, with what all partitions have of each;
// with an error what those have that answered.
type kindListing struct {
	kind structures.Kind
	list []structures.Listed
	err  error
}

// listedOf lists all kinds at once, within a time.
func listedOf(ctx context.Context, c *client.Client, within time.Duration, all []structures.Kind) []kindListing {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	lists := make([]kindListing, len(all))
	for i := range all {
		lists[i].kind = all[i]
	}
	cli.Each(lists, func(l *kindListing) {
		parts, err := PartsOf(ctx, c, &l.kind, "", 0)
		l.err = err
		slices.SortStableFunc(parts, func(a, b part) int { return strings.Compare(a.Name, b.Name) })
		for _, p := range parts {
			if n := len(l.list); n > 0 && l.list[n-1].Name == p.Name {
				l.list[n-1].Length += p.Length
				l.list[n-1].Bytes += p.Bytes
				continue
			}
			l.list = append(l.list, p.Listed)
		}
	})
	return lists
}

type DestroyCommand struct{ structure }

// Help is the long help of the command.
func (DestroyCommand) Help() string {
	return `Everything the structure holds is removed, and calls that wait for it fail. The name can be used again at once. Destroying a structure that does not exist succeeds.

  quorate destroy map users`
}

// Run runs the command.
func (cmd *DestroyCommand) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(_ *client.Client, _ *structures.Kind, h *structures.Handle) error {
		if err := h.Destroy(ctx); err != nil {
			return err
		}
		return a.Print("", cli.Object{"kind": cmd.Kind, "name": cmd.Name, "destroyed": true})
	})
}
