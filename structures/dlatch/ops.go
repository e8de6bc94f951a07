package dlatch

import (
	"math"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a latch. Numbers are never used again.
const (
	opSet     protocol.Op = 1 // [count] -> [round]
	opDown    protocol.Op = 2 // [by, round or 0] -> [count]
	opCount   protocol.Op = 3 // [] -> [count, round, first round]
	opAwait   protocol.Op = 4 // [milliseconds or 0: for ever, round or 0] -> [round]; waits
	opHold    protocol.Op = 5 // [round or 0, note] -> [hold, token]
	opRelease protocol.Op = 6 // [hold] -> []
)

// ops describes the operations. None grows: a latch has one row and one for each hold, and
// keeps the applications of the grid going.
var ops = []structures.OpInfo{
	{Op: opSet, Name: "set", Body: "[n: 1..2147483647]", Result: "[round]", Codes: []protocol.Code{codeNotZero}, Txn: true, Right: structures.RightWrite},
	{Op: opDown, Name: "down", Body: "[by: 1..2147483647, in: round]", Result: "[count]", Codes: inRound, Txn: true, Right: structures.RightRead | structures.RightWrite},
	{Op: opCount, Name: "count", Body: "[]", Result: "[count, round, first: round]", Codes: []protocol.Code{codeNotSet}, Read: true, Txn: true, Right: structures.RightRead},
	{Op: opAwait, Name: "await", Body: "[wait, in: round]", Result: "[round]", Codes: append([]protocol.Code{protocol.CodeTimedOut}, inRound...), Waits: true, Right: structures.RightRead},
	{Op: opHold, Name: "hold", Body: "[in: round, note: tstr]", Result: "[hold, token]", Codes: append(inRound[:2:2], codeDone), Holds: true, Right: structures.RightHold},
	{Op: opRelease, Name: "release", Body: "[hold]", Result: "[]", Codes: []protocol.Code{codeNotHeld}, Txn: true, Right: structures.RightHold},
}

// inRound: of operations that need a Set before them, and may name its round.
var inRound = []protocol.Code{codeNotSet, codeRound}

// rules are what names in the operations are.
var rules = []structures.Rule{
	{Name: "count", Type: "0..2147483647", Help: "how much is left; at 0 the latch is open"},
	{Name: "round", Type: "uint", Help: "the version of the set that began it; in a request 0 is the present one"},
}

// The codes of a latch's own.
const (
	codeNotZero = protocol.CodeKindBase + 0
	codeNotSet  = protocol.CodeKindBase + 1
	codeRound   = protocol.CodeKindBase + 2
	codeDone    = protocol.CodeKindBase + 3
	codeNotHeld = protocol.CodeKindBase + 4
)

var codes = []structures.CodeInfo{
	{Code: codeNotZero, Name: "not_zero", Err: ErrNotZero, Help: "the count is above 0"},
	{Code: codeNotSet, Name: "not_set", Err: ErrNotSet, Help: "the latch was not set", Unusable: true},
	{Code: codeRound, Name: "round", Err: ErrRound, Help: "it is not the present round of the latch"},
	{Code: codeDone, Name: "done", Err: ErrDone, Help: "the count is 0"},
	{Code: codeNotHeld, Name: "not_held", Err: structures.ErrNotHeld, Help: "the session has no such hold"},
}

// MaxCount is how large the count of a latch may be, with what is held.
const MaxCount = math.MaxInt32

// The condition of transactions about a latch. Numbers are never used again.
const testAtMost structures.Test = 1 // [test, count]

var tests = []structures.TestInfo{
	{Test: testAtMost, Name: "at_most", Body: "[test: 1, count]", Help: "the latch is set, and its count is that or less"},
}
