package dcounter

import (
	"context"
	"errors"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// ErrOverflow is the error of a [Counter.Add] whose sum is not an int64. The counter keeps
// its value.
var ErrOverflow = errors.New("overflow")

// Counter is a handle of one counter. Making one costs nothing. It is safe for concurrent
// use.
type Counter struct{ handle structures.Handle }

// New returns the handle of the counter with the given name. A bad name is the error of
// every call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for more than 255 bytes.
func New(inv structures.Invoker, name string) *Counter {
	return &Counter{structures.NewHandle(inv, &kind, name, nil)}
}

// Get returns the value; 0 if the counter was never written.
func (c *Counter) Get(ctx context.Context, opts ...ReadOption) (int64, error) {
	reading := structures.ReadWith(opts)
	const verb = "get"
	reply, err := c.handle.Invoke(ctx, c.call(verb, opGet, reading.Flags, protocol.AppendInts(nil)))
	if err != nil {
		return 0, err
	}
	n, err := c.number(verb, reply)
	if err == nil {
		reading.Saw(reply)
	}
	return n, err
}

// Set sets the value.
func (c *Counter) Set(ctx context.Context, n int64, opts ...WriteOption) error {
	return c.write(ctx, "set", opSet, opts, protocol.AppendInts(nil, n))
}

// Add adds delta, which may be negative, and returns the new value. A sum that is not an
// int64 is [ErrOverflow], and changes nothing.
func (c *Counter) Add(ctx context.Context, delta int64, opts ...WriteOption) (int64, error) {
	var n int64
	err := c.write(ctx, "add", opAdd, opts, protocol.AppendInts(nil, delta), &n)
	return n, err
}

// GetAndAdd adds delta and returns the value before. Its errors are those of [Counter.Add].
func (c *Counter) GetAndAdd(ctx context.Context, delta int64, opts ...WriteOption) (int64, error) {
	n, err := c.Add(ctx, delta, opts...)
	if err != nil {
		return 0, err
	}
	return n - delta, nil
}

// CompareAndSet sets the value to n if it is old, and reports whether it was. Another value
// is no error.
func (c *Counter) CompareAndSet(ctx context.Context, old, n int64, opts ...WriteOption) (bool, error) {
	err := c.write(ctx, "compare and set", opCompareAndSet, opts, protocol.AppendInts(nil, old, n))
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	return err == nil, err
}

// Destroy removes the counter: it is 0 again. The name can be used again at once. A counter
// that does not exist is no error.
func (c *Counter) Destroy(ctx context.Context) error {
	return c.handle.Destroy(ctx)
}

// errDiffers is the error of codeDiffers, which CompareAndSet turns into false.
var errDiffers = errors.New("another value")

// write carries out a mutation and reads its results.
func (c *Counter) write(ctx context.Context, verb string, op protocol.Op, opts []WriteOption, body []byte, results ...*int64) error {
	reply, err := c.handle.InvokeIf(ctx, structures.WriteWith(opts), c.call(verb, op, 0, body))
	if err != nil {
		return err
	}
	if protocol.ReadInts(reply.Body, results...) != nil {
		return c.handle.Garbled(verb, reply)
	}
	return nil
}

// number reads a result that is a number.
func (c *Counter) number(verb string, reply structures.Reply) (n int64, err error) {
	if protocol.ReadInts(reply.Body, &n) != nil {
		return 0, c.handle.Garbled(verb, reply)
	}
	return n, nil
}

func (c *Counter) call(verb string, op protocol.Op, flags protocol.Flags, body []byte) structures.Call {
	return c.handle.Call(verb, op, flags, c.handle.Partition(nil), body)
}
