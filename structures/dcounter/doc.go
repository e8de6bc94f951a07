// Package dcounter is a distributed counter: one 64-bit integer.
//
//	hits := dcounter.New(c, "hits")
//	n, err := hits.Add(ctx, 1)
//
// A counter is 0 until it is first written, and 0 again after Destroy. Every
// operation is linearizable, except reads that ask to be Stale, and every
// mutation is applied exactly once. A sum that is not an int64 is ErrOverflow
// and changes nothing.
//
// This is the model room: the other structures have the same files. ops.go is
// what goes over the wire, state.go the deterministic state that every replica
// keeps, counter.go the handle that applications use.
package dcounter
