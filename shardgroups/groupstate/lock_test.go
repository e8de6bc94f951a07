package groupstate_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dlock"
)

// TestLock_DueBesideNewer: the grace of a revoked hold is over in an entry that grants the
// lock anew. The hold that is due is nobody's then, and its end takes nothing but its own row
// (LOCK-3).
func TestLock_DueBesideNewer(t *testing.T) {
	const (
		tryLock protocol.Op = 2
		release protocol.Op = 3

		held = protocol.CodeKindBase
	)
	d := newDriverOf(t, []structures.Kind{dlock.Kind()})
	d.attach(1, 4)
	do := func(after time.Duration, session protocol.SessionID, op protocol.Op, body []byte, want protocol.Code) {
		t.Helper()
		d.entry(after, func() { d.call(slot{session, 1, 0}, 0, dlock.Kind().ID, "l", op, body) })
		if d.replies[want] != 1 {
			t.Fatalf("operation %d of session %d: replies by code %v, want code %d", op, session, d.replies, want)
		}
	}
	do(0, 1, tryLock, items(word("")), protocol.CodeOK)
	revoked := int(d.version) // the number of a hold is the version of the call
	do(0, 2, structures.OpRevoke, items(revoked, 10_000, word("verify")), protocol.CodeOK)
	do(0, 1, structures.OpAcknowledge, items(revoked), protocol.CodeOK)
	do(9*time.Second, 3, tryLock, items(word("")), held)
	do(time.Second, 3, tryLock, items(word("")), protocol.CodeOK)
	next := int(d.version)
	d.settle(10)
	do(0, 2, tryLock, items(word("")), held)
	do(0, 3, release, items(next), protocol.CodeOK)
	do(0, 2, tryLock, items(word("")), protocol.CodeOK)
}
