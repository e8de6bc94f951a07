package dref

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The conditions of a reference's own.
var (
	// ErrConflict is the error of [Ref.Replace] if the value has another version, or there
	// is none.
	ErrConflict = errors.New("conflict")
	// ErrNotKept is the error of [Ref.Rollback] to a version that is neither that of the
	// value nor one that is kept.
	ErrNotKept = errors.New("not kept")
)

// errDiffers is the error of codeDiffers, which CompareAndSet turns into false.
var errDiffers = errors.New("another value")

// Entry is a value of a reference with its version.
type Entry[T any] struct {
	Value   T
	Version Version
}

// Ref is a handle of one reference. Making one costs nothing. It is safe for concurrent
// use.
type Ref[T any] struct {
	handle structures.Handle
	inv    structures.Invoker
	codec  structures.Codec
}

// New returns the handle of the reference with the given name. Without the option [Codec]
// values are encoded with [structures.CBOR]. A bad name or codec is the error of every
// call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for a name of more than 255 bytes.
func New[T any](inv structures.Invoker, name string, opts ...Option) *Ref[T] {
	codec, bad := structures.CodecWith(opts)
	return &Ref[T]{handle: structures.NewHandle(inv, &kind, name, bad), inv: inv, codec: codec}
}

// Name returns the name of the reference.
func (r *Ref[T]) Name() string { return r.handle.Name() }

// Codec returns how values become bytes.
func (r *Ref[T]) Codec() structures.Codec { return r.codec }

// Encoded returns a handle of the same reference that reads and stores values as they are
// encoded, whichever codec wrote them.
func (r *Ref[T]) Encoded() *Ref[structures.Encoded] {
	return &Ref[structures.Encoded]{handle: r.handle, inv: r.inv, codec: r.codec}
}

// Get returns the value, and whether there is one. A value that another codec wrote, or
// that T cannot hold, is [quorate.ErrCodec].
func (r *Ref[T]) Get(ctx context.Context, opts ...ReadOption) (T, bool, error) {
	e, ok, err := r.read(ctx, "get", opts)
	return e.Value, ok, err
}

// Entry returns the value with its version, and whether there is one. Its errors are those
// of [Ref.Get].
func (r *Ref[T]) Entry(ctx context.Context, opts ...ReadOption) (Entry[T], bool, error) {
	return r.read(ctx, "get", opts)
}

func (r *Ref[T]) read(ctx context.Context, verb string, opts []ReadOption) (Entry[T], bool, error) {
	reading := structures.ReadWith(opts)
	reply, err := r.handle.Invoke(ctx, r.call(verb, opGet, reading.Flags, nothing))
	if err != nil {
		return Entry[T]{}, false, err
	}
	e, ok, err := r.entry(verb, reply)
	if err == nil {
		reading.Saw(reply)
	}
	return e, ok, err
}

// entry reads the result of opGet.
func (r *Ref[T]) entry(verb string, reply structures.Reply) (e Entry[T], ok bool, err error) {
	b := protocol.NewReader(reply.Body)
	var value []byte
	if ok = b.ArrayLen() > 0; ok {
		value, e.Version = b.Bytes(), Version(b.Uint())
	}
	if b.Done() != nil {
		return Entry[T]{}, false, r.handle.Garbled(verb, reply)
	}
	if !ok {
		return e, false, nil
	}
	if err := structures.DecodeValue(r.codec, value, &e.Value); err != nil {
		return Entry[T]{}, false, r.handle.Fail(verb, err, "")
	}
	return e, true, nil
}

// Set sets the value.
//
// Errors: [quorate.ErrTooLarge] for a value over its limit (1 MiB by default);
// [quorate.ErrInvalid] for one that the codec cannot encode; [quorate.ErrMemoryFull] and
// [quorate.ErrReadOnly] if a member is short of memory or disk.
func (r *Ref[T]) Set(ctx context.Context, v T, opts ...WriteOption) error {
	_, err := r.write(ctx, "set", opSet, opts, v)
	return err
}

// Swap sets the value as [Ref.Set] does, and returns the one before, and whether there was
// one. If T cannot hold that, the error is [quorate.ErrCodec] and
// [quorate.ErrOutcomeUnknown], and the new value is set.
func (r *Ref[T]) Swap(ctx context.Context, v T, opts ...WriteOption) (old T, existed bool, err error) {
	const verb = "swap"
	reply, err := r.write(ctx, verb, opSwap, opts, v)
	if err != nil {
		return old, false, err
	}
	return r.found(verb, opSwap, reply)
}

// SetIfAbsent sets the value as [Ref.Set] does if there is none, and reports whether it
// did. If it did not, it returns the existing one.
func (r *Ref[T]) SetIfAbsent(ctx context.Context, v T, opts ...WriteOption) (existing T, set bool, err error) {
	const verb = "set if absent"
	reply, err := r.write(ctx, verb, opSetIfAbsent, opts, v)
	if err != nil {
		return existing, false, err
	}
	existing, exists, err := r.found(verb, opSetIfAbsent, reply)
	return existing, err == nil && !exists, err
}

