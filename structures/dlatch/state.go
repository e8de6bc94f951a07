package dlatch

import (
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes latches.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 7, Name: "latch", Level: 1, Machine: machine{},
		Doc:  "A count that is taken down to 0, and calls that wait for that",
		Unit: "counts",
		Ops:  ops, Rules: rules, Codes: codes, Tests: tests,
	}
}

// kind is that of the handles.
var kind = Kind()

// machine keeps these rows:
//
//	"c"               [first, round, n]   the first round of this instance, the present one, the count; not there before Set
//	HoldKey and hold  structures.Hold     one that counts until it is released; the owner is the holder's session
//	"m"               []                  grants were left for later; due at once
//
// The payload of a waiting call is the round that it waits for.
//
// A hold belongs to the present round if its token is larger than the round: the Set of a
// round is a mutation before all that are in it (LATCH-3).
//
// Invariant: calls wait for rounds in the order of their arrival.
// Invariant: a call that waits for an earlier round, or for the present one at 0, has been
// granted, or "m" is there (LATCH-1).
type machine struct{ structures.Base }

var (
	countKey = []byte("c")
	moreKey  = []byte("m")
)

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	n, ms, round := int64(1), int64(0), int64(0)
	var err error
	switch op {
	case opSet:
		err = protocol.ReadInts(body, &n)
	case opDown:
		err = protocol.ReadInts(body, &n, &round)
	case opCount:
		err = protocol.ReadInts(body)
	case opAwait:
		err = protocol.ReadInts(body, &ms, &round)
	case opHold:
		return checkHold(body)
	case opRelease:
		_, err = structures.ReadHold(body)
	default:
		return fmt.Errorf("%w: operation %d of a latch", quorate.ErrUnsupported, op)
	}
	switch {
	case err != nil:
		return err
	case n < 1 || n > MaxCount:
		return fmt.Errorf("%w: a count of %d, not within 1 to %d", quorate.ErrInvalid, n, MaxCount)
	case round < 0:
		return fmt.Errorf("%w: round %d", quorate.ErrInvalid, round)
	}
	return structures.CheckWait(ms)
}

func appendHold(dst []byte, round int64, note string) []byte {
	return protocol.AppendString(protocol.AppendInt(protocol.AppendArray(dst, 2), round), note)
}

func readHold(body []byte) (round int64, note string, err error) {
	r := protocol.NewReader(body)
	r.Array(2)
	round, note = r.Int(), r.String()
	return round, note, r.Done()
}

func checkHold(body []byte) error {
	round, note, err := readHold(body)
	switch {
	case err != nil:
		return err
	case round < 0:
		return fmt.Errorf("%w: round %d", quorate.ErrInvalid, round)
	}
	return structures.CheckNote(note)
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	c, ok := load(env)
	var n, round int64
	switch op {
	case opSet:
		_ = protocol.ReadInts(body, &n)
		return set(env, c, ok, n)
	case opRelease:
		id, _ := structures.ReadHold(body)
		return release(env, c, id)
	}
	if !ok && op == opAwait && mutants.On(mutants.LatchLostOpen) {
		return structures.OK(protocol.AppendInts(nil, 0))
	}
	if !ok {
		return notSet()
	}
	switch op {
	case opDown:
		_ = protocol.ReadInts(body, &n, &round)
		if round != 0 && round != c.round {
			return c.otherRound()
		}
		c.down(env, n)
		return structures.OK(protocol.AppendInts(nil, c.n))
	case opAwait:
		var ms int64
		_ = protocol.ReadInts(body, &ms, &round)
		return await(env, c, round, time.Duration(ms)*time.Millisecond)
	case opHold:
		var note string
		round, note, _ = readHold(body)
		return hold(env, c, round, note)
	}
	panic("dlatch: bug: unchecked operation")
}

// Read implements structures.Machine.
func (machine) Read(view structures.View, _ protocol.Op, _ []byte) structures.Result {
	c, ok := load(view)
	if !ok {
		return notSet()
	}
	return structures.OK(protocol.AppendInts(nil, c.n, c.round, c.first))
}

// Due goes on with grants that were left for later.
func (machine) Due(env structures.Env, key []byte, _ structures.Row) {
	c, _ := load(env)
	c.serve(env, key)
}

// Ended takes away what a hold counts.
func (machine) Ended(env structures.Env, key []byte, row structures.Row) {
	c, _ := load(env)
	var h structures.Hold
	_ = h.Read(row.Value)
	c.giveBack(env, key, h)
}

// Withdrawn does nothing: no waiting call is in the way of others.
func (machine) Withdrawn(structures.Env) {}

// CheckTest implements structures.Tester.
func (machine) CheckTest(_ structures.Test, body []byte) error {
	var test, n int64
	return protocol.ReadInts(body, &test, &n)
}

// Test implements structures.Tester.
func (machine) Test(view structures.View, _ structures.Test, body []byte) bool {
	var test, n int64
	_ = protocol.ReadInts(body, &test, &n)
	c, ok := load(view)
	return ok && c.n <= n
}

