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

// ScanOption restricts an iteration, or says where it begins. Several restrict it
// together. The zero ScanOption changes nothing.
type ScanOption struct {
	from, to []byte // encoded; empty: no bound
	tag      byte   // of the bounds; 0: none
	at       *Cursor
	err      error
}

// add adds what another option asks for: it narrows the range to that of both.
func (o *ScanOption) add(other ScanOption) {
	switch {
	case other.at != nil:
		o.at = other.at
	case other.err != nil:
		o.err = other.err
	}
	if other.tag == 0 {
		return
	}
	switch {
	case o.err != nil:
	case other.tag == protocol.KeyCBOR:
		o.err = fmt.Errorf("%w: keys that are structs or arrays have no order", quorate.ErrInvalid)
	case o.tag != 0 && o.tag != other.tag:
		o.err = fmt.Errorf("%w: bounds of different types", quorate.ErrInvalid)
	}
	o.tag = other.tag
	if bytes.Compare(other.from, o.from) > 0 {
		o.from = other.from
	}
	if len(o.to) == 0 || (len(other.to) > 0 && bytes.Compare(other.to, o.to) < 0) {
		o.to = other.to
	}
}

// Prefix restricts an iteration to the string keys that begin with p. In a map with
// keys of another type it is [quorate.ErrInvalid].
func Prefix(p string) ScanOption {
	from := append([]byte{protocol.KeyText}, p...)
	to := bytes.TrimRight(from, "\xff") // never empty: the tag is no 0xff
	to = append([]byte(nil), to...)
	to[len(to)-1]++
	return ScanOption{tag: protocol.KeyText, from: from, to: to}
}

// From restricts an iteration to the keys from k on. Strings, integers and byte arrays
// have an order; a key of another type is [quorate.ErrInvalid], as is one of another
// type than the map's keys.
func From[K comparable](k K) ScanOption {
	b, err := structures.AppendKey(nil, k)
	if err != nil {
		return ScanOption{err: err}
	}
	return ScanOption{tag: b[0], from: b}
}

// Before restricts an iteration to the keys below k. The keys are those of [From].
func Before[K comparable](k K) ScanOption {
	b, err := structures.AppendKey(nil, k)
	if err != nil {
		return ScanOption{err: err}
	}
	return ScanOption{tag: b[0], to: b}
}

// All iterates over the entries. Every entry that exists throughout comes exactly once, and
// one that is written during the iteration at most once. An error ends the iteration; the
// entry beside it has at most its Key. Errors: [quorate.ErrInvalid] for options that do not
// fit the map or each other; [quorate.ErrCodec] for a value that another codec wrote, or
// that V cannot hold, and for a key of another type than K.
func (m *Map[K, V]) All(ctx context.Context, opts ...ScanOption) iter.Seq2[Entry[K, V], error] {
	return func(yield func(Entry[K, V], error) bool) {
		const verb = "all"
		err := m.scan(ctx, verb, opScan, opts, func(key []byte, r *protocol.Reader, pass func()) (bool, error) {
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
			pass()
			return yield(e, nil), nil
		})
		if err != nil {
			yield(Entry[K, V]{}, err)
		}
	}
}

// Keys iterates over the keys, as [Map.All] does.
func (m *Map[K, V]) Keys(ctx context.Context, opts ...ScanOption) iter.Seq2[K, error] {
	return func(yield func(K, error) bool) {
		const verb = "keys"
		err := m.scan(ctx, verb, opScanKeys, opts, func(key []byte, _ *protocol.Reader, pass func()) (bool, error) {
			k, err := structures.DecodeKey[K](key)
			if err != nil {
				return false, m.handle.Fail(verb, err, "")
			}
			pass()
			return yield(k, nil), nil
		})
		if err != nil {
			yield(*new(K), err)
		}
	}
}

// The first pages of scanWidth partitions are requested together, and are kept
// small, so that a small map takes few round trips and a large one little memory.
const (
	scanWidth = 16
	scanBytes = 64 << 10
)

// visit is called for an entry with its key, and the reader positioned behind the key.
// It calls pass once it has read the entry. If it returns false the scan ends.
type visit func(key []byte, r *protocol.Reader, pass func()) (bool, error)

// scan visits every entry in range.
func (m *Map[K, V]) scan(ctx context.Context, verb string, op protocol.Op, opts []ScanOption, f visit) error {
	a, at, err := m.scanRange(opts)
	n := protocol.PartitionID(m.handle.Partitions())
	if err == nil && at != nil {
		err = at.begin(m.handle.Name(), int(n))
	}
	if err != nil {
		return m.handle.Fail(verb, err, "")
	}
	first, from := protocol.PartitionID(0), a.from
	if at != nil {
		first = protocol.PartitionID(at.partition)
		a.from = []byte(max(string(from), at.from))
	}
	if len(a.to) > 0 && bytes.Compare(from, a.to) >= 0 {
		first = n
	}
	for first < n {
		var calls []structures.Call
		for p := first; p < min(first+scanWidth, n); p++ {
			calls = append(calls, m.handle.Call(verb, op, protocol.FlagRead, p, a.append(nil)))
			a.from = from // only the partition of the cursor begins elsewhere
		}
		replies, errs := m.handle.InvokeAll(ctx, calls)
		for i, call := range calls {
			ok, err := m.scanPartition(ctx, call, at, replies[i], errs[i], f)
			if err != nil || !ok {
				return err
			}
			at.move(call.Partition+1, "")
		}
		first += protocol.PartitionID(len(calls))
	}
	at.move(n, "")
	return nil
}

// scanPartition goes through one partition, whose first page is the reply.
func (m *Map[K, V]) scanPartition(ctx context.Context, call structures.Call, at *Cursor, reply structures.Reply, err error, f visit) (bool, error) {
	a, _ := readScan(call.Body)
	var key []byte
	pass := func() { at.pass(call.Partition, key) }
	for {
		if err != nil {
			return false, err
		}
		r := protocol.NewReader(reply.Body)
		r.ArrayLen()
		next := r.Bytes()
		for r.Len() > 0 {
			key = r.Bytes()
			if r.Err() != nil {
				break
			}
			ok, err := f(key, &r, pass)
			if r.Err() != nil {
				break
			}
			if err != nil || !ok {
				return false, err
			}
		}
		if r.Done() != nil || len(next) > 0 && bytes.Compare(next, a.from) <= 0 {
			return false, m.handle.Garbled(call.Verb, reply)
		}
		if len(next) == 0 {
			return true, nil
		}
		a.from, a.maxBytes = next, uint64(m.handle.Limits().PageBytes)
		call.Body = a.append(nil)
		reply, err = m.handle.Invoke(ctx, call)
	}
}

// scanRange returns what the options ask for.
func (m *Map[K, V]) scanRange(opts []ScanOption) (scanArgs, *Cursor, error) {
	var o ScanOption
	for _, opt := range opts {
		o.add(opt)
	}
	if _, every := any(*new(K)).(structures.EncodedKey); o.err == nil && o.tag != 0 && !every {
		own, err := structures.AppendKey(nil, *new(K))
		if err == nil && own[0] != o.tag {
			err = fmt.Errorf("%w: a bound of another type than the keys", quorate.ErrInvalid)
		}
		o.err = err
	}
	return scanArgs{from: o.from, to: o.to, maxBytes: scanBytes}, o.at, o.err
}
