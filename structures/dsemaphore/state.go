package dsemaphore

import (
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes semaphores. Acquire is not an operation that grows: holds are few, end
// with their sessions, and keep the applications of the grid going.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 3, Name: "semaphore", Level: 1, Machine: machine{},
		Doc:  "A number of permits, which sessions acquire and release",
		Unit: "permits",
		Ops:  ops, Rules: rules, Codes: codes, Tests: tests,
	}
}

// kind is that of the handles.
var kind = Kind()

// machine keeps these rows:
//
//	"c"               [init, free, held]  how many permits, free may be negative; not there before Init
//	HoldKey and hold  structures.Hold     one grant; the owner is the holder's session
//	"m"               []                  grants were left for later; due at once
//
// A hold has the number of the call that asked, its token that of the mutation
// that granted it. Waiting calls are served in the order of arrival and none overtakes
// another, so holds are granted in the order of their numbers, and tokens never fall.
//
// Invariant: free + held changes only by Init, AddPermits and Drain.
// Invariant: held is the sum over the rows of holds.
// Invariant: the first waiting call, if it fits, has been granted, or "m" is there.
type machine struct{ structures.Base }

var (
	countKey = []byte("c")
	moreKey  = []byte("m")
)

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	var n, ms int64
	var note string
	var err error
	lowest, highest := int64(1), int64(MaxPermits)
	switch op {
	case opInit:
		lowest, err = 0, protocol.ReadInts(body, &n)
	case opAcquire:
		n, ms, note, err = readAcquire(body)
	case opTryAcquire:
		n, note, err = readTryAcquire(body)
	case opRelease:
		_, err := structures.ReadHold(body)
		return err
	case opAddPermits:
		lowest, err = -MaxPermits, protocol.ReadInts(body, &n)
	case opAvailable, opDrain:
		lowest, err = 0, protocol.ReadInts(body)
	default:
		return fmt.Errorf("%w: operation %d of a semaphore", quorate.ErrUnsupported, op)
	}
	if err != nil {
		return err
	}
	if n < lowest || n > highest {
		return fmt.Errorf("%w: %d permits, not within %d to %d", quorate.ErrInvalid, n, lowest, highest)
	}
	if err := structures.CheckWait(ms); err != nil {
		return err
	}
	return structures.CheckNote(note)
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	var n int64
	c, ok := load(env)
	if op == opInit {
		_ = protocol.ReadInts(body, &n)
		return initialize(env, c, ok, n)
	}
	if op == opRelease {
		id, _ := structures.ReadHold(body)
		return release(env, c, id)
	}
	if !ok {
		return structures.Refuse(codeNotInitialized, "")
	}
	switch op {
	case opAcquire:
		n, ms, note, _ := readAcquire(body)
		return acquire(env, c, n, note, func() structures.Result {
			return env.Wait(structures.AppendWanted(nil, n, "", note), time.Duration(ms)*time.Millisecond)
		})
	case opTryAcquire:
		n, note, _ := readTryAcquire(body)
		return acquire(env, c, n, note, func() structures.Result {
			return structures.Refuse(codeNone, "")
		})
	case opDrain:
		drained := max(c.free, 0)
		c.free -= drained
		c.serve(env, nil)
		return structures.OK(protocol.AppendInts(nil, drained))
	case opAddPermits:
		_ = protocol.ReadInts(body, &n)
		return addPermits(env, c, n)
	}
	panic("dsemaphore: bug: unchecked operation")
}

// Read implements structures.Machine.
func (machine) Read(view structures.View, _ protocol.Op, _ []byte) structures.Result {
	c, ok := load(view)
	if !ok {
		return structures.Refuse(codeNotInitialized, "")
	}
	return structures.OK(protocol.AppendInts(nil, c.free))
}

// Due goes on with grants that were left for later.
func (machine) Due(env structures.Env, key []byte, _ structures.Row) {
	c, _ := load(env)
	c.serve(env, nil, key)
}

// Ended gives back what an ended session held.
func (machine) Ended(env structures.Env, key []byte, row structures.Row) {
	c, _ := load(env)
	var h structures.Hold
	_ = h.Read(row.Value)
	giveBack(env, c, key, mutantGivenBack(h))
}

// Withdrawn grants what the call that has ended was in front of.
func (machine) Withdrawn(env structures.Env) {
	if c, ok := load(env); ok {
		c.serve(env, nil)
	}
}

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
	return ok && c.free >= n
}

// Len returns how many permits are free.
func (machine) Len(view structures.View) int64 {
	c, _ := load(view)
	return c.free
}

// count is the "c" row.
type count struct{ init, free, held int64 }

// load returns the counts, and false before Init.
func load(view structures.View) (count, bool) {
	var c count
	row, ok := view.Get(countKey)
	if ok {
		_ = protocol.ReadInts(row.Value, &c.init, &c.free, &c.held)
	}
	return c, ok
}

