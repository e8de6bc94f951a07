package structures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
)

type MapCommands struct {
	Get    mapGet    `cmd:"" help:"Print the value of a key."`
	Put    mapPut    `cmd:"" help:"Store a value under a key."`
	CAS    mapCAS    `cmd:"" name:"cas" help:"Store a value if the key has the expected one."`
	Delete mapDelete `cmd:"" help:"Delete a key."`
	List   mapList   `cmd:"" help:"Print keys and values, one a line."`
	Len    mapLen    `cmd:"" help:"Print how many keys there are."`
	Add    mapAdd    `cmd:"" help:"Add to the integer of a key and print the sum."`
	Clear  mapClear  `cmd:"" help:"Delete all keys."`
	Watch  mapWatch  `cmd:"" help:"Print what changes, or run a command with it."`
}

// Help is the long help of the family.
func (MapCommands) Help() string {
	return `A KEY is text, or an integer with --int-key; list shows keys of every type. A VALUE that parses as JSON, and whose numbers print as they are written, is stored as that value, anything else as text; --text and --json force one. - stores what stdin holds, byte for byte, and get --raw prints it so.

get prints text as it is, bytes as h'00ff', the rest as JSON, or where JSON has no form in the diagnostic notation of CBOR. With -o json these are objects with one field, $base64 or $cbor. What cannot be read is shown as its bytes, exit status 5.

  quorate map put users ada '{"logins": 1}' --ttl 1h
  quorate map put leaders eu host-a --if-absent
  quorate map put workers host-a '{"port": 80}' --ephemeral
  quorate map put jobs '{mail}/' '"ada@example.org"' --sequential
  quorate map get users ada
  quorate map list users --prefix a
  quorate map add hits 42 -5 --int-key
  quorate map watch users --prefix a --current`
}

// mapName names a map, on a grid.
type mapName struct {
	cli.Connection
	Name string `arg:"" help:"The map."`
}

// mapKey names a key of a map.
type mapKey struct {
	mapName
	Key    string `arg:"" help:"The key."`
	IntKey bool   `help:"The key is an integer."`
}

// with runs text or, with --int-key, number with the key and a client.
func (m *mapKey) with(ctx context.Context, text func(*client.Client, string) error, number func(*client.Client, int64) error) error {
	if !m.IntKey {
		return m.Connection.With(ctx, func(c *client.Client) error { return text(c, m.Key) })
	}
	var key cli.Integer
	if err := key.UnmarshalText([]byte(m.Key)); err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf("--int-key: %w", err)}
	}
	return m.Connection.With(ctx, func(c *client.Client) error { return number(c, int64(key)) })
}

type mapGet struct {
	mapKey
	Raw bool `help:"Print the bytes of a text, or of bytes, and nothing else."`
}

// Run runs the command.
func (cmd *mapGet) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx,
		func(c *client.Client, key string) error { return getEntry(ctx, a, c, cmd, key) },
		func(c *client.Client, key int64) error { return getEntry(ctx, a, c, cmd, key) })
}

func getEntry[K comparable](ctx context.Context, a *cli.App, c *client.Client, cmd *mapGet, key K) error {
	e, ok, err := dmap.New[K, structures.Encoded](c, cmd.Name).Entry(ctx, key)
	if err != nil {
		return err
	}
	if !ok {
		return cli.No(fmt.Errorf("map %s has no key %v", cmd.Name, key))
	}
	s := cli.Show(e.Value)
	if err := a.PrintValue(s, cmd.Raw, entryObject(e, key, s)); err != nil {
		return err
	}
	return cli.Unreadable(s.Err)
}

func entryObject[K comparable](e dmap.Entry[K, structures.Encoded], key any, s cli.Shown) cli.Object {
	o := cli.Object{"key": key, "value": s.JSON, "version": uint64(e.Version)}
	if e.Left > 0 {
		o["ttl_ms"] = e.Left.Milliseconds()
	}
	if codec := e.Value.Codec(); codec != "CBOR" {
		o["codec"] = codec
	}
	return o
}

