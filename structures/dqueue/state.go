package dqueue

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind is what a member serves queues with.
func Kind() structures.Kind {
	return structures.Kind{ID: 4, Name: "queue", Level: 1, Machine: machine{}, Grows: grows, Ops: opNames}
}

// grows: a Put that waits brings its element along.
func grows(op protocol.Op) bool {
	switch op {
	case opPut, opOffer, opConfigure:
		return true
	}
	return false
}

// machine keeps the capacity as the structure's settings, and these rows:
//
//	"c"             [next, free]  the number of the next element, and how many "e" rows there are
//	"e" and number  value         a free element; the lowest number is the head
//	"r" and number  value         an element reserved for a Take; the owner is its session
//	"m"             []            room was left for later; due at once
//
// A waiting Take carries nothing, a waiting Put its body.
//
// Invariant: while a Take waits there is no "e" row, and no Put waits.
// Invariant: while a Put waits there is an "e" row; and there are as many as
// the capacity, or "m" is there.
type machine struct{ structures.Base }

var (
	countKey = []byte("c")
	moreKey  = []byte("m")
)

const (
	elementPrefix  = 'e'
	reservedPrefix = 'r'
)

// maxMoved bounds how many elements come or go in one mutation.
const maxMoved = 1000

func elementKey(prefix byte, number int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, uint64(number))
}

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, flags protocol.Flags, body []byte) error {
	check := structures.CheckMutation
	read := func() error { return protocol.ReadInts(body) }
	number := func(lowest, highest int64) func() error {
		return func() error {
			var n int64
			if err := protocol.ReadInts(body, &n); err != nil {
				return err
			}
			if n < lowest || n > highest {
				return fmt.Errorf("%w: %d is not within %d to %d", quorate.ErrInvalid, n, lowest, highest)
			}
			return nil
		}
	}
	switch op {
	case opPut, opOffer:
		read = func() error {
			v, err := readValue(body)
			if err == nil && len(v) == 0 {
				err = fmt.Errorf("%w: a value without a codec", protocol.ErrMalformed)
			}
			return err
		}
	case opTake:
		read = number(0, structures.WaitMilliseconds(structures.MaxWait))
	case opDrain:
		read = number(1, maxMoved)
	case opClear:
		read = number(0, 1<<63-1)
	case opConfigure:
		read = number(0, MaxCapacity)
	case opPeek, opLen:
		check = structures.CheckRead
	case opPoll, opDestroy:
	default:
		return fmt.Errorf("%w: operation %d of a queue", quorate.ErrUnsupported, op)
	}
	if op == opPut || op == opTake {
		check = structures.CheckWaiting
	}
	if err := check(flags); err != nil {
		return err
	}
	return read()
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	c := load(env)
	var n int64
	switch op {
	case opPut:
		return put(env, c, body, func() structures.Result { return env.Wait(body, 0) })
	case opOffer:
		return put(env, c, body, func() structures.Result { return structures.Refuse(codeFull, "") })
	case opTake:
		_ = protocol.ReadInts(body, &n)
		return take(env, c, func() structures.Result { return env.Wait(nil, time.Duration(n)*time.Millisecond) })
	case opPoll:
		return take(env, c, func() structures.Result { return structures.Refuse(codeEmpty, "") })
	case opDrain:
		_ = protocol.ReadInts(body, &n)
		return drain(env, c, n)
	case opClear:
		_ = protocol.ReadInts(body, &n)
		return clearBefore(env, c, n)
	case opConfigure:
		_ = protocol.ReadInts(body, &n)
		return configure(env, c, n)
	case opDestroy:
		if env.Exists() {
			env.Destroy()
		}
		return structures.OK(protocol.AppendInts(nil))
	}
	panic("dqueue: bug: unchecked operation")
}

// Read implements structures.Machine.
func (machine) Read(view structures.View, op protocol.Op, _ []byte) structures.Result {
	if op == opLen {
		return structures.OK(protocol.AppendInts(nil, load(view).free))
	}
	e, ok := head(view)
	if !ok {
		return structures.Refuse(codeEmpty, "")
	}
	return structures.OK(appendValues(nil, e.value))
}