func (c *count) write(env structures.Env) {
	env.Put(countKey, structures.Row{Value: protocol.AppendInts(nil, c.init, c.free, c.held)})
}

// most returns the largest request that is not ErrTooMany.
func (c *count) most() int64 { return max(c.init, c.free+c.held) }

func initialize(env structures.Env, c count, ok bool, n int64) structures.Result {
	if ok {
		if c.init != n {
			return structures.Refuse(protocol.CodeSettings, fmt.Sprintf("it was initialized with %d permits", c.init))
		}
		return structures.OK(protocol.AppendInts(nil))
	}
	c = count{init: n, free: n}
	c.write(env)
	return structures.OK(protocol.AppendInts(nil))
}

// acquire takes n permits now, or does what otherwise says.
func acquire(env structures.Env, c count, n int64, note string, otherwise func() structures.Result) structures.Result {
	if n > c.most() {
		return tooMany(c)
	}
	now := grant{hold: protocol.HoldID(env.Version()), session: env.Caller().Session, permits: n, note: note}
	if !c.serve(env, &now) {
		return otherwise()
	}
	return structures.Granted(now.hold, protocol.Token(env.Version()))
}

func tooMany(c count) structures.Result {
	return structures.Refuse(codeTooMany, fmt.Sprintf("the semaphore has %d permits", c.most()))
}

func release(env structures.Env, c count, id protocol.HoldID) structures.Result {
	_, h, ok := structures.OwnHold(env, id)
	if !ok {
		return structures.Refuse(codeNotHeld, "the permits have gone back, or the semaphore was destroyed")
	}
	giveBack(env, c, structures.HoldKey(id), h)
	return structures.OK(protocol.AppendInts(nil))
}

func giveBack(env structures.Env, c count, key []byte, h structures.Hold) {
	c.free += h.Amount
	c.held -= h.Amount
	c.serve(env, nil, key)
}

func addPermits(env structures.Env, c count, n int64) structures.Result {
	if sum := c.free + n; sum < -MaxPermits || sum+c.held > MaxPermits {
		return structures.Refuse(protocol.CodeInvalid,
			fmt.Sprintf("%d permits are free and %d held, %d more is out of range", c.free, c.held, n))
	}
	c.free += n
	c.serve(env, nil)
	return structures.OK(protocol.AppendInts(nil))
}

// grant is what a call gets.
type grant struct {
	hold    protocol.HoldID
	session protocol.SessionID
	permits int64
	note    string
	waiter  structures.Waiter // the call that has waited; the zero Waiter: the call being applied
	refused structures.Result // if permits is 0
}

// serve grants permits: to the calls that wait, in the order of arrival, or, if now is given
// and none waits, to the call that is being applied. It reports false, and changes nothing,
// if that one gets none. Otherwise it deletes the removed rows and writes the counts.
func (c *count) serve(env structures.Env, now *grant, removed ...[]byte) bool {
	grants, more := c.decide(env, now)
	if now != nil && len(grants) == 0 {
		return false
	}
	for _, key := range removed {
		env.Delete(key)
	}
	c.write(env)
	for _, g := range grants {
		r := g.refused
		if g.permits > 0 {
			structures.PutHold(env, g.hold, g.session, structures.Hold{Amount: g.permits, Note: g.note})
			r = structures.Granted(g.hold, protocol.Token(env.Version()))
		}
		if g.waiter.Order != 0 {
			env.Grant(g.waiter, r)
		}
	}
	if more {
		env.Put(moreKey, structures.Row{Deadline: structures.AtOnce})
	}
	return true
}

// decide returns the grants, counts them, and reports whether more could be granted. A call
// that is being applied gets nothing while others wait.
func (c *count) decide(env structures.Env, now *grant) (grants []grant, more bool) {
	if now != nil {
		_, waits := structures.FirstWaiter(env)
		if now.permits <= c.free && (!waits || mutants.On(mutants.AcquireOvertaken)) {
			c.take(now.permits)
			grants = append(grants, *now)
		}
		return grants, false
	}
	left := env.GrantsLeft()
	env.Waiters(func(w structures.Waiter) bool {
		n, _, note, _ := structures.ReadWanted(w.Payload)
		fits, never := n <= c.free, n > c.most()
		switch {
		case !fits && !never:
			return false
		case len(grants) == left:
			more = true
			return false
		case never:
			grants = append(grants, grant{waiter: w, refused: tooMany(*c)})
		default:
			c.take(n)
			grants = append(grants, grant{hold: protocol.HoldID(w.Version), session: w.Caller.Session, permits: n, note: note, waiter: w})
		}
		return true
	})
	return grants, more
}

func (c *count) take(n int64) {
	c.free -= mutantTaken(n)
	c.held += n
}
