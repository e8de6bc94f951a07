package dqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Queue is a handle of one queue. Making it costs nothing; it is safe for
// concurrent use. A bad name or codec is the error of every call.
type Queue[T any] struct {
	handle structures.Handle
	codec  structures.Codec
}

// Option changes what New returns.
type Option func(*options)

type options struct{ codec structures.Codec }

// Codec turns elements into bytes with another codec than structures.CBOR. All
// handles of a queue must have the same.
func Codec(c structures.Codec) Option { return func(o *options) { o.codec = c } }

// New returns the handle of the queue with the given name.
func New[T any](inv structures.Invoker, name string, opts ...Option) *Queue[T] {
	o := options{codec: structures.CBOR}
	for _, opt := range opts {
		opt(&o)
	}
	bad := structures.CheckCodec(o.codec)
	return &Queue[T]{handle: structures.NewHandle(inv, Kind(), name, bad), codec: o.codec}
}

// Put adds v at the tail. While the queue is full it waits until there is room
// and those before it are served, ctx ends, the session is lost or the queue is
// destroyed (quorate.ErrDestroyed).
func (q *Queue[T]) Put(ctx context.Context, v T) error {
	const verb = "put to"
	body, err := q.encode(verb, v)
	if err != nil {
		return err
	}
	_, err = q.invoke(ctx, verb, opPut, protocol.FlagWait, body)
	return err
}

// Offer adds v at the tail and reports whether there was room. It is false too
// where others wait for room.
func (q *Queue[T]) Offer(ctx context.Context, v T) (bool, error) {
	const verb = "offer to"
	body, err := q.encode(verb, v)
	if err != nil {
		return false, err
	}
	_, err = q.invoke(ctx, verb, opOffer, 0, body)
	if errors.Is(err, errFull) {
		return false, nil
	}
	return err == nil, err
}

// Take takes the head. It waits until there is one and those before it are
// served, ctx ends, the session is lost or the queue is destroyed
// (quorate.ErrDestroyed).
func (q *Queue[T]) Take(ctx context.Context) (T, error) {
	v, _, err := q.one(ctx, "take from", opTake, protocol.FlagWait, protocol.AppendInts(nil, 0))
	return v, err
}

// Poll takes the head and reports whether there was one, within wait; it does
// not wait where that is 0. The time is the grid's: it stands still while the
// queue's group has no leader.
func (q *Queue[T]) Poll(ctx context.Context, wait time.Duration) (T, bool, error) {
	const verb = "poll"
	if wait <= 0 {
		return q.one(ctx, verb, opPoll, 0, protocol.AppendInts(nil))
	}
	return q.one(ctx, verb, opTake, protocol.FlagWait, protocol.AppendInts(nil, structures.WaitMilliseconds(wait)))
}

// Peek returns the head and reports whether there is one. It takes nothing.
func (q *Queue[T]) Peek(ctx context.Context) (T, bool, error) {
	return q.one(ctx, "peek at", opPeek, protocol.FlagRead, protocol.AppendInts(nil))
}

// Drain takes up to most elements from the head, and waits for none. It takes
// them in pages of at most 1,000, each at once; where a later page fails it
// returns what it has taken together with the error.
func (q *Queue[T]) Drain(ctx context.Context, most int) ([]T, error) {
	const verb = "drain"
	if most < 0 {
		return nil, q.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("at most %d elements", most))
	}
	var taken []T
	for len(taken) < most {
		n := min(most-len(taken), maxMoved)
		reply, err := q.invoke(ctx, verb, opDrain, 0, protocol.AppendInts(nil, int64(n)))
		if err != nil {
			return taken, err
		}
		values, err := readValues(reply.Body)
		if err != nil {
			return taken, q.handle.Garbled(verb, reply)
		}
		if len(values) == 0 {
			break
		}
		var bad error
		for _, b := range values {
			v, err := q.decode(verb, b)
			if err != nil {
				bad = err
				continue
			}
			taken = append(taken, v)
		}
		if bad != nil {
			return taken, bad
		}
	}
	return taken, nil
}

// Len returns how many elements there are, without those that are reserved for
// a Take.
func (q *Queue[T]) Len(ctx context.Context) (int, error) {
	n, err := q.number(ctx, "get the length of", opLen, protocol.FlagRead, protocol.AppendInts(nil))
	return int(n), err
}