type mapPut struct {
	mapKey
	Value string `arg:"" help:"The value; - reads stdin."`
	cli.Form
	TTL       *time.Duration `name:"ttl" help:"How long the entry lives." placeholder:"D"`
	IfAbsent  bool           `help:"Only if there is no value." xor:"if"`
	IfVersion *uint64        `help:"Only over this version, as get -o json prints it." placeholder:"V" xor:"if"`
	// Ephemeral and Sequential are as those of ZooKeeper's nodes.
	Ephemeral  bool `help:"The entry lives until this command ends: it runs until a signal."`
	Sequential bool `help:"Store under a new key, which is printed: KEY and a number that grows. KEY or MAP has a {tag}." xor:"if"`
}

// Validate checks what the grammar cannot.
func (cmd *mapPut) Validate() error {
	if cmd.Sequential && cmd.IntKey {
		return errors.New("--sequential: the key is text")
	}
	return nil
}

// Run runs the command.
func (cmd *mapPut) Run(ctx context.Context, a *cli.App) error {
	v, err := cmd.Read(a, cmd.Value)
	if err != nil {
		return err
	}
	return cmd.with(ctx,
		func(c *client.Client, key string) error { return putEntry(ctx, a, c, cmd, key, v) },
		func(c *client.Client, key int64) error { return putEntry(ctx, a, c, cmd, key, v) })
}

func putEntry[K comparable](ctx context.Context, a *cli.App, c *client.Client, cmd *mapPut, key K, v any) error {
	m := dmap.New[K, any](c, cmd.Name)
	var opts []dmap.PutOption
	if cmd.TTL != nil {
		opts = append(opts, dmap.TTL(*cmd.TTL))
	}
	if cmd.Ephemeral {
		opts = append(opts, dmap.Ephemeral())
	}
	o := cli.Object{"map": cmd.Name, "key": key, "stored": true}
	text := ""
	var err error
	switch {
	case cmd.Sequential:
		text, err = dmap.PutSequential(ctx, dmap.New[string, any](c, cmd.Name), cmd.Key, v, opts...)
		o["key"] = text
	case cmd.IfAbsent:
		// Of what is there nothing is decoded but that it is there.
		var encoded structures.Encoded
		if encoded, err = structures.AppendValue(nil, structures.CBOR, v); err != nil {
			return err
		}
		stored := false
		_, stored, err = dmap.New[K, structures.Encoded](c, cmd.Name).PutIfAbsent(ctx, key, encoded, opts...)
		if err == nil && !stored {
			return cli.No(fmt.Errorf("map %s has a key %v already", cmd.Name, key))
		}
	case cmd.IfVersion != nil:
		var version dmap.Version
		version, err = m.Replace(ctx, key, dmap.Version(*cmd.IfVersion), v, opts...)
		o["version"] = uint64(version)
	default:
		err = m.Put(ctx, key, v, opts...)
	}
	if err == nil {
		err = a.Print(text, o)
	}
	if err != nil || !cmd.Ephemeral {
		return err
	}
	session := c.Session()
	select {
	case <-ctx.Done():
		return nil // the end of the client ends the entry
	case <-session.Done():
		return fmt.Errorf("map %s: the entry was lost: %w", cmd.Name, session.Err())
	}
}

type mapCAS struct {
	mapKey
	Old string `arg:"" help:"The value that is expected."`
	New string `arg:"" help:"The value to store."`
	cli.Form
	TTL *time.Duration `name:"ttl" help:"How long the entry lives." placeholder:"D"`
}

