package drwlock

import (
	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a lock for readers and writers. Numbers are never used again.
const (
	opLock      protocol.Op = 1 // [write, milliseconds or 0: for ever, note] -> [hold, token]; waits
	opTryLock   protocol.Op = 2 // [write, note] -> [hold, token]
	opRelease   protocol.Op = 3 // [hold] -> []
	opDowngrade protocol.Op = 4 // [hold that writes] -> [hold, token]
	opUpgrade   protocol.Op = 5 // [hold that reads] -> [hold, token]
)

var ops = []structures.OpInfo{
	{Op: opLock, Name: "lock", Body: "[write: bool, wait, note: tstr]", Result: "[hold, token]", Codes: []protocol.Code{protocol.CodeTimedOut}, Waits: true, Holds: true, Right: structures.RightHold},
	{Op: opTryLock, Name: "try_lock", Body: "[write: bool, note: tstr]", Result: "[hold, token]", Codes: []protocol.Code{codeHeld}, Holds: true, Right: structures.RightHold},
	{Op: opRelease, Name: "release", Body: "[hold]", Result: "[]", Codes: []protocol.Code{codeNotHeld}, Txn: true, Right: structures.RightHold},
	{Op: opDowngrade, Name: "downgrade", Body: "[hold]", Result: "[hold, token]", Codes: []protocol.Code{codeNotHeld, codeRevoked}, Holds: true, Right: structures.RightHold},
	{Op: opUpgrade, Name: "try_upgrade", Body: "[hold]", Result: "[hold, token]", Codes: []protocol.Code{codeHeld, codeNotHeld, codeRevoked}, Holds: true, Right: structures.RightHold},
}

// The codes of its own.
const (
	codeHeld    = protocol.CodeKindBase + 0
	codeNotHeld = protocol.CodeKindBase + 1
	codeRevoked = protocol.CodeKindBase + 2
)

var codes = []structures.CodeInfo{
	{Code: codeHeld, Name: "held", Err: quorate.ErrNotInTime, Help: "the lock is held by others, or others wait"},
	{Code: codeNotHeld, Name: "not_held", Err: structures.ErrNotHeld, Help: "the session has no such hold"},
	{Code: codeRevoked, Name: "revoked", Err: structures.ErrRevoked, Help: "the hold is revoked: it can only be released"},
}

// locking is the body of opLock and opTryLock.
type locking struct {
	write bool
	ms    int64 // that opLock waits; 0: for ever
	note  string
}

// readLocking reads the body of an operation.
func readLocking(op protocol.Op, body []byte) (l locking, err error) {
	r := protocol.NewReader(body)
	if op == opTryLock {
		r.Array(2)
		l.write, l.note = r.Bool(), r.String()
		return l, r.Done()
	}
	r.Array(3)
	l.write, l.ms, l.note = r.Bool(), r.Int(), r.String()
	return l, r.Done()
}

func (l *locking) append(op protocol.Op, dst []byte) []byte {
	if op == opTryLock {
		return protocol.AppendString(protocol.AppendBool(protocol.AppendArray(dst, 2), l.write), l.note)
	}
	dst = protocol.AppendBool(protocol.AppendArray(dst, 3), l.write)
	return protocol.AppendString(protocol.AppendInt(dst, l.ms), l.note)
}

// mode is how the lock is to be held.
func (l *locking) mode() string {
	if l.write {
		return Write
	}
	return Read
}
