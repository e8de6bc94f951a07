package structures

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/txn"
)

// TxnCommand carries out a transaction.
type TxnCommand struct {
	cli.Connection
	File string `short:"f" default:"-" help:"A file with the transaction; - is stdin." placeholder:"FILE"`
}

// Help is the long help of the command.
func (TxnCommand) Help() string {
	return `The transaction is a JSON object with the lists if, then and else. If all conditions hold, then is carried out, otherwise else, all of it or nothing. All of it must be in one partition: a {tag} in names or keys puts it there.

  quorate txn <<'END'
  {"if":   [{"map": "{o7}users", "key": "ada", "version": 17}, {"counter": "{o7}stock", "at_least": 1}],
   "then": [{"map": "{o7}users", "put": "ada", "value": {"logins": 2}, "ttl": "1h"}, {"counter": "{o7}stock", "add": -1}, {"queue": "{o7}jobs", "offer": "ada"}],
   "else": [{"map": "{o7}users", "get": "ada"}]}
  END

Conditions: of a map key with version, equal, present or absent (true); of a counter equal, at_least, at_most; of a queue length or empty (true); of a semaphore available; of a ref version, equal or absent (true).

Operations: of a map get, put, swap, put_if_absent, replace, delete, remove, delete_version, set_ttl and add, each with the key, and value, version, ttl or delta; of a counter get (true), set, add; of a queue offer, poll (true), peek (true), length (true); of a semaphore available (true), add_permits; of a ref get (true), set, swap, set_if_absent, replace with version, delete (true). A key is text, or an integer.

It prints what the operations were answered, one a line, as JSON. Exit status: 0 then was carried out; 1 else was, or an operation was refused and nothing has changed.`
}

// Run runs the command.
func (cmd *TxnCommand) Run(ctx context.Context, a *cli.App) error {
	text, err := cmd.read(a)
	if err != nil {
		return err
	}
	var lists txnLists
	if err := strictJSON(text, &lists); err != nil {
		return txnUsage(fmt.Errorf("the transaction: %w", err))
	}
	return cmd.Connection.With(ctx, func(c *client.Client) error {
		t := txn.New(c)
		for i, fields := range lists.If {
			condition, err := txnCondition(c, fields)
			if err != nil {
				return txnUsage(fmt.Errorf("item %d of if: %w", i, err))
			}
			t.If(condition)
		}
		then, err := txnSteps(c, "then", lists.Then, t.Then)
		if err != nil {
			return err
		}
		or, err := txnSteps(c, "else", lists.Else, t.Else)
		if err != nil {
			return err
		}
		held, err := t.Commit(ctx)
		if err != nil {
			return err
		}
		branch := or
		if held {
			branch = then
		}
		if err := printTxn(a, held, branch); err != nil {
			return err
		}
		if !held {
			return cli.No(errors.New("a condition does not hold: else was carried out"))
		}
		return nil
	})
}

func (cmd *TxnCommand) read(a *cli.App) ([]byte, error) {
	if cmd.File != "-" {
		b, err := os.ReadFile(cmd.File)
		if err != nil {
			return nil, txnUsage(err)
		}
		return b, nil
	}
	b, err := io.ReadAll(a.Stdin)
	if err != nil {
		return nil, fmt.Errorf("read stdin: %w", err)
	}
	return b, nil
}

func txnUsage(err error) error { return &cli.ExitError{Code: cli.ExitUsage, Err: err} }

// strictJSON reads one JSON value without unknown fields.
func strictJSON(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more than one value")
	}
	return nil
}

type txnLists struct {
	If   []txnFields `json:"if"`
	Then []txnFields `json:"then"`
	Else []txnFields `json:"else"`
}

// txnFields is a condition or an operation.
type txnFields map[string]json.RawMessage

// txnStep is an operation, and how its answer is printed.
type txnStep struct {
	structures.TxnStep
	show func() (any, error) // nil: it has none
}

func txnSteps(c *client.Client, branch string, list []txnFields, add func(...structures.TxnStep) *txn.Txn) ([]txnStep, error) {
	var steps []txnStep
	for i, fields := range list {
		s, err := fields.step(c)
		if err != nil {
			return nil, txnUsage(fmt.Errorf("item %d of %s: %w", i, branch, err))
		}
		add(s)
		steps = append(steps, s)
	}
	return steps, nil
}

