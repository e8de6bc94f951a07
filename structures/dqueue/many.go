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

// PartialError is the error of a PutAll. Of the values that it was called with the
// first Put are in the queue, the next Unknown perhaps are, and the rest are not.
// It Is the cause. quorate.SafeToRetry is true of it only if no value is in the queue;
// to go on, call PutAll with values[Put:] unless Unknown is more than 0.
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

// Unwrap returns the cause. Where a value is in the queue it comes without the
// *quorate.Error around it, by which SafeToRetry knows what changed nothing.
func (e *PartialError) Unwrap() []error {
	if q, ok := errors.AsType[*quorate.Error](e.cause); ok && e.Put > 0 {
		return q.Unwrap()
	}
	return []error{e.cause}
}

// partBytes bounds the values of a call beyond the first.
const partBytes = 1 << 20

// PutAll adds values at the tail, in their order. They go in parts of 1,000 values or
// 1 MiB at most, one after the other, and of each part as many at once as there is
// room for: those stand together in the queue, while others may put theirs between.
// While the queue is full PutAll waits as Put does, with the same options: Wait bounds
// the time that it waits in all, and Wait(0) puts what there is room for at once. Its
// error is a *PartialError, which tells how far it came; before anything is sent it
// checks and encodes all values.
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
		// There is no room, or others wait for it: the next one waits in their line.
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
