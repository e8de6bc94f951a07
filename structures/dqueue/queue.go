package dqueue

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Queue is a handle of one queue. Making one costs nothing. It is safe for concurrent use.
type Queue[T any] struct {
	handle structures.Handle
	codec  structures.Codec
}

// New returns the handle of the queue with the given name. Without the option [Codec]
// elements are encoded with [structures.CBOR]. A bad name or codec is the error of every
// call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for a name of more than 255 bytes.
func New[T any](inv structures.Invoker, name string, opts ...Option) *Queue[T] {
	codec, bad := structures.CodecWith(opts)
	return &Queue[T]{handle: structures.NewHandle(inv, &kind, name, bad), codec: codec}
}

// Put adds v at the tail. While the queue is full, or other Puts wait, it waits for its
// turn until ctx ends, or for the time of the option [Wait]; with Wait(0) it never waits.
//
// Errors: [quorate.ErrNotInTime] if the time of Wait is over; [quorate.ErrTooLarge] for an
// element over the limit of a value (1 MiB by default); [quorate.ErrInvalid] for one that
// the codec cannot encode; [quorate.ErrDestroyed] and [quorate.ErrSessionLost] end the
// wait.
func (q *Queue[T]) Put(ctx context.Context, v T, opts ...WaitOption) error {
	return q.put(ctx, "put to", v, structures.WaitWith(opts))
}

// Offer adds v at the tail and reports whether it could. It never waits: it returns false
// if the queue is full or Puts wait. Its other errors are those of [Queue.Put].
func (q *Queue[T]) Offer(ctx context.Context, v T, opts ...WriteOption) (bool, error) {
	const verb = "offer to"
	value, err := q.encode(verb, v)
	if err == nil {
		_, err = q.handle.InvokeIf(ctx, structures.WriteWith(opts), q.call(verb, opOffer, 0, offered(value)))
	}
	if errors.Is(err, quorate.ErrNotInTime) {
		return false, nil
	}
	return err == nil, err
}

// offered returns the body of opOffer.
func offered(value []byte) []byte {
	return appendPut(make([]byte, 0, len(value)+16), opOffer, value, 0)
}

func (q *Queue[T]) put(ctx context.Context, verb string, v T, wait structures.WaitBound) error {
	value, err := q.encode(verb, v)
	if err != nil {
		return err
	}
	return q.putEncoded(ctx, verb, value, wait)
}

func (q *Queue[T]) putEncoded(ctx context.Context, verb string, value []byte, wait structures.WaitBound) error {
	call := q.call(verb, opOffer, 0, nil)
	if !wait.Never() {
		call = q.call(verb, opPut, protocol.FlagWait, nil)
		call.Wait = wait.Time()
	}
	call.Body = appendPut(make([]byte, 0, len(value)+16), call.Op, value, wait.Time())
	_, err := q.handle.Invoke(ctx, call)
	return err
}

// Take takes the head. While the queue is empty, or other Takes wait, it waits for its
// turn until ctx ends, or for the time of the option [Wait]; with Wait(0) it never waits.
//
// Errors: [quorate.ErrNotInTime] if the time of Wait is over; [quorate.ErrCodec] for a
// head that another codec wrote, which is not taken; [quorate.ErrDestroyed] and
// [quorate.ErrSessionLost] end the wait. A head of another type than T is ErrCodec as
// well. If Take had to wait for it, it is not taken. If it was there at once it is taken:
// then the error Is [quorate.ErrOutcomeUnknown], too, and not [quorate.SafeToRetry].
func (q *Queue[T]) Take(ctx context.Context, opts ...WaitOption) (T, error) {
	return q.take(ctx, "take from", structures.WaitWith(opts))
}

// Poll takes the head and reports whether there was one. It never waits. Its errors are
// those of [Queue.Take].
func (q *Queue[T]) Poll(ctx context.Context, opts ...WriteOption) (T, bool, error) {
	v, err := q.poll(ctx, "poll", structures.WriteWith(opts))
	if errors.Is(err, quorate.ErrNotInTime) {
		return v, false, nil
	}
	return v, err == nil, err
}

func (q *Queue[T]) take(ctx context.Context, verb string, wait structures.WaitBound) (T, error) {
	if wait.Never() {
		return q.poll(ctx, verb, structures.Guard{})
	}
	call := q.call(verb, opTake, protocol.FlagWait, protocol.AppendInts(nil, structures.WaitMilliseconds(wait.Time()), q.reads()))
	call.Wait = wait.Time()
	call.Accept = func(reply structures.Reply) error {
		_, err := q.read(verb, reply)
		return err
	}
	v, _, err := q.element(ctx, structures.Guard{}, call)
	return v, err
}

