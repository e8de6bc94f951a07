package dmap

import (
	"bytes"
	"context"
)

// Len returns the number of entries: the sum of what each partition had at some moment of
// the call. With the option [Seen] it is [quorate.ErrInvalid].
func (m *Map[K, V]) Len(ctx context.Context, opts ...ReadOption) (int, error) {
	n, err := m.handle.Len(ctx, opts...)
	return int(n), err
}

// Clear removes the entries of each partition, 1,000 at a time: not at one moment. After an
// error it may have removed some.
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

// Destroy removes the map with its settings, not in all partitions at one moment. After an
// error part of it may be left, and Destroy may be called again. The name can be used again
// at once.
func (m *Map[K, V]) Destroy(ctx context.Context) error {
	return m.handle.Destroy(ctx)
}

// Configure sets the settings of the map, once; those not given are at their defaults. The
// same settings again are no error. Entries that were written before keep their TTL.
// Errors: [quorate.ErrSettings], which names those in force, for others;
// [quorate.ErrInvalid] for a value out of range. After any other error it may be called
// again; until then parts of the map may lack the settings.
func (m *Map[K, V]) Configure(ctx context.Context, settings ...Setting) error {
	return m.handle.Configure(ctx, settings...)
}
