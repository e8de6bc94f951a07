package dmap

import (
	"bytes"
	"context"
)

// Len returns the number of entries: the sum of what each partition had at
// some moment of the call. It has no version for Seen.
func (m *Map[K, V]) Len(ctx context.Context, opts ...ReadOption) (int, error) {
	n, err := m.handle.Len(ctx, opts...)
	return int(n), err
}

// Clear removes every entry that is there when it begins, one after another:
// not at once. After an error some are gone.
func (m *Map[K, V]) Clear(ctx context.Context) error {
	const verb = "clear"
	calls := m.handle.Everywhere(verb, opClear, 0, appendValue(nil))
	for len(calls) > 0 {
		replies, err := m.handle.InvokeEach(ctx, calls)
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
	return m.handle.Destroy(ctx)
}

// Configure agrees the settings of the map, once: the same again is nil, others
// are ErrSettings, with those in force. What was written before keeps its TTL.
// After another error it may be called again; until then parts of the map may
// lack the settings.
func (m *Map[K, V]) Configure(ctx context.Context, settings ...Setting) error {
	return m.handle.Configure(ctx, settings...)
}
