package structures

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

type SessionCommands struct {
	List sessionList `cmd:"" help:"List the sessions of the grid."`
	Show sessionShow `cmd:"" help:"Show one session and what it has."`
	Kill sessionKill `cmd:"" help:"End a session."`
}

// Help is the long help of the family.
func (SessionCommands) Help() string {
	return `A session is a client's liveness: what a client holds (permits, locks, ephemeral entries) ends with its session.

  quorate session list
  quorate session show 281
  quorate session kill 281 --reason "host is being repaired"

LEFT is how long the session still lasts if nothing more is heard of its client. A killed session is dying: its client learns of it with its next heartbeat, stops what depends on what it held, and opens another session; the killed one ends when LEFT has run, or at once with --now. So a kill keeps no client out.`
}

type sessionList struct{ cli.Connection }

// Run runs the command.
func (cmd *sessionList) Run(ctx context.Context, a *cli.App) error {
	return cmd.With(ctx, func(c *client.Client) error {
		all, err := c.Sessions(ctx)
		if err != nil {
			return err
		}
		t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
		for i, s := range all {
			if a.JSON {
				if err := a.Print("", sessionObject(&s)); err != nil {
					return err
				}
				continue
			}
			if i == 0 {
				fmt.Fprintln(t, "SESSION\tCLIENT\tADDRESS\tTTL\tLEFT\tAGE\tHOLDS\tSTATE")
			}
			fmt.Fprintf(t, "%d\t%s\t%s\t%v\t%v\t%v\t%d\t%s\n", s.ID, named(s.Client), named(s.Address),
				s.TTL, s.Left.Round(100*time.Millisecond), s.Age.Round(time.Second), s.Holds, sessionState(&s))
		}
		if err := t.Flush(); err != nil {
			return fmt.Errorf("write to stdout: %w", err)
		}
		return nil
	})
}

// named is a name in a table.
func named(name string) string { return cmp.Or(cli.LineOf(name), "-") }

// sessionState says who keeps a session.
func sessionState(s *client.SessionInfo) string {
	switch {
	case s.Dying:
		return "dying"
	case s.Kept:
		return "open"
	}
	return "open, kept by members"
}

func sessionObject(s *client.SessionInfo) cli.Object {
	return cli.Object{
		"session": uint64(s.ID), "client": s.Client, "uuid": s.UUID, "address": s.Address, "ttl_ms": s.TTL.Milliseconds(),
		"left_ms": s.Left.Milliseconds(), "age_ms": s.Age.Milliseconds(), "holds": s.Holds, "kept": s.Kept, "dying": s.Dying, "reason": s.Reason,
	}
}

type sessionShow struct {
	cli.Connection
	ID uint64 `arg:"" name:"session" help:"The number of the session, as list and inspect print it."`
}

// Run runs the command.
func (cmd *sessionShow) Run(ctx context.Context, a *cli.App) error {
	return cmd.With(ctx, func(c *client.Client) error {
		all, err := c.Sessions(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(s client.SessionInfo) bool { return uint64(s.ID) == cmd.ID })
		if i < 0 {
			return cli.No(fmt.Errorf("there is no session %d: it has ended, or never was", cmd.ID))
		}
		holds, err := c.SessionHolds(ctx, protocol.SessionID(cmd.ID))
		if err != nil {
			return err
		}
		s := &all[i]
		if a.JSON {
			o, has := sessionObject(s), []cli.Object{}
			for j := range holds {
				has = append(has, holdObject(&holds[j]))
			}
			o["has"] = has
			return a.Print("", o)
		}
		t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "session\t%d, %s\n", s.ID, sessionState(s))
		if s.Reason != "" {
			fmt.Fprintf(t, "killed\t%s\n", cli.LineOf(s.Reason))
		}
		fmt.Fprintf(t, "client\t%s at %s, %s\n", named(s.Client), cmp.Or(s.Address, "a member"), s.UUID)
		unless := ", if nothing more is heard of its client"
		if s.Dying {
			unless = ""
		}
		fmt.Fprintf(t, "lasts\t%v of %v%s\n", s.Left.Round(100*time.Millisecond), s.TTL, unless)
		fmt.Fprintf(t, "age\t%v\n", s.Age.Round(time.Second))
		if len(holds) > 0 {
			fmt.Fprint(t, "\nKIND\tNAME\tWHAT\tTOKEN\tFOR\tNOTE\n")
		}
		for j := range holds {
			h := &holds[j]
			token, since := "-", "-"
			if h.Token != 0 {
				token = fmt.Sprint(h.Token)
			}
			if h.What != protocol.HoldsEntry && h.What != protocol.HoldsReserved {
				since = h.For.Round(100 * time.Millisecond).String()
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", h.Kind, cli.LineOf(h.Name), whatHeld(h), token, since, named(h.Note))
		}
		if err := t.Flush(); err != nil {
			return fmt.Errorf("write to stdout: %w", err)
		}
		return nil
	})
}

// whatHeld describes what a session has: "hold 17", "entry ada".
func whatHeld(h *client.SessionHold) string {
	switch h.What {
	case protocol.HoldsHold:
		text := fmt.Sprintf("hold %d", h.Hold)
		if h.Mode != "" {
			text += ", " + h.Mode
		}
		if h.Amount > 1 {
			text += fmt.Sprintf(", %d of it", h.Amount)
		}
		return text
	case protocol.HoldsEntry:
		return "entry " + cli.LineOf(shownKey(h.Key))
	case protocol.HoldsWait:
		return "waits: " + h.Operation
	}
	return h.What
}

func shownKey(k structures.EncodedKey) string {
	if v, ok := k.Value(); ok {
		return fmt.Sprint(v)
	}
	return k.Diagnose()
}

func holdObject(h *client.SessionHold) cli.Object {
	o := cli.Object{"kind": h.Kind, "name": h.Name, "what": h.What, "for_ms": h.For.Milliseconds()}
	switch h.What {
	case protocol.HoldsHold:
		o["hold"], o["token"], o["amount"], o["mode"], o["note"] = uint64(h.Hold), uint64(h.Token), h.Amount, h.Mode, h.Note
	case protocol.HoldsEntry:
		o["key"] = shownKey(h.Key)
	case protocol.HoldsWait:
		o["operation"] = h.Operation
	}
	return o
}

type sessionKill struct {
	cli.Connection
	ID     uint64 `arg:"" name:"session" help:"The number of the session, as list and inspect print it."`
	Now    bool   `help:"End it at once. Others are granted what it held while its client may still use it: only tokens protect it then."`
	Reason string `placeholder:"TEXT" help:"Why, for its client, for session show and for the log."`
}

// Run runs the command.
func (cmd *sessionKill) Run(ctx context.Context, a *cli.App) error {
	return cmd.With(ctx, func(c *client.Client) error {
		opts := []client.KillOption{client.KillReason(cmd.Reason)}
		if cmd.Now {
			opts = append(opts, client.Now())
		}
		existed, left, err := c.KillSession(ctx, protocol.SessionID(cmd.ID), opts...)
		if err != nil {
			return err
		}
		if !existed {
			return cli.No(fmt.Errorf("there is no session %d: it has ended, or never was", cmd.ID))
		}
		text := fmt.Sprintf("session %d has ended", cmd.ID)
		if left > 0 {
			text = fmt.Sprintf("session %d ends in %v", cmd.ID, left.Round(100*time.Millisecond))
		}
		return a.Print(text, cli.Object{"session": cmd.ID, "killed": true, "left_ms": left.Milliseconds()})
	})
}
