package dmap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The conditions of a map's own.
var (
	// ErrConflict is the error of [Map.Replace] and [Map.DeleteVersion] if the entry has
	// another version, or does not exist.
	ErrConflict = errors.New("conflict")
	// ErrNotInteger is the error of [Add] and [AddAll] for a value that is not an integer.
	ErrNotInteger = errors.New("not an integer")
	// ErrOverflow is the error of [Add] and [AddAll] for a sum that does not fit its type.
	ErrOverflow = errors.New("overflow")
)

// DeleteEntry is what a function passed to [Map.Update] returns to delete the entry.
var DeleteEntry = errors.New("delete the entry")

// Entry is an entry of a map as it was read.
type Entry[K comparable, V any] struct {
	Key     K
	Value   V
	Version Version
	// Left is the time to live that is left; 0: the entry does not end.
	Left time.Duration
	// Owner is the session that an ephemeral entry ends with ([Ephemeral]), as
	// [Map.Entry] found it; 0: the entry is ordinary, or was not read by Map.Entry, or
	// with a near cache.
	Owner protocol.SessionID
}

// Map is a handle of one map. Making one costs nothing. It is safe for concurrent use.
type Map[K comparable, V any] struct {
	handle structures.Handle
	codec  structures.Codec
	near   structures.NearCache // nil: there is none
}

// New returns the handle of the map with the given name. Without the option [Codec] values
// are encoded with [structures.CBOR]. [structures.AppendKey] says which types keys can have.
// A bad name, key type or codec is the error of every call: [quorate.ErrInvalid], or
// [quorate.ErrTooLarge] for a name of more than 255 bytes.
func New[K comparable, V any](inv structures.Invoker, name string, opts ...Option) *Map[K, V] {
	o := optionsOf(opts)
	codec, bad := structures.CodecWith(o.handle)
	if bad == nil {
		bad = structures.CheckKeyType[K]()
	}
	m := &Map[K, V]{handle: structures.NewHandle(inv, &kind, name, bad), codec: codec}
	if o.near != nil {
		keepNear(m, o.near)
	}
	return m
}

// Get returns the value of a key, and whether there is one. A value that another codec
// wrote, or that V cannot hold, is [quorate.ErrCodec]. Of a map with a [NearCache] it may be
// one that was read before; with [Fresh] it is not.
func (m *Map[K, V]) Get(ctx context.Context, k K, opts ...ReadOption) (V, bool, error) {
	e, ok, err := m.entry(ctx, "get", k, structures.ReadWith(opts))
	return e.Value, ok, err
}

// Entry returns the entry of a key, with its version and its time to live, and whether
// there is one. Its errors are those of [Map.Get].
func (m *Map[K, V]) Entry(ctx context.Context, k K, opts ...ReadOption) (Entry[K, V], bool, error) {
	return m.entry(ctx, "entry", k, structures.ReadWith(opts))
}

// entry reads an entry, from the near cache if there is one.
func (m *Map[K, V]) entry(ctx context.Context, verb string, k K, reading structures.Reading) (Entry[K, V], bool, error) {
	if m.near != nil && reading.Flags&protocol.FlagStale == 0 {
		return nearEntry(m, ctx, verb, k, reading)
	}
	return gridEntry(m, ctx, verb, k, reading)
}

// gridEntry reads an entry from the grid.
func gridEntry[K comparable, V any](m *Map[K, V], ctx context.Context, verb string, k K, reading structures.Reading) (Entry[K, V], bool, error) {
	call, err := m.call(verb, opGet, k, 1)
	if err != nil {
		return Entry[K, V]{}, false, err
	}
	call.Flags = reading.Flags
	reply, err := m.handle.Invoke(ctx, call)
	if err != nil {
		return Entry[K, V]{}, false, err
	}
	return m.readGet(verb, k, reply, reading)
}

