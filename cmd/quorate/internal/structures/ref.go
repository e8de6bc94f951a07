package structures

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dref"
)

type RefCommands struct {
	Get      refGet      `cmd:"" help:"Print the value."`
	Set      refSet      `cmd:"" help:"Set the value."`
	CAS      refCAS      `cmd:"" name:"cas" help:"Set the value if it is what is expected."`
	Delete   refDelete   `cmd:"" help:"Delete the value."`
	History  refHistory  `cmd:"" help:"Print the values that are kept, the oldest first, and the one of now."`
	Rollback refRollback `cmd:"" help:"Set the value that had a version again, as a new version."`
	Watch    refWatch    `cmd:"" help:"Print the value now, and whenever it has changed, or run a command with it."`
}

// Help is the long help of the family.
func (RefCommands) Help() string {
	return `A reference is one value with a version. A VALUE is that of quorate map: JSON if it parses as such, else text; --text and --json force one, and - reads stdin.

With the setting keep=N the last N values before the present one are kept, for history and rollback.

  quorate configure ref {app}limits keep=20
  quorate ref set {app}limits '{"rate": 100}'
  quorate ref watch {app}limits -- ./reload
  quorate ref history {app}limits
  quorate ref rollback {app}limits 1234`
}

// refName names a reference, on a grid.
type refName struct {
	cli.Connection
	Name string `arg:"" help:"The reference."`
}

// with runs f with the reference, whose values are as they are encoded.
func (cmd *refName) with(ctx context.Context, f func(*dref.Ref[structures.Encoded]) error) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error { return f(dref.New[structures.Encoded](c, cmd.Name)) })
}

// object is a value of the reference in JSON.
func (cmd *refName) object(e dref.Entry[structures.Encoded], s cli.Shown) cli.Object {
	o := cli.Object{"ref": cmd.Name, "value": s.JSON, "version": uint64(e.Version)}
	if codec := e.Value.Codec(); codec != "CBOR" {
		o["codec"] = codec
	}
	return o
}

// encode reads a VALUE as it is stored.
func encode(a *cli.App, f cli.Form, arg string) (structures.Encoded, error) {
	v, err := f.Read(a, arg)
	if err != nil {
		return nil, err
	}
	return structures.AppendValue(nil, structures.CBOR, v)
}

type refGet struct {
	refName
	Raw bool `help:"Print the bytes of a text, or of bytes, and nothing else."`
}

// Run runs the command.
func (cmd *refGet) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(r *dref.Ref[structures.Encoded]) error {
		e, ok, err := r.Entry(ctx)
		if err != nil {
			return err
		}
		if !ok {
			return cli.No(fmt.Errorf("ref %s has no value", cmd.Name))
		}
		s := cli.Show(e.Value)
		if err := a.PrintValue(s, cmd.Raw, cmd.object(e, s)); err != nil {
			return err
		}
		return cli.Unreadable(s.Err)
	})
}

type refSet struct {
	refName
	Value string `arg:"" help:"The value; - reads stdin."`
	cli.Form
	IfAbsent  bool    `help:"Only if there is no value." xor:"if"`
	IfVersion *uint64 `help:"Only over this version, as get -o json prints it." placeholder:"V" xor:"if"`
}

// Run runs the command.
func (cmd *refSet) Run(ctx context.Context, a *cli.App) error {
	v, err := encode(a, cmd.Form, cmd.Value)
	if err != nil {
		return err
	}
	return cmd.with(ctx, func(r *dref.Ref[structures.Encoded]) error {
		o := cli.Object{"ref": cmd.Name, "set": true}
		var version dref.Version
		var err error
		switch {
		case cmd.IfAbsent:
			version, err = r.Replace(ctx, 0, v)
			if errors.Is(err, dref.ErrConflict) {
				return cli.No(fmt.Errorf("ref %s has a value already", cmd.Name))
			}
		case cmd.IfVersion != nil:
			version, err = r.Replace(ctx, dref.Version(*cmd.IfVersion), v)
		default:
			err = r.Set(ctx, v)
		}
		if err != nil {
			return err
		}
		if version != 0 {
			o["version"] = uint64(version)
		}
		return a.Print("", o)
	})
}

