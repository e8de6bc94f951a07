package dcounter

import (
	"github.com/quorate/quorate/protocol"
)

// The operations of a counter. Numbers are never used again. Bodies and the
// results of operations are arrays of integers.
const (
	opGet           protocol.Op = 1 // [] -> [value]
	opSet           protocol.Op = 2 // [value] -> []
	opAdd           protocol.Op = 3 // [delta] -> [value]
	opCompareAndSet protocol.Op = 4 // [old, new] -> []
	opDestroy       protocol.Op = 5 // [] -> []
)

// The codes of a counter's own.
const (
	codeOverflow = protocol.CodeRoom + 0 // the sum is not an int64
	codeDiffers  = protocol.CodeRoom + 1 // the counter is not the old value
)

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