// readGet reads the result of opGet.
func (m *Map[K, V]) readGet(verb string, k K, reply structures.Reply, reading structures.Reading) (Entry[K, V], bool, error) {
	r := protocol.NewReader(reply.Body)
	fields := r.ArrayLen()
	e, exists := Entry[K, V]{Key: k}, fields > 0
	var value []byte
	if exists {
		value = m.readEntry(&r, &e)
	}
	if fields > 3 {
		e.Owner = protocol.SessionID(r.Uint())
	}
	if err := done(&m.handle, verb, &r, reply); err != nil {
		return Entry[K, V]{}, false, err
	}
	reading.Saw(reply)
	if !exists {
		return Entry[K, V]{}, false, nil
	}
	if err := structures.DecodeValue(m.codec, value, &e.Value); err != nil {
		return Entry[K, V]{}, false, m.handle.Fail(verb, err, "")
	}
	return e, true, nil
}

// readEntry reads what appendEntry wrote, and returns the encoded value.
func (m *Map[K, V]) readEntry(r *protocol.Reader, e *Entry[K, V]) []byte {
	value := r.Bytes()
	e.Version = Version(r.Uint())
	e.Left = time.Duration(r.Uint()) * time.Millisecond
	return value
}

// Put stores a value. Without an option the entry gets the map's [DefaultTTL].
//
// Errors: [quorate.ErrTooLarge] for a key or value over its limit (4 KiB and 1 MiB by
// default); [quorate.ErrInvalid] for a value that the codec cannot encode, or a bad TTL;
// [quorate.ErrMemoryFull] and [quorate.ErrReadOnly] if a member is short of memory or disk.
func (m *Map[K, V]) Put(ctx context.Context, k K, v V, opts ...PutOption) error {
	call, guard, err := m.putCall("put", opPut, k, v, opts)
	if err != nil {
		return err
	}
	_, err = m.handle.InvokeIf(ctx, guard, call)
	return err
}

// Swap stores a value as [Map.Put] does, and returns the one before, and whether there was
// one. If V cannot hold that, the error is [quorate.ErrCodec] and
// [quorate.ErrOutcomeUnknown], and the new value is stored.
func (m *Map[K, V]) Swap(ctx context.Context, k K, v V, opts ...PutOption) (old V, existed bool, err error) {
	call, guard, err := m.putCall("swap", opSwap, k, v, opts)
	if err != nil {
		return old, false, err
	}
	return m.optional(ctx, guard, call)
}

// PutIfAbsent stores a value as [Map.Put] does if the key has none, and reports whether it
// did. If it did not, it returns the existing one.
func (m *Map[K, V]) PutIfAbsent(ctx context.Context, k K, v V, opts ...PutOption) (existing V, stored bool, err error) {
	call, guard, err := m.putCall("put if absent", opPutIfAbsent, k, v, opts)
	if err != nil {
		return existing, false, err
	}
	existing, exists, err := m.optional(ctx, guard, call)
	return existing, err == nil && !exists, err
}

// Create is for package config: [Map.PutIfAbsent], but it returns the version of what it has
// stored, and [ErrConflict] if there is a value.
func Create[K comparable, V any](ctx context.Context, m *Map[K, V], k K, v V) (Version, error) {
	return m.create(ctx, "put if absent", k, v, nil)
}

// Replace stores a value as [Map.Put] does if the entry still has the version that was
// read, and returns the new version. If it has another version, or does not exist, the
// error is [ErrConflict].
func (m *Map[K, V]) Replace(ctx context.Context, k K, version Version, v V, opts ...PutOption) (Version, error) {
	call, guard, err := m.putCall("replace", opReplace, k, v, opts)
	if err != nil {
		return 0, err
	}
	call.Body = protocol.AppendUint(call.Body, uint64(version))
	reply, err := m.handle.InvokeIf(ctx, guard, call)
	if err != nil {
		return 0, err
	}
	return readVersion(&m.handle, call.Verb, reply)
}

