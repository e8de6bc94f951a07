package structures

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dpresence"
)

type PresenceCommands struct {
	Join  presenceJoin  `cmd:"" help:"Be a member of a group, while a command runs or until a signal."`
	List  presenceList  `cmd:"" help:"List the members of a group."`
	Watch presenceWatch `cmd:"" help:"Print the members of a group, and what changes."`
}

// Help is the long help of the family.
func (PresenceCommands) Help() string {
	return `  quorate presence join workers --payload '{"slots": 4}' -- ./worker
  quorate presence list workers
  quorate presence watch workers -- ./rebalance

A member is one for as long as the process of join lives, and gone when the grid has not heard from it for --ttl. Of two that join under one ID the later one stays.`
}

type encodedGroup = dpresence.Group[structures.Encoded]

// presenceName names a group, on a grid.
type presenceName struct {
	cli.Connection
	Name string `arg:"" help:"The group."`
}

// with runs f with the group.
func (cmd *presenceName) with(ctx context.Context, f func(*encodedGroup) error) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error { return f(dpresence.New[structures.Encoded](c, cmd.Name)) })
}

type presenceJoin struct {
	presenceName
	Payload string `help:"What the others see of it: JSON, or text." default:"null" placeholder:"VALUE"`
	registering
}

// Help is the long help of the command.
func (presenceJoin) Help() string {
	return `COMMAND runs while it is a member, and sees QUORATE_NAME and QUORATE_ID. Exit status: that of COMMAND, 128 and the number for a signal; 125 if it could not join; 126 or 127 if COMMAND cannot be run or found. Without COMMAND the ID is printed, and it is a member until SIGINT, SIGTERM or SIGHUP.`
}

// Run runs the command.
func (cmd *presenceJoin) Run(ctx context.Context, a *cli.App) error {
	value, err := (cli.Form{}).Read(a, cmd.Payload)
	if err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf("--payload: %w", err)}
	}
	id := cmd.ID
	if id == "" {
		id = hostName()
	}
	return cmd.registering.run(ctx, a, &cmd.Connection, "presence", cmd.Name, func(ctx context.Context, c *client.Client) (registration, func(context.Context) error, error) {
		m, err := dpresence.New[any](c, cmd.Name).Join(ctx, value, dpresence.ID(id))
		if err != nil {
			return nil, nil, err
		}
		return m, m.Leave, nil
	})
}

type presenceList struct {
	presenceName
	Stale bool `help:"Any member of the grid may answer, from an older state."`
}

// Run runs the command.
func (cmd *presenceList) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(g *encodedGroup) error {
		var opts []dpresence.ReadOption
		if cmd.Stale {
			opts = append(opts, dpresence.Stale())
		}
		list, _, err := g.List(ctx, opts...)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return cli.No(fmt.Errorf("nobody is present in %s", cmd.Name))
		}
		t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
		header := "ID\tFOR\tPAYLOAD\n"
		for _, e := range list {
			s := cli.Show(e.Payload)
			if a.JSON {
				if err := a.Print("", cli.Object{
					"presence": cmd.Name, "id": e.ID, "payload": s.JSON, "version": uint64(e.Version), "for_ms": e.For.Milliseconds(),
				}); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(t, "%s%s\t%v\t%s\n", header, cli.LineOf(e.ID), e.For.Round(time.Second), s.Line)
			header = ""
		}
		return t.Flush()
	})
}

type presenceWatch struct {
	presenceName
	onEvent
}

// Help is the long help of the command.
func (presenceWatch) Help() string {
	return `The members that are there come first, as current, then synced, and then what changes: put, removed, ended. Where changes are missing there is a gap, and then all members come again.

COMMAND runs once for each line, one at a time, with QUORATE_EVENT, QUORATE_ID and QUORATE_VERSION, and the payload on stdin.`
}

// Run runs the command.
func (cmd *presenceWatch) Run(ctx context.Context, a *cli.App) error {
	path, err := cmd.look()
	if err != nil {
		return err
	}
	return cmd.with(ctx, func(g *encodedGroup) error {
		n := 0
		for c, err := range g.Watch(ctx, dpresence.WithCurrent()) {
			if err != nil {
				if ctx.Err() != nil { // a signal
					return nil
				}
				return err
			}
			o := cli.Object{"event": c.Type.String()}
			line := []string{c.Type.String()}
			env := []string{"QUORATE_NAME=" + cmd.Name, "QUORATE_EVENT=" + c.Type.String()}
			payload := ""
			if c.Entry.ID != "" {
				o["presence"], o["id"], o["version"] = cmd.Name, c.Entry.ID, uint64(c.View)
				line = append(line, c.Entry.ID)
				env = append(env, "QUORATE_ID="+c.Entry.ID, fmt.Sprintf("QUORATE_VERSION=%d", uint64(c.View)))
			}
			if len(c.Entry.Payload) > 0 {
				s := cli.Show(c.Entry.Payload)
				o["payload"], payload = s.JSON, s.Line
				line = append(line, s.Line)
			}
			if path != "" {
				err = cmd.run(ctx, a, path, env, payload)
			} else {
				err = a.PrintLine(strings.Join(line, "\t"), o)
			}
			if err != nil || cmd.full(&n) {
				return err
			}
		}
		return nil
	})
}
