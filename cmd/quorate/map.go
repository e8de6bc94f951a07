package main

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dmap"
)

type mapCommands struct {
	Get    mapGet    `cmd:"" help:"Print the value of a key."`
	Put    mapPut    `cmd:"" help:"Store a value under a key."`
	Delete mapDelete `cmd:"" help:"Delete a key."`
	List   mapList   `cmd:"" help:"Print keys and values, one a line."`
	Len    mapLen    `cmd:"" help:"Print how many keys there are."`
	Add    mapAdd    `cmd:"" help:"Add to the integer of a key and print the sum."`
	Clear  mapClear  `cmd:"" help:"Delete all keys."`
}

// Help is the long help of the family.
func (mapCommands) Help() string {
	return `A KEY is text, or an integer with --int-key. A VALUE that parses as JSON is stored as that value, anything else as text; --text forces text, - reads stdin. get prints text as it is and the rest as JSON.

  quorate map put users ada '{"logins": 1}' --ttl 1h
  quorate map get users ada
  quorate map list users --prefix a
  quorate map add hits 42 -5 --int-key`
}

// mapName names a map, on a grid.
type mapName struct {
	connection
	Name string `arg:"" help:"The map."`
}

// mapKey names a key of a map.
type mapKey struct {
	mapName
	Key    word `arg:"" help:"The key."`
	IntKey bool `help:"The key is an integer."`
}

// with runs text or, with --int-key, number with the key and a client.
func (m *mapKey) with(ctx context.Context, text func(*client.Client, string) error, number func(*client.Client, int64) error) error {
	if !m.IntKey {
		return m.connection.with(ctx, func(c *client.Client) error { return text(c, string(m.Key)) })
	}
	var key integer
	if err := key.UnmarshalText([]byte(m.Key)); err != nil {
		return &exitError{code: exitUsage, err: fmt.Errorf("--int-key: %w", err)}
	}
	return m.connection.with(ctx, func(c *client.Client) error { return number(c, int64(key)) })
}

type mapGet struct{ mapKey }

// Run runs the command.
func (cmd *mapGet) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx,
		func(c *client.Client, key string) error { return getEntry(ctx, a, c, cmd.Name, key) },
		func(c *client.Client, key int64) error { return getEntry(ctx, a, c, cmd.Name, key) })
}

func getEntry[K comparable](ctx context.Context, a *app, c *client.Client, name string, key K) error {
	e, ok, err := dmap.New[K, any](c, name).Entry(ctx, key)
	if err != nil {
		return err
	}
	if !ok {
		return no(fmt.Errorf("map %s has no key %v", name, key))
	}
	return a.printLine(showValue(e.Value), entryObject(e))
}

func entryObject[K comparable](e dmap.Entry[K, any]) object {
	o := object{"key": e.Key, "value": jsonable(e.Value), "version": uint64(e.Version)}
	if e.Left > 0 {
		o["ttl_ms"] = e.Left.Milliseconds()
	}
	return o
}

type mapPut struct {
	mapKey
	Value word          `arg:"" help:"The value; - reads stdin."`
	TTL   time.Duration `name:"ttl" help:"How long the entry lives." placeholder:"D"`
	Text  bool          `help:"The value is text, also if it parses as JSON."`
}

// Run runs the command.
func (cmd *mapPut) Run(ctx context.Context, a *app) error {
	v, err := a.readValue(cmd.Value, cmd.Text)
	if err != nil {
		return err
	}
	var opts []dmap.PutOption
	if cmd.TTL != 0 {
		opts = append(opts, dmap.TTL(cmd.TTL))
	}
	err = cmd.with(ctx,
		func(c *client.Client, key string) error {
			return dmap.New[string, any](c, cmd.Name).Put(ctx, key, v, opts...)
		},
		func(c *client.Client, key int64) error {
			return dmap.New[int64, any](c, cmd.Name).Put(ctx, key, v, opts...)
		})
	if err != nil {
		return err
	}
	return a.print("", object{"map": cmd.Name, "key": cmd.Key, "stored": true})
}

type mapDelete struct{ mapKey }

// Run runs the command.
func (cmd *mapDelete) Run(ctx context.Context, a *app) error {
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
		return no(fmt.Errorf("map %s has no key %s", cmd.Name, cmd.Key))
	}
	return a.print("", object{"map": cmd.Name, "key": cmd.Key, "deleted": true})
}

type mapList struct {
	mapName
	IntKey bool   `help:"The keys are integers."`
	Prefix string `help:"Only keys that begin with P." placeholder:"P" xor:"prefix"`
	Limit  int    `help:"At most N entries; 0: all." placeholder:"N"`
	Keys   bool   `help:"Print keys only."`
}

// Run runs the command.
func (cmd *mapList) Run(ctx context.Context, a *app) error {
	if cmd.IntKey && cmd.Prefix != "" {
		return &exitError{code: exitUsage, err: fmt.Errorf("--prefix is for keys that are text, not for --int-key")}
	}
	return cmd.connection.with(ctx, func(c *client.Client) error {
		if cmd.IntKey {
			return listEntries[int64](ctx, a, c, cmd)
		}
		return listEntries[string](ctx, a, c, cmd)
	})
}

func listEntries[K comparable](ctx context.Context, a *app, c *client.Client, cmd *mapList) error {
	var opts []dmap.ScanOption
	if cmd.Prefix != "" {
		opts = append(opts, dmap.Prefix(cmd.Prefix))
	}
	m := dmap.New[K, any](c, cmd.Name)
	printed := 0
	// full reports whether the limit is reached.
	full := func() bool { printed++; return cmd.Limit > 0 && printed >= cmd.Limit }
	if cmd.Keys {
		for key, err := range m.Keys(ctx, opts...) {
			if err != nil {
				return err
			}
			if err := a.print(showInLine(any(key)), object{"key": key}); err != nil || full() {
				return err
			}
		}
		return nil
	}
	for e, err := range m.All(ctx, opts...) {
		if err != nil {
			return err
		}
		if err := a.print(showInLine(any(e.Key))+"\t"+showInLine(e.Value), entryObject(e)); err != nil || full() {
			return err
		}
	}
	return nil
}

type mapLen struct{ mapName }

// Run runs the command.
func (cmd *mapLen) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(c *client.Client) error {
		n, err := dmap.New[string, any](c, cmd.Name).Len(ctx)
		if err != nil {
			return err
		}
		return a.print(fmt.Sprint(n), object{"map": cmd.Name, "len": n})
	})
}

type mapAdd struct {
	mapKey
	Delta integer `arg:"" help:"What to add."`
}

// Run runs the command.
func (cmd *mapAdd) Run(ctx context.Context, a *app) error {
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
	return a.print(fmt.Sprint(sum), object{"map": cmd.Name, "key": cmd.Key, "value": sum})
}

type mapClear struct{ mapName }

// Run runs the command.
func (cmd *mapClear) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(c *client.Client) error {
		if err := dmap.New[string, any](c, cmd.Name).Clear(ctx); err != nil {
			return err
		}
		return a.print("", object{"map": cmd.Name, "cleared": true})
	})
}
