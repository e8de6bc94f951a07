package dlock

import (
	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a lock. Numbers are never used again.
const (
	opLock    protocol.Op = 1 // [milliseconds or 0: for ever, note] -> [hold, token]; waits
	opTryLock protocol.Op = 2 // [note] -> [hold, token]
	opRelease protocol.Op = 3 // [hold] -> []
)

var ops = []structures.OpInfo{
	{Op: opLock, Name: "lock", Body: "[wait, note: tstr]", Result: "[hold, token]", Codes: []protocol.Code{protocol.CodeTimedOut}, Waits: true, Holds: true, Right: structures.RightHold},
	{Op: opTryLock, Name: "try_lock", Body: "[note: tstr]", Result: "[hold, token]", Codes: []protocol.Code{codeHeld}, Holds: true, Right: structures.RightHold},
	{Op: opRelease, Name: "release", Body: "[hold]", Result: "[]", Codes: []protocol.Code{codeNotHeld}, Txn: true, Right: structures.RightHold},
}

// The codes of a lock's own.
const (
	codeHeld    = protocol.CodeKindBase + 0
	codeNotHeld = protocol.CodeKindBase + 1
)

var codes = []structures.CodeInfo{
	{Code: codeHeld, Name: "held", Err: quorate.ErrNotInTime, Help: "the lock is held, or others wait"},
	{Code: codeNotHeld, Name: "not_held", Err: structures.ErrNotHeld, Help: "the session has no such hold"},
}

// readLock reads the body of opLock: how many milliseconds it waits, and its note.
func readLock(body []byte) (ms int64, note string, err error) {
	r := protocol.NewReader(body)
	r.Array(2)
	ms, note = r.Int(), r.String()
	return ms, note, r.Done()
}

func appendLock(dst []byte, ms int64, note string) []byte {
	return protocol.AppendString(protocol.AppendInt(protocol.AppendArray(dst, 2), ms), note)
}

// readTryLock reads the body of opTryLock.
func readTryLock(body []byte) (note string, err error) {
	r := protocol.NewReader(body)
	r.Array(1)
	note = r.String()
	return note, r.Done()
}

func appendTryLock(dst []byte, note string) []byte {
	return protocol.AppendString(protocol.AppendArray(dst, 1), note)
}