// Due lets those in for whom there was room that was left for later.
func (machine) Due(env structures.Env, key []byte, _ structures.Row) {
	c := load(env)
	c.admit(env, key)
}

// Ended gives a reserved element to the next Take, or back to its place.
func (machine) Ended(env structures.Env, key []byte, row structures.Row) {
	c := load(env)
	w, ok := first(env)
	if ok && isTake(w) {
		env.Put(key, structures.Row{Value: row.Value, Owner: w.Caller.Session})
		env.Reserve(w, structures.OK(appendValues(nil, row.Value)), key)
		return
	}
	free := append([]byte{elementPrefix}, key[1:]...)
	if mutants.On(mutants.GiveBackAtTail) {
		free = elementKey(elementPrefix, c.next)
		c.next++
	}
	c.free++
	env.Delete(key)
	env.Put(free, structures.Row{Value: row.Value})
	c.write(env)
}

// Confirmed takes a reserved element.
func (machine) Confirmed(env structures.Env, key []byte, _ structures.Row) {
	env.Delete(key)
	env.Emit(structures.Event{Type: structures.EventRemoved, Key: key[1:]})
}

// Withdrawn has nothing to do: those who wait, wait for the same.
func (machine) Withdrawn(structures.Env) {}

// Len returns how many elements are free to take.
func (machine) Len(view structures.View) int64 { return load(view).free }

// count is the "c" row, with the capacity from the settings.
type count struct{ next, free, capacity int64 }

func load(view structures.View) count {
	c := count{next: 1}
	if settings := view.Settings(); settings != nil {
		_ = protocol.ReadInts(settings, &c.capacity)
	}
	if row, ok := view.Get(countKey); ok {
		_ = protocol.ReadInts(row.Value, &c.next, &c.free)
	}
	return c
}

func (c *count) write(env structures.Env) {
	env.Put(countKey, structures.Row{Value: protocol.AppendInts(nil, c.next, c.free)})
}

func (c *count) full() bool {
	return c.capacity > 0 && c.free >= c.capacity && !mutants.On(mutants.OverCapacity)
}

// element is a free element.
type element struct{ key, value []byte }

// ascend calls f for the free elements from the head on.
func ascend(view structures.View, f func(element) bool) {
	view.Ascend([]byte{elementPrefix}, func(key []byte, row structures.Row) bool {
		return key[0] == elementPrefix && f(element{key, row.Value})
	})
}

func head(view structures.View) (e element, ok bool) {
	ascend(view, func(first element) bool {
		e, ok = first, true
		return false
	})
	return e, ok
}

// first returns the call that waits longest.
func first(view structures.View) (w structures.Waiter, ok bool) {
	view.Waiters(func(longest structures.Waiter) bool {
		w, ok = longest, true
		return false
	})
	return w, ok
}

func isTake(w structures.Waiter) bool { return len(w.Payload) == 0 }

// put adds an element, for the Take that waits longest or at the tail, or does
// what otherwise says.
func put(env structures.Env, c count, body []byte, otherwise func() structures.Result) structures.Result {
	value, _ := readValue(body)
	if most := int(env.Limits().Value); len(value) > most {
		return structures.Refuse(protocol.CodeTooLarge, fmt.Sprintf("the value has %d bytes, at most %d", len(value), most))
	}
	w, waits := first(env)
	switch {
	case waits && isTake(w):
		key := elementKey(reservedPrefix, c.next)
		c.next++
		c.write(env)
		env.Put(key, structures.Row{Value: value, Owner: w.Caller.Session})
		env.Emit(structures.Event{Type: structures.EventPut, Key: key[1:], Value: value})
		env.Reserve(w, structures.OK(appendValues(nil, value)), key)
	case waits || c.full():
		return otherwise()
	default:
		c.add(env, value)
		c.write(env)
	}
	return structures.OK(protocol.AppendInts(nil))
}

