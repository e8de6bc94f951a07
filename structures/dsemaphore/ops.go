package dsemaphore

import (
	"math"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a semaphore. Numbers are never used again. Bodies and the
// results of operations are arrays of integers, those of holds and tokens
// unsigned; notes are text.
const (
	opInit       protocol.Op = 1 // [permits] -> []
	opAcquire    protocol.Op = 2 // [permits, milliseconds or 0: for ever, note] -> [hold, token]; waits
	opTryAcquire protocol.Op = 3 // [permits, note] -> [hold, token]
	opRelease    protocol.Op = 4 // [hold] -> []
	opAvailable  protocol.Op = 5 // [] -> [permits]
	opDrain      protocol.Op = 6 // [] -> [permits]
	opAddPermits protocol.Op = 7 // [permits, may be negative] -> []
)

// ops describes the operations.
//
// Three hold. An Acquire and a TryAcquire are granted permits. A Drain has no owner, but
// its caller relies on the number: that nobody works with those permits, and how many to
// add again. While a group that has lost data is in its grace period, all permits of lost
// holders are free again, and the holders may not know yet. Other operations grant nothing
// in that time, since no call waits: a group begins without waiting calls, and refuses an
// Acquire before it could wait. So a Release is answered at once, not only after the grace
// period, and a semaphore may be set up meanwhile.
var ops = []structures.OpInfo{
	{Op: opInit, Name: "init", Body: "[permits]", Result: "[]", Codes: []protocol.Code{protocol.CodeSettings}, Grows: true, Right: structures.RightManage},
	{Op: opAcquire, Name: "acquire", Body: "[permits, wait, note: tstr]", Result: "[hold, token]", Codes: []protocol.Code{protocol.CodeTimedOut, codeNotInitialized, codeTooMany}, Waits: true, Holds: true, Right: structures.RightHold},
	{Op: opTryAcquire, Name: "try_acquire", Body: "[permits, note: tstr]", Result: "[hold, token]", Codes: []protocol.Code{codeNotInitialized, codeTooMany, codeNone}, Holds: true, Right: structures.RightHold},
	{Op: opRelease, Name: "release", Body: "[hold]", Result: "[]", Codes: []protocol.Code{codeNotHeld}, Txn: true, Right: structures.RightHold},
	{Op: opAvailable, Name: "available", Body: "[]", Result: "[permits]", Codes: initialized, Read: true, Txn: true, Right: structures.RightRead},
	{Op: opDrain, Name: "drain", Body: "[]", Result: "[drained: permits]", Codes: initialized, Holds: true, Right: structures.RightRead | structures.RightManage},
	{Op: opAddPermits, Name: "add_permits", Body: "[more: permits]", Result: "[]", Codes: initialized, Txn: true, Right: structures.RightManage},
}

// rules are what names in the operations are.
var rules = []structures.Rule{{Name: "permits", Type: "int", Help: "how many"}}

// initialized: of operations that need an Init before them.
var initialized = []protocol.Code{codeNotInitialized}

// The codes of a semaphore's own.
const (
	codeNotInitialized = protocol.CodeKindBase + 0
	codeTooMany        = protocol.CodeKindBase + 1
	codeNone           = protocol.CodeKindBase + 2
	codeNotHeld        = protocol.CodeKindBase + 3
)

var codes = []structures.CodeInfo{
	{Code: codeNotInitialized, Name: "not_initialized", Err: ErrNotInitialized, Help: "the semaphore is not initialized", Unusable: true},
	{Code: codeTooMany, Name: "too_many", Err: ErrTooMany, Help: "more than the semaphore has"},
	{Code: codeNone, Name: "none", Err: quorate.ErrNotInTime, Help: "too few permits are free, or others wait"},
	{Code: codeNotHeld, Name: "not_held", Err: structures.ErrNotHeld, Help: "the session has no such hold"},
}

// readAcquire reads the body of opAcquire: how many permits, how many milliseconds it waits,
// and its note.
func readAcquire(body []byte) (n, ms int64, note string, err error) {
	r := protocol.NewReader(body)
	r.Array(3)
	n, ms, note = r.Int(), r.Int(), r.String()
	return n, ms, note, r.Done()
}

func appendAcquire(dst []byte, n, ms int64, note string) []byte {
	dst = protocol.AppendInt(protocol.AppendInt(protocol.AppendArray(dst, 3), n), ms)
	return protocol.AppendString(dst, note)
}

// readTryAcquire reads the body of opTryAcquire.
func readTryAcquire(body []byte) (n int64, note string, err error) {
	r := protocol.NewReader(body)
	r.Array(2)
	n, note = r.Int(), r.String()
	return n, note, r.Done()
}

func appendTryAcquire(dst []byte, n int64, note string) []byte {
	return protocol.AppendString(protocol.AppendInt(protocol.AppendArray(dst, 2), n), note)
}

// MaxPermits is how many permits a semaphore may have.
const MaxPermits = math.MaxInt32

// The condition of transactions about a semaphore. Numbers are never used again.
const testAvailable structures.Test = 1 // [test, permits]

var tests = []structures.TestInfo{
	{Test: testAvailable, Name: "available", Body: "[test: 1, permits]", Help: "so many permits are free, or more"},
}
