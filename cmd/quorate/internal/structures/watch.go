package structures

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/child"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// onEvent is the flags of a command that prints events, or runs a COMMAND for each.
type onEvent struct {
	Count   int      `short:"n" help:"End after N events; 0: never." placeholder:"N"`
	Command []string `arg:"" optional:"" name:"command" help:"COMMAND to run for each event, after --."`
}

// killWatchAfter is how long a COMMAND may take to end when the watch does.
const killWatchAfter = 5 * time.Second

// look finds COMMAND before anything is watched for it, and checks what the grammar
// cannot.
func (o *onEvent) look() (string, error) {
	if o.Count < 0 {
		return "", &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf("--count=%d: must not be negative", o.Count)}
	}
	h := holding{Command: o.Command}
	return h.lookCommand()
}

// run runs COMMAND for an event, with a value on its stdin. What it makes of it is its own
// matter, but said.
func (o *onEvent) run(ctx context.Context, a *cli.App, path string, env []string, value string) error {
	in, out, err := os.Pipe()
	if err != nil {
		return &cli.ExitError{Code: cli.ExitOurs, Err: err}
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = out.WriteString(value) // who does not read it has no use for it
		_ = out.Close()
	}()
	cmd := exec.Command(path, o.Command[1:]...)
	cmd.Args[0] = o.Command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, a.Stdout, a.Stderr
	cmd.Env = append(os.Environ(), env...)
	status, err := child.Run(ctx, cmd, killWatchAfter)
	_ = in.Close()
	<-written
	if err != nil {
		return &cli.ExitError{Code: cli.ExitNotRunnable, Err: fmt.Errorf("%s %w: %w", o.Command[0], errNotRunnable, err)}
	}
	if status != 0 && ctx.Err() == nil {
		a.Note("quorate: %s: exit status %d", o.Command[0], status)
	}
	return nil
}

// full counts an event, and reports whether it was the last.
func (o *onEvent) full(n *int) bool { *n++; return o.Count > 0 && *n >= o.Count }

type mapWatch struct {
	mapName
	Key      *string          `help:"Only this key." placeholder:"K" xor:"keys"`
	IntKey   bool             `help:"The key is an integer."`
	Prefix   string           `help:"Only keys that are text and begin with P." placeholder:"P" xor:"keys"`
	Current  bool             `help:"Begin with the entries that are there." xor:"begin"`
	From     dmap.WatchCursor `help:"Go on where a watch was left that printed this cursor." placeholder:"CURSOR" xor:"begin"`
	Keys     bool             `help:"Print keys only."`
	Old      bool             `help:"Print the values before, too: the map must have the setting keep-old=1."`
	Events   []string         `help:"Only these: put, removed, expired, ended, evicted." placeholder:"put,..."`
	Relist   bool             `help:"Where changes are missing go on with the entries, instead of ending."`
	Progress time.Duration    `help:"Print every D up to where all has come; 1s or more." placeholder:"D"`
	onEvent
}

// Help is the long help of the command.
func (mapWatch) Help() string {
	return `Each change is a line: the event, the key, and the value. synced says that the watch stands; with --current the entries come before it. With -o json there are the version, the one before, and "more" for an event that others of the same change follow; synced, progress and gap have a cursor. What ends a watch, a signal too, prints one on stderr, and --from goes on behind it.

COMMAND runs once for each event, one at a time, with QUORATE_EVENT, QUORATE_KEY and QUORATE_VERSION, and the value on stdin. Meanwhile the watch waits; it ends with a gap where that takes longer than the grid keeps its history, unless --relist is given.

Exit status: 0 for a signal, and after --count events; 1 where changes are missing.

  quorate map watch users --prefix a --current
  quorate map watch config --key limits -- ./reload`
}

var eventTypes = map[string]dmap.EventType{
	"put": dmap.Put, "removed": dmap.Removed, "expired": dmap.Expired, "ended": dmap.Ended, "evicted": dmap.Evicted,
}

// options are those of the watch.
func (cmd *mapWatch) options() ([]dmap.WatchOption, error) {
	var opts []dmap.WatchOption
	usage := func(format string, args ...any) error {
		return &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case cmd.Key != nil && cmd.IntKey:
		var key cli.Integer
		if err := key.UnmarshalText([]byte(*cmd.Key)); err != nil {
			return nil, usage("--int-key: %w", err)
		}
		opts = append(opts, dmap.Key(int64(key)))
	case cmd.Key != nil:
		opts = append(opts, dmap.Key(*cmd.Key))
	case cmd.Prefix != "":
		opts = append(opts, dmap.Prefix(cmd.Prefix))
	}
	var only []dmap.EventType
	for _, name := range cmd.Events {
		t, ok := eventTypes[strings.TrimSpace(name)]
		if !ok {
			return nil, usage("--events: there is no event %q: want put, removed, expired, ended or evicted", name)
		}
		only = append(only, t)
	}
	if len(only) > 0 {
		opts = append(opts, dmap.Only(only...))
	}
	for _, o := range []struct {
		on  bool
		opt dmap.WatchOption
	}{
		{cmd.Current, dmap.WithCurrent()},
		{!cmd.From.IsZero(), dmap.After(cmd.From)},
		{cmd.Keys, dmap.KeysOnly()},
		{cmd.Old, dmap.OldValues()},
		{cmd.Relist, dmap.Relist()},
		{cmd.Progress != 0, dmap.ProgressEvery(cmd.Progress)},
	} {
		if o.on {
			opts = append(opts, o.opt)
		}
	}
	return opts, nil
}

