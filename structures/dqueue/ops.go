package dqueue

import (
	"math"
	"time"

	"github.com/quorate/quorate/protocol"
)

// The operations of a queue. Numbers are never used again. Bodies and the
// results of operations are arrays: of integers, or of values as byte strings.
const (
	opPut       protocol.Op = 1  // [value] -> []; waits
	opOffer     protocol.Op = 2  // [value] -> []
	opTake      protocol.Op = 3  // [milliseconds or 0: for ever] -> [value]; waits
	opPoll      protocol.Op = 4  // [] -> [value]
	opPeek      protocol.Op = 5  // [] -> [value]
	opDrain     protocol.Op = 6  // [most] -> [value ...]
	opLen       protocol.Op = 7  // [] -> [elements]
	opClear     protocol.Op = 8  // [mark or 0: all elements] -> [mark or 0: done]
	opConfigure protocol.Op = 9  // [capacity or 0: without bounds] -> []
	opDestroy   protocol.Op = 10 // [] -> []
)

// The codes of a queue's own.
const (
	codeEmpty = protocol.CodeRoom + 0
	codeFull  = protocol.CodeRoom + 1 // or others wait for room
)

// MaxCapacity is the largest capacity that is a bound.
const MaxCapacity = math.MaxInt32

// maxWait is the longest wait that has an end.
const maxWait = 10 * 365 * 24 * time.Hour

// milliseconds returns d as a wait on the wire, where 0 has no end.
func milliseconds(d time.Duration) int64 {
	return int64((min(d, maxWait) + time.Millisecond - 1) / time.Millisecond)
}

func appendInts(dst []byte, ints ...int64) []byte {
	dst = protocol.AppendArray(dst, len(ints))
	for _, n := range ints {
		dst = protocol.AppendInt(dst, n)
	}
	return dst
}

// readInts reads an array of exactly as many integers as there are places.
func readInts(b []byte, into ...*int64) error {
	r := protocol.NewReader(b)
	r.Array(len(into))
	for _, n := range into {
		*n = r.Int()
	}
	return r.Done()
}

func appendValues(dst []byte, values ...[]byte) []byte {
	dst = protocol.AppendArray(dst, len(values))
	for _, v := range values {
		dst = protocol.AppendBytes(dst, v)
	}
	return dst
}

// readValue reads an array of one value, which aliases b.
func readValue(b []byte) ([]byte, error) {
	r := protocol.NewReader(b)
	r.Array(1)
	v := r.Bytes()
	return v, r.Done()
}

// readValues reads an array of values, which alias b.
func readValues(b []byte) ([][]byte, error) {
	r := protocol.NewReader(b)
	values := make([][]byte, 0, r.ArrayLen())
	for range cap(values) {
		values = append(values, r.Bytes())
	}
	return values, r.Done()
}
