package dqueue

import (
	"math"

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

// opNames are the operations as logs and metrics call them.
var opNames = []string{
	opPut: "put", opOffer: "offer", opTake: "take", opPoll: "poll", opPeek: "peek", opDrain: "drain",
	opLen: "len", opClear: "clear", opConfigure: "configure", opDestroy: "destroy",
}

// The codes of a queue's own.
const (
	codeEmpty = protocol.CodeRoom + 0
	codeFull  = protocol.CodeRoom + 1 // or others wait for room
)

// MaxCapacity is the largest capacity that is a bound.
const MaxCapacity = math.MaxInt32

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