// Run runs the command.
func (cmd *mapWatch) Run(ctx context.Context, a *cli.App) error {
	opts, err := cmd.options()
	if err != nil {
		return err
	}
	path, err := cmd.look()
	if err != nil {
		return err
	}
	return cmd.Connection.With(ctx, func(c *client.Client) error {
		w := mapWatching{cmd: cmd, a: a, path: path}
		m := dmap.New[structures.EncodedKey, structures.Encoded](c, cmd.Name)
		var last dmap.Event[structures.EncodedKey, structures.Encoded]
		for e, err := range m.Watch(ctx, opts...) {
			if err != nil {
				w.sayCursor(last)
				if ctx.Err() != nil { // a signal
					return cli.Unreadable(w.unread)
				}
				return err
			}
			last = e
			if err := w.take(ctx, e); err != nil || cmd.full(&w.events) {
				w.sayCursor(last)
				return errors.Join(err, cli.Unreadable(w.unread))
			}
		}
		return nil
	})
}

// mapWatching is a watch under way.
type mapWatching struct {
	cmd    *mapWatch
	a      *cli.App
	path   string // of COMMAND
	events int
	unread error // of the first value that cannot be read
}

// sayCursor says where a watch goes on behind an event.
func (w *mapWatching) sayCursor(e dmap.Event[structures.EncodedKey, structures.Encoded]) {
	if c := e.Cursor(); !c.IsZero() {
		w.a.Note("cursor: %s", c)
	}
}

// take prints an event, or runs COMMAND with it.
func (w *mapWatching) take(ctx context.Context, e dmap.Event[structures.EncodedKey, structures.Encoded]) error {
	words := []string{e.Type.String()}
	o := cli.Object{"event": e.Type.String()}
	env := []string{"QUORATE_NAME=" + w.cmd.Name, "QUORATE_EVENT=" + e.Type.String()}
	value := ""
	switch e.Type {
	case dmap.Synced, dmap.Progress, dmap.Gap:
		o["cursor"] = e.Cursor().String()
		if e.Type == dmap.Gap {
			o["reason"] = e.Reason.String()
			words = append(words, e.Reason.String())
		}
	case dmap.Destroyed:
		o["version"] = uint64(e.Version)
	default:
		key, form, kind := cli.ShowKey(e.Key)
		o["key"], o["version"], o["more"] = form, uint64(e.Version), e.More
		if kind != "" {
			o["key_type"] = kind
		}
		if e.Previous != 0 {
			o["previous"] = uint64(e.Previous)
		}
		if e.Left > 0 {
			o["ttl_ms"] = e.Left.Milliseconds()
		}
		words = append(words, key)
		env = append(env, "QUORATE_KEY="+key, fmt.Sprintf("QUORATE_VERSION=%d", uint64(e.Version)))
		if len(e.Value) > 0 {
			s := w.show(e.Value)
			o["value"], value = s.JSON, s.Line
			words = append(words, s.Line)
		}
		if e.HasOld {
			o["old"] = w.show(e.Old).JSON
		}
	}
	if w.path != "" {
		return w.cmd.run(ctx, w.a, w.path, env, value)
	}
	return w.a.PrintLine(strings.Join(words, "\t"), o)
}

func (w *mapWatching) show(v structures.Encoded) cli.Shown {
	s := cli.Show(v)
	if w.unread == nil {
		w.unread = s.Err
	}
	return s
}

type counterWatch struct {
	counterName
	onEvent
}

// Help is the long help of the command.
func (counterWatch) Help() string {
	return `The value now is the first line, and then the newest whenever there is another: values in between may be left out. A counter that is not there is 0.

COMMAND runs once for each, one at a time, with QUORATE_VALUE and QUORATE_VERSION, and the value on stdin.`
}

// Run runs the command.
func (cmd *counterWatch) Run(ctx context.Context, a *cli.App) error {
	path, err := cmd.look()
	if err != nil {
		return err
	}
	n := 0
	return cmd.with(ctx, func(c *dcounter.Counter) error {
		for ch, err := range c.Watch(ctx) {
			if err != nil {
				if ctx.Err() != nil { // a signal
					return nil
				}
				return err
			}
			if path != "" {
				env := []string{"QUORATE_NAME=" + cmd.Name, fmt.Sprintf("QUORATE_VALUE=%d", ch.Value), fmt.Sprintf("QUORATE_VERSION=%d", uint64(ch.Version))}
				err = cmd.run(ctx, a, path, env, fmt.Sprint(ch.Value))
			} else {
				err = a.PrintLine(fmt.Sprint(ch.Value), cli.Object{"counter": cmd.Name, "value": ch.Value, "version": uint64(ch.Version), "gone": ch.Gone})
			}
			if err != nil || cmd.full(&n) {
				return err
			}
		}
		return nil
	})
}
