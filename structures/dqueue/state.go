package dqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes queues.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 4, Name: "queue", Level: 1, Machine: machine{}, Cost: cost,
		Doc:  "Elements in order, put at the tail and taken from the head",
		Unit: "elements",
		Ops:  ops, Codes: codes, Settings: settingInfos, Tests: tests,
	}
}

// cost counts that each element that is put is written, and each that is taken or
// cleared is read and deleted.
func cost(op protocol.Op, body []byte) int {
	switch op {
	case opPutAll:
		r := protocol.NewReader(body)
		return 3 * r.ArrayLen()
	case opDrain:
		var n, codec int64
		_ = protocol.ReadInts(body, &n, &codec)
		return 2 * int(min(n, maxMoved))
	case opTakeN:
		var n, ms, codec int64
		_ = protocol.ReadInts(body, &n, &ms, &codec)
		return 2 * int(min(n, maxMoved))
	case opClear:
		return 2 * maxMoved
	}
	return 0
}

// kind is that of the handles.
var kind = Kind()

// machine keeps these rows:
//
//	"c"             [next, free]  the number of the next element, and how many "e" rows there are; not there without any
//	"e" and number  value         a free element; the lowest number is the head
//	"r" and number  [(number, value) ...]  elements reserved for a Take, from that number on; the owner is its session
//	"m"             []            admitting Puts was left for later; due at once
//
// Elements are numbered upwards. Without a "c" row the next number is that of the
// mutation, times the most that one can add: it is above all before.
// An "r" row without an owner is due at once: its elements are given back later.
//
// A waiting Take carries nothing, a waiting TakeN how many it wants at most, a
// waiting Put [value].
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

// maxMoved bounds how many elements one mutation adds or removes.
const maxMoved = 1000

func elementKey(prefix byte, number int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, uint64(number))
}

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	read := func() error { return protocol.ReadInts(body) }
	number := func(lowest, highest int64) func() error {
		return func() error {
			var n int64
			if err := protocol.ReadInts(body, &n); err != nil {
				return err
			}
			return within(n, lowest, highest)
		}
	}
	// taking reads the body of an operation that takes: its numbers and a codec.
	taking := func(n *int64, lowest, highest int64) func() error {
		return func() error {
			var codec int64
			args := []*int64{&codec}
			if n != nil {
				args = []*int64{n, &codec}
			}
			if err := protocol.ReadInts(body, args...); err != nil {
				return err
			}
			if n != nil {
				if err := within(*n, lowest, highest); err != nil {
					return err
				}
			}
			return within(codec, anyCodec, 255)
		}
	}
	switch op {
	case opPut, opOffer:
		read = func() error {
			v, ms, err := readPut(op, body)
			switch {
			case err != nil:
			case len(v) == 0:
				err = errNoCodec
			case ms < 0 || ms > longestWait:
				err = fmt.Errorf("%w: a wait of %d ms", quorate.ErrInvalid, ms)
			}
			return err
		}
	case opPutAll:
		read = func() error {
			values, err := readValues(body)
			switch {
			case err != nil:
			case len(values) == 0 || len(values) > maxMoved:
				err = fmt.Errorf("%w: %d values, not within 1 to %d", quorate.ErrInvalid, len(values), maxMoved)
			case slices.ContainsFunc(values, func(v []byte) bool { return len(v) == 0 }):
				err = errNoCodec
			}
			return err
		}
	case opTakeN:
		read = func() error {
			var n, ms, codec int64
			err := protocol.ReadInts(body, &n, &ms, &codec)
			if err == nil {
				err = errors.Join(within(n, 1, maxMoved), within(ms, 0, longestWait), within(codec, anyCodec, 255))
			}
			return err
		}
	case opTake:
		read = taking(new(int64), 0, longestWait)
	case opDrain:
		read = taking(new(int64), 1, maxMoved)
	case opPoll:
		read = taking(nil, 0, 0)
	case opClear:
		read = number(0, 1<<63-1)
	case opPeek:
	default:
		return fmt.Errorf("%w: operation %d of a queue", quorate.ErrUnsupported, op)
	}
	return read()
}

var (
	errNoCodec  = fmt.Errorf("%w: a value without a codec", protocol.ErrMalformed)
	longestWait = structures.WaitMilliseconds(structures.MaxWait)
)