// Replace sets the value as [Ref.Set] does if it still has the version that was read, and
// returns the new version; version 0 says that there was no value. If it has another
// version the error is [ErrConflict], even if the value is the one that was read.
func (r *Ref[T]) Replace(ctx context.Context, version Version, v T, opts ...WriteOption) (Version, error) {
	const verb = "replace"
	value, err := r.encode(verb, v)
	if err != nil {
		return 0, err
	}
	reply, err := r.handle.InvokeIf(ctx, structures.WriteWith(opts), r.call(verb, opReplace, 0, replacing(value, version)))
	if err != nil {
		return 0, err
	}
	return r.readVersion(verb, reply)
}

// replacing is the body of opReplace.
func replacing(value []byte, version Version) []byte {
	b := protocol.AppendBytes(protocol.AppendArray(nil, 2), value)
	return protocol.AppendUint(b, uint64(version))
}

// CompareAndSet sets the value to v if it is old, and reports whether it was. It compares
// the values as the codec encodes them: those of this module encode equal values alike, and
// another one must say so by a method Deterministic() bool, else the error is
// [quorate.ErrCodec]. It is [quorate.ErrCodec], too, if another codec wrote the value.
// Another value, or none, is no error. A value that was changed and changed back is the
// same: [Ref.Replace] tells them apart.
func (r *Ref[T]) CompareAndSet(ctx context.Context, old, v T, opts ...WriteOption) (bool, error) {
	call, err := r.compareCall(old, v)
	if err != nil {
		return false, err
	}
	_, err = r.handle.InvokeIf(ctx, structures.WriteWith(opts), call)
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	return err == nil, err
}

func (r *Ref[T]) compareCall(old, v T) (structures.Call, error) {
	const verb = "compare and set"
	if err := structures.CheckDeterministic(r.codec); err != nil {
		return structures.Call{}, r.handle.Fail(verb, err, "")
	}
	was, err := r.encode(verb, old)
	if err != nil {
		return structures.Call{}, err
	}
	value, err := r.encode(verb, v)
	return r.call(verb, opCompare, 0, appendValues(nil, was, value)), err
}

// Update reads the value, and sets what f makes of it if nobody else has set another in
// between; otherwise it begins again after a pause of up to 100 ms, until ctx ends. So f may
// run many times. An error of f is returned as it is, and nothing is changed. Update returns
// the value that was set. Its other errors are those of [Ref.Get] and [Ref.Set], and,
// without a limit of tries, ctx's error and cause.
func (r *Ref[T]) Update(ctx context.Context, f func(old T, exists bool) (T, error), opts ...WriteOption) (T, error) {
	const verb = "update"
	var none T
	for try := 0; ; try++ {
		e, exists, err := r.read(ctx, verb, nil)
		if err != nil {
			return none, err
		}
		v, err := f(e.Value, exists)
		if err != nil {
			return none, err
		}
		_, err = r.Replace(ctx, e.Version, v, opts...)
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, ErrConflict) {
			return none, err
		}
		const first, longest = time.Millisecond, 100 * time.Millisecond
		if !contexts.Pause(ctx, rand.N(min(first<<min(try, 10), longest))) {
			return none, r.handle.Fail(verb, contexts.Err(ctx), "others set the value meanwhile")
		}
	}
}

// Delete removes the value, and reports whether there was one. With [Keep] it is kept, and
// [Ref.Rollback] brings it back.
func (r *Ref[T]) Delete(ctx context.Context, opts ...WriteOption) (bool, error) {
	const verb = "delete"
	reply, err := r.handle.InvokeIf(ctx, structures.WriteWith(opts), r.call(verb, opDelete, 0, nothing))
	if err != nil {
		return false, err
	}
	return r.truth(verb, reply)
}

// History iterates over the values that are kept and the one of now, the oldest first; a
// value that was deleted is among those that are kept. It reads a page at a time, so what is
// set meanwhile may come, too, and what is dropped meanwhile may be missing. A value that T
// cannot hold comes with its version and an error that Is [quorate.ErrCodec], and the others
// follow; any other error is the last thing that comes.
func (r *Ref[T]) History(ctx context.Context, opts ...ReadOption) iter.Seq2[Entry[T], error] {
	return func(yield func(Entry[T], error) bool) {
		for from, more := Version(0), true; more; {
			page, next, err := r.page(ctx, from, opts)
			if err != nil {
				yield(Entry[T]{}, err)
				return
			}
			for _, kept := range page {
				e := Entry[T]{Version: kept.Version}
				err := structures.DecodeValue(r.codec, kept.Value, &e.Value)
				if err != nil {
					err = r.handle.Fail("read the history of", err, fmt.Sprintf("version %d", uint64(e.Version)))
				}
				if !yield(e, err) {
					return
				}
			}
			from, more = next, next != 0
		}
	}
}