// poll takes the head; the error is quorate.ErrNotInTime if there is none.
func (q *Queue[T]) poll(ctx context.Context, verb string, guard structures.Guard) (T, error) {
	v, _, err := q.element(ctx, guard, q.call(verb, opPoll, 0, protocol.AppendInts(nil, q.reads())))
	return v, err
}

// TakeN takes up to n elements from the head, and one at least. It waits for the first as
// [Queue.Take] does, with the same options, and takes with it those that are there at
// that moment, atomically: 1,000 at most, and 1 MiB at most beyond the first. Its errors
// are those of Take and [Queue.Drain]; n below 1 is [quorate.ErrInvalid].
func (q *Queue[T]) TakeN(ctx context.Context, n int, opts ...WaitOption) ([]T, error) {
	const verb = "take from"
	if n < 1 {
		return nil, q.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("%d elements", n))
	}
	most, wait := int64(min(n, maxMoved)), structures.WaitWith(opts)
	call := q.call(verb, opDrain, 0, protocol.AppendInts(nil, most, q.reads()))
	if !wait.Never() {
		call = q.call(verb, opTakeN, protocol.FlagWait, protocol.AppendInts(nil, most, structures.WaitMilliseconds(wait.Time()), q.reads()))
		call.Wait = wait.Time()
		call.Accept = func(reply structures.Reply) error {
			_, lost, err := q.readAll(verb, reply)
			if lost > 0 {
				err = q.handle.Fail(verb, err, "")
			}
			return err
		}
	}
	taken, err := q.elements(ctx, call)
	if err == nil && len(taken) == 0 {
		err = q.handle.Fail(verb, quorate.ErrNotInTime, "")
	}
	return taken, err
}

// reads is the codec that the handle reads.
func (q *Queue[T]) reads() int64 { return int64(q.codec.ID()) }

// Peek returns the head and reports whether there is one. It takes nothing. A head of
// another codec or type is [quorate.ErrCodec].
func (q *Queue[T]) Peek(ctx context.Context, opts ...ReadOption) (T, bool, error) {
	reading := structures.ReadWith(opts)
	v, reply, err := q.element(ctx, structures.Guard{}, q.call("peek at", opPeek, reading.Flags, protocol.AppendInts(nil)))
	none := errors.Is(err, quorate.ErrNotInTime)
	if none || err == nil {
		reading.Saw(reply)
		return v, !none, nil
	}
	return v, false, err
}

// Drain takes up to most elements from the head. It never waits. It takes pages of 1,000
// elements at most, each atomically. If a later page fails it returns what it has taken
// together with the error.
//
// Errors: [quorate.ErrInvalid] if most is negative; [quorate.ErrCodec] if another codec
// wrote the first element. Drain stops before a later one of another codec. Elements of
// another type than T have been taken: the error then Is ErrCodec and
// [quorate.ErrOutcomeUnknown], and the other elements of the page are returned.
func (q *Queue[T]) Drain(ctx context.Context, most int) ([]T, error) {
	const verb = "drain"
	if most < 0 {
		return nil, q.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("at most %d elements", most))
	}
	var taken []T
	for len(taken) < most {
		n := min(most-len(taken), maxMoved)
		page, err := q.elements(ctx, q.call(verb, opDrain, 0, protocol.AppendInts(nil, int64(n), q.reads())))
		taken = append(taken, page...)
		if errors.Is(err, quorate.ErrCodec) && quorate.SafeToRetry(err) && len(taken) > 0 {
			break
		}
		if err != nil || len(page) == 0 {
			return taken, err
		}
	}
	return taken, nil
}

// elements carries out an operation whose results are elements, which are taken.
func (q *Queue[T]) elements(ctx context.Context, call structures.Call) ([]T, error) {
	reply, err := q.handle.Invoke(ctx, call)
	if err != nil {
		return nil, err
	}
	taken, lost, err := q.readAll(call.Verb, reply)
	if lost > 0 {
		err = q.handle.Unreadable(call.Verb, err, fmt.Sprintf("taken and not returned: %d elements", lost))
	}
	return taken, err
}

// readAll returns the elements in a reply and, of those that cannot be read, how
// many they are and why the last one cannot.
func (q *Queue[T]) readAll(verb string, reply structures.Reply) (all []T, lost int, err error) {
	values, err := readValues(reply.Body)
	if err != nil {
		return nil, 0, q.handle.Garbled(verb, reply)
	}
	for _, b := range values {
		var v T
		if bad := structures.DecodeValue(q.codec, b, &v); bad != nil {
			lost, err = lost+1, bad
			continue
		}
		all = append(all, v)
	}
	return all, lost, err
}

