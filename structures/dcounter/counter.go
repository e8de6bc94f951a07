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
	var n int64
	reply, err := c.invoke(ctx, "get", opGet, reading.Flags, protocol.AppendInts(nil), &n)
	if err == nil {
		reading.Saw(reply)
	}
	return n, err
}

// Set sets the value.
func (c *Counter) Set(ctx context.Context, n int64) error {
	_, err := c.invoke(ctx, "set", opSet, 0, protocol.AppendInts(nil, n))
	return err
}

// Add adds delta, which may be negative, and returns the new value. A sum that is not an
// int64 is [ErrOverflow], and changes nothing.
func (c *Counter) Add(ctx context.Context, delta int64) (int64, error) {
	var n int64
	_, err := c.invoke(ctx, "add", opAdd, 0, protocol.AppendInts(nil, delta), &n)
	return n, err
}

// GetAndAdd adds delta and returns the value before. Its errors are those of [Counter.Add].
func (c *Counter) GetAndAdd(ctx context.Context, delta int64) (int64, error) {
	n, err := c.Add(ctx, delta)
	if err != nil {
		return 0, err
	}
	return n - delta, nil
}

// CompareAndSet sets the value to n if it is old, and reports whether it was. Another value
// is no error.
func (c *Counter) CompareAndSet(ctx context.Context, old, n int64) (bool, error) {
	_, err := c.invoke(ctx, "compare and set", opCompareAndSet, 0, protocol.AppendInts(nil, old, n))
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

// invoke carries out an operation and reads its results.
func (c *Counter) invoke(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags, body []byte, results ...*int64) (structures.Reply, error) {
	h := &c.handle
	reply, err := h.Invoke(ctx, h.Call(verb, op, flags, h.Partition(nil), body))
	if err != nil {
		return reply, err
	}
	if protocol.ReadInts(reply.Body, results...) != nil {
		return reply, h.Garbled(verb, reply)
	}
	return reply, nil
}
