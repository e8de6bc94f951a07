package structures

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// noted is the flag of a command that holds something with a note.
type noted struct {
	Note string `help:"Who holds it and what for; list shows it." placeholder:"TEXT"`
}

// locking is the options of an acquisition.
func (n *noted) locking(wait *time.Duration) []structures.LockOption {
	opts := []structures.LockOption{structures.Note(n.Note)}
	if wait != nil {
		opts = append(opts, structures.LockWait(*wait))
	}
	return opts
}

// forced is the flags of a command that takes a hold away.
type forced struct {
	Hold   uint64         `arg:"" help:"The number of the hold, as list prints it."`
	Grace  *time.Duration `xor:"how" placeholder:"D" help:"How long its holder may keep it, to end what it does; 10s."`
	Now    bool           `xor:"how" help:"At once, although its holder does not know yet: only tokens protect what it protected."`
	Ask    bool           `xor:"how" help:"Only ask its holder to release it."`
	Reason string         `placeholder:"TEXT" help:"Why, for the holder and for list."`
}

// Help is the long help of the command.
func (forced) Help() string {
	return `The holder's client ends what depends on the hold and says so; then, and once the grace is over, the next in line has it. A holder that cannot be reached keeps it until its session ends, unless with --now. If there is no such hold the exit status is 1: what comes after it is never taken away.`
}

func (f *forced) run(ctx context.Context, a *cli.App, c *cli.Connection, k structures.Kind, name string) error {
	revoke := RevokeCommand{
		structure: structure{Connection: *c, Kind: k.Name, Name: name},
		Hold:      f.Hold, Grace: structures.DefaultGrace, Ask: f.Ask, Reason: f.Reason,
	}
	switch {
	case f.Grace != nil:
		revoke.Grace = *f.Grace
	case f.Now:
		revoke.Grace = 0
	}
	return revoke.Run(ctx, a)
}

// holdsList is a command that lists the holds of all structures of a kind.
type holdsList struct {
	cli.Connection
	Prefix string `arg:"" optional:"" help:"Only those whose names begin with it."`
	Cycles bool   `help:"Print sessions that wait for each other, as a hint: what is printed is not of one moment."`
}

// listedHolds is who holds a structure and who waits for it.
type listedHolds struct {
	name string
	structures.Inspected
}

// listTogether is how many structures are asked for in one frame.
const listTogether = 256

func (cmd *holdsList) run(ctx context.Context, a *cli.App, k structures.Kind) error {
	return cmd.With(ctx, func(c *client.Client) error {
		parts, missing := PartsOf(ctx, c, &k, cmd.Prefix, 0)
		parts = slices.DeleteFunc(parts, func(p part) bool { return !strings.HasPrefix(p.Name, cmd.Prefix) })
		slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.Name, b.Name) })
		var all []listedHolds
		for some := range slices.Chunk(parts, listTogether) {
			list, err := inspected(ctx, c, &k, some)
			if missing == nil {
				missing = err
			}
			all = append(all, list...)
		}
		var err error
		if cmd.Cycles {
			err = printCycles(a, cycles(all))
		} else {
			err = printHolds(a, &k, all)
		}
		if err != nil {
			return err
		}
		return missing
	})
}

// inspected asks for the holds of structures.
func inspected(ctx context.Context, c *client.Client, k *structures.Kind, parts []part) (all []listedHolds, err error) {
	q := structures.InspectRequest{Most: uint64(c.Limits().PageEntries)}
	calls := make([]structures.Call, len(parts))
	for i, p := range parts {
		h := structures.NewHandle(c, k, p.Name, nil)
		calls[i] = h.Call("inspect", structures.OpInspect, protocol.FlagRead, p.partition, q.Append(nil))
	}
	replies, errs := c.InvokeAll(ctx, calls)
	for i := range parts {
		l := listedHolds{name: parts[i].Name}
		switch {
		case errs[i] != nil:
			err = errs[i]
		case replies[i].Code != protocol.CodeOK || l.Read(replies[i].Body, k) != nil:
			h := structures.NewHandle(c, k, l.name, nil)
			err = h.Garbled("inspect", replies[i])
		case len(l.Holders) > 0 || l.Waiting > 0:
			all = append(all, l)
		}
	}
	unnamed := make([]*structures.Inspected, len(all))
	for i := range all {
		unnamed[i] = &all[i].Inspected
	}
	structures.NameClients(ctx, c, unnamed...) // with one question for most
	return all, err
}

