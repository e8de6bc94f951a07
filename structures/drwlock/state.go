package drwlock

import (
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delay"
)

// MaxReaders is how many holds read a lock at a time at most: another reader waits.
const MaxReaders = 10_000

// Kind describes locks for readers and writers. No operation of theirs is one that grows:
// holds are few, end with their sessions, and keep the applications of the grid going.
func Kind() structures.Kind { return kindFor(MaxReaders) }

func kindFor(readers int) structures.Kind {
	return structures.Kind{
		ID: 6, Name: "rwlock", Level: 1, Machine: machine{readers: readers},
		Doc:  "A lock for many readers or one writer, in the order of arrival",
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
//	HoldKey and hold  structures.Hold  one grant, its mode Read or Write; the owner is the holder's session
//	"d"               []               package delay: nobody is granted the lock before the deadline
//	"m"               []               grants were left for later; due at once
//
// A hold has the number of the call that asked, its token that of the mutation that granted
// it (LOCK-1). Without a row nothing is left of the lock, and the group forgets its name.
//
// Invariant: if a live row is a hold that writes, no other live row is a hold (LOCK-2).
// Invariant: the first waiting call does not fit, or "d" or "m" is there.
type machine struct {
	structures.Base
	readers int // how many may read at a time
}

var moreKey = []byte("m")

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	switch op {
	case opLock, opTryLock:
		l, err := readLocking(op, body)
		if err == nil {
			err = structures.CheckWait(l.ms)
		}
		if err != nil {
			return err
		}
		return structures.CheckNote(l.note)
	case opRelease, opDowngrade, opUpgrade:
		_, err := structures.ReadHold(body)
		return err
	}
	return fmt.Errorf("%w: operation %d of a lock for readers and writers", quorate.ErrUnsupported, op)
}

// CheckSettings implements structures.Configurer.
func (machine) CheckSettings(s *structures.Settings) error { return delay.Check(s) }

// Apply implements structures.Machine.
func (m machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	if op == opLock || op == opTryLock {
		l, _ := readLocking(op, body)
		switch {
		case m.admits(env, l.mode()):
			return grant(env, protocol.HoldID(env.Version()), env.Caller().Session, l.mode(), l.note)
		case op == opTryLock:
			return structures.Refuse(codeHeld, heldBy(env, l.mode()))
		}
		return env.Wait(structures.AppendWanted(nil, 1, l.mode(), l.note), time.Duration(l.ms)*time.Millisecond)
	}
	id, _ := structures.ReadHold(body)
	_, h, ok := structures.OwnHold(env, id)
	switch {
	case !ok:
		return structures.Refuse(codeNotHeld, "the lock was released or revoked, or was destroyed")
	case op == opRelease:
		m.serve(env, structures.HoldKey(id))
		return structures.OK(protocol.AppendArray(nil, 0))
	case op == opDowngrade:
		return m.downgrade(env, id, h)
	}
	return upgrade(env, id, h)
}

// Read implements structures.Machine; all reads are generic operations.
func (machine) Read(structures.View, protocol.Op, []byte) structures.Result {
	panic("drwlock: bug: unchecked operation")
}

// Due goes on after the delay, or with grants that were left for later.
func (m machine) Due(env structures.Env, key []byte, _ structures.Row) { m.serve(env, key) }

// Ended gives a hold back, or keeps the lock from the next one for the delay (LOCK-5).
// Others that read go on.
func (m machine) Ended(env structures.Env, key []byte, _ structures.Row) {
	if !delay.Begin(env, key) {
		m.serve(env, key)
	}
}

// Withdrawn looks at the calls behind the one that has ended: readers behind a writer fit, if
// others read.
func (m machine) Withdrawn(env structures.Env) {
	if !mutants.On(mutants.WithdrawnForgotten) {
		m.serve(env, nil)
	}
}

// Len returns how many hold it.
func (m machine) Len(view structures.View) int64 { return int64(holding(view, nil, m.readers).n) }

// admits reports whether the call that is being applied is granted the lock at once: nobody
// that arrives passes one that waits.
func (m machine) admits(env structures.Env, mode string) bool {
	if delay.Lasts(env, nil) || !m.fits(holding(env, nil, m.most(mode)), mode) {
		return false
	}
	if mode == Read && mutants.On(mutants.ReaderOvertakes) {
		return true
	}
	_, waits := structures.FirstWaiter(env)
	return !waits
}

// serve deletes a row, and grants the lock to those that fit then (LOCK-3).
func (m machine) serve(env structures.Env, removed []byte) {
	next, more := m.next(env, removed, nil)
	if removed != nil {
		env.Delete(removed)
	}
	let(env, next, more)
}

// downgrade exchanges a hold that writes for one that reads, and lets in those that fit
// beside it. In no state does nobody hold (LOCK-4).
func (m machine) downgrade(env structures.Env, id protocol.HoldID, h structures.Hold) structures.Result {
	switch {
	case h.Mode != Write:
		return structures.Refuse(codeNotHeld, "the hold reads, it does not write")
	case h.Mark >= structures.HoldRevoked:
		return structures.Refuse(codeRevoked, h.Reason)
	}
	beside := &holders{n: 1, mode: Read}
	if mutants.On(mutants.DowngradeGap) {
		beside = &holders{}
	}
	next, more := m.next(env, structures.HoldKey(id), beside)
	r := exchange(env, id, Read, h.Note)
	let(env, next, more)
	return r
}

// upgrade exchanges the only hold, which reads, for one that writes.
func upgrade(env structures.Env, id protocol.HoldID, h structures.Hold) structures.Result {
	switch {
	case h.Mode != Read:
		return structures.Refuse(codeNotHeld, "the hold writes already")
	case h.Mark >= structures.HoldRevoked:
		return structures.Refuse(codeRevoked, h.Reason)
	case delay.Lasts(env, nil):
		return structures.Refuse(codeHeld, "a hold was lost and the delay is not over")
	case holding(env, structures.HoldKey(id), 1).n > 0 && !mutants.On(mutants.UpgradeShared):
		return structures.Refuse(codeHeld, "others read")
	}
	return exchange(env, id, Write, h.Note)
}

// exchange replaces a hold of the caller by another one. It has the number of this call, so
// that what comes late for the former does not touch it (LOCK-4).
func exchange(env structures.Env, id protocol.HoldID, mode, note string) structures.Result {
	env.Delete(structures.HoldKey(id))
	return grant(env, protocol.HoldID(env.Version()), env.Caller().Session, mode, note)
}

func grant(env structures.Env, id protocol.HoldID, to protocol.SessionID, mode, note string) structures.Result {
	structures.PutHold(env, id, to, structures.Hold{Amount: 1, Mode: mode, Note: note})
	return structures.Granted(id, protocol.Token(env.Version()))
}

// next returns the waiting calls that are granted the lock once a row is removed, and whether
// more could be granted than one mutation may. If beside is given that is who holds it then.
func (m machine) next(env structures.Env, removed []byte, beside *holders) (next []structures.Waiter, more bool) {
	first, waits := structures.FirstWaiter(env)
	if !waits || delay.Lasts(env, removed) {
		return nil, false
	}
	var held holders
	if beside != nil {
		held = *beside
	} else {
		held = holding(env, removed, m.most(wanted(first)))
	}
	left := env.GrantsLeft()
	env.Waiters(func(w structures.Waiter) bool {
		mode := wanted(w)
		switch {
		case !m.fits(held, mode):
			return false
		case len(next) == left:
			more = true
			return false
		}
		held.n, held.mode = held.n+1, mode
		next = append(next, w)
		return mode == Read
	})
	return next, more
}

// let grants the lock to waiting calls.
func let(env structures.Env, next []structures.Waiter, more bool) {
	for _, w := range next {
		_, mode, note, _ := structures.ReadWanted(w.Payload)
		env.Grant(w, grant(env, protocol.HoldID(w.Version), w.Caller.Session, mode, note))
	}
	if more {
		env.Put(moreKey, structures.Row{Deadline: structures.AtOnce})
	}
}

// holders is who holds the lock.
type holders struct {
	n    int    // of holds, as far as they were counted
	mode string // of all of them
	// session and note are those of the first.
	session protocol.SessionID
	note    string
}

// fits reports whether the lock can be granted beside those that hold it.
func (m machine) fits(held holders, mode string) bool {
	return held.n == 0 || mode == Read && held.mode == Read && held.n < m.readers
}

// most is how many holds have to be counted to know whether a call fits.
func (m machine) most(mode string) int {
	if mode == Read {
		return m.readers
	}
	return 1
}

// holding returns who holds the lock but for the hold whose row is removed, and counts most
// of them at most. There is no count that is kept: the live rows are what there is (LOCK-2).
func holding(view structures.View, removed []byte, most int) (held holders) {
	for from := structures.HoldKey(0); from != nil; {
		from = view.Ascend(from, func(key []byte, row structures.Row) bool {
			if _, ok := structures.HoldOf(key); !ok {
				return false
			}
			if string(key) == string(removed) {
				return true
			}
			if held.n == 0 {
				var h structures.Hold
				_ = h.Read(row.Value)
				held.mode, held.session, held.note = h.Mode, row.Owner, h.Note
			}
			held.n++
			return held.n < most
		})
	}
	return held
}

// heldBy says why the lock cannot be had at once.
func heldBy(view structures.View, mode string) string {
	held := holding(view, nil, 1)
	if held.n == 0 || held.mode == Read && mode == Read {
		return "others wait, or a hold was lost and the delay is not over"
	}
	by := fmt.Sprintf("session %d has it to %s", held.session, held.mode)
	if held.note != "" {
		by += ": " + held.note
	}
	return by
}

// wanted is how a waiting call wants the lock.
func wanted(w structures.Waiter) string {
	_, mode, _, _ := structures.ReadWanted(w.Payload)
	return mode
}