// Run runs the command.
func (cmd *mapCAS) Run(ctx context.Context, a *cli.App) error {
	before, err := cmd.Read(a, cmd.Old)
	if err != nil {
		return err
	}
	after, err := cmd.Read(a, cmd.New)
	if err != nil {
		return err
	}
	expected, err := structures.AppendValue(nil, structures.CBOR, before)
	if err != nil {
		return err
	}
	encoded, err := structures.AppendValue(nil, structures.CBOR, after)
	if err != nil {
		return err
	}
	return cmd.with(ctx,
		func(c *client.Client, key string) error { return casEntry(ctx, a, c, cmd, key, expected, encoded) },
		func(c *client.Client, key int64) error { return casEntry(ctx, a, c, cmd, key, expected, encoded) })
}

// casEntry replaces the version that holds the value that is expected, and looks
// again where another was faster.
func casEntry[K comparable](ctx context.Context, a *cli.App, c *client.Client, cmd *mapCAS, key K, expected, encoded structures.Encoded) error {
	m := dmap.New[K, structures.Encoded](c, cmd.Name)
	var opts []dmap.PutOption
	if cmd.TTL != nil {
		opts = append(opts, dmap.TTL(*cmd.TTL))
	}
	for {
		e, ok, err := m.Entry(ctx, key)
		switch {
		case err != nil:
			return err
		case !ok:
			return cli.No(fmt.Errorf("map %s has no key %v", cmd.Name, key))
		case !bytes.Equal(e.Value, expected):
			return cli.No(fmt.Errorf("map %s has another value under %v", cmd.Name, key))
		}
		version, err := m.Replace(ctx, key, e.Version, encoded, opts...)
		if errors.Is(err, dmap.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		return a.Print("", cli.Object{"map": cmd.Name, "key": key, "stored": true, "version": uint64(version)})
	}
}

type mapDelete struct{ mapKey }

// Run runs the command.
func (cmd *mapDelete) Run(ctx context.Context, a *cli.App) error {
	var deleted bool
	err := cmd.with(ctx,
		func(c *client.Client, key string) (err error) {
			deleted, err = dmap.New[string, any](c, cmd.Name).Delete(ctx, key)
			return err
		},
		func(c *client.Client, key int64) (err error) {
			deleted, err = dmap.New[int64, any](c, cmd.Name).Delete(ctx, key)
			return err
		})
	if err != nil {
		return err
	}
	if !deleted {
		return cli.No(fmt.Errorf("map %s has no key %s", cmd.Name, cmd.Key))
	}
	return a.Print("", cli.Object{"map": cmd.Name, "key": cmd.Key, "deleted": true})
}

type mapList struct {
	mapName
	IntKey bool        `hidden:"" help:"The keys are integers; list shows keys of every type without it."`
	Prefix string      `help:"Only keys that are text and begin with P." placeholder:"P"`
	Limit  int         `help:"At most N entries; 0: all." placeholder:"N"`
	From   dmap.Cursor `help:"Go on where a list was left that printed this cursor." placeholder:"CURSOR"`
	Keys   bool        `help:"Print keys only."`
}

// Help is the long help of the command.
func (mapList) Help() string {
	return `A list that ends before the map does, by --limit, a signal or an error, prints a cursor: on stderr, or with -o json as its last line, {"cursor": C}. --from C goes on behind what was printed, with any options. Every entry that is there throughout comes exactly once.`
}

// Run runs the command.
func (cmd *mapList) Run(ctx context.Context, a *cli.App) error {
	if cmd.Limit < 0 {
		return &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf("--limit=%d: must not be negative", cmd.Limit)}
	}
	return cmd.Connection.With(ctx, func(c *client.Client) error {
		l := listing{a: a, limit: cmd.Limit, kinds: map[string]int{}}
		at := cmd.From
		opts := []dmap.ScanOption{dmap.Resume(&at)}
		if cmd.Prefix != "" {
			opts = append(opts, dmap.Prefix(cmd.Prefix))
		}
		m := dmap.New[structures.EncodedKey, structures.Encoded](c, cmd.Name)
		var err error
		if cmd.Keys {
			err = l.keys(m.Keys(ctx, opts...))
		} else {
			err = l.entries(m.All(ctx, opts...))
		}
		l.sayKinds()
		return errors.Join(err, cli.Unreadable(l.unread), l.sayCursor(at))
	})
}