// readVersion reads a result that is a version.
func readVersion(h *structures.Handle, verb string, reply structures.Reply) (Version, error) {
	r := protocol.NewReader(reply.Body)
	r.Array(1)
	version := Version(r.Uint())
	if r.Done() != nil {
		return 0, h.Garbled(verb, reply)
	}
	return version, nil
}

// Delete removes an entry, and reports whether there was one.
func (m *Map[K, V]) Delete(ctx context.Context, k K, opts ...WriteOption) (bool, error) {
	call, err := m.call("delete", opDelete, k, 1)
	if err != nil {
		return false, err
	}
	return m.yesOrNo(ctx, writeWith(opts), call)
}

// Remove removes an entry and returns its value, and whether there was one. If V cannot
// hold the value, the error is [quorate.ErrCodec] and [quorate.ErrOutcomeUnknown], and the
// entry is removed.
func (m *Map[K, V]) Remove(ctx context.Context, k K, opts ...WriteOption) (old V, existed bool, err error) {
	call, err := m.call("remove", opRemove, k, 1)
	if err != nil {
		return old, false, err
	}
	return m.optional(ctx, writeWith(opts), call)
}

// DeleteVersion removes an entry if it still has the version that was read. If it has
// another version, or does not exist, the error is [ErrConflict].
func (m *Map[K, V]) DeleteVersion(ctx context.Context, k K, version Version, opts ...WriteOption) error {
	call, err := deleteVersionCall(m, k, version)
	if err != nil {
		return err
	}
	_, err = m.handle.InvokeIf(ctx, writeWith(opts), call)
	return err
}

func deleteVersionCall[K comparable, V any](m *Map[K, V], k K, version Version) (structures.Call, error) {
	call, err := m.call("delete version", opDeleteVersion, k, 2)
	call.Body = protocol.AppendUint(call.Body, uint64(version))
	return call, err
}

// SetTTL gives an entry another time to live from now on, or with [Never] no end, and
// reports whether there was an entry. It is a write: the entry gets a new version. Less
// than 100 ms is [quorate.ErrInvalid].
func (m *Map[K, V]) SetTTL(ctx context.Context, k K, ttl time.Duration, opts ...WriteOption) (bool, error) {
	call, err := setTTLCall(m, k, ttl)
	if err != nil {
		return false, err
	}
	return m.yesOrNo(ctx, writeWith(opts), call)
}

func setTTLCall[K comparable, V any](m *Map[K, V], k K, ttl time.Duration) (structures.Call, error) {
	const verb = "set TTL"
	if err := checkTTL(ttl); err != nil {
		return structures.Call{}, m.handle.Fail(verb, err, "")
	}
	call, err := m.call(verb, opSetTTL, k, 2)
	call.Body = protocol.AppendInt(call.Body, wireTTL(ttl))
	return call, err
}

// call begins a call on one key whose body has that many fields. The caller appends those
// behind the key.
func (m *Map[K, V]) call(verb string, op protocol.Op, k K, fields int) (structures.Call, error) {
	return m.callWithCapacity(verb, op, k, fields, 0)
}

// callWithCapacity is call with capacity in the body for a value of about that many
// bytes.
func (m *Map[K, V]) callWithCapacity(verb string, op protocol.Op, k K, fields, value int) (structures.Call, error) {
	const others = 64 // the common key, and what is around it
	body := protocol.AppendArray(make([]byte, 0, others+value), fields)
	start := len(body)
	body, err := structures.AppendKey(openItem(body), k)
	if err != nil {
		return structures.Call{}, m.handle.Fail(verb, err, "")
	}
	body, at := closeItem(body, start)
	key := body[at:]
	if err := checkSize(m.handle.Limits(), key, nil); err != nil {
		return structures.Call{}, m.handle.Fail(verb, err, "")
	}
	call := m.handle.Call(verb, op, 0, m.handle.Partition(key), body)
	call.Key = key
	return call, nil
}

