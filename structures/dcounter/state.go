package dcounter

import (
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes counters.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 2, Name: "counter", Level: 1, Machine: machine{},
		Doc:  "One integer of 64 bits, 0 before it is written",
		Unit: "units", Watch: structures.WatchRow,
		Ops: ops, Codes: codes, Tests: tests,
	}
}

// kind is that of the handles.
var kind = Kind()

// machine keeps one row, whose value is the counter's as an array of one
// integer. Without the row the counter is 0.
type machine struct{ structures.Base }

var valueKey = []byte("v")

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	var args []*int64
	switch op {
	case opSet, opAdd:
		args = make([]*int64, 1)
	case opCompareAndSet:
		args = make([]*int64, 2)
	case opGet:
	default:
		return fmt.Errorf("%w: operation %d of a counter", quorate.ErrUnsupported, op)
	}
	for i := range args {
		args[i] = new(int64)
	}
	return protocol.ReadInts(body, args...)
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	switch op {
	case opSet:
		var n int64
		_ = protocol.ReadInts(body, &n)
		return set(env, n)
	case opAdd:
		var delta int64
		_ = protocol.ReadInts(body, &delta)
		return add(env, delta)
	case opCompareAndSet:
		var old, n int64
		_ = protocol.ReadInts(body, &old, &n)
		if now := value(env); now != old && !mutants.On(mutants.SwapUncompared) {
			return structures.Refuse(codeDiffers, fmt.Sprintf("the counter is %d", now))
		}
		return set(env, n)
	}
	panic("dcounter: bug: unchecked operation")
}

// Read implements structures.Machine.
func (machine) Read(view structures.View, _ protocol.Op, _ []byte) structures.Result {
	return structures.OK(protocol.AppendInts(nil, value(view)))
}

// CheckTest implements structures.Tester.
func (machine) CheckTest(_ structures.Test, body []byte) error {
	var test, n int64
	return protocol.ReadInts(body, &test, &n)
}

// Test implements structures.Tester.
func (machine) Test(view structures.View, test structures.Test, body []byte) bool {
	var number, n int64
	_ = protocol.ReadInts(body, &number, &n)
	now := value(view)
	switch test {
	case testEqual:
		return now == n
	case testAtLeast:
		return now >= n
	}
	return now <= n
}

// Len returns the counter's value.
func (machine) Len(view structures.View) int64 { return value(view) }

func value(view structures.View) int64 {
	var n int64
	if row, ok := view.Get(valueKey); ok {
		_ = protocol.ReadInts(row.Value, &n)
	}
	return n
}

func set(env structures.Env, n int64) structures.Result {
	env.Put(valueKey, structures.Row{Value: protocol.AppendInts(nil, n)})
	return structures.OK(protocol.AppendInts(nil))
}

func add(env structures.Env, delta int64) structures.Result {
	old := value(env)
	sum := old + delta
	if (sum > old) != (delta > 0) && delta != 0 && !mutants.On(mutants.SumWraps) {
		return structures.Refuse(codeOverflow, fmt.Sprintf("%d and %d more", old, delta))
	}
	set(env, sum)
	return structures.OK(protocol.AppendInts(nil, mutantSum(old, sum)))
}
