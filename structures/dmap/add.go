package dmap

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Integer is the type of values that [Add] adds to.
type Integer interface{ ~int | ~int32 | ~int64 }

// Add adds delta to the value of a key, or to 0 if there is none, and returns the sum. The
// members add, so it is one call, however many clients add at the same time. The entry
// keeps its TTL.
//
// Errors, which change nothing: [ErrNotInteger] for a value that is not an integer;
// [ErrOverflow] for a sum that does not fit V; [quorate.ErrInvalid] for a map with another
// codec than [structures.CBOR].
func Add[K comparable, V Integer](ctx context.Context, m *Map[K, V], k K, delta V, opts ...WriteOption) (V, error) {
	call, err := addCall(m, k, delta)
	if err != nil {
		return 0, err
	}
	reply, err := m.handle.InvokeIf(ctx, writeWith(opts), call)
	if err != nil {
		return 0, err
	}
	return readSum(m, call.Verb, reply)
}

// addCall returns a call that adds to a value.
func addCall[K comparable, V Integer](m *Map[K, V], k K, delta V) (structures.Call, error) {
	const verb = "add"
	if err := m.canAdd(verb); err != nil {
		return structures.Call{}, err
	}
	call, err := m.call(verb, opAdd, k, 3)
	call.Body = protocol.AppendInt(call.Body, int64(delta))
	call.Body = protocol.AppendUint(call.Body, bitsOf[V]())
	return call, err
}

// readSum reads the result of opAdd.
func readSum[K comparable, V Integer](m *Map[K, V], verb string, reply structures.Reply) (V, error) {
	r := protocol.NewReader(reply.Body)
	r.Array(1)
	sum := r.Int()
	return V(sum), done(&m.handle, verb, &r, reply)
}

// AddAll adds to the values of many keys, as [Add] does; deltas of one key are summed. Its
// error is a [*PartialError]: repeated with the keys in NotDone, every delta is added
// exactly once, if none is in Unknown.
func AddAll[K comparable, V Integer](ctx context.Context, m *Map[K, V], deltas iter.Seq2[K, V]) error {
	const verb = "add all"
	if err := m.canAdd(verb); err != nil {
		return err
	}
	b := newBatch(m, verb, opAddAll, 0)
	b.head = protocol.AppendUint(nil, bitsOf[V]())
	b.merge = func(into *batchItem[K], later batchItem[K]) error {
		sum := into.delta + later.delta
		if (sum < into.delta) != (later.delta < 0) {
			return fmt.Errorf("%w: %d and %d more", ErrOverflow, into.delta, later.delta)
		}
		into.delta = sum
		return nil
	}
	for k, delta := range deltas {
		b.add(ctx, batchItem[K]{key: k, delta: int64(delta)})
	}
	return b.finish(ctx)
}

func (m *Map[K, V]) canAdd(verb string) error {
	if m.codec != structures.CBOR {
		return m.handle.Fail(verb, quorate.ErrInvalid, "values are added to with the CBOR codec only")
	}
	return nil
}

func bitsOf[V Integer]() uint64 { return uint64(reflect.TypeFor[V]().Bits()) }

// Update reads a value, and stores what f makes of it if nobody else has written the entry
// in between; otherwise it begins again after a pause of up to 100 ms, until ctx ends. So f
// may run many times. If f returns [DeleteEntry], the entry is deleted. Any other error of f
// is returned as it is, and nothing is changed. Update returns the value that was stored.
// Its other errors are those of [Map.Get] and [Map.Put], and, without a limit of tries,
// ctx's error and cause.
func (m *Map[K, V]) Update(ctx context.Context, k K, f func(old V, exists bool) (V, error), opts ...PutOption) (V, error) {
	var none V
	for try := 0; ; try++ {
		e, exists, err := gridEntry(m, ctx, "update", k, structures.ReadWith(nil))
		if err != nil {
			return none, err
		}
		v, err := f(e.Value, exists)
		switch {
		case errors.Is(err, DeleteEntry):
			v, err = none, nil
			if exists {
				err = m.DeleteVersion(ctx, k, e.Version, writesOf(opts)...)
			}
		case err != nil:
			return none, err
		case exists:
			_, err = m.Replace(ctx, k, e.Version, v, opts...)
		default:
			_, err = m.create(ctx, "update", k, v, opts)
		}
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, ErrConflict) {
			return none, err
		}
		if err := backOff(ctx, &m.handle, try); err != nil {
			return none, err
		}
	}
}

// create stores a value if there is none, and returns its version; else it returns
// ErrConflict.
func (m *Map[K, V]) create(ctx context.Context, verb string, k K, v V, opts []PutOption) (Version, error) {
	call, guard, err := m.putCall(verb, opPutIfAbsent, k, v, opts)
	if err != nil {
		return 0, err
	}
	reply, err := m.handle.InvokeIf(ctx, guard, call)
	if err != nil {
		return 0, err
	}
	_, exists, err := readOptional(reply.Body)
	if err != nil {
		return 0, m.handle.Garbled(call.Verb, reply)
	}
	if exists {
		return 0, ErrConflict
	}
	return reply.Version, nil
}

// backOff waits a random time before another try, longer on average each time.
func backOff(ctx context.Context, h *structures.Handle, try int) error {
	const first, longest = time.Millisecond, 100 * time.Millisecond
	if !contexts.Pause(ctx, rand.N(min(first<<min(try, 10), longest))) {
		return h.Fail("update", contexts.Err(ctx), "others wrote the entry meanwhile")
	}
	return nil
}

// PutSequential stores a value under a new key: the prefix and the 20 digits of the
// entry's version, as ZooKeeper's sequential nodes have it. The numbers of a prefix grow,
// are never repeated, also not after the map was destroyed, and have gaps; so the keys of a
// prefix have the order in which they were stored. It returns the key. The prefix, or the
// name of the map, must have a {tag}: without one the key would decide about the partition
// that numbers it, so the error is [quorate.ErrInvalid].
//
// Its other errors are those of [Map.Put]. It does not take [IfHeld].
func PutSequential[V any](ctx context.Context, m *Map[string, V], prefix string, v V, opts ...PutOption) (string, error) {
	const verb = "put sequential"
	call, guard, err := m.putCall(verb, opPutSequential, prefix, v, opts)
	switch {
	case err != nil:
		return "", err
	case guard.Asks():
		return "", m.handle.Fail(verb, quorate.ErrInvalid, "IfHeld is not for sequential keys")
	case !hasTag(m.handle.Name()) && !hasTag(prefix):
		return "", m.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("neither the prefix %q nor the name of the map has a {tag}", prefix))
	}
	reply, err := m.handle.Invoke(ctx, call)
	if err != nil {
		return "", err
	}
	version, err := readVersion(&m.handle, verb, reply)
	if err != nil {
		return "", err
	}
	return string(sequentialKey([]byte(prefix), version)), nil
}
