package structures

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/nearest"
	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// KindNames returns the names of kinds.
func KindNames(all []structures.Kind) []string {
	var names []string
	for _, k := range all {
		names = append(names, k.Name)
	}
	return names
}

// Vars are what the grammar says of kinds: it names none by itself.
func Vars() kong.Vars {
	return kong.Vars{"kinds": orList(KindNames(kinds.All()))}
}

// orList returns words as a sentence has them: "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// LaterKinds returns the kinds of structures that the grid has and this command does
// not know, as the first member that answers describes them.
func LaterKinds(ctx context.Context, c *cli.Connection) ([]structures.Kind, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var failed []error
	for _, address := range c.Endpoints {
		var r protocol.KindReport
		if err := cli.Ask(ctx, address, protocol.AdminKinds, &r); err != nil {
			failed = append(failed, err)
			continue
		}
		var later []structures.Kind
		for _, info := range r.Kinds {
			if _, known := kinds.Of(protocol.KindID(info.ID)); !known {
				later = append(later, structures.KindOf(info))
			}
		}
		return later, nil
	}
	return nil, errors.Join(failed...)
}

// KindNamed returns the kind with a name: one of those that this command knows, or that
// the grid does.
func KindNamed(ctx context.Context, c *cli.Connection, name string) (structures.Kind, error) {
	if k, ok := kinds.Named(name); ok {
		return k, nil
	}
	all := kinds.All()
	later, err := LaterKinds(ctx, c)
	all = append(all, later...)
	if i := slices.IndexFunc(all, func(k structures.Kind) bool { return k.Name == name }); i >= 0 {
		return all[i], nil
	}
	detail := fmt.Sprintf("there is no kind of structure %q: want %s", name, orList(KindNames(all)))
	if near := nearest.Name(name, KindNames(all)); near != "" {
		detail = fmt.Sprintf("there is no kind of structure %q: is it %s?", name, near)
	}
	if err != nil && !errors.Is(err, quorate.ErrUnsupported) {
		detail += "; no member could be asked whether the grid has it"
	}
	return structures.Kind{}, &cli.ExitError{Code: cli.ExitUsage, Err: errors.New(detail)}
}

// structure names a structure of any kind, on a grid.
type structure struct {
	cli.Connection
	Kind string `arg:"" help:"What it is: ${kinds}, or what the grid has beside them."`
	Name string `arg:"" help:"The structure."`
}

// with runs f with a client and the structure's handle.
func (s *structure) with(ctx context.Context, f func(*client.Client, *structures.Kind, *structures.Handle) error) error {
	k, err := KindNamed(ctx, &s.Connection, s.Kind)
	if err != nil {
		return err
	}
	return s.Connection.With(ctx, func(c *client.Client) error {
		h := structures.NewHandle(c, &k, s.Name, nil)
		return f(c, &k, &h)
	})
}

// refused returns the error of an operation that all kinds have but some: of one that
// has it not, what that means.
func (s *structure) refused(err error, op protocol.Op, means string) error {
	if k, ok := kinds.Named(s.Kind); ok && k.Op(op) == nil && errors.Is(err, quorate.ErrUnsupported) {
		return fmt.Errorf("%w: %s %s %s", quorate.ErrUnsupported, s.Kind, cli.LineOf(s.Name), means)
	}
	return err
}

// part is what of a structure lies in one partition.
type part struct {
	partition protocol.PartitionID
	structures.Listed
}

// PartsOf returns what the partitions list of a kind, from a name on: all, or of
// each as many as most says. The error is that of partitions that did not answer.
func PartsOf(ctx context.Context, c *client.Client, k *structures.Kind, from string, most int) ([]part, error) {
	l := newInventory(c, from, most, k)
	l.run(ctx)
	return l.parts[0], l.missing[0].err()
}

// noAnswers collects the partitions that did not answer.
type noAnswers struct {
	kind   string
	table  protocol.Table
	first  error
	groups []protocol.GroupID
}

func (u *noAnswers) add(p protocol.PartitionID, err error) {
	if g := groupOf(&u.table, p); !slices.Contains(u.groups, g) {
		u.groups = append(u.groups, g)
	}
	if u.first == nil {
		u.first = err
	}
}

// err returns what is missing and why, nil where nothing is.
func (u *noAnswers) err() error {
	if u.first == nil {
		return nil
	}
	e := &quorate.Error{Op: "list", Object: "structures of kind " + u.kind, Cause: u.first}
	if first, ok := errors.AsType[*quorate.Error](u.first); ok {
		e.Cause, e.Detail = first.Cause, first.Detail
	}
	if errors.Is(e.Cause, quorate.ErrUnavailable) {
		slices.Sort(u.groups)
		var groups []string
		for _, g := range u.groups {
			groups = append(groups, fmt.Sprint(g))
		}
		e.Cause = quorate.ErrUnavailable
		e.Detail = fmt.Sprintf("what these groups hold is missing, their leaders did not answer: %s", strings.Join(groups, ", "))
	}
	return e
}

// groupOf returns the group that has a partition.
func groupOf(t *protocol.Table, p protocol.PartitionID) protocol.GroupID {
	if int(p) < len(t.Partitions) {
		return t.Partitions[p]
	}
	return 0
}
