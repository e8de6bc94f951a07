package dsemaphore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind is what a member serves semaphores with.
func Kind() structures.Kind {
	return structures.Kind{ID: 3, Name: "semaphore", Level: 1, Machine: machine{}, Grows: grows, Ops: opNames, Holds: true}
}

// grows: permits that are acquired are few, end with their sessions, and keep what
// works with the grid going.
func grows(op protocol.Op) bool {
	switch op {
	case opInit:
		return true
	}
	return false
}

// machine keeps the Init value as the structure's settings, and these rows:
//
//	"c"            [free, held]   how many permits, free may be negative
//	"h" and token  [permits]      one grant; the owner is the holder's session
//	"m"            []             grants were left for later; due at once
//
// A waiting Acquire carries [permits, token]. Its token is the version of the
// mutation that made it wait. Since waiting calls are served in the order of
// arrival and nobody overtakes them, tokens are granted in their order; since a
// token is never above the version of the grant, a later life of the name
// cannot repeat it.
//
// Invariant: free + held changes only by Init, AddPermits and Drain.
// Invariant: held is the sum over the "h" rows.
// Invariant: the first waiting call, if it fits, has been granted, or "m" is there.
type machine struct{ structures.Base }

var (
	countKey = []byte("c")
	moreKey  = []byte("m")
)

const holderPrefix = 'h'

// maxGrants bounds the work of one mutation.
const maxGrants = 1000

