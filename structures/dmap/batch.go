package dmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// PartialError is the error of an operation over many keys: each key was done, is in
// NotDone, or is in Unknown. It Is the causes of its parts. [quorate.SafeToRetry] is true of
// it only if no key was changed. To go on, repeat the operation with the keys in NotDone.
type PartialError[K comparable] struct {
	NotDone []K // certainly not changed, or not read
	Unknown []K // perhaps changed

	verb, object string
	causes       []error // of the parts, no text twice
	changed      bool    // some part was done, and it was no read
}

func (e *PartialError[K]) Error() string {
	text := e.verb + " " + e.object + ": "
	if len(e.NotDone) > 0 {
		text += strconv.Itoa(len(e.NotDone)) + " keys not done, "
	}
	if len(e.Unknown) > 0 {
		text += strconv.Itoa(len(e.Unknown)) + " keys unknown, "
	}
	text += "because: " + e.causes[0].Error()
	if more := len(e.causes) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d reasons more)", more)
	}
	return text
}

// Unwrap returns the causes. If something was changed, these are without the *quorate.Error
// around them, which would make the error SafeToRetry.
func (e *PartialError[K]) Unwrap() []error {
	if !e.changed {
		return e.causes
	}
	var bare []error
	for _, err := range e.causes {
		if q, ok := errors.AsType[*quorate.Error](err); ok {
			bare = append(bare, q.Unwrap()...)
		} else {
			bare = append(bare, err)
		}
	}
	return bare
}

// A round of a batch is sent when it has this much; a call of it has at most
// maxPart keys, and at most partBytes beyond its first item.
const (
	roundItems = 32 << 10
	roundBytes = 2 << 20
	partBytes  = 1 << 20
	itemHeads  = 12 // at most what an item has in a body beside its key and value
)

// batch carries out one operation over many keys. It sorts the gathered keys into one call
// per partition, or several if there are too many, and stops at the first round with an
// error.
type batch[K comparable, V any] struct {
	m     *Map[K, V]
	call  structures.Call // without partition and body
	head  []byte          // what is before the items in a body
	bytes int
	items []batchItem[K]
	err   *PartialError[K]
	// merge joins a later item of the same key into an earlier one; nil: the later one
	// replaces it.
	merge func(into *batchItem[K], later batchItem[K]) error
	// answer handles the reply to a call, and returns the items that are still to be done.
	answer func(items []batchItem[K], reply structures.Reply) ([]batchItem[K], error)
}

type batchItem[K comparable] struct {
	key       K
	partition protocol.PartitionID
	encoded   []byte
	value     []byte // encoded for the wire
	delta     int64
}

func newBatch[K comparable, V any](m *Map[K, V], verb string, op protocol.Op, flags protocol.Flags) *batch[K, V] {
	return &batch[K, V]{
		m: m, call: m.handle.Call(verb, op, flags, 0, nil),
		err: &PartialError[K]{verb: verb, object: m.handle.Object()},
		answer: func([]batchItem[K], structures.Reply) ([]batchItem[K], error) {
			return nil, nil
		},
	}
}

// add gathers a key, and sends a round when there is enough for one.
func (b *batch[K, V]) add(ctx context.Context, item batchItem[K]) {
	var err error
	if b.stopped() {
		b.err.NotDone = append(b.err.NotDone, item.key)
		return
	}
	if item.encoded, err = structures.AppendKey(nil, item.key); err == nil {
		err = checkSize(b.m.handle.Limits(), item.encoded, nil)
	}
	if err != nil {
		b.fail([]batchItem[K]{item}, b.m.handle.Fail(b.call.Verb, err, ""))
		return
	}
	item.partition = b.m.handle.Partition(item.encoded)
	b.items = append(b.items, item)
	b.bytes += len(item.encoded) + len(item.value)
	if len(b.items) >= roundItems || b.bytes >= roundBytes {
		b.flush(ctx)
	}
}