// listing prints the entries of a map.
type listing struct {
	a       *cli.App
	limit   int
	printed int
	kinds   map[string]int // of keys that are not text
	unread  error          // of the first value that cannot be read
}

// full reports whether the limit is reached.
func (l *listing) full() bool { l.printed++; return l.limit > 0 && l.printed >= l.limit }

func (l *listing) keys(all iter.Seq2[structures.EncodedKey, error]) error {
	for k, err := range all {
		if err != nil {
			return err
		}
		text, o := l.key(k)
		if err := l.a.PrintLine(text, o); err != nil || l.full() {
			return err
		}
	}
	return nil
}

func (l *listing) entries(all iter.Seq2[dmap.Entry[structures.EncodedKey, structures.Encoded], error]) error {
	for e, err := range all {
		if err != nil {
			return err
		}
		s := cli.Show(e.Value)
		if l.unread == nil {
			l.unread = s.Err
		}
		text, key := l.key(e.Key)
		o := entryObject(e, key["key"], s)
		maps.Copy(o, key)
		if err := l.a.PrintLine(text+"\t"+s.Line, o); err != nil || l.full() {
			return err
		}
	}
	return nil
}

func (l *listing) key(k structures.EncodedKey) (string, cli.Object) {
	text, form, kind := cli.ShowKey(k)
	o := cli.Object{"key": form}
	if kind != "" {
		l.kinds[kind]++
		o["key_type"] = kind
	}
	return text, o
}

// sayKinds says what the keys are that are not text.
func (l *listing) sayKinds() {
	if l.a.JSON {
		return
	}
	for _, k := range []struct{ kind, what string }{
		{"integer", "integers: --int-key gets them"}, {"unsigned", "unsigned integers"}, {"bytes", "byte arrays"}, {"struct", "structs, arrays or booleans"},
	} {
		if n := l.kinds[k.kind]; n > 0 {
			l.a.Note("quorate: %d of %d keys are %s", n, l.printed, k.what)
		}
	}
}

// sayCursor says where to go on.
func (l *listing) sayCursor(at dmap.Cursor) error {
	switch {
	case at.Done() || at == dmap.Cursor{}:
		return nil
	case l.a.JSON:
		return l.a.PrintLine("", cli.Object{"cursor": at})
	}
	l.a.Note("quorate: there is more: --from %v", at)
	return nil
}

type mapLen struct{ mapName }

// Run runs the command.
func (cmd *mapLen) Run(ctx context.Context, a *cli.App) error {
	return cmd.With(ctx, func(c *client.Client) error {
		n, err := dmap.New[string, any](c, cmd.Name).Len(ctx)
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(n), cli.Object{"map": cmd.Name, "len": n})
	})
}

type mapAdd struct {
	mapKey
	Delta cli.Integer `arg:"" help:"What to add."`
}

// Run runs the command.
func (cmd *mapAdd) Run(ctx context.Context, a *cli.App) error {
	var sum int64
	err := cmd.with(ctx,
		func(c *client.Client, key string) (err error) {
			sum, err = dmap.Add(ctx, dmap.New[string, int64](c, cmd.Name), key, int64(cmd.Delta))
			return err
		},
		func(c *client.Client, key int64) (err error) {
			sum, err = dmap.Add(ctx, dmap.New[int64, int64](c, cmd.Name), key, int64(cmd.Delta))
			return err
		})
	if err != nil {
		return err
	}
	return a.Print(fmt.Sprint(sum), cli.Object{"map": cmd.Name, "key": cmd.Key, "value": sum})
}

type mapClear struct{ mapName }

// Run runs the command.
func (cmd *mapClear) Run(ctx context.Context, a *cli.App) error {
	return cmd.With(ctx, func(c *client.Client) error {
		if err := dmap.New[string, any](c, cmd.Name).Clear(ctx); err != nil {
			return err
		}
		return a.Print("", cli.Object{"map": cmd.Name, "cleared": true})
	})
}