func holderKey(token int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{holderPrefix}, uint64(token))
}

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, flags protocol.Flags, body []byte) error {
	check := structures.CheckMutation
	var n, ms int64
	args := []*int64{&n}
	lowest, highest := int64(1), int64(MaxPermits)
	switch op {
	case opInit:
		lowest = 0
	case opAcquire:
		check = structures.CheckWaiting
		args = append(args, &ms)
	case opTryAcquire:
	case opRelease:
		lowest, highest = -1<<63, 1<<63-1
	case opAddPermits:
		lowest = -MaxPermits
	case opAvailable:
		check = structures.CheckRead
		args, lowest = nil, 0
	case opDrain, opDestroy:
		args, lowest = nil, 0
	default:
		return fmt.Errorf("%w: operation %d of a semaphore", quorate.ErrUnsupported, op)
	}
	if err := check(flags); err != nil {
		return err
	}
	if err := protocol.ReadInts(body, args...); err != nil {
		return err
	}
	if n < lowest || n > highest {
		return fmt.Errorf("%w: %d permits, not within %d to %d", quorate.ErrInvalid, n, lowest, highest)
	}
	if ms < 0 || ms > structures.WaitMilliseconds(structures.MaxWait) {
		return fmt.Errorf("%w: a wait of %d ms", quorate.ErrInvalid, ms)
	}
	return nil
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	var n, ms int64
	switch op {
	case opInit:
		_ = protocol.ReadInts(body, &n)
		return initialize(env, n)
	case opDestroy:
		if env.Exists() {
			env.Destroy()
		}
		return structures.OK(protocol.AppendInts(nil))
	}
	c, ok := load(env)
	if op == opRelease {
		_ = protocol.ReadInts(body, &n)
		return release(env, c, n)
	}
	if !ok {
		return structures.Refuse(codeNotInitialized, "")
	}
	switch op {
	case opAcquire:
		_ = protocol.ReadInts(body, &n, &ms)
		return acquire(env, c, n, func() structures.Result {
			return env.Wait(protocol.AppendInts(nil, n, int64(env.Version())), time.Duration(ms)*time.Millisecond)
		})
	case opTryAcquire:
		_ = protocol.ReadInts(body, &n)
		return acquire(env, c, n, func() structures.Result {
			return structures.Refuse(codeNone, "")
		})
	case opDrain:
		drained := max(c.free, 0)
		c.free -= drained
		c.serve(env)
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
	c.serve(env, key)
}

// Ended gives back what an ended session held.
func (machine) Ended(env structures.Env, key []byte, row structures.Row) {
	c, _ := load(env)
	if mutants.On(mutants.PermitLeaked) {
		env.Delete(key)
		return
	}
	giveBack(env, c, key, row)
}

// Withdrawn lets those through whom the call that has gone was in front of.
func (machine) Withdrawn(env structures.Env) {
	if c, ok := load(env); ok {
		c.serve(env)
	}
}

// Len returns how many permits are free.
func (machine) Len(view structures.View) int64 {
	c, _ := load(view)
	return c.free
}

// count is the "c" row, with the Init value from the settings.
type count struct{ init, free, held int64 }

// load returns the counts, and false before Init.
func load(view structures.View) (count, bool) {
	var c count
	settings := view.Settings()
	if settings == nil {
		return c, false
	}
	_ = protocol.ReadInts(settings, &c.init)
	row, _ := view.Get(countKey)
	_ = protocol.ReadInts(row.Value, &c.free, &c.held)
	return c, true
}

func (c *count) write(env structures.Env) {
	env.Put(countKey, structures.Row{Value: protocol.AppendInts(nil, c.free, c.held)})
}

// most returns the largest request that is not ErrTooMany.
func (c *count) most() int64 { return max(c.init, c.free+c.held) }

func initialize(env structures.Env, n int64) structures.Result {
	if c, ok := load(env); ok {
		if c.init != n {
			return structures.Refuse(protocol.CodeSettings, fmt.Sprintf("it was initialized with %d permits", c.init))
		}
		return structures.OK(protocol.AppendInts(nil))
	}
	env.SetSettings(protocol.AppendInts(nil, n))
	c := count{init: n, free: n}
	c.write(env)
	return structures.OK(protocol.AppendInts(nil))
}

// acquire takes n permits now, or does what otherwise says.
func acquire(env structures.Env, c count, n int64, otherwise func() structures.Result) structures.Result {
	if n > c.most() {
		return tooMany(c)
	}
	if n > c.free || anyWaits(env) && !mutants.On(mutants.AcquireOvertaken) {
		return otherwise()
	}
	token := int64(env.Version())
	if !mutants.On(mutants.PermitTwice) {
		c.free -= n
	}
	c.held += n
	c.write(env)
	env.Put(holderKey(token), structures.Row{Value: protocol.AppendInts(nil, n), Owner: env.Caller().Session})
	return structures.OK(protocol.AppendInts(nil, token))
}

func tooMany(c count) structures.Result {
	return structures.Refuse(codeTooMany, fmt.Sprintf("the semaphore has %d permits", c.most()))
}

// anyWaits reports whether a call waits whose time has not run out.
func anyWaits(view structures.View) bool {
	found := false
	view.Waiters(func(structures.Waiter) bool {
		found = true
		return false
	})
	return found
}

func release(env structures.Env, c count, token int64) structures.Result {
	key := holderKey(token)
	row, ok := env.Get(key)
	if !ok || row.Owner != env.Caller().Session {
		return structures.Refuse(codeNotHeld, "the permits have gone back, or the semaphore was destroyed")
	}
	giveBack(env, c, key, row)
	return structures.OK(protocol.AppendInts(nil))
}

func giveBack(env structures.Env, c count, key []byte, row structures.Row) {
	var n int64
	_ = protocol.ReadInts(row.Value, &n)
	c.free += n
	c.held -= n
	c.serve(env, key)
}

func addPermits(env structures.Env, c count, n int64) structures.Result {
	if sum := c.free + n; sum < -MaxPermits || sum+c.held > MaxPermits {
		return structures.Refuse(protocol.CodeInvalid,
			fmt.Sprintf("%d permits are free and %d held, %d more is out of range", c.free, c.held, n))
	}
	c.free += n
	c.serve(env)
	return structures.OK(protocol.AppendInts(nil))
}

// grant is what a waiting call gets.
type grant struct {
	waiter         structures.Waiter
	permits, token int64
	refused        structures.Result // where permits is 0
}

// serve gives the free permits to the waiting calls in the order of arrival,
// and then deletes the rows that have led to it and writes the counts.
func (c *count) serve(env structures.Env, gone ...[]byte) {
	grants, more := c.decide(env)
	for _, key := range gone {
		env.Delete(key)
	}
	c.write(env)
	for _, g := range grants {
		if g.permits == 0 {
			env.Grant(g.waiter, g.refused)
			continue
		}
		env.Put(holderKey(g.token), structures.Row{Value: protocol.AppendInts(nil, g.permits), Owner: g.waiter.Caller.Session})
		env.Grant(g.waiter, structures.OK(protocol.AppendInts(nil, g.token)))
	}
	if more {
		env.Put(moreKey, structures.Row{Deadline: env.Now() + 1})
	}
}

// decide returns who gets what, counted already, and whether there are more.
func (c *count) decide(env structures.Env) (grants []grant, more bool) {
	env.Waiters(func(w structures.Waiter) bool {
		var n, token int64
		_ = protocol.ReadInts(w.Payload, &n, &token)
		fits, never := n <= c.free, n > c.most()
		switch {
		case !fits && !never:
			return false
		case len(grants) == maxGrants:
			more = true
			return false
		case never:
			grants = append(grants, grant{waiter: w, refused: tooMany(*c)})
		default:
			c.free -= n
			c.held += n
			grants = append(grants, grant{waiter: w, permits: n, token: token})
		}
		return true
	})
	return grants, more
}