func within(n, lowest, highest int64) error {
	if n < lowest || n > highest {
		return fmt.Errorf("%w: %d is not within %d to %d", quorate.ErrInvalid, n, lowest, highest)
	}
	return nil
}

// CheckSettings implements structures.Configurer.
func (machine) CheckSettings(s *structures.Settings) error {
	if n := s.Value(capacitySetting).Int; n < 0 || n > MaxCapacity {
		return fmt.Errorf("%w: the capacity %d is not within 0 to %d", quorate.ErrInvalid, n, MaxCapacity)
	}
	return nil
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	c := load(env)
	var n, ms, codec int64
	switch op {
	case opPut, opOffer:
		return put(env, c, op, body)
	case opPutAll:
		return putAll(env, c, body)
	case opTake:
		_ = protocol.ReadInts(body, &ms, &codec)
		return take(env, c, 1, codec, func() structures.Result { return env.Wait(nil, milliseconds(ms)) })
	case opPoll:
		_ = protocol.ReadInts(body, &codec)
		return take(env, c, 1, codec, func() structures.Result { return structures.Refuse(codeEmpty, "") })
	case opTakeN:
		_ = protocol.ReadInts(body, &n, &ms, &codec)
		return take(env, c, n, codec, func() structures.Result {
			return env.Wait(protocol.AppendUint(nil, uint64(n)), milliseconds(ms))
		})
	case opDrain:
		_ = protocol.ReadInts(body, &n, &codec)
		return take(env, c, n, codec, func() structures.Result { return structures.OK(appendValues(nil)) })
	case opClear:
		_ = protocol.ReadInts(body, &n)
		return clearBefore(env, c, n)
	}
	panic("dqueue: bug: unchecked operation")
}

// Read implements structures.Machine.
func (machine) Read(view structures.View, _ protocol.Op, _ []byte) structures.Result {
	e, ok := head(view)
	if !ok {
		return structures.Refuse(codeEmpty, "")
	}
	return structures.OK(appendValues(nil, e.value))
}

// Due admits waiting Puts that were left for later, or goes on giving back.
func (m machine) Due(env structures.Env, key []byte, row structures.Row) {
	if key[0] == reservedPrefix {
		m.Ended(env, key, row)
		return
	}
	c := load(env)
	c.admit(env, key)
}

// Ended gives reserved elements to the next Takes, or puts them back where they were.
func (machine) Ended(env structures.Env, key []byte, row structures.Row) {
	c := load(env)
	back := readReserved(row.Value)
	takes, more := deal(env, back)
	env.Delete(key)
	for _, t := range takes {
		t.reserve(env)
		back = back[len(t.elements):]
	}
	if more && len(back) > 0 {
		env.Put(elementKey(reservedPrefix, back[0].number), structures.Row{Value: appendReserved(nil, back), Deadline: structures.AtOnce})
		return
	}
	for _, e := range back {
		e = mutantGivenBack(env, &c, e)
		c.free++
		env.Put(elementKey(elementPrefix, e.number), structures.Row{Value: e.value})
	}
	if len(back) > 0 {
		c.write(env)
	}
}

// Confirmed takes reserved elements.
func (machine) Confirmed(env structures.Env, key []byte, row structures.Row) {
	env.Delete(key)
}

// Withdrawn has nothing to do: all waiting calls wait for the same.
func (machine) Withdrawn(structures.Env) {}

// CheckTest implements structures.Tester.
func (machine) CheckTest(test structures.Test, body []byte) error {
	var number, n int64
	if test == testEmpty {
		return protocol.ReadInts(body, &number)
	}
	return protocol.ReadInts(body, &number, &n)
}

// Test implements structures.Tester.
func (machine) Test(view structures.View, test structures.Test, body []byte) bool {
	var number, n int64
	if test == testLength {
		_ = protocol.ReadInts(body, &number, &n)
	}
	return load(view).free == n
}

// Len returns how many elements are free to take.
func (machine) Len(view structures.View) int64 { return load(view).free }

// count is the "c" row, with the capacity from the settings. Without the row
// next is 0.
type count struct{ next, free, capacity int64 }

func load(view structures.View) count {
	c := count{capacity: view.Settings().Value(capacitySetting).Int}
	if row, ok := view.Get(countKey); ok {
		_ = protocol.ReadInts(row.Value, &c.next, &c.free)
	}
	return c
}

