package dcounter

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a counter. Numbers are never used again. Bodies and the
// results of operations are arrays of integers.
const (
	opGet           protocol.Op = 1 // [] -> [value]
	opSet           protocol.Op = 2 // [value] -> []
	opAdd           protocol.Op = 3 // [delta] -> [value]
	opCompareAndSet protocol.Op = 4 // [old, new] -> []
)

// ops describes the operations.
var ops = []structures.OpInfo{
	{Op: opGet, Name: "get", Body: "[]", Result: "[value: int]", Read: true, Txn: true, Right: structures.RightRead},
	{Op: opSet, Name: "set", Body: "[value: int]", Result: "[]", Grows: true, Txn: true, Right: structures.RightWrite},
	{Op: opAdd, Name: "add", Body: "[delta: int]", Result: "[value: int]", Codes: []protocol.Code{codeOverflow}, Grows: true, Txn: true, Right: structures.RightRead | structures.RightWrite},
	{Op: opCompareAndSet, Name: "compare_and_set", Body: "[old: int, new: int]", Result: "[]", Codes: []protocol.Code{codeDiffers}, Grows: true, Txn: true, Right: structures.RightRead | structures.RightWrite},
}

// The codes of a counter's own.
const (
	codeOverflow = protocol.CodeKindBase + 0
	codeDiffers  = protocol.CodeKindBase + 1
)

var codes = []structures.CodeInfo{
	{Code: codeOverflow, Name: "overflow", Err: ErrOverflow, Help: "the sum is not an integer of 64 bits"},
	{Code: codeDiffers, Name: "differs", Err: errDiffers, Help: "the counter does not have the old value"},
}

// The conditions of transactions about a counter. Numbers are never used again.
const (
	testEqual   structures.Test = 1 // [test, value]
	testAtLeast structures.Test = 2 // [test, value]
	testAtMost  structures.Test = 3 // [test, value]
)

var tests = []structures.TestInfo{
	{Test: testEqual, Name: "equal", Body: "[test: 1, value: int]", Help: "the counter has the value"},
	{Test: testAtLeast, Name: "at_least", Body: "[test: 2, value: int]", Help: "the counter has the value, or a larger one"},
	{Test: testAtMost, Name: "at_most", Body: "[test: 3, value: int]", Help: "the counter has the value, or a smaller one"},
}