// Len returns how many elements there are, without those that are reserved for a Take.
func (q *Queue[T]) Len(ctx context.Context, opts ...ReadOption) (int, error) {
	n, err := q.handle.Len(ctx, opts...)
	return int(n), err
}

// Clear removes the elements that are there when it begins, except those that are reserved
// for a Take. It removes 1,000 at a time, each time atomically. After an error it may have
// removed some.
func (q *Queue[T]) Clear(ctx context.Context) error {
	mark := int64(0)
	for {
		var err error
		mark, _, err = q.number(ctx, "clear", opClear, 0, protocol.AppendInts(nil, mark))
		if err != nil || mark == 0 {
			return err
		}
	}
}

// Setting is a setting of a queue: see [Queue.Configure].
type Setting = structures.Setting

// Capacity bounds how many elements the queue may have: 1 to [MaxCapacity]. The default, 0,
// is without a bound.
func Capacity(n int64) Setting {
	return Setting{Name: capacitySetting.Name, Value: structures.SettingValue{Int: n}}
}

// Configure sets the settings of the queue, once; those not given are at their defaults.
// The same settings again are no error. Errors: [quorate.ErrSettings], which names those in
// force, for others; [quorate.ErrInvalid] for a capacity out of range.
func (q *Queue[T]) Configure(ctx context.Context, settings ...Setting) error {
	return q.handle.Configure(ctx, settings...)
}

// Destroy removes the queue with its elements and settings. Calls that wait return
// [quorate.ErrDestroyed]. The name can be used again at once.
func (q *Queue[T]) Destroy(ctx context.Context) error {
	return q.handle.Destroy(ctx)
}

// encode returns an element as it is stored.
func (q *Queue[T]) encode(verb string, v T) ([]byte, error) {
	value, err := structures.AppendValue(nil, q.codec, v)
	if err != nil {
		return nil, q.handle.Fail(verb, err, "")
	}
	if most := int(q.handle.Limits().Value); len(value) > most {
		return nil, q.handle.Fail(verb, quorate.ErrTooLarge, fmt.Sprintf("the value has %d bytes, at most %d", len(value), most))
	}
	return value, nil
}

// read returns the element in a reply.
func (q *Queue[T]) read(verb string, reply structures.Reply) (T, error) {
	var v T
	b, err := readValue(reply.Body)
	if err != nil {
		return v, q.handle.Garbled(verb, reply)
	}
	if err := structures.DecodeValue(q.codec, b, &v); err != nil {
		return *new(T), q.handle.Fail(verb, err, "")
	}
	return v, nil
}

// element carries out an operation whose result is an element.
func (q *Queue[T]) element(ctx context.Context, guard structures.Guard, call structures.Call) (T, structures.Reply, error) {
	reply, err := q.handle.InvokeIf(ctx, guard, call)
	if err != nil {
		return *new(T), reply, err
	}
	v, err := q.result(call, reply)
	return v, reply, err
}

// result reads the result of an operation that returns an element.
func (q *Queue[T]) result(call structures.Call, reply structures.Reply) (T, error) {
	v, err := q.read(call.Verb, reply)
	if err != nil && call.Op != opPeek && errors.Is(err, quorate.ErrCodec) {
		err = q.handle.Unreadable(call.Verb, err, "the element has been taken")
	}
	return v, err
}

// number carries out an operation whose result is a number.
func (q *Queue[T]) number(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags, body []byte) (int64, structures.Reply, error) {
	reply, err := q.invoke(ctx, verb, op, flags, body)
	if err != nil {
		return 0, reply, err
	}
	var n int64
	if protocol.ReadInts(reply.Body, &n) != nil {
		return 0, reply, q.handle.Garbled(verb, reply)
	}
	return n, reply, nil
}

// invoke carries out an operation; every code but OK is an error. If the queue was empty or
// full for as long as the call could wait, the error is quorate.ErrNotInTime, and the reply
// is returned.
func (q *Queue[T]) invoke(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags, body []byte) (structures.Reply, error) {
	return q.handle.Invoke(ctx, q.call(verb, op, flags, body))
}

func (q *Queue[T]) call(verb string, op protocol.Op, flags protocol.Flags, body []byte) structures.Call {
	return q.handle.Call(verb, op, flags, q.handle.Partition(nil), body)
}
