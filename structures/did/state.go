package did

import (
	"fmt"
	"math"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes ids.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 11, Name: "id", Level: 1, Machine: machine{}, Lasting: true,
		Doc:  "Integers that are given out once each, in blocks",
		Unit: "ids",
		Ops:  ops, Rules: rules, Codes: codes,
	}
}

// kind is that of the handles.
var kind = Kind()

// machine keeps one row, "n": [next, base, since]. The next block begins at next or above.
//
// Invariant: next is at most base and [PerSecond] for each second since, and one second more
// (ID-2).
type machine struct{ structures.Base }

var numbersKey = []byte("n")

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	most := int64(MaxBlock)
	switch op {
	case opReserve:
	case opRaise:
		most = MaxRaise
	default:
		return fmt.Errorf("%w: operation %d of ids", quorate.ErrUnsupported, op)
	}
	var n int64
	if err := protocol.ReadInts(body, &n); err != nil {
		return err
	}
	if n < 1 || n > most {
		return fmt.Errorf("%w: %d, not within 1 to %d", quorate.ErrInvalid, n, most)
	}
	return nil
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	n := load(env)
	var arg int64
	_ = protocol.ReadInts(body, &arg)
	switch op {
	case opReserve:
		return n.reserve(env, arg)
	case opRaise:
		return n.raise(env, arg)
	}
	panic("did: bug: unchecked operation")
}

// Read panics: there are no reads.
func (machine) Read(structures.View, protocol.Op, []byte) structures.Result {
	panic("did: bug: unchecked operation")
}

// Len returns the last id that was reserved, or is below what was raised to.
func (machine) Len(view structures.View) int64 { return max(stored(view).next-1, 0) }

// numbers is the "n" row.
type numbers struct {
	next  int64
	base  int64
	since protocol.LogTime // when base was set
}

// stored returns the row; zeros: there is none.
func stored(view structures.View) (n numbers) {
	if row, ok := view.Get(numbersKey); ok {
		var since int64
		_ = protocol.ReadInts(row.Value, &n.next, &n.base, &since)
		n.since = protocol.LogTime(since)
	}
	return n
}

// load returns what is in force for a mutation: no id is below its version (ID-1).
func load(env structures.Env) numbers {
	n := stored(env)
	least := int64(min(uint64(env.Version()), math.MaxInt64))
	if mutants.On(mutants.IDGeneration) {
		least = 1
	}
	if n.next < least {
		n = numbers{least, least, env.Now()}
	}
	return n
}

// limit returns the number that next must not be above (ID-2).
func (n *numbers) limit(now protocol.LogTime) int64 {
	seconds := int64(now.Sub(n.since)/time.Second) + 1
	return n.base + min(seconds*PerSecond, math.MaxInt64-n.base)
}

func (n *numbers) write(env structures.Env) {
	env.Put(numbersKey, structures.Row{Value: protocol.AppendInts(nil, n.next, n.base, int64(n.since))})
}

func (n *numbers) reserve(env structures.Env, many int64) structures.Result {
	if left := n.limit(env.Now()) - n.next; many > left {
		return structures.Refuse(codeTooFast, fmt.Sprintf("%d are left of this second", left))
	}
	first := n.next
	n.next += many
	n.write(env)
	return structures.OK(protocol.AppendInts(nil, first))
}

// raise has the next block begin at least there. What is above the limit begins to count
// anew from there: it does not outlive a loss of data in memory.
func (n *numbers) raise(env structures.Env, least int64) structures.Result {
	if least > n.next {
		if least > n.limit(env.Now()) {
			n.base, n.since = least, env.Now()
		}
		n.next = least
	}
	n.write(env)
	return structures.OK(protocol.AppendInts(nil, n.next))
}