// page returns a page of the history, and where the next begins; 0: there is none.
func (r *Ref[T]) page(ctx context.Context, from Version, opts []ReadOption) (page []Entry[structures.Encoded], next Version, err error) {
	const verb = "read the history of"
	reading := structures.ReadWith(opts)
	body := protocol.AppendUint(protocol.AppendArray(nil, 2), uint64(from))
	body = protocol.AppendUint(body, uint64(r.handle.Limits().PageBytes))
	reply, err := r.handle.Invoke(ctx, r.call(verb, opHistory, reading.Flags, body))
	if err != nil {
		return nil, 0, err
	}
	b := protocol.NewReader(reply.Body)
	n := b.ArrayLen()
	next = Version(b.Uint())
	last := from
	for range n / 2 {
		e := Entry[structures.Encoded]{Version: Version(b.Uint()), Value: b.Bytes()}
		if e.Version < last || n%2 == 0 {
			b.Fail()
		}
		if b.Err() != nil {
			break
		}
		last = e.Version
		page = append(page, e)
	}
	if b.Done() != nil || next != 0 && next <= last {
		return nil, 0, r.handle.Garbled(verb, reply)
	}
	reading.Saw(reply)
	return page, next, nil
}

// Rollback sets the value that had a version, one that is kept or that of now, and returns
// the new version: nobody who follows the reference sees a version go back. The error is
// [ErrNotKept] if there is none of that version.
func (r *Ref[T]) Rollback(ctx context.Context, version Version, opts ...WriteOption) (Version, error) {
	const verb = "roll back"
	reply, err := r.handle.InvokeIf(ctx, structures.WriteWith(opts), r.call(verb, opRollback, 0, appendVersion(nil, version)))
	if err != nil {
		return 0, err
	}
	return r.readVersion(verb, reply)
}

// Destroy removes the reference with its settings and what is kept. The name can be used
// again at once. A reference that does not exist is no error.
func (r *Ref[T]) Destroy(ctx context.Context) error { return r.handle.Destroy(ctx) }

// Configure sets the settings of the reference, once. The same settings again are no error.
// Errors: [quorate.ErrSettings], which names those in force, for others;
// [quorate.ErrInvalid] for a value out of range.
func (r *Ref[T]) Configure(ctx context.Context, settings ...Setting) error {
	return r.handle.Configure(ctx, settings...)
}

func (r *Ref[T]) call(verb string, op protocol.Op, flags protocol.Flags, body []byte) structures.Call {
	return r.handle.Call(verb, op, flags, r.handle.Partition(nil), body)
}

// write carries out an operation whose body is one value.
func (r *Ref[T]) write(ctx context.Context, verb string, op protocol.Op, opts []WriteOption, v T) (structures.Reply, error) {
	value, err := r.encode(verb, v)
	if err != nil {
		return structures.Reply{}, err
	}
	return r.handle.InvokeIf(ctx, structures.WriteWith(opts), r.call(verb, op, 0, appendValues(nil, value)))
}

// encode encodes a value and checks its size.
func (r *Ref[T]) encode(verb string, v T) ([]byte, error) {
	value, err := structures.AppendValue(nil, r.codec, v)
	if err != nil {
		return nil, r.handle.Fail(verb, err, "")
	}
	if most := r.handle.Limits().Value; len(value) > int(most) {
		return nil, r.handle.Fail(verb, quorate.ErrTooLarge, tooLarge(len(value), most))
	}
	return value, nil
}

// found reads a result that is a value or nothing.
func (r *Ref[T]) found(verb string, op protocol.Op, reply structures.Reply) (v T, ok bool, err error) {
	b, ok, err := readOptional(reply.Body)
	if err != nil {
		return v, false, r.handle.Garbled(verb, reply)
	}
	if ok {
		if err := structures.DecodeValue(r.codec, b, &v); err != nil {
			if op == opSetIfAbsent { // it has set nothing, since there is something
				return v, true, r.handle.Fail(verb, err, "")
			}
			return v, false, r.handle.Unreadable(verb, err, "the operation was carried out")
		}
	}
	return v, ok, nil
}

// readVersion reads a result that is a version.
func (r *Ref[T]) readVersion(verb string, reply structures.Reply) (Version, error) {
	b := protocol.NewReader(reply.Body)
	b.Array(1)
	version := Version(b.Uint())
	if b.Done() != nil {
		return 0, r.handle.Garbled(verb, reply)
	}
	return version, nil
}

// truth reads a result that is a boolean.
func (r *Ref[T]) truth(verb string, reply structures.Reply) (bool, error) {
	b := protocol.NewReader(reply.Body)
	b.Array(1)
	yes := b.Bool()
	if b.Done() != nil {
		return false, r.handle.Garbled(verb, reply)
	}
	return yes, nil
}
