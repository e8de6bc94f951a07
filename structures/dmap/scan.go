package dmap

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// ScanOption restricts an iteration. Several restrict it together.
type ScanOption func(*scanOptions)

type scanOptions struct {
	from, to []byte // encoded; empty: no bound
	tag      byte   // of the bounds; 0: none
	err      error
}

// restrict narrows the range to [from, to).
func (o *scanOptions) restrict(tag byte, from, to []byte) {
	switch {
	case o.err != nil:
	case tag == protocol.KeyCBOR:
		o.err = fmt.Errorf("%w: keys that are structs or arrays have no order", quorate.ErrInvalid)
	case o.tag != 0 && o.tag != tag:
		o.err = fmt.Errorf("%w: bounds of different types", quorate.ErrInvalid)
	}
	o.tag = tag
	if bytes.Compare(from, o.from) > 0 {
		o.from = from
	}
	if len(o.to) == 0 || (len(to) > 0 && bytes.Compare(to, o.to) < 0) {
		o.to = to
	}
}

// Prefix restricts to the string keys that begin with p.
func Prefix(p string) ScanOption {
	from := append([]byte{protocol.KeyText}, p...)
	to := bytes.TrimRight(from, "\xff") // never empty: the tag is no 0xff
	to = append([]byte(nil), to...)
	to[len(to)-1]++
	return func(o *scanOptions) { o.restrict(protocol.KeyText, from, to) }
}

// From restricts to the keys from k on. Strings, integers and byte arrays have
// an order.
func From[K comparable](k K) ScanOption {
	return bound(k, func(o *scanOptions, b []byte) { o.restrict(b[0], b, nil) })
}

// Before restricts to the keys below k.
func Before[K comparable](k K) ScanOption {
	return bound(k, func(o *scanOptions, b []byte) { o.restrict(b[0], nil, b) })
}

func bound[K comparable](k K, restrict func(*scanOptions, []byte)) ScanOption {
	b, err := structures.AppendKey(nil, k)
	return func(o *scanOptions) {
		if err != nil {
			o.err = err
			return
		}
		restrict(o, b)
	}
}

// All iterates over the entries. Every entry that is there throughout comes
// exactly once, and one that is written meanwhile at most once. An error is the
// last thing that comes, and the entry beside it has at most its Key.
func (m *Map[K, V]) All(ctx context.Context, opts ...ScanOption) iter.Seq2[Entry[K, V], error] {
	return func(yield func(Entry[K, V], error) bool) {
		const verb = "all"
		err := m.scan(ctx, verb, opScan, opts, func(key []byte, r *protocol.Reader) (bool, error) {
			var e Entry[K, V]
			value := m.readEntry(r, &e)
			if r.Err() != nil {
				return false, nil // scan sees it
			}
			var err error
			if e.Key, err = structures.DecodeKey[K](key); err == nil {
				err = structures.DecodeValue(m.codec, value, &e.Value)
			}
			if err != nil {
				yield(Entry[K, V]{Key: e.Key}, m.handle.Fail(verb, err, ""))
				return false, nil
			}
			return yield(e, nil), nil
		})
		if err != nil {
			yield(Entry[K, V]{}, err)
		}
	}
}

// Keys iterates over the keys, as All does.
func (m *Map[K, V]) Keys(ctx context.Context, opts ...ScanOption) iter.Seq2[K, error] {
	return func(yield func(K, error) bool) {
		const verb = "keys"
		err := m.scan(ctx, verb, opScanKeys, opts, func(key []byte, _ *protocol.Reader) (bool, error) {
			k, err := structures.DecodeKey[K](key)
			if err != nil {
				return false, m.handle.Fail(verb, err, "")
			}
			return yield(k, nil), nil
		})
		if err != nil {
			yield(*new(K), err)
		}
	}
}

// The first pages of scanWidth partitions are asked for together, and are kept
// small, so that a small map takes few round trips and a large one little room.
const (
	scanWidth = 16
	scanBytes = 64 << 10
)

// scan calls f for every entry in range with its key, and the reader standing
// behind it, until f returns false or an error.
func (m *Map[K, V]) scan(ctx context.Context, verb string, op protocol.Op, opts []ScanOption, f func(key []byte, r *protocol.Reader) (bool, error)) error {
	a, err := m.scanRange(opts)
	if err != nil {
		return m.handle.Fail(verb, err, "")
	}
	n := m.handle.Partitions()
	if len(a.to) > 0 && bytes.Compare(a.from, a.to) >= 0 {
		n = 0
	}
	for first := 0; first < n; first += scanWidth {
		var calls []structures.Call
		for p := first; p < min(first+scanWidth, n); p++ {
			calls = append(calls, m.handle.Call(verb, op, protocol.FlagRead, protocol.PartitionID(p), a.append(nil)))
		}
		replies, errs := m.handle.InvokeAll(ctx, calls)
		for i, call := range calls {
			ok, err := m.scanPartition(ctx, call, a, replies[i], errs[i], f)
			if err != nil || !ok {
				return err
			}
		}
	}
	return nil
}

// scanPartition goes through one partition, whose first page is the reply.
func (m *Map[K, V]) scanPartition(ctx context.Context, call structures.Call, a scanArgs, reply structures.Reply, err error,
	f func(key []byte, r *protocol.Reader) (bool, error),
) (bool, error) {
	for {
		if err == nil {
			err = m.refused(call.Verb, reply)
		}
		if err != nil {
			return false, err
		}
		r := protocol.NewReader(reply.Body)
		r.ArrayLen()
		more := r.Bool()
		var key []byte
		for r.Len() > 0 {
			if key = r.Bytes(); r.Err() != nil {
				break
			}
			ok, err := f(key, &r)
			if r.Err() != nil {
				break
			}
			if err != nil || !ok {
				return false, err
			}
		}
		if r.Done() != nil || more && bytes.Compare(key, a.from) < 0 {
			return false, m.handle.Garbled(call.Verb, reply)
		}
		if !more {
			return true, nil
		}
		a.from, a.maxBytes = after(key), uint64(m.handle.Limits().PageBytes)
		call.Body = a.append(nil)
		reply, err = m.handle.Invoke(ctx, call)
	}
}

// scanRange returns what the options ask for.
func (m *Map[K, V]) scanRange(opts []ScanOption) (scanArgs, error) {
	var o scanOptions
	for _, opt := range opts {
		opt(&o)
	}
	if o.err == nil && o.tag != 0 {
		own, err := structures.AppendKey(nil, *new(K))
		if err == nil && own[0] != o.tag {
			err = fmt.Errorf("%w: a bound of another type than the keys", quorate.ErrInvalid)
		}
		o.err = err
	}
	return scanArgs{from: o.from, to: o.to, maxBytes: scanBytes}, o.err
}