func (b *batch[K, V]) stopped() bool { return len(b.err.causes) > 0 }

// finish sends what is left and returns the error of the operation.
func (b *batch[K, V]) finish(ctx context.Context) error {
	b.flush(ctx)
	if b.stopped() {
		return b.err
	}
	return nil
}

// flush sends a round.
func (b *batch[K, V]) flush(ctx context.Context) {
	if b.stopped() {
		for i := range b.items {
			b.err.NotDone = append(b.err.NotDone, b.items[i].key)
		}
		b.items = nil
		return
	}
	parts, err := b.parts()
	if err != nil {
		b.fail(b.items, b.m.handle.Fail(b.call.Verb, err, ""))
	}
	for len(parts) > 0 {
		calls := make([]structures.Call, len(parts))
		for i, items := range parts {
			calls[i] = b.call
			calls[i].Partition, calls[i].Body = items[0].partition, b.body(items)
			calls[i].Keys = func(yield func([]byte) bool) {
				for i := range items {
					if !yield(items[i].encoded) {
						return
					}
				}
			}
		}
		replies, errs := b.m.handle.InvokeAll(ctx, calls)
		var open [][]batchItem[K]
		for i, items := range parts {
			rest, err := b.reply(items, replies[i], errs[i])
			if err != nil {
				b.fail(items, err)
			} else if len(rest) > 0 {
				open = append(open, rest)
			}
		}
		parts = open
	}
	b.items, b.bytes = b.items[:0], 0
}

func (b *batch[K, V]) reply(items []batchItem[K], reply structures.Reply, err error) ([]batchItem[K], error) {
	if err != nil {
		return nil, err
	}
	b.err.changed = b.err.changed || b.call.Flags&protocol.FlagRead == 0
	return b.answer(items, reply)
}

// fail notes that items were not done, or perhaps done.
func (b *batch[K, V]) fail(items []batchItem[K], err error) {
	e := b.err
	keys := &e.NotDone
	if errors.Is(err, quorate.ErrOutcomeUnknown) {
		keys = &e.Unknown
	}
	for i := range items {
		*keys = append(*keys, items[i].key)
	}
	if !slices.ContainsFunc(e.causes, func(c error) bool { return c.Error() == err.Error() }) {
		e.causes = append(e.causes, err)
	}
}

// parts sorts the gathered items, joins those of one key, and cuts them into
// calls.
func (b *batch[K, V]) parts() ([][]batchItem[K], error) {
	slices.SortStableFunc(b.items, func(x, y batchItem[K]) int {
		if x.partition != y.partition {
			return int(x.partition) - int(y.partition)
		}
		return bytes.Compare(x.encoded, y.encoded)
	})
	joined := make([]batchItem[K], 0, len(b.items))
	for _, item := range b.items {
		last := len(joined) - 1
		switch {
		case last < 0 || !bytes.Equal(joined[last].encoded, item.encoded):
			joined = append(joined, item)
		case b.merge == nil:
			joined[last] = item
		default:
			if err := b.merge(&joined[last], item); err != nil {
				return nil, err
			}
		}
	}
	var parts [][]batchItem[K]
	start, size := 0, 0
	for i := range joined {
		n := len(joined[i].encoded) + len(joined[i].value) + itemHeads
		if i > start && (joined[i].partition != joined[start].partition || i-start == maxPart || size+n > partBytes) {
			parts = append(parts, joined[start:i])
			start, size = i, 0
		}
		size += n
	}
	if start < len(joined) {
		parts = append(parts, joined[start:])
	}
	return parts, nil
}

// body returns the body of a call: the head and the items in one array.
func (b *batch[K, V]) body(items []batchItem[K]) []byte {
	size := 16
	for i := range items {
		size += len(items[i].encoded) + len(items[i].value) + itemHeads
	}
	n := len(items)
	if len(b.head) > 0 {
		n = 1 + 2*n
	}
	body := append(protocol.AppendArray(make([]byte, 0, size), n), b.head...)
	for i := range items {
		body = protocol.AppendBytes(body, items[i].encoded)
		switch b.call.Op {
		case opPutAll:
			body = append(body, items[i].value...)
		case opAddAll:
			body = protocol.AppendInt(body, items[i].delta)
		}
	}
	return body
}

