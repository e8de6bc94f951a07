package dmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Len returns the number of entries: the sum of what each partition had at
// some moment of the call.
func (m *Map[K, V]) Len(ctx context.Context, opts ...ReadOption) (int, error) {
	const verb = "len"
	calls := m.everywhere(verb, opLen, readFlags(opts), nothing)
	replies, err := m.invokeAll(ctx, calls)
	if err != nil {
		return 0, err
	}
	total := 0
	for i := range replies {
		r := protocol.NewReader(replies[i].Body)
		r.Array(1)
		total += int(r.Uint())
		if err := m.done(verb, &r, replies[i]); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// Clear removes every entry that is there when it begins, one after another:
// not at once. After an error some are gone.
func (m *Map[K, V]) Clear(ctx context.Context) error {
	const verb = "clear"
	calls := m.everywhere(verb, opClear, 0, appendValue(nil))
	for len(calls) > 0 {
		replies, err := m.invokeAll(ctx, calls)
		if err != nil {
			return err
		}
		open := calls[:0]
		for i, call := range calls {
			from, _, _ := readOptional(call.Body)
			next, _, err := readOptional(replies[i].Body)
			if err != nil || len(next) > 0 && bytes.Compare(next, from) <= 0 {
				return m.handle.Garbled(verb, replies[i])
			}
			if len(next) > 0 {
				call.Body = appendValue(next)
				open = append(open, call)
			}
		}
		calls = open
	}
	return nil
}

// Destroy removes the map with its settings, one partition after another; after
// an error part of it is left, and Destroy may be called again. The name can be
// used again at once.
func (m *Map[K, V]) Destroy(ctx context.Context) error {
	_, err := m.invokeAll(ctx, m.everywhere("destroy", opDestroy, 0, nothing))
	return err
}

// Configure agrees the settings of the map, once: the same again is nil, others
// are ErrSettings, with those in force. What was written before keeps its TTL.
// After another error it may be called again; until then parts of the map may
// lack the settings.
func (m *Map[K, V]) Configure(ctx context.Context, settings ...Setting) error {
	const verb = "configure"
	var o putOptions
	for _, set := range settings {
		if set(&o); o.err != nil {
			return m.handle.Fail(verb, o.err, "")
		}
	}
	home := m.handle.Partition(nil)
	body := protocol.AppendInt(protocol.AppendArray(nil, 1), o.ttl)
	reply, err := m.invoke(ctx, m.handle.Call(verb, opConfigure, 0, home, body))
	if err != nil {
		return err
	}
	r := protocol.NewReader(reply.Body)
	r.Array(1)
	version := r.Uint()
	if err := m.done(verb, &r, reply); err != nil {
		return err
	}
	calls := m.everywhere(verb, opAdopt, 0, agreed{ttl: o.ttl, version: version}.append(nil))
	_, err = m.invokeAll(ctx, append(calls[:home], calls[home+1:]...))
	return err
}

// everywhere returns a call in each partition.
func (m *Map[K, V]) everywhere(verb string, op protocol.Op, flags protocol.Flags, body []byte) []structures.Call {
	calls := make([]structures.Call, m.handle.Partitions())
	for p := range calls {
		calls[p] = m.handle.Call(verb, op, flags, protocol.PartitionID(p), body)
	}
	return calls
}

// invokeAll carries out calls that stand or fall together for the caller. Its
// error is the first of theirs, and unknown where any of them may have changed
// something.
func (m *Map[K, V]) invokeAll(ctx context.Context, calls []structures.Call) ([]structures.Reply, error) {
	replies, errs := m.handle.InvokeAll(ctx, calls)
	var first error
	done, unknown := 0, false
	for i, err := range errs {
		if err == nil {
			err = m.refused(calls[i].Verb, replies[i])
		}
		if err == nil {
			done++
			continue
		}
		unknown = unknown || errors.Is(err, quorate.ErrOutcomeUnknown)
		if first == nil {
			first = err
		}
	}
	if first == nil || done == 0 && !unknown {
		return replies, first
	}
	read := calls[0].Flags&protocol.FlagRead != 0
	e := &quorate.Error{
		Op: calls[0].Verb, Object: m.handle.Object(), Cause: first, Unknown: !read,
		Detail: fmt.Sprintf("done in %d of %d partitions", done, len(calls)),
	}
	if cause, ok := errors.AsType[*quorate.Error](first); ok {
		e.Cause = cause.Cause
	}
	return nil, e
}