func printTxn(a *cli.App, held bool, steps []txnStep) error {
	results := make([]any, len(steps))
	for i, s := range steps {
		if s.show == nil {
			continue
		}
		v, err := s.show()
		if err != nil {
			return err
		}
		results[i] = v
	}
	if a.JSON {
		return a.Print("", cli.Object{"then": held, "results": results})
	}
	for _, v := range results {
		var b bytes.Buffer
		if err := cli.JsonEncoder(&b).Encode(v); err != nil {
			return err
		}
		if err := a.PrintLine(strings.TrimSuffix(b.String(), "\n"), nil); err != nil {
			return err
		}
	}
	return nil
}

// structure returns the kind and the name of the structure, and takes them away.
func (f txnFields) structure() (kind, name string, err error) {
	for _, kind := range []string{"map", "counter", "queue", "semaphore", "ref"} {
		if raw, ok := f[kind]; ok {
			delete(f, kind)
			return kind, name, strictOf(kind, raw, &name)
		}
	}
	return "", "", fmt.Errorf("it names no map, counter, queue, semaphore or ref, but has %s", f.names())
}

func (f txnFields) names() string { return strings.Join(slices.Sorted(maps.Keys(f)), ", ") }

func strictOf(field string, raw json.RawMessage, into any) error {
	if err := strictJSON(raw, into); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

// take takes a field away, and reports whether there was one.
func take[T any](f txnFields, field string, into *T) (bool, error) {
	raw, ok := f[field]
	if !ok {
		return false, nil
	}
	delete(f, field)
	return true, strictOf(field, raw, into)
}

// need takes a field that must be there.
func need[T any](f txnFields, field string) (v T, err error) {
	ok, err := take(f, field, &v)
	if err == nil && !ok {
		err = fmt.Errorf("it has no %s", field)
	}
	return v, err
}

// isTrue takes a field that can only be true.
func (f txnFields) isTrue(field string) error {
	v, err := need[bool](f, field)
	if err == nil && !v {
		err = fmt.Errorf("%s can only be true", field)
	}
	return err
}

// key takes a key, which is text or an integer.
func (f txnFields) key(field string) (structures.EncodedKey, error) {
	raw, err := need[json.RawMessage](f, field)
	if err != nil {
		return structures.EncodedKey{}, err
	}
	var text string
	var number int64
	var encoded []byte
	if json.Unmarshal(raw, &text) == nil {
		encoded, err = structures.AppendKey(nil, text)
	} else if json.Unmarshal(raw, &number) == nil {
		encoded, err = structures.AppendKey(nil, number)
	} else {
		err = fmt.Errorf("%s: a key is text or an integer, not %s", field, raw)
	}
	if err != nil {
		return structures.EncodedKey{}, err
	}
	return structures.DecodeKey[structures.EncodedKey](encoded)
}

// value takes a value.
func (f txnFields) value(field string) (structures.Encoded, error) {
	raw, err := need[json.RawMessage](f, field)
	if err != nil {
		return nil, err
	}
	v, err := cli.ParseValue(string(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return structures.AppendValue(nil, structures.CBOR, v)
}

// ttl takes a time to live that need not be there.
func (f txnFields) ttl() ([]dmap.TTLOption, time.Duration, error) {
	var text string
	ok, err := take(f, "ttl", &text)
	if !ok || err != nil {
		return nil, 0, err
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, 0, fmt.Errorf("ttl: %w", err)
	}
	return []dmap.TTLOption{dmap.TTL(d)}, d, nil
}

// one returns the one of some fields that there is.
func (f txnFields) one(kind string, fields ...string) (string, error) {
	for _, field := range fields {
		if _, ok := f[field]; ok {
			return field, nil
		}
	}
	return "", fmt.Errorf("of a %s one of these is wanted: %s", kind, strings.Join(fields, ", "))
}

// rest returns an error if fields are left.
func (f txnFields) rest() error {
	if len(f) > 0 {
		return fmt.Errorf("nothing is known of %s beside the others", f.names())
	}
	return nil
}

// txnCondition returns the condition that fields say.
func txnCondition(c *client.Client, f txnFields) (t structures.TxnTest, err error) {
	kind, name, err := f.structure()
	if err != nil {
		return t, err
	}
	switch kind {
	case "map":
		t, err = f.mapCondition(dmap.New[structures.EncodedKey, structures.Encoded](c, name).Txn())
	case "counter":
		of := dcounter.New(c, name).Txn()
		t, err = numberCondition(f, kind, map[string]func(int64) structures.TxnTest{"equal": of.IfEqual, "at_least": of.IfAtLeast, "at_most": of.IfAtMost})
	case "semaphore":
		t, err = numberCondition(f, kind, map[string]func(int64) structures.TxnTest{"available": dsemaphore.New(c, name).Txn().IfAvailable})
	case "ref":
		t, err = f.refCondition(dref.New[structures.Encoded](c, name).Txn())
	default:
		of := dqueue.New[structures.Encoded](c, name).Txn()
		if _, ok := f["empty"]; ok {
			t, err = of.IfEmpty(), f.isTrue("empty")
			break
		}
		t, err = numberCondition(f, kind, map[string]func(int64) structures.TxnTest{
			"length": func(n int64) structures.TxnTest { return of.IfLen(int(n)) },
		})
	}
	if err == nil {
		err = f.rest()
	}
	return t, err
}

// numberCondition returns a condition that has a number.
func numberCondition(f txnFields, kind string, conditions map[string]func(int64) structures.TxnTest) (t structures.TxnTest, err error) {
	field, err := f.one(kind, slices.Sorted(maps.Keys(conditions))...)
	if err != nil {
		return t, err
	}
	n, err := need[int64](f, field)
	return conditions[field](n), err
}

func (f txnFields) mapCondition(m dmap.Txn[structures.EncodedKey, structures.Encoded]) (t structures.TxnTest, err error) {
	key, err := f.key("key")
	if err != nil {
		return t, err
	}
	field, err := f.one("map", "version", "equal", "present", "absent")
	if err != nil {
		return t, err
	}
	switch field {
	case "version":
		version, err := need[uint64](f, field)
		return m.IfVersion(key, dmap.Version(version)), err
	case "equal":
		value, err := f.value(field)
		return m.IfValue(key, value), err
	case "present":
		return m.IfPresent(key), f.isTrue(field)
	}
	return m.IfAbsent(key), f.isTrue(field)
}

// step returns the operation that fields say.
func (f txnFields) step(c *client.Client) (s txnStep, err error) {
	kind, name, err := f.structure()
	if err != nil {
		return s, err
	}
	switch kind {
	case "map":
		s, err = f.mapStep(c, name)
	case "counter":
		s, err = f.counterStep(dcounter.New(c, name).Txn())
	case "semaphore":
		s, err = f.semaphoreStep(dsemaphore.New(c, name).Txn())
	case "ref":
		s, err = f.refStep(dref.New[structures.Encoded](c, name).Txn())
	default:
		s, err = f.queueStep(dqueue.New[structures.Encoded](c, name).Txn())
	}
	if err == nil {
		err = f.rest()
	}
	return s, err
}

// plain is an operation whose result is printed as it is.
func plain[T any](op *structures.TxnOp[T], err error) (txnStep, error) {
	return txnStep{op, func() (any, error) { return op.Result() }}, err
}

// found is one whose result is a value or nothing.
func found(op *structures.TxnFound[structures.Encoded], err error) (txnStep, error) {
	return txnStep{op, func() (any, error) {
		v, ok, err := op.Result()
		if err != nil || !ok {
			return nil, err
		}
		s := cli.Show(v)
		return s.JSON, cli.Unreadable(s.Err)
	}}, err
}

func (f txnFields) counterStep(n dcounter.Txn) (txnStep, error) {
	field, err := f.one("counter", "get", "set", "add")
	if err != nil {
		return txnStep{}, err
	}
	if field == "get" {
		return plain(n.Get(), f.isTrue(field))
	}
	arg, err := need[int64](f, field)
	if field == "set" {
		return txnStep{n.Set(arg), nil}, err
	}
	return plain(n.Add(arg), err)
}

func (f txnFields) semaphoreStep(s dsemaphore.Txn) (txnStep, error) {
	field, err := f.one("semaphore", "available", "add_permits")
	if err != nil {
		return txnStep{}, err
	}
	if field == "available" {
		return plain(s.Available(), f.isTrue(field))
	}
	n, err := need[int64](f, field)
	return txnStep{s.AddPermits(n), nil}, err
}

func (f txnFields) queueStep(q dqueue.Txn[structures.Encoded]) (txnStep, error) {
	field, err := f.one("queue", "offer", "poll", "peek", "length")
	if err != nil {
		return txnStep{}, err
	}
	switch field {
	case "offer":
		v, err := f.value(field)
		return txnStep{q.Offer(v), nil}, err
	case "poll":
		return found(q.Poll(), f.isTrue(field))
	case "peek":
		return found(q.Peek(), f.isTrue(field))
	}
	return plain(q.Len(), f.isTrue(field))
}

func (f txnFields) refCondition(r dref.Txn[structures.Encoded]) (t structures.TxnTest, err error) {
	field, err := f.one("ref", "version", "equal", "absent")
	if err != nil {
		return t, err
	}
	switch field {
	case "version":
		version, err := need[uint64](f, field)
		return r.IfVersion(dref.Version(version)), err
	case "equal":
		value, err := f.value(field)
		return r.IfValue(value), err
	}
	return r.IfAbsent(), f.isTrue(field)
}

func (f txnFields) refStep(r dref.Txn[structures.Encoded]) (txnStep, error) {
	field, err := f.one("ref", "get", "set", "swap", "set_if_absent", "replace", "delete")
	if err != nil {
		return txnStep{}, err
	}
	switch field {
	case "get":
		return found(r.Get(), f.isTrue(field))
	case "delete":
		return plain(r.Delete(), f.isTrue(field))
	}
	v, err := f.value(field)
	if err != nil {
		return txnStep{}, err
	}
	switch field {
	case "set":
		return txnStep{r.Set(v), nil}, nil
	case "swap":
		return found(r.Swap(v), nil)
	case "set_if_absent":
		return found(r.SetIfAbsent(v), nil)
	}
	version, err := need[uint64](f, "version")
	return plain(r.Replace(dref.Version(version), v), err)
}

func (f txnFields) mapStep(c *client.Client, name string) (s txnStep, err error) {
	m := dmap.New[structures.EncodedKey, structures.Encoded](c, name).Txn()
	field, err := f.one("map", "get", "put", "swap", "put_if_absent", "replace", "delete", "remove", "delete_version", "set_ttl", "add")
	if err != nil {
		return s, err
	}
	key, err := f.key(field)
	if err != nil {
		return s, err
	}
	switch field {
	case "get":
		return found(m.Get(key), nil)
	case "remove":
		return found(m.Remove(key), nil)
	case "delete":
		return plain(m.Delete(key), nil)
	case "delete_version":
		version, err := need[uint64](f, "version")
		return txnStep{m.DeleteVersion(key, dmap.Version(version)), nil}, err
	case "add":
		delta, err := need[int64](f, "delta")
		return plain(dmap.TxnAdd(dmap.New[structures.EncodedKey, int64](c, name).Txn(), key, delta), err)
	}
	ttl, d, err := f.ttl()
	if err != nil {
		return s, err
	}
	if field == "set_ttl" {
		if len(ttl) == 0 {
			return s, errors.New("it has no ttl")
		}
		return plain(m.SetTTL(key, d), nil)
	}
	value, err := f.value("value")
	if err != nil {
		return s, err
	}
	switch field {
	case "put":
		return txnStep{m.Put(key, value, ttl...), nil}, nil
	case "swap":
		return found(m.Swap(key, value, ttl...), nil)
	case "put_if_absent":
		return found(m.PutIfAbsent(key, value, ttl...), nil)
	}
	version, err := need[uint64](f, "version")
	op := m.Replace(key, dmap.Version(version), value, ttl...)
	return txnStep{op, func() (any, error) {
		v, err := op.Result()
		return uint64(v), err
	}}, err
}
