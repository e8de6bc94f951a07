package dbarrier

import (
	"bytes"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes barriers.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 8, Name: "barrier", Level: 1, Machine: machine{},
		Doc:  "A number of parties that wait for each other, to go on or to enter and leave together",
		Unit: "parties",
		Ops:  ops, Rules: rules, Codes: codes,
	}
}

// kind is that of the handles.
var kind = Kind()

// machine keeps these rows:
//
//	HoldKey and hold  structures.Hold  one party inside; its amount is the number of parties, its token the round; the owner is the party's session
//	"m"               []               those that could go were left for later; due at once
//
// The payload of a waiting call is what it wants: of an enter as every call that holds has
// it, of an await its number of parties, of a left its round.
//
// Invariant: all that are inside are of one round (BARRIER-3).
// Invariant: the calls that wait to arrive have one number of parties and one form, which is
// that of who is inside.
// Invariant: where as many wait as meet, and nobody is inside, they have gone, or "m" is there.
type machine struct{ structures.Base }

var moreKey = []byte("m")

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	n, ms, round := int64(2), int64(0), int64(0)
	var note string
	var err error
	switch op {
	case opAwait:
		err = protocol.ReadInts(body, &n, &ms)
	case opEnter:
		n, ms, note, err = readEnter(body)
	case opLeft:
		err = protocol.ReadInts(body, &round, &ms)
	case opRelease:
		_, err = structures.ReadHold(body)
	default:
		return fmt.Errorf("%w: operation %d of a barrier", quorate.ErrUnsupported, op)
	}
	switch {
	case err != nil:
		return err
	case round < 0:
		return fmt.Errorf("%w: round %d", quorate.ErrInvalid, round)
	}
	if ms != notAtAll {
		err = structures.CheckWait(ms)
	}
	if err != nil {
		return err
	}
	if err := structures.CheckNote(note); err != nil {
		return err
	}
	return checkParties(n)
}

// notAtAll is the wait of a call that never waits.
const notAtAll = -1

func checkParties(n int64) error {
	if n < 2 || n > MaxParties {
		return fmt.Errorf("%w: %d parties, not within 2 to %d", quorate.ErrInvalid, n, MaxParties)
	}
	return nil
}

func appendEnter(dst []byte, n, ms int64, note string) []byte {
	dst = protocol.AppendInt(protocol.AppendInt(protocol.AppendArray(dst, 3), n), ms)
	return protocol.AppendString(dst, note)
}

func readEnter(body []byte) (n, ms int64, note string, err error) {
	r := protocol.NewReader(body)
	r.Array(3)
	n, ms, note = r.Int(), r.Int(), r.String()
	return n, ms, note, r.Done()
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	var n, ms, round int64
	switch op {
	case opAwait:
		_ = protocol.ReadInts(body, &n, &ms)
		return arrive(env, arrival{op: op, parties: n}, ms)
	case opEnter:
		var note string
		n, ms, note, _ = readEnter(body)
		return arrive(env, arrival{op: op, parties: n, note: note}, ms)
	case opLeft:
		_ = protocol.ReadInts(body, &round, &ms)
		if h, ok := inside(env, nil); !ok || int64(h.Token) != round {
			return structures.OK(protocol.AppendInts(nil))
		}
		return wait(env, protocol.AppendInts(nil, round), ms)
	case opRelease:
		id, _ := structures.ReadHold(body)
		_, h, ok := structures.OwnHold(env, id)
		if !ok {
			return structures.Refuse(codeNotHeld, "it has ended, or the barrier was destroyed")
		}
		leave(env, structures.HoldKey(id), h)
		return structures.OK(protocol.AppendInts(nil))
	}
	panic("dbarrier: bug: unchecked operation")
}

// Read implements structures.Machine.
func (machine) Read(structures.View, protocol.Op, []byte) structures.Result {
	panic("dbarrier: bug: a barrier has no reads")
}

// Due lets go those that were left for later.
func (machine) Due(env structures.Env, key []byte, _ structures.Row) { serve(env, key) }

// Ended takes out a party whose session has ended.
func (machine) Ended(env structures.Env, key []byte, row structures.Row) {
	if mutants.On(mutants.DeadStaysInside) {
		env.Put(key, structures.Row{Value: row.Value})
		return
	}
	var h structures.Hold
	_ = h.Read(row.Value)
	leave(env, key, h)
}

// Withdrawn does nothing: nobody can go because another has given up.
func (machine) Withdrawn(structures.Env) {}

// Len returns how many are inside.
func (machine) Len(view structures.View) (n int64) {
	view.Ascend(structures.HoldKey(0), func(key []byte, _ structures.Row) bool {
		_, ok := structures.HoldOf(key)
		if ok {
			n++
		}
		return ok
	})
	return n
}

// arrival is one party that arrives: by an await or an enter.
type arrival struct {
	op      protocol.Op
	parties int64
	note    string
	waiter  structures.Waiter // the call that has waited; the zero Waiter: the call being applied
}

// arrivalOf returns the arrival that a waiting call is, and false if it waits to leave.
func arrivalOf(w structures.Waiter) (a arrival, ok bool) {
	a = arrival{op: w.Op, waiter: w}
	switch w.Op {
	case opAwait:
		_ = protocol.ReadInts(w.Payload, &a.parties)
	case opEnter:
		a.parties, _, a.note, _ = structures.ReadWanted(w.Payload)
	}
	return a, w.Op != opLeft
}

