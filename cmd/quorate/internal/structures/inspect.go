package structures

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

type InspectCommand struct{ structure }

// Help is the long help of the command.
func (InspectCommand) Help() string {
	return `Prints how much the structure holds, where it lives and who leads there, its settings in force, who holds something of it and who waits, first come first. Times stand still while its group has no leader. Of a structure without anything the exit status is 1.

  quorate inspect map users
  quorate inspect queue jobs -o json`
}

// Run runs the command.
func (cmd *InspectCommand) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(c *client.Client, k *structures.Kind, h *structures.Handle) error {
		v := inspection{kind: k, name: cmd.Name, partitions: c.Partitions()}
		found, err := h.Inspect(ctx)
		if err != nil {
			return err
		}
		v.settings, v.agreed = found.Settings, found.Version
		v.holders, v.waiters, v.waiting = found.Holders, found.Waiters, found.Waiting
		parts, missing := PartsOf(ctx, c, k, cmd.Name, 1)
		parts = slices.DeleteFunc(parts, func(p part) bool { return p.Name != cmd.Name })
		if len(parts) == 0 && missing == nil {
			return cli.No(fmt.Errorf("there is no %s", h.Object()))
		}
		table := c.Table()
		for _, p := range parts {
			if k.Keyed && p.Listed == (structures.Listed{Name: cmd.Name}) {
				continue // nothing but the settings, which each partition has
			}
			v.length += p.Length
			v.bytes += p.Bytes
			v.parts = append(v.parts, locate(&table, p))
		}
		if err := v.print(a); err != nil {
			return err
		}
		return missing
	})
}

// inspection is what is known of a structure.
type inspection struct {
	kind       *structures.Kind
	name       string
	length     int64
	bytes      uint64
	partitions int // of the grid
	parts      []location
	settings   []structures.Setting
	agreed     protocol.Version // 0: never
	holders    []structures.Holder
	waiters    []structures.WaitingCall // the first of them
	waiting    uint64
}

// location is the location of a part of a structure.
type location struct {
	Partition protocol.PartitionID `json:"partition"`
	Group     protocol.GroupID     `json:"group"`
	Leader    string               `json:"leader"` // empty: none is known
	Length    int64                `json:"length"`
	Bytes     uint64               `json:"bytes"`
}

// locate finds the group of a part, and the name of its leader.
func locate(t *protocol.Table, p part) location {
	l := location{Partition: p.partition, Group: groupOf(t, p.partition), Length: p.Length, Bytes: p.Bytes}
	for _, g := range t.Groups {
		if g.ID != l.Group {
			continue
		}
		for _, m := range t.Members {
			if m.ID == g.Leader {
				l.Leader = m.Name
			}
		}
	}
	return l
}

func (l location) String() string {
	return fmt.Sprintf("partition %d of group %d, leader %s", l.Partition, l.Group, cmp.Or(l.Leader, "NONE"))
}

func (v *inspection) print(a *cli.App) error {
	if a.JSON {
		return a.Print("", cli.Object{
			"kind": v.kind.Name, "name": v.name, "length": v.length, "unit": v.kind.Unit, "bytes": v.bytes,
			"partitions": v.parts, "agreed": v.agreed != 0, "settings": settingsObject(v.kind, v.settings),
			"holders": v.holderObjects(), "waiters": v.waiterObjects(), "waiting": v.waiting,
		})
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\t%s\n", v.kind.Name, cli.LineOf(v.name))
	fmt.Fprintf(t, "length\t%d %s\n", v.length, v.kind.Unit)
	fmt.Fprintf(t, "bytes\t%d\n", v.bytes)
	switch {
	case len(v.parts) == 0: // no keys in it, or no answer
	case !v.kind.Keyed:
		fmt.Fprintf(t, "lives in\t%v\n", v.parts[0])
	default:
		largest := slices.MaxFunc(v.parts, func(a, b location) int { return cmp.Compare(a.Bytes, b.Bytes) })
		fmt.Fprintf(t, "lives in\t%d of %d partitions\n", len(v.parts), v.partitions)
		fmt.Fprintf(t, "largest part\t%d %s, %d bytes in %v\n", largest.Length, v.kind.Unit, largest.Bytes, largest)
	}
	if len(v.settings) > 0 {
		agreed := "agreed"
		if v.agreed == 0 {
			agreed = "defaults: nothing was agreed"
		}
		fmt.Fprintf(t, "settings\t%s\n", agreed)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	if len(v.settings) > 0 {
		fmt.Fprintln(a.Stdout)
		writeSettings(t, v.kind, v.settings)
	}
	v.writeCalls(t)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}

// writeCalls writes the holders and the waiting calls.
func (v *inspection) writeCalls(t *tabwriter.Writer) {
	if len(v.holders) > 0 {
		fmt.Fprintln(t, "\nHOLD\tTOKEN\tSESSION\tCLIENT\tAMOUNT\tMODE\tFOR\tMARK\tNOTE")
	}
	for _, h := range v.holders {
		fmt.Fprintf(t, "%d\t%d\t%d\t%s\t%d\t%s\t%v\t%v\t%s\n", h.ID, h.Token, h.Session, named(h.Client), h.Amount, cmp.Or(h.Mode, "-"), h.For, markOf(&h), cli.LineOf(h.Note))
	}
	if v.waiting > 0 {
		fmt.Fprintf(t, "\nWAITING\tSESSION\tCLIENT\tAMOUNT\tMODE\tFOR\tLEFT\tNOTE\n")
	}
	for _, w := range v.waiters {
		left := "-"
		if w.Left > 0 {
			left = w.Left.String()
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%s\t%v\t%s\t%s\n", w.Operation, w.Session, named(w.Client), w.Amount, cmp.Or(w.Mode, "-"), w.For, left, cli.LineOf(w.Note))
	}
	if more := v.waiting - min(v.waiting, uint64(len(v.waiters))); more > 0 {
		fmt.Fprintf(t, "and %d more\n", more)
	}
}

// markOf says whether somebody asks for a hold or has revoked it, and why.
func markOf(h *structures.Holder) string {
	if h.Reason == "" {
		return h.Mark.String()
	}
	return fmt.Sprintf("%v: %s", h.Mark, cli.LineOf(h.Reason))
}

func (v *inspection) holderObjects() []cli.Object {
	all := []cli.Object{}
	for _, h := range v.holders {
		all = append(all, cli.Object{
			"hold": uint64(h.ID), "token": uint64(h.Token), "session": uint64(h.Session), "client": h.Client, "amount": h.Amount, "mode": h.Mode, "note": h.Note,
			"for_ms": h.For.Milliseconds(), "mark": fmt.Sprint(h.Mark), "left_ms": h.Left.Milliseconds(), "reason": h.Reason,
		})
	}
	return all
}

func (v *inspection) waiterObjects() []cli.Object {
	all := []cli.Object{}
	for _, w := range v.waiters {
		all = append(all, cli.Object{
			"operation": w.Operation, "session": uint64(w.Session), "client": w.Client, "amount": w.Amount, "mode": w.Mode, "note": w.Note,
			"for_ms": w.For.Milliseconds(), "left_ms": w.Left.Milliseconds(),
		})
	}
	return all
}