// GetAll returns the values of those keys that have one. Its error is a [*PartialError];
// with it, it returns what it could read. It reads each partition atomically up to 1,000
// keys or 1 MiB, and more in several steps. A value that another codec wrote, or that V
// cannot hold, is [quorate.ErrCodec]. Of a map with a [NearCache] it reads from the grid
// what that does not have.
func (m *Map[K, V]) GetAll(ctx context.Context, keys ...K) (map[K]V, error) {
	const verb = "get all"
	found := make(map[K]V, len(keys))
	b := newBatch(m, verb, opGetAll, protocol.FlagRead)
	near := newNearAll(m, found)
	defer near.abandon()
	b.answer = func(items []batchItem[K], reply structures.Reply) ([]batchItem[K], error) {
		r := protocol.NewReader(reply.Body)
		n := r.ArrayLen()
		next := r.Uint()
		if n%4 != 1 || next == 0 || next > uint64(len(items)) {
			r.Fail()
		}
		known := 0 // the items before have been looked at
		for range n / 4 {
			i, e := r.Uint(), Entry[K, V]{}
			value := m.readEntry(&r, &e)
			if i < uint64(known) || i >= next || r.Err() != nil {
				r.Fail()
				break
			}
			if err := structures.DecodeValue(m.codec, value, &e.Value); err != nil {
				return nil, m.handle.Fail(verb, err, "")
			}
			near.absent(items[known:i], reply.Version)
			k := items[i].key
			found[k], known = e.Value, int(i)+1
			near.done(k, structures.NearValue{Exists: true, Value: value, Version: e.Version, Seen: reply.Version, Left: e.Left})
		}
		if r.Done() != nil {
			return nil, m.handle.Garbled(verb, reply)
		}
		near.absent(items[known:next], reply.Version)
		return items[next:], nil
	}
	for _, k := range keys {
		if !near.get(k) {
			b.add(ctx, batchItem[K]{key: k})
		}
	}
	return found, b.finish(ctx)
}

// PutAll stores many values, with the same [TTL] or [KeepTTL] for all of them. Of a key that
// comes twice it stores the later value. Its error is a [*PartialError], or
// [quorate.ErrInvalid] for a bad TTL.
func (m *Map[K, V]) PutAll(ctx context.Context, entries iter.Seq2[K, V], opts ...TTLOption) error {
	const verb = "put all"
	ttl, err := ttlWith(opts)
	if err != nil {
		return m.handle.Fail(verb, err, "")
	}
	b := newBatch(m, verb, opPutAll, 0)
	b.head = protocol.AppendInt(nil, ttl)
	for k, v := range entries {
		item := batchItem[K]{key: k}
		if !b.stopped() {
			if item.value, err = m.appendValue(nil, v); err != nil {
				b.fail([]batchItem[K]{item}, m.handle.Fail(verb, err, ""))
				continue
			}
		}
		b.add(ctx, item)
	}
	return b.finish(ctx)
}

// DeleteAll removes many entries and returns how many it is known to have removed. Its
// error is a [*PartialError].
func (m *Map[K, V]) DeleteAll(ctx context.Context, keys ...K) (int, error) {
	const verb = "delete all"
	deleted := 0
	b := newBatch(m, verb, opDeleteAll, 0)
	b.answer = func(_ []batchItem[K], reply structures.Reply) ([]batchItem[K], error) {
		r := protocol.NewReader(reply.Body)
		r.Array(1)
		deleted += int(r.Uint())
		return nil, done(&m.handle, verb, &r, reply)
	}
	for _, k := range keys {
		b.add(ctx, batchItem[K]{key: k})
	}
	return deleted, b.finish(ctx)
}
