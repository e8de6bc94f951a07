package dqueue

import (
	"math"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a queue. Numbers are never used again. Bodies and the
// results of operations are arrays: of integers, or of values as byte strings.
const (
	opPut    protocol.Op = 1  // [value, milliseconds or 0: for ever] -> []; waits
	opOffer  protocol.Op = 2  // [value] -> []
	opTake   protocol.Op = 3  // [milliseconds or 0: for ever, codec] -> [value]; waits
	opPoll   protocol.Op = 4  // [codec] -> [value]
	opPeek   protocol.Op = 5  // [] -> [value]
	opDrain  protocol.Op = 6  // [most, codec] -> [value ...]
	opClear  protocol.Op = 8  // [mark or 0: all elements] -> [mark or 0: done]
	opPutAll protocol.Op = 11 // [value ...] -> [how many of the first]
	opTakeN  protocol.Op = 12 // [most, milliseconds or 0: for ever, codec] -> [value ...]; waits
)

// A codec in the body of an operation that takes is the one that the caller reads,
// 0: any. What another wrote is not taken. A Take that waits looks itself at what is
// reserved for it, before it confirms.
const anyCodec = 0

// ops describes the operations. A Put that waits grows: it brings its element along.
var ops = []structures.OpInfo{
	{Op: opPut, Name: "put", Body: "[value, wait]", Result: "[]", Codes: []protocol.Code{protocol.CodeTimedOut}, Waits: true, Grows: true, Right: structures.RightWrite},
	{Op: opOffer, Name: "offer", Body: "[value]", Result: "[]", Codes: []protocol.Code{codeFull}, Grows: true, Txn: true, Right: structures.RightWrite},
	{Op: opTake, Name: "take", Body: "[wait, codec]", Result: "[value]", Codes: []protocol.Code{protocol.CodeTimedOut, codeCodec}, Waits: true, Right: structures.RightRead | structures.RightWrite},
	{Op: opPoll, Name: "poll", Body: "[codec]", Result: "[value]", Codes: []protocol.Code{codeEmpty, codeCodec}, Txn: true, Right: structures.RightRead | structures.RightWrite},
	{Op: opPeek, Name: "peek", Body: "[]", Result: "[value]", Codes: []protocol.Code{codeEmpty}, Read: true, Txn: true, Right: structures.RightRead},
	{Op: opDrain, Name: "drain", Body: "[most: 1..1000, codec]", Result: "[* value]", Codes: []protocol.Code{codeCodec}, Right: structures.RightRead | structures.RightWrite},
	{Op: opClear, Name: "clear", Body: "[mark: int]", Result: "[next: int]", Right: structures.RightManage},
	{Op: opPutAll, Name: "put_all", Body: "[1*1000 value]", Result: "[put: 0..1000]", Grows: true, Right: structures.RightWrite},
	{Op: opTakeN, Name: "take_n", Body: "[most: 1..1000, wait, codec]", Result: "[+ value]", Codes: []protocol.Code{protocol.CodeTimedOut, codeCodec}, Waits: true, Right: structures.RightRead | structures.RightWrite},
}

// The codes of a queue's own.
const (
	codeEmpty = protocol.CodeKindBase + 0
	codeFull  = protocol.CodeKindBase + 1
	codeCodec = protocol.CodeKindBase + 2
)

var codes = []structures.CodeInfo{
	{Code: codeEmpty, Name: "empty", Err: quorate.ErrNotInTime, Help: "the queue is empty", Answer: true},
	{Code: codeFull, Name: "full", Err: quorate.ErrNotInTime, Help: "the queue is full, or others wait for room"},
	{Code: codeCodec, Name: "codec", Err: quorate.ErrCodec, Help: "another codec wrote the head"},
}

var settingInfos = []structures.SettingInfo{
	{Name: "capacity", Type: structures.SettingInt, Help: "how many elements it has at most; 0: without bounds"},
}

var capacitySetting = &settingInfos[0]

// MaxCapacity is the largest capacity that is a bound.
const MaxCapacity = math.MaxInt32

func appendValues(dst []byte, values ...[]byte) []byte {
	dst = protocol.AppendArray(dst, len(values))
	for _, v := range values {
		dst = protocol.AppendBytes(dst, v)
	}
	return dst
}

// appendPut appends the body of an operation that puts one value.
func appendPut(dst []byte, op protocol.Op, value []byte, wait time.Duration) []byte {
	if op == opOffer {
		return appendValues(dst, value)
	}
	dst = protocol.AppendBytes(protocol.AppendArray(dst, 2), value)
	return protocol.AppendInt(dst, structures.WaitMilliseconds(wait))
}

// readPut reads the body of an operation that puts one value, which aliases it.
func readPut(op protocol.Op, body []byte) (value []byte, milliseconds int64, err error) {
	if op == opOffer {
		value, err = readValue(body)
		return value, 0, err
	}
	r := protocol.NewReader(body)
	r.Array(2)
	value, milliseconds = r.Bytes(), r.Int()
	return value, milliseconds, r.Done()
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

// appendReserved appends what the row of reserved elements has.
func appendReserved(dst []byte, elements []element) []byte {
	dst = protocol.AppendArray(dst, 2*len(elements))
	for _, e := range elements {
		dst = protocol.AppendBytes(protocol.AppendInt(dst, e.number), e.value)
	}
	return dst
}

// readReserved reads it; the values alias b.
func readReserved(b []byte) []element {
	r := protocol.NewReader(b)
	elements := make([]element, r.ArrayLen()/2)
	for i := range elements {
		elements[i] = element{r.Int(), r.Bytes()}
	}
	return elements
}

// The conditions of transactions about a queue. Numbers are never used again.
const (
	testLength structures.Test = 1 // [test, elements]
	testEmpty  structures.Test = 2 // [test]
)

var tests = []structures.TestInfo{
	{Test: testLength, Name: "length", Body: "[test: 1, length: int]", Help: "the queue has so many elements, without those that are reserved"},
	{Test: testEmpty, Name: "empty", Body: "[test: 2]", Help: "the queue has no element, but for those that are reserved"},
}