// inside returns the hold of one that is inside, and false if nobody is, but for who has
// the row under the key without.
func inside(view structures.View, without []byte) (h structures.Hold, ok bool) {
	view.Ascend(structures.HoldKey(0), func(key []byte, row structures.Row) bool {
		if bytes.Equal(key, without) {
			return true
		}
		_, ok = structures.HoldOf(key)
		if ok {
			_ = h.Read(row.Value)
		}
		return false
	})
	return h, ok
}

// arriving returns the first of those that wait to arrive, at most so many.
func arriving(view structures.View, most int64) (list []arrival) {
	view.Waiters(func(w structures.Waiter) bool {
		if a, ok := arrivalOf(w); ok {
			list = append(list, a)
		}
		return int64(len(list)) < most
	})
	return list
}

// arrive lets the parties go if this is the last one of a round, and else makes it wait,
// for so many milliseconds.
func arrive(env structures.Env, a arrival, ms int64) structures.Result {
	h, within := inside(env, nil)
	other := arrival{op: opEnter, parties: h.Amount}
	if first := arriving(env, 1); !within && len(first) > 0 {
		other = first[0]
	} else if !within {
		other = a
	}
	if other.op != a.op || other.parties != a.parties {
		return structures.Refuse(protocol.CodeSettings, fmt.Sprintf("%d parties meet here, at a barrier that is %s", other.parties, form(other.op)))
	}
	payload := protocol.AppendInts(nil, a.parties)
	if a.op == opEnter {
		payload = structures.AppendWanted(nil, a.parties, "", a.note)
	}
	// Calls that are hidden count as waiting, and are no parties: so that only says when
	// to look (BARRIER-2).
	n := int(a.parties)
	if env.Waiting()+1 < n || within && !mutants.On(mutants.BarrierLaps) {
		return wait(env, payload, ms)
	}
	party := arriving(env, a.parties)
	last := len(party) == n-1 || mutants.On(mutants.BarrierCountsDead)
	switch {
	case !last:
		// Fewer wait, or they are all there already, and go before it.
		return wait(env, payload, ms)
	case env.GrantsLeft() < len(party):
		r := wait(env, payload, ms)
		if r.IsWaiting() {
			env.Put(moreKey, structures.Row{Deadline: structures.AtOnce})
		}
		return r
	}
	trip(env, append(party, a))
	version := env.Version()
	if a.op == opEnter {
		return structures.Granted(protocol.HoldID(version), protocol.Token(version))
	}
	return structures.OK(protocol.AppendInts(nil, int64(version), int64(len(party))))
}

func form(op protocol.Op) string {
	if op == opEnter {
		return "double"
	}
	return "cyclic"
}

func wait(env structures.Env, payload []byte, ms int64) structures.Result {
	if ms == notAtAll {
		return structures.Refuse(protocol.CodeTimedOut, "")
	}
	return env.Wait(payload, time.Duration(ms)*time.Millisecond)
}

// trip answers all parties of a round in one mutation: never some of them (BARRIER-1).
func trip(env structures.Env, party []arrival) {
	version := env.Version()
	for i, a := range party {
		id, session := protocol.HoldID(a.waiter.Version), a.waiter.Caller.Session
		if a.waiter.Order == 0 {
			id, session = protocol.HoldID(version), env.Caller().Session
		}
		result := structures.OK(protocol.AppendInts(nil, int64(version), int64(i)))
		if a.op == opEnter {
			structures.PutHold(env, id, session, structures.Hold{Amount: a.parties, Note: a.note})
			result = structures.Granted(id, protocol.Token(version))
		}
		if a.waiter.Order != 0 {
			env.Grant(a.waiter, result)
		}
	}
}

// leave takes a party out. With the last one of its round those go that wait for that, and
// the next round enters. If the party was due, that may have entered before this clean-up.
func leave(env structures.Env, key []byte, party structures.Hold) {
	if h, others := inside(env, key); others && h.Token == party.Token {
		env.Delete(key)
		return
	}
	serve(env, key)
}

// serve lets go who can: those that wait until a round has left, and the parties of one
// round, if all of them are there and nobody is inside (BARRIER-3). It deletes the removed
// row. Parties go together or are left for later.
func serve(env structures.Env, removed []byte) {
	left := env.GrantsLeft()
	h, within := inside(env, removed)
	var leavers []structures.Waiter
	var party []arrival
	leaving, beyond := false, false // left for later: leavers, parties of another round
	env.Waiters(func(w structures.Waiter) bool {
		a, ok := arrivalOf(w)
		var round int64
		switch {
		case ok && (len(party) == 0 || int64(len(party)) < party[0].parties):
			party = append(party, a)
		case ok:
			beyond = a.op == opAwait
		case within && protocol.ReadInts(w.Payload, &round) == nil && round == int64(h.Token):
		case len(leavers) == left:
			leaving = true
		default:
			leavers = append(leavers, w)
		}
		return true
	})
	complete := len(party) > 0 && int64(len(party)) == party[0].parties && (party[0].op == opAwait || !within)
	now := complete && len(leavers)+len(party) <= left
	env.Delete(removed)
	for _, w := range leavers {
		env.Grant(w, structures.OK(protocol.AppendInts(nil)))
	}
	if now {
		trip(env, party)
	}
	if leaving || complete && (beyond || !now) {
		env.Put(moreKey, structures.Row{Deadline: structures.AtOnce})
	}
}
