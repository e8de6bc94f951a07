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

// PartialError is the error of [Queue.PutAll]. The first Put of its values are in the
// queue, the next Unknown perhaps are, and the rest are not. It Is the cause.
// [quorate.SafeToRetry] is true of it only if no value is in the queue. To go on, call
// PutAll with values[Put:] if Unknown is 0.
type PartialError struct {
	Put     int // certainly in the queue
	Unknown int // perhaps in the queue

	values int
	verb   string
	object string
	cause  error
}

func (e *PartialError) Error() string {
	text := fmt.Sprintf("%s %s: %d of %d values put, ", e.verb, e.object, e.Put, e.values)
	if e.Unknown > 0 {
		text += fmt.Sprintf("%d unknown, ", e.Unknown)
	}
	return text + "because: " + e.cause.Error()
}

// Unwrap returns the cause. If a value is in the queue, that is without the *quorate.Error
// around it, which would make the error SafeToRetry.
func (e *PartialError) Unwrap() []error {
	if q, ok := errors.AsType[*quorate.Error](e.cause); ok && e.Put > 0 {
		return q.Unwrap()
	}
	return []error{e.cause}
}

// partBytes bounds the values of a call beyond the first.
const partBytes = 1 << 20

// PutAll adds values at the tail, in their order. It sends parts of 1,000 values or 1 MiB
// at most, one after the other, and of each part adds atomically as many as the capacity
// allows: these are next to each other in the queue, while values of others may come
// between the parts. While the queue is full PutAll waits as [Queue.Put] does, with the
// same options: [Wait] bounds its whole wait, and with Wait(0) it adds only what the
// capacity allows at once.
//
// Its error is a [*PartialError], which says how many values are in the queue, and Is an
// error of Put. PutAll encodes and checks all values before it sends any.
func (q *Queue[T]) PutAll(ctx context.Context, values []T, opts ...WaitOption) error {
	const verb = "put all to"
	e := &PartialError{values: len(values), verb: verb, object: q.handle.Object()}
	encoded := make([][]byte, len(values))
	for i, v := range values {
		if encoded[i], e.cause = q.encode(verb, v); e.cause != nil {
			return e
		}
	}
	wait := structures.WaitWith(opts)
	for e.Put < len(encoded) {
		part := onePart(encoded[e.Put:])
		body := appendValues(make([]byte, 0, size(part)), part...)
		n, _, err := q.number(ctx, verb, opPutAll, 0, body)
		if err == nil && (n < 0 || n > int64(len(part))) {
			err = q.handle.Fail(verb, protocol.ErrMalformed, fmt.Sprintf("%d of %d values were put", n, len(part)))
		}
		if err != nil {
			return e.stopped(err, len(part))
		}
		e.Put += int(n)
		switch {
		case wait.Never() && int(n) < len(part):
			return e.stopped(q.handle.Fail(verb, quorate.ErrNotInTime, ""), 0)
		case n > 0:
			continue
		}
		// The queue is full, or other Puts wait: the next value waits behind them.
		began := time.Now()
		if err := q.putEncoded(ctx, verb, encoded[e.Put], wait); err != nil {
			return e.stopped(err, 1)
		}
		e.Put++
		wait = wait.Less(time.Since(began))
	}
	return nil
}

// stopped returns the error after a call about that many values has failed.
func (e *PartialError) stopped(cause error, values int) error {
	e.cause = cause
	if errors.Is(cause, quorate.ErrOutcomeUnknown) {
		e.Unknown = values
	}
	return e
}

// onePart returns the first values that go in one call.
func onePart(values [][]byte) [][]byte {
	size := 0
	for i, v := range values {
		if size += len(v) + itemHead; i == maxMoved || i > 0 && size > partBytes {
			return values[:i]
		}
	}
	return values
}

// itemHead is at most what a value has in a body beside its bytes.
const itemHead = 9

func size(values [][]byte) int {
	n := itemHead
	for _, v := range values {
		n += len(v) + itemHead
	}
	return n
}