// add adds an element at the tail.
func (c *count) add(env structures.Env, value []byte) {
	key := elementKey(elementPrefix, c.next)
	c.next++
	c.free++
	env.Put(key, structures.Row{Value: value})
	env.Emit(structures.Event{Type: structures.EventPut, Key: key[1:], Value: value})
}

// take takes the head for good, or does what otherwise says.
func take(env structures.Env, c count, otherwise func() structures.Result) structures.Result {
	e, ok := head(env)
	if !ok {
		return otherwise()
	}
	c.free--
	c.admit(env, e.key)
	env.Emit(structures.Event{Type: structures.EventRemoved, Key: e.key[1:]})
	return structures.OK(appendValues(nil, e.value))
}

// drain takes up to most elements for good, and no more than fit in a page.
func drain(env structures.Env, c count, most int64) structures.Result {
	limits := env.Limits()
	most = min(most, maxMoved, int64(limits.PageEntries))
	var keys, values [][]byte
	size := 0
	ascend(env, func(e element) bool {
		size += len(e.value)
		if int64(len(keys)) == most || len(keys) > 0 && size > int(limits.PageBytes) {
			return false
		}
		keys, values = append(keys, e.key), append(values, e.value)
		return true
	})
	if len(keys) == 0 {
		return structures.OK(appendValues(nil))
	}
	c.free -= int64(len(keys))
	mutants.Shuffle(mutants.MapOrder, values)
	c.admit(env, keys...)
	for _, key := range keys {
		env.Emit(structures.Event{Type: structures.EventRemoved, Key: key[1:]})
	}
	return structures.OK(appendValues(nil, values...))
}

// clearBefore removes the first elements whose number is below mark, all that
// are there where it is 0, and returns the mark to go on with.
func clearBefore(env structures.Env, c count, mark int64) structures.Result {
	if mark == 0 {
		mark = c.next
	}
	var keys [][]byte
	end := elementKey(elementPrefix, mark)
	more := false
	ascend(env, func(e element) bool {
		if string(e.key) >= string(end) {
			return false
		}
		if more = len(keys) == maxMoved; more {
			return false
		}
		keys = append(keys, e.key)
		return true
	})
	if len(keys) > 0 {
		c.free -= int64(len(keys))
		c.admit(env, keys...)
		env.Emit(structures.Event{Type: structures.EventCleared, Key: keys[len(keys)-1][1:]})
	}
	if !more {
		mark = 0
	}
	return structures.OK(protocol.AppendInts(nil, mark))
}

func configure(env structures.Env, c count, capacity int64) structures.Result {
	if env.Settings() == nil {
		env.SetSettings(protocol.AppendInts(nil, capacity))
		return structures.OK(protocol.AppendInts(nil))
	}
	if c.capacity == capacity {
		return structures.OK(protocol.AppendInts(nil))
	}
	if c.capacity == 0 {
		return structures.Refuse(protocol.CodeSettings, "it was configured without a capacity")
	}
	return structures.Refuse(protocol.CodeSettings, fmt.Sprintf("it was configured with capacity %d", c.capacity))
}

// admit lets waiting Puts into the room that there is, in the order of arrival,
// deletes the rows that have made it and writes the counts. The first that fits
// is let in however large it is; the rest goes on where a page is full.
func (c *count) admit(env structures.Env, gone ...[]byte) {
	var puts []structures.Waiter
	more, size, page := false, 0, int(env.Limits().PageBytes)
	room := *c
	env.Waiters(func(w structures.Waiter) bool {
		if isTake(w) || room.full() {
			return false
		}
		size += len(w.Payload)
		if more = len(puts) == maxMoved || len(puts) > 0 && size > page; more {
			return false
		}
		puts = append(puts, w)
		room.free++
		return true
	})
	for _, key := range gone {
		env.Delete(key)
	}
	for _, w := range puts {
		value, _ := readValue(w.Payload)
		c.add(env, value)
		env.Grant(w, structures.OK(protocol.AppendInts(nil)))
	}
	c.write(env)
	if more {
		env.Put(moreKey, structures.Row{Deadline: env.Now() + 1})
	}
}