// putCall returns a call that stores a value, and what must be held; opReplace has a field
// more.
func (m *Map[K, V]) putCall(verb string, op protocol.Op, k K, v V, opts []PutOption) (structures.Call, structures.Guard, error) {
	ttl, guard, owns, err := putWith(opts)
	if err != nil {
		return structures.Call{}, guard, m.handle.Fail(verb, err, "")
	}
	fields := 3
	if op == opReplace {
		fields = 4
	}
	size := 0 // not known before it is encoded, but of these
	switch v := any(&v).(type) {
	case *string:
		size = len(*v)
	case *[]byte:
		size = len(*v)
	}
	call, err := m.callWithCapacity(verb, op, k, fields, size)
	if err != nil {
		return structures.Call{}, guard, err
	}
	if call.Body, err = m.appendValue(call.Body, v); err != nil {
		return structures.Call{}, guard, m.handle.Fail(verb, err, "")
	}
	call.Body = protocol.AppendInt(call.Body, ttl)
	if owns {
		call.Op = ephemeral[op]
		// What arrives for a session that is lost by then ends with that session.
		call.Late = func(structures.Reply) {}
	}
	return call, guard, nil
}

// appendValue appends a value as a byte string.
func (m *Map[K, V]) appendValue(dst []byte, v V) ([]byte, error) {
	start := len(dst)
	dst, err := structures.AppendValue(openItem(dst), m.codec, v)
	if err != nil {
		return dst, err
	}
	dst, at := closeItem(dst, start)
	return dst, checkSize(m.handle.Limits(), nil, dst[at:])
}

// done returns the error of a result that was not understood.
func done(h *structures.Handle, verb string, r *protocol.Reader, reply structures.Reply) error {
	if r.Done() != nil {
		return h.Garbled(verb, reply)
	}
	return nil
}

// optional carries out a call whose result is a value or nothing.
func (m *Map[K, V]) optional(ctx context.Context, guard structures.Guard, call structures.Call) (v V, ok bool, err error) {
	reply, err := m.handle.InvokeIf(ctx, guard, call)
	if err != nil {
		return v, false, err
	}
	return m.found(call, reply)
}

// found reads a result that is a value or nothing.
func (m *Map[K, V]) found(call structures.Call, reply structures.Reply) (v V, ok bool, err error) {
	b, ok, err := readOptional(reply.Body)
	if err != nil {
		return v, false, m.handle.Garbled(call.Verb, reply)
	}
	if ok {
		if err := structures.DecodeValue(m.codec, b, &v); err != nil {
			if call.Op == opPutIfAbsent || call.Op == opPutIfAbsentEphemeral { // stored nothing, since there is something
				return v, true, m.handle.Fail(call.Verb, err, "")
			}
			return v, false, m.handle.Unreadable(call.Verb, err, "the operation was carried out")
		}
	}
	return v, ok, nil
}

// yesOrNo carries out a call whose result is a boolean.
func (m *Map[K, V]) yesOrNo(ctx context.Context, guard structures.Guard, call structures.Call) (bool, error) {
	reply, err := m.handle.InvokeIf(ctx, guard, call)
	if err != nil {
		return false, err
	}
	return readTruth(&m.handle, call.Verb, reply)
}

// readTruth reads a result that is a boolean.
func readTruth(h *structures.Handle, verb string, reply structures.Reply) (bool, error) {
	r := protocol.NewReader(reply.Body)
	r.Array(1)
	yes := r.Bool()
	if r.Done() != nil {
		return false, h.Garbled(verb, reply)
	}
	return yes, nil
}

// checkSize returns ErrTooLarge for a key or a value over its limit.
func checkSize(limits protocol.Limits, key, value []byte) error {
	if n := len(key) - 1; n > int(limits.Key) { // without its tag
		return fmt.Errorf("%w: the key has %d bytes, at most %d", quorate.ErrTooLarge, n, limits.Key)
	}
	if len(value) > int(limits.Value) {
		return fmt.Errorf("%w: the value has %d bytes, at most %d", quorate.ErrTooLarge, len(value), limits.Value)
	}
	return nil
}