func (c *count) write(env structures.Env) {
	if c.free == 0 {
		env.Delete(countKey)
		return
	}
	if c.next == 0 { // elements have come back, none has been added
		c.next = firstNumber(env)
	}
	env.Put(countKey, structures.Row{Value: protocol.AppendInts(nil, c.next, c.free)})
}

// numbers is more than how many elements one mutation adds.
const numbers = 1024

// firstNumber is above the number of every element that was added before.
func firstNumber(env structures.Env) int64 { return int64(env.Version().Revision()) * numbers }

// number returns the number of the next element.
func (c *count) number(env structures.Env) int64 {
	if c.next == 0 {
		c.next = firstNumber(env)
	}
	c.next++
	return c.next - 1
}

func (c *count) full() bool {
	return c.capacity > 0 && c.free >= c.capacity && !mutants.On(mutants.OverCapacity)
}

// element is an element of the queue.
type element struct {
	number int64
	value  []byte
}

// ascend calls f for the free elements from the head on.
func ascend(view structures.View, f func(element) bool) {
	view.Ascend([]byte{elementPrefix}, func(key []byte, row structures.Row) bool {
		return key[0] == elementPrefix && f(element{int64(binary.BigEndian.Uint64(key[1:])), row.Value})
	})
}

func head(view structures.View) (e element, ok bool) {
	ascend(view, func(first element) bool {
		e, ok = first, true
		return false
	})
	return e, ok
}

// A waiting call that takes carries nothing or a number, one that puts an array.
func isTake(w structures.Waiter) bool { return len(w.Payload) == 0 || w.Payload[0] < arrayHead }

const arrayHead = 0x80 // the first byte of an array has this bit

// wants returns how many elements a waiting call takes at most.
func wants(w structures.Waiter) int {
	if len(w.Payload) == 0 {
		return 1
	}
	r := protocol.NewReader(w.Payload)
	return int(r.Uint())
}

// taking is what a waiting call gets.
type taking struct {
	waiter   structures.Waiter
	elements []element
}

// deal assigns elements to the waiting calls that take, in the order of arrival: to each
// as many as it wants and as fit in a page. It reports whether more calls wait than this
// mutation may grant.
func deal(env structures.Env, elements []element) (takes []taking, more bool) {
	most, page := env.GrantsLeft(), int(env.Limits().PageBytes)
	env.Waiters(func(w structures.Waiter) bool {
		if !isTake(w) || len(elements) == 0 {
			return false
		}
		if more = len(takes) == most; more {
			return false
		}
		n, size := 0, 0
		for n < min(wants(w), len(elements)) {
			if size += len(elements[n].value); n > 0 && size > page {
				break
			}
			n++
		}
		takes = append(takes, taking{w, elements[:n]})
		elements = elements[n:]
		return true
	})
	return takes, more
}

// reserve answers the call; its client confirms.
func (t *taking) reserve(env structures.Env) {
	values := make([][]byte, len(t.elements))
	for i, e := range t.elements {
		values[i] = e.value
	}
	key := elementKey(reservedPrefix, t.elements[0].number)
	env.Put(key, structures.Row{Value: appendReserved(nil, t.elements), Owner: t.waiter.Caller.Session})
	env.Reserve(t.waiter, structures.OK(appendValues(nil, values...)), key)
}

// put adds an element, for the oldest call that waits to take or at the tail. If the
// queue is full, opPut waits.
func put(env structures.Env, c count, op protocol.Op, body []byte) structures.Result {
	value, ms, _ := readPut(op, body)
	n, refused := c.addAll(env, value)
	switch {
	case refused != nil:
		return *refused
	case n > 0:
		return structures.OK(protocol.AppendInts(nil))
	case op == opOffer:
		return structures.Refuse(codeFull, "")
	}
	return env.Wait(appendValues(nil, value), milliseconds(ms))
}

// putAll adds as many of the first elements as the queue has capacity for, and returns
// how many.
func putAll(env structures.Env, c count, body []byte) structures.Result {
	values, _ := readValues(body)
	n, refused := c.addAll(env, values...)
	if refused != nil {
		return *refused
	}
	return structures.OK(protocol.AppendInts(nil, int64(n)))
}