func printHolds(a *cli.App, k *structures.Kind, all []listedHolds) error {
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	if len(all) > 0 && !a.JSON {
		fmt.Fprintln(t, "NAME\tHOLD\tTOKEN\tSESSION\tCLIENT\tMODE\tFOR\tMARK\tLEFT\tWAITING\tNOTE")
	}
	for _, l := range all {
		if a.JSON {
			v := inspection{holders: l.Holders, waiters: l.Waiters}
			err := a.Print("", cli.Object{k.Name: l.name, "holders": v.holderObjects(), "waiters": v.waiterObjects(), "waiting": l.Waiting})
			if err != nil {
				return err
			}
			continue
		}
		if len(l.Holders) == 0 {
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\t-\t-\t-\t%d\t\n", cli.LineOf(l.name), l.Waiting)
		}
		for _, h := range l.Holders {
			mode, left := "-", "-"
			if h.Mode != "" {
				mode = h.Mode
			}
			if h.Mark >= structures.HoldRevoked {
				left = h.Left.String()
			}
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%s\t%v\t%v\t%s\t%d\t%s\n", cli.LineOf(l.name), h.ID, h.Token, h.Session, named(h.Client), mode, h.For, markOf(&h), left, l.Waiting, cli.LineOf(h.Note))
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}

// waitsFor is a session that waits for what another one holds.
type waitsFor struct {
	session, holder protocol.SessionID
	name            string
}

// cycles returns sessions that wait for each other, each circle once.
func cycles(all []listedHolds) (found [][]waitsFor) {
	edges := map[protocol.SessionID][]waitsFor{}
	var sessions []protocol.SessionID
	for _, l := range all {
		for _, w := range l.Waiters {
			for _, h := range l.Holders {
				if edges[w.Session] == nil {
					sessions = append(sessions, w.Session)
				}
				edges[w.Session] = append(edges[w.Session], waitsFor{w.Session, h.Session, l.name})
			}
		}
	}
	slices.Sort(sessions)
	done := map[protocol.SessionID]bool{}
	var path []waitsFor
	var visit func(s protocol.SessionID)
	visit = func(s protocol.SessionID) {
		if i := slices.IndexFunc(path, func(w waitsFor) bool { return w.session == s }); i >= 0 {
			found = append(found, slices.Clone(path[i:]))
			return
		}
		if done[s] {
			return
		}
		for _, e := range edges[s] {
			path = append(path, e)
			visit(e.holder)
			path = path[:len(path)-1]
		}
		done[s] = true
	}
	for _, s := range sessions {
		visit(s)
	}
	return found
}

func printCycles(a *cli.App, found [][]waitsFor) error {
	for _, circle := range found {
		var words []string
		var steps []cli.Object
		for _, w := range circle {
			words = append(words, fmt.Sprintf("session %d waits for %s, which session %d holds", w.session, cli.LineOf(w.name), w.holder))
			steps = append(steps, cli.Object{"session": uint64(w.session), "waits_for": w.name, "holder": uint64(w.holder)})
		}
		if err := a.Print(strings.Join(words, "; "), cli.Object{"cycle": steps}); err != nil {
			return err
		}
	}
	return nil
}

type RevokeCommand struct {
	structure
	Hold   uint64        `arg:"" help:"The number of the hold, as inspect prints it."`
	Grace  time.Duration `default:"10s" placeholder:"D" help:"How long its holder may keep it, to end what it does; ${default}. 0: it ends at once, and only tokens protect what it protected."`
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
			return cmd.refused(err, structures.OpRevoke, "has nothing that is held")
		}
		if !existed {
			return cli.No(fmt.Errorf("%s has no hold %d", h.Object(), cmd.Hold))
		}
		return a.Print("", cli.Object{"kind": cmd.Kind, "name": cmd.Name, "hold": cmd.Hold, "revoked": !cmd.Ask, "asked": cmd.Ask})
	})
}
