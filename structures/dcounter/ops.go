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

// opNames are the operations as logs and metrics call them.
var opNames = []string{
	opGet: "get", opSet: "set", opAdd: "add", opCompareAndSet: "compare_and_set", opDestroy: "destroy",
}

// The codes of a counter's own.
const (
	codeOverflow = protocol.CodeRoom + 0 // the sum is not an int64
	codeDiffers  = protocol.CodeRoom + 1 // the counter is not the old value
)