// Clear removes the elements that are there when it begins, without those that
// are reserved for a Take. It removes them in steps of at most 1,000, each at
// once.
func (q *Queue[T]) Clear(ctx context.Context) error {
	mark := int64(0)
	for {
		var err error
		mark, err = q.number(ctx, "clear", opClear, 0, protocol.AppendInts(nil, mark))
		if err != nil || mark == 0 {
			return err
		}
	}
}

// Setting is a setting of a queue, agreed by Configure.
type Setting func(*settings)

type settings struct{ capacity int64 }

// Capacity bounds how many elements the queue may have, 1 to MaxCapacity.
func Capacity(n int64) Setting { return func(s *settings) { s.capacity = n } }

// Configure agrees the settings of the queue once, those not given at their
// defaults. The same again is nil; others are quorate.ErrSettings, which names
// those in force.
func (q *Queue[T]) Configure(ctx context.Context, list ...Setting) error {
	const verb = "configure"
	var s settings
	for _, setting := range list {
		setting(&s)
		if s.capacity < 1 || s.capacity > MaxCapacity {
			return q.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("the capacity %d is not within 1 to %d", s.capacity, MaxCapacity))
		}
	}
	_, err := q.invoke(ctx, verb, opConfigure, 0, protocol.AppendInts(nil, s.capacity))
	return err
}

// Destroy removes the queue with its elements and settings. Who waits gets
// quorate.ErrDestroyed. The name can be used again at once.
func (q *Queue[T]) Destroy(ctx context.Context) error {
	_, err := q.invoke(ctx, "destroy", opDestroy, 0, protocol.AppendInts(nil))
	return err
}

// How invoke says that there was nothing to take, or no room, for as long as
// the call could wait; handles answer false.
var (
	errEmpty = errors.New("the queue is empty")
	errFull  = errors.New("the queue is full")
)

func (q *Queue[T]) encode(verb string, v T) ([]byte, error) {
	if q.codec == nil {
		return nil, q.handle.Fail(verb, structures.CheckCodec(nil), "")
	}
	value, err := structures.AppendValue(nil, q.codec, v)
	if err != nil {
		return nil, q.handle.Fail(verb, err, "")
	}
	if most := int(q.handle.Limits().Value); len(value) > most {
		return nil, q.handle.Fail(verb, quorate.ErrTooLarge, fmt.Sprintf("the value has %d bytes, at most %d", len(value), most))
	}
	return appendValues(make([]byte, 0, len(value)+8), value), nil
}

func (q *Queue[T]) decode(verb string, b []byte) (T, error) {
	var v T
	if err := structures.DecodeValue(q.codec, b, &v); err != nil {
		return *new(T), q.handle.Fail(verb, err, "")
	}
	return v, nil
}

// one carries out an operation whose result is an element.
func (q *Queue[T]) one(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags, body []byte) (T, bool, error) {
	reply, err := q.invoke(ctx, verb, op, flags, body)
	if errors.Is(err, errEmpty) {
		return *new(T), false, nil
	}
	if err != nil {
		return *new(T), false, err
	}
	b, err := readValue(reply.Body)
	if err != nil {
		return *new(T), false, q.handle.Garbled(verb, reply)
	}
	v, err := q.decode(verb, b)
	return v, err == nil, err
}

// number carries out an operation whose result is a number.
func (q *Queue[T]) number(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags, body []byte) (int64, error) {
	reply, err := q.invoke(ctx, verb, op, flags, body)
	if err != nil {
		return 0, err
	}
	var n int64
	if protocol.ReadInts(reply.Body, &n) != nil {
		return 0, q.handle.Garbled(verb, reply)
	}
	return n, nil
}

// invoke carries out an operation; every code but OK is an error.
func (q *Queue[T]) invoke(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags, body []byte) (structures.Reply, error) {
	h := &q.handle
	reply, err := h.Invoke(ctx, h.Call(verb, op, flags, h.Partition(nil), body))
	if err != nil {
		return structures.Reply{}, err
	}
	switch reply.Code {
	case protocol.CodeOK:
		return reply, nil
	case protocol.CodeTimedOut, codeEmpty:
		err = errEmpty
	case codeFull:
		err = errFull
	default:
		return structures.Reply{}, h.Garbled(verb, reply)
	}
	return structures.Reply{}, h.Refused(verb, err, reply)
}
