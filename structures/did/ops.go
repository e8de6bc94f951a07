package did

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of ids. Numbers are never used again.
const (
	opReserve protocol.Op = 1 // [n] -> [first]
	opRaise   protocol.Op = 2 // [at least] -> [next]
)

// ops describes the operations. None grows: there is one row. To raise takes ids away from
// all, for ever, so it is for who manages.
var ops = []structures.OpInfo{
	{Op: opReserve, Name: "reserve", Body: "[n: 1..1000000]", Result: "[first: id]", Codes: []protocol.Code{codeTooFast}, Right: structures.RightRead | structures.RightWrite},
	{Op: opRaise, Name: "raise", Body: "[least: 1..4611686018427387904]", Result: "[next: id]", Right: structures.RightManage},
}

var rules = []structures.Rule{
	{Name: "id", Type: "int", Help: "the version of a mutation of the partition, or a larger number"},
}

const codeTooFast = protocol.CodeKindBase + 0

var codes = []structures.CodeInfo{
	{Code: codeTooFast, Name: "too_fast", Err: ErrTooFast, Help: "more ids than may be reserved by now"},
}

const (
	// MaxBlock is the largest [Block].
	MaxBlock = 1_000_000
	// MaxRaise is the largest number that [Sequence.Raise] takes. Above it there are as many
	// ids again.
	MaxRaise = 1 << 62
	// PerSecond is how many ids of a name can be reserved in a second of log time, and how
	// many more once. Versions of a partition in memory are not given out faster.
	PerSecond = 1 << 24
)
