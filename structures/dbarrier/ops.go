package dbarrier

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a barrier. Numbers are never used again.
const (
	opAwait   protocol.Op = 1 // [parties, milliseconds, 0: for ever, -1: not at all] -> [round, index]; waits
	opEnter   protocol.Op = 2 // [parties, milliseconds as above, note] -> [hold, token]; waits
	opLeft    protocol.Op = 3 // [round, milliseconds as above] -> []; waits until nobody of the round is inside
	opRelease protocol.Op = 4 // [hold] -> []
)

// ops describes the operations. None grows: a barrier keeps who is inside, at most
// MaxParties, and keeps the applications of the grid going.
var ops = []structures.OpInfo{
	{Op: opAwait, Name: "await", Body: "[parties, most]", Result: "[round, index: 0..999]", Codes: []protocol.Code{protocol.CodeTimedOut, protocol.CodeSettings}, Waits: true, Right: structures.RightHold},
	{Op: opEnter, Name: "enter", Body: "[parties, most, note: tstr]", Result: "[hold, token]", Codes: []protocol.Code{protocol.CodeTimedOut, protocol.CodeSettings}, Waits: true, Holds: true, Right: structures.RightHold},
	{Op: opLeft, Name: "left", Body: "[round, most]", Result: "[]", Codes: []protocol.Code{protocol.CodeTimedOut}, Waits: true, Right: structures.RightHold},
	{Op: opRelease, Name: "release", Body: "[hold]", Result: "[]", Codes: []protocol.Code{codeNotHeld}, Txn: true, Right: structures.RightHold},
}

// rules are what names in the operations are.
var rules = []structures.Rule{
	{Name: "most", Type: "int", Help: "milliseconds to wait, 0: for ever, -1: not at all"},
	{Name: "parties", Type: "2..1000", Help: "how many meet"},
	{Name: "round", Type: "uint", Help: "the version of the mutation that let the parties go, or in: of who is inside, the token"},
}

// codeNotHeld is the code of a barrier's own.
const codeNotHeld = protocol.CodeKindBase + 0

var codes = []structures.CodeInfo{
	{Code: codeNotHeld, Name: "not_held", Err: structures.ErrNotHeld, Help: "the session has no such hold"},
}

// MaxParties is how many may meet at a barrier. One mutation lets all of them go.
const MaxParties = 1000
