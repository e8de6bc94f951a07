// Package dcounter is a distributed counter: one 64-bit integer.
//
//	hits := dcounter.New(c, "hits")
//	n, err := hits.Add(ctx, 1)
//
// A counter is 0 until it is first written, and 0 again after Destroy. Every operation is
// linearizable, except reads with the option Stale, and every mutation is applied exactly
// once. A sum that is not an int64 is ErrOverflow and changes nothing.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
//
// This is the model of a structure package: the others have the same files. ops.go is what
// goes over the wire, state.go the deterministic state that every replica keeps, counter.go
// the handle that applications use.
package dcounter