type refCAS struct {
	refName
	Old string `arg:"" help:"The value that is expected."`
	New string `arg:"" help:"The value to set."`
	cli.Form
}

// Run runs the command.
func (cmd *refCAS) Run(ctx context.Context, a *cli.App) error {
	before, err := encode(a, cmd.Form, cmd.Old)
	if err != nil {
		return err
	}
	after, err := encode(a, cmd.Form, cmd.New)
	if err != nil {
		return err
	}
	return cmd.with(ctx, func(r *dref.Ref[structures.Encoded]) error {
		set, err := r.CompareAndSet(ctx, before, after)
		if err != nil {
			return err
		}
		if !set {
			return cli.No(fmt.Errorf("ref %s is not %s", cmd.Name, cmd.Old))
		}
		return a.Print("", cli.Object{"ref": cmd.Name, "set": true})
	})
}

type refDelete struct{ refName }

// Run runs the command.
func (cmd *refDelete) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(r *dref.Ref[structures.Encoded]) error {
		deleted, err := r.Delete(ctx)
		if err != nil {
			return err
		}
		if !deleted {
			return cli.No(fmt.Errorf("ref %s has no value", cmd.Name))
		}
		return a.Print("", cli.Object{"ref": cmd.Name, "deleted": true})
	})
}

type refHistory struct{ refName }

// Run runs the command.
func (cmd *refHistory) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(r *dref.Ref[structures.Encoded]) error {
		var unread error
		for e, err := range r.History(ctx) {
			if err != nil {
				return err
			}
			s := cli.Show(e.Value)
			if unread == nil {
				unread = s.Err
			}
			if err := a.PrintLine(fmt.Sprintf("%d\t%s", uint64(e.Version), s.Line), cmd.object(e, s)); err != nil {
				return err
			}
		}
		return cli.Unreadable(unread)
	})
}

type refRollback struct {
	refName
	Version uint64 `arg:"" help:"The version, as history prints it."`
}

// Run runs the command.
func (cmd *refRollback) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(r *dref.Ref[structures.Encoded]) error {
		version, err := r.Rollback(ctx, dref.Version(cmd.Version))
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(uint64(version)), cli.Object{"ref": cmd.Name, "version": uint64(version)})
	})
}

type refWatch struct {
	refName
	onEvent
}

// Help is the long help of the command.
func (refWatch) Help() string {
	return `The value now is the first line, and then the newest whenever there is another: values in between may be left out. A reference without a value is an empty line.

COMMAND runs once for each, one at a time, with QUORATE_NAME, QUORATE_EVENT (put or removed) and QUORATE_VERSION, and the value on stdin: text as it is, the rest as JSON. Exit status: 0 for a signal, and after --count.

  quorate ref watch {app}limits -- sh -c 'cat > /etc/app/limits.json && kill -HUP $(cat /run/app.pid)'`
}

// Run runs the command.
func (cmd *refWatch) Run(ctx context.Context, a *cli.App) error {
	path, err := cmd.look()
	if err != nil {
		return err
	}
	n := 0
	var unread error
	return cmd.with(ctx, func(r *dref.Ref[structures.Encoded]) error {
		for ch, err := range r.Watch(ctx) {
			if err != nil {
				if ctx.Err() != nil { // a signal
					return cli.Unreadable(unread)
				}
				return err
			}
			event, s := structures.EventRemoved.String(), cli.Shown{}
			if !ch.Gone {
				event, s = structures.EventPut.String(), cli.Show(ch.Value)
				if unread == nil {
					unread = s.Err
				}
			}
			if path != "" {
				env := []string{"QUORATE_NAME=" + cmd.Name, "QUORATE_EVENT=" + event, fmt.Sprintf("QUORATE_VERSION=%d", uint64(ch.Version))}
				err = cmd.run(ctx, a, path, env, s.Text)
			} else {
				o := cmd.object(dref.Entry[structures.Encoded]{Value: ch.Value, Version: ch.Version}, s)
				if o["gone"] = ch.Gone; ch.Gone {
					delete(o, "codec")
				}
				err = a.PrintLine(s.Line, o)
			}
			if err != nil || cmd.full(&n) {
				return errors.Join(err, cli.Unreadable(unread))
			}
		}
		return nil
	})
}