// Len returns the count.
func (machine) Len(view structures.View) int64 {
	c, _ := load(view)
	return c.n
}

// count is the "c" row.
type count struct{ first, round, n int64 }

// load returns the count, and false before Set.
func load(view structures.View) (count, bool) {
	var c count
	row, ok := view.Get(countKey)
	if ok {
		_ = protocol.ReadInts(row.Value, &c.first, &c.round, &c.n)
	}
	return c, ok
}

func (c *count) write(env structures.Env) {
	env.Put(countKey, structures.Row{Value: protocol.AppendInts(nil, c.first, c.round, c.n)})
}

func notSet() structures.Result { return structures.Refuse(codeNotSet, "") }

func (c *count) otherRound() structures.Result {
	return structures.Refuse(codeRound, fmt.Sprintf("the present round is %d", c.round))
}

func set(env structures.Env, c count, ok bool, n int64) structures.Result {
	if c.n > 0 {
		return structures.Refuse(codeNotZero, fmt.Sprintf("it is %d", c.n))
	}
	c.round, c.n = int64(env.Version()), n
	if !ok {
		c.first = c.round
	}
	c.write(env)
	return structures.OK(protocol.AppendInts(nil, c.round))
}

// await waits for the end of a round, 0: of the present one. Of a latch that is not there,
// as after a loss of data, no round has ended (LATCH-2), nor has one of an earlier
// instance.
func await(env structures.Env, c count, round int64, timeout time.Duration) structures.Result {
	if round == 0 {
		round = c.round
	}
	switch {
	case round > c.round || round < c.first:
		return c.otherRound()
	case c.ended(round):
		return structures.OK(protocol.AppendInts(nil, round))
	}
	return env.Wait(protocol.AppendInts(nil, round), timeout)
}

// ended reports whether a round that has begun has ended.
func (c *count) ended(round int64) bool { return c.n == 0 || round < c.round }

// hold counts one more, as long as the caller holds it.
func hold(env structures.Env, c count, round int64, note string) structures.Result {
	switch {
	case round != 0 && round != c.round:
		return c.otherRound()
	case c.n == 0:
		return structures.Refuse(codeDone, "")
	case c.n == MaxCount:
		return structures.Refuse(protocol.CodeInvalid, fmt.Sprintf("the count is %d, which is the largest", c.n))
	}
	c.n++
	c.write(env)
	id := protocol.HoldID(env.Version())
	structures.PutHold(env, id, env.Caller().Session, structures.Hold{Amount: 1, Note: note})
	return structures.Granted(id, protocol.Token(env.Version()))
}

func release(env structures.Env, c count, id protocol.HoldID) structures.Result {
	_, h, ok := structures.OwnHold(env, id)
	if !ok {
		return structures.Refuse(codeNotHeld, "it has ended, or the latch was destroyed")
	}
	c.giveBack(env, structures.HoldKey(id), h)
	return structures.OK(protocol.AppendInts(nil))
}

// giveBack takes a hold away, and what it counts if it is of the present round (LATCH-3).
func (c *count) giveBack(env structures.Env, key []byte, h structures.Hold) {
	n := int64(0)
	if int64(h.Token) > c.round || mutants.On(mutants.LatchHoldCrosses) {
		n = 1
	}
	c.down(env, n, key)
}

// down takes n off the count, and deletes the removed rows. Below 0 is 0.
func (c *count) down(env structures.Env, n int64, removed ...[]byte) {
	before := c.n
	c.n = max(c.n-n, 0)
	if before > 0 && c.n == 0 {
		c.serve(env, removed...)
		return
	}
	for _, key := range removed {
		env.Delete(key)
	}
	c.write(env)
}

// serve lets all go whose round has ended, deletes the removed rows and writes the count.
// More than a mutation may grant are left for later: then the latch may be set again before
// they are answered, so each goes by the round that it waits for (LATCH-1).
func (c *count) serve(env structures.Env, removed ...[]byte) {
	var ended []structures.Waiter
	more := false
	left := env.GrantsLeft()
	env.Waiters(func(w structures.Waiter) bool {
		if round := waitsFor(w); !c.ended(round) || mutants.On(mutants.LatchResetStrands) && c.n > 0 {
			return false
		}
		more = len(ended) == left
		if !more {
			ended = append(ended, w)
		}
		return !more
	})
	for _, key := range removed {
		env.Delete(key)
	}
	c.write(env)
	for _, w := range ended {
		env.Grant(w, structures.OK(protocol.AppendInts(nil, waitsFor(w))))
	}
	if more {
		env.Put(moreKey, structures.Row{Deadline: structures.AtOnce})
	}
}

// waitsFor returns the round that a call waits for.
func waitsFor(w structures.Waiter) (round int64) {
	_ = protocol.ReadInts(w.Payload, &round)
	return round
}