// addAll adds the first values, for the calls that wait to take and then at the tail. It
// returns how many: none if other Puts wait; all if the queue has capacity for them, and
// this mutation may grant all calls that wait for them.
func (c *count) addAll(env structures.Env, values ...[]byte) (int, *structures.Result) {
	for _, v := range values {
		if most := int(env.Limits().Value); len(v) > most {
			r := structures.Refuse(protocol.CodeTooLarge, fmt.Sprintf("the value has %d bytes, at most %d", len(v), most))
			return 0, &r
		}
	}
	if w, waits := structures.FirstWaiter(env); waits && !isTake(w) {
		return 0, nil
	}
	elements := make([]element, len(values))
	for i, v := range values {
		elements[i] = element{c.number(env), v}
	}
	takes, more := deal(env, elements)
	n := 0
	for _, t := range takes {
		n += len(t.elements)
	}
	tail := elements[n:]
	if more {
		tail = nil
	}
	for i := range tail {
		if c.full() {
			tail = tail[:i]
			break
		}
		c.free++
	}
	n += len(tail)
	for _, t := range takes {
		t.reserve(env)
	}
	for _, e := range tail {
		env.Put(elementKey(elementPrefix, e.number), structures.Row{Value: e.value})
	}
	if len(tail) > 0 {
		c.write(env)
	}
	return n, nil
}

// reads reports whether a caller with a codec can read a value.
func reads(codec int64, value []byte) bool { return codec == anyCodec || int64(value[0]) == codec }

func otherCodec(value []byte) structures.Result {
	return structures.Refuse(codeCodec, fmt.Sprintf("the head was written by codec number %d; it was not taken", value[0]))
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// take takes up to most elements for good, no more than fit in a page, and stops before
// the first that another codec wrote. If there is none at all it does what otherwise
// says.
func take(env structures.Env, c count, most, codec int64, otherwise func() structures.Result) structures.Result {
	limits := env.Limits()
	most = min(most, maxMoved, int64(limits.PageEntries))
	var keys, values [][]byte
	size := 0
	var other []byte
	ascend(env, func(e element) bool {
		size += len(e.value)
		if !reads(codec, e.value) {
			other = e.value
			return false
		}
		if int64(len(keys)) == most || len(keys) > 0 && size > int(limits.PageBytes) {
			return false
		}
		keys, values = append(keys, elementKey(elementPrefix, e.number)), append(values, e.value)
		return true
	})
	switch {
	case len(keys) == 0 && other != nil:
		return otherCodec(other)
	case len(keys) == 0:
		return otherwise()
	}
	c.free -= int64(len(keys))
	mutants.Shuffle(mutants.MapOrder, values)
	c.admit(env, keys...)
	return structures.OK(appendValues(nil, values...))
}

// add adds an element at the tail.
func (c *count) add(env structures.Env, value []byte) {
	c.free++
	env.Put(elementKey(elementPrefix, c.number(env)), structures.Row{Value: value})
}

// clearBefore removes the first elements whose number is below mark, or any number if it
// is 0, and returns the mark to go on with.
func clearBefore(env structures.Env, c count, mark int64) structures.Result {
	if mark == 0 {
		mark = c.next
	}
	var keys [][]byte
	more := false
	ascend(env, func(e element) bool {
		if e.number >= mark {
			return false
		}
		if more = len(keys) == maxMoved; more {
			return false
		}
		keys = append(keys, elementKey(elementPrefix, e.number))
		return true
	})
	if len(keys) > 0 {
		c.free -= int64(len(keys))
		c.admit(env, keys...)
	}
	if !more {
		mark = 0
	}
	return structures.OK(protocol.AppendInts(nil, mark))
}

// admit deletes rows, admits waiting Puts in the order of arrival as far as the capacity
// allows, and writes the counts. It admits the first however large it is, and stops when
// a page is full; Due admits the rest.
func (c *count) admit(env structures.Env, removed ...[]byte) {
	var puts []structures.Waiter
	more, size, page := false, 0, int(env.Limits().PageBytes)
	most := min(env.GrantsLeft(), maxMoved)
	after := *c
	env.Waiters(func(w structures.Waiter) bool {
		if isTake(w) || after.full() {
			return false
		}
		size += len(w.Payload)
		if more = len(puts) == most || len(puts) > 0 && size > page; more {
			return false
		}
		puts = append(puts, w)
		after.free++
		return true
	})
	for _, key := range removed {
		env.Delete(key)
	}
	for _, w := range puts {
		value, _ := readValue(w.Payload)
		c.add(env, value)
		env.Grant(w, structures.OK(protocol.AppendInts(nil)))
	}
	c.write(env)
	if more {
		env.Put(moreKey, structures.Row{Deadline: structures.AtOnce})
	}
}
