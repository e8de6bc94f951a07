package verify

import (
	"context"
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate/structures/dcounter"
)

// Counter records what a counter's handle does.
type Counter struct {
	recorder
	counter *dcounter.Counter
}

// NewCounter returns a recorder of a counter for one client.
func NewCounter(h *History, client int, name string, c *dcounter.Counter) *Counter {
	return &Counter{recorder{h, client, object{kind: counters, name: name}}, c}
}

type counterOp uint8

const (
	counterGet counterOp = iota + 1
	counterSet
	counterAdd
	counterCompareAndSet
	counterDestroy
)

type counterInput struct {
	op     counterOp
	n, old int64
}

type counterOutput struct {
	n        int64 // of get and add
	swapped  bool  // of compare and set
	overflow bool  // of add
}

// Get records dcounter.Counter.Get.
func (c *Counter) Get(ctx context.Context) (int64, error) {
	call := c.history.now()
	n, err := c.counter.Get(ctx)
	if err == nil {
		c.record(call, counterInput{op: counterGet}, counterOutput{n: n}, nil)
	}
	return n, err
}

// Set records dcounter.Counter.Set.
func (c *Counter) Set(ctx context.Context, n int64) error {
	call := c.history.now()
	err := c.counter.Set(ctx, n)
	c.answer(call, counterInput{op: counterSet, n: n}, counterOutput{}, err)
	return err
}

// Add records dcounter.Counter.Add.
func (c *Counter) Add(ctx context.Context, delta int64) (int64, error) {
	call := c.history.now()
	n, err := c.counter.Add(ctx, delta)
	in := counterInput{op: counterAdd, n: delta}
	if is(err, dcounter.ErrOverflow) != nil {
		c.record(call, in, counterOutput{overflow: true}, nil)
	} else {
		c.answer(call, in, counterOutput{n: n}, err)
	}
	return n, err
}

// CompareAndSet records dcounter.Counter.CompareAndSet.
func (c *Counter) CompareAndSet(ctx context.Context, old, n int64) (bool, error) {
	call := c.history.now()
	swapped, err := c.counter.CompareAndSet(ctx, old, n)
	c.answer(call, counterInput{op: counterCompareAndSet, n: n, old: old}, counterOutput{swapped: swapped}, err)
	return swapped, err
}

// Destroy records dcounter.Counter.Destroy.
func (c *Counter) Destroy(ctx context.Context) error {
	call := c.history.now()
	err := c.counter.Destroy(ctx)
	c.answer(call, counterInput{op: counterDestroy}, counterOutput{}, err)
	return err
}

// answer records an operation whose errors are no answers.
func (r *recorder) answer(call int64, input, output any, err error) {
	if err != nil {
		output = nil
	}
	r.record(call, input, output, err)
}

var counterChecker = checker{name: "counter", model: counterModel}

// counterModel is an int64.
var counterModel = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		now, in := state.(int64), input.(counterInput)
		out, known := output.(counterOutput)
		sum := now + in.n
		overflows := in.op == counterAdd && (sum > now) != (in.n > 0) && in.n != 0
		switch in.op {
		case counterGet:
			return out.n == now, now
		case counterSet:
			return true, in.n
		case counterDestroy:
			return true, int64(0)
		case counterAdd:
			if overflows {
				return !known || out.overflow, now
			}
			return !known || !out.overflow && out.n == sum, sum
		default: // compare and set
			next := now
			if now == in.old {
				next = in.n
			}
			return !known || out.swapped == (now == in.old), next
		}
	},
	DescribeOperation: func(input, output any) string {
		in := input.(counterInput)
		names := []string{"", "get", "set", "add", "compare and set", "destroy"}
		return fmt.Sprintf("%s(%d, %d) -> %+v", names[in.op], in.old, in.n, output)
	},
}
