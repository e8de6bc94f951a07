package dlock

import (
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delay"
)

// Kind describes locks. No operation of a lock is one that grows: holds are few, end with
// their sessions, and keep the applications of the grid going.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 5, Name: "lock", Level: 1, Machine: machine{},
		Doc:  "An exclusive lock, which one session holds at a time",
		Unit: "holders",
		Ops:  ops, Codes: codes, Settings: delay.Infos,
	}
}

// kind is that of the handles.
var kind = Kind()

// MaxDelay is the longest [Delay].
const MaxDelay = delay.Max

// machine keeps these rows:
//
//	HoldKey and hold  structures.Hold  the grant; the owner is the holder's session
//	"d"               []               package delay: nobody is granted the lock before the deadline
//
// A hold has the number of the call that asked, its token that of the mutation that granted
// it (LOCK-1). Without a row nothing is left of the lock, and the group forgets its name.
//
// Invariant: at most one live row is a hold (LOCK-2).
// Invariant: if no live row is a hold or "d", no call waits.
type machine struct{ structures.Base }

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	var ms int64
	var note string
	var err error
	switch op {
	case opLock:
		ms, note, err = readLock(body)
	case opTryLock:
		note, err = readTryLock(body)
	case opRelease:
		_, err = structures.ReadHold(body)
	default:
		return fmt.Errorf("%w: operation %d of a lock", quorate.ErrUnsupported, op)
	}
	if err == nil {
		err = structures.CheckWait(ms)
	}
	if err != nil {
		return err
	}
	return structures.CheckNote(note)
}

// CheckSettings implements structures.Configurer.
func (machine) CheckSettings(s *structures.Settings) error { return delay.Check(s) }

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	switch op {
	case opLock:
		ms, note, _ := readLock(body)
		if admits(env) {
			return grantNow(env, note)
		}
		return env.Wait(structures.AppendWanted(nil, 1, "", note), time.Duration(ms)*time.Millisecond)
	case opTryLock:
		note, _ := readTryLock(body)
		if admits(env) {
			return grantNow(env, note)
		}
		return structures.Refuse(codeHeld, heldBy(env))
	case opRelease:
		id, _ := structures.ReadHold(body)
		id = mutantReleased(env, id)
		if _, _, ok := structures.OwnHold(env, id); !ok {
			return structures.Refuse(codeNotHeld, "the lock was released or revoked, or was destroyed")
		}
		serve(env, structures.HoldKey(id))
		return structures.OK(protocol.AppendArray(nil, 0))
	}
	panic("dlock: bug: unchecked operation")
}

// Read implements structures.Machine; all reads are generic operations.
func (machine) Read(structures.View, protocol.Op, []byte) structures.Result {
	panic("dlock: bug: unchecked operation")
}

// Due goes on after the delay.
func (machine) Due(env structures.Env, key []byte, _ structures.Row) { serve(env, key) }

// Ended gives the lock back, or keeps it from the next one for the delay (LOCK-5).
func (machine) Ended(env structures.Env, key []byte, _ structures.Row) {
	key = mutantEnded(env, key)
	if !delay.Begin(env, key) {
		serve(env, key)
	}
}

// Withdrawn looks at the calls behind the one that has ended: it may have been out of sight
// when the lock came free.
func (machine) Withdrawn(env structures.Env) { serve(env, nil) }

// Len returns how many hold it: 0 or 1.
func (machine) Len(view structures.View) int64 {
	if id, _ := holder(view, nil); id != 0 {
		return 1
	}
	return 0
}

// serve deletes a row, and grants the lock to the first call that waits, if it is free then
// (LOCK-3). A hold whose row is due but not cleaned up is nobody's: the lock may have been
// granted again since, so what cleans it up deletes its own row and no other.
func serve(env structures.Env, removed []byte) {
	next, waits := structures.FirstWaiter(env)
	waits = waits && free(env, removed)
	if removed != nil {
		env.Delete(removed)
	}
	if !waits {
		return
	}
	_, _, note, _ := structures.ReadWanted(next.Payload)
	env.Grant(next, grant(env, protocol.HoldID(next.Version), next.Caller.Session, note))
}

func grantNow(env structures.Env, note string) structures.Result {
	return grant(env, protocol.HoldID(env.Version()), env.Caller().Session, note)
}

func grant(env structures.Env, id protocol.HoldID, to protocol.SessionID, note string) structures.Result {
	structures.PutHold(env, id, to, structures.Hold{Amount: 1, Note: note})
	return structures.Granted(id, mutantToken(id, protocol.Token(env.Version())))
}

// admits reports whether the call that is being applied is granted the lock at once: nobody
// that arrives passes one that waits.
func admits(env structures.Env) bool {
	_, waits := structures.FirstWaiter(env)
	return !waits && free(env, nil)
}

// free reports whether the lock can be granted once a row is removed.
func free(env structures.Env, removed []byte) bool {
	if id, _ := holder(env, removed); id != 0 && !mutants.On(mutants.LockTwice) {
		return false
	}
	return !delay.Lasts(env, removed)
}

// holder returns the live hold but for the one whose row is removed; 0: there is none.
func holder(view structures.View, removed []byte) (id protocol.HoldID, row structures.Row) {
	for from := structures.HoldKey(0); from != nil; {
		from = view.Ascend(from, func(key []byte, r structures.Row) bool {
			hold, ok := structures.HoldOf(key)
			if ok && string(key) == string(removed) {
				return true
			}
			if ok {
				id, row = hold, r
			}
			return false
		})
	}
	return id, row
}

// heldBy says why the lock cannot be had at once.
func heldBy(view structures.View) string {
	id, row := holder(view, nil)
	if id == 0 {
		return "others wait, or a hold was lost and the delay is not over"
	}
	var h structures.Hold
	_ = h.Read(row.Value)
	by := fmt.Sprintf("session %d holds it", row.Owner)
	if h.Note != "" {
		by += ": " + h.Note
	}
	return by
}
