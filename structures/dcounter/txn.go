package dcounter

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Txn makes conditions and operations of the counter for a transaction: see package txn.
// It does no I/O.
type Txn struct{ c *Counter }

// Txn returns what makes conditions and operations of the counter for a transaction.
func (c *Counter) Txn() Txn { return Txn{c} }

// IfEqual is the condition that the counter is n.
func (t Txn) IfEqual(n int64) structures.TxnTest { return t.test(testEqual, n) }

// IfAtLeast is the condition that the counter is n or more.
func (t Txn) IfAtLeast(n int64) structures.TxnTest { return t.test(testAtLeast, n) }

// IfAtMost is the condition that the counter is n or less.
func (t Txn) IfAtMost(n int64) structures.TxnTest { return t.test(testAtMost, n) }

// Get is [Counter.Get] in a transaction.
func (t Txn) Get() *structures.TxnOp[int64] { return t.number("get", opGet) }

// Set is [Counter.Set] in a transaction.
func (t Txn) Set(n int64) structures.TxnStep {
	return structures.NewTxnOp[struct{}](t.part("set", opSet, n), nil)
}

// Add is [Counter.Add] in a transaction. A sum that is not an int64 refuses the
// transaction with [ErrOverflow].
func (t Txn) Add(delta int64) *structures.TxnOp[int64] { return t.number("add", opAdd, delta) }

// number returns an operation whose result is a number.
func (t Txn) number(verb string, op protocol.Op, args ...int64) *structures.TxnOp[int64] {
	return structures.NewTxnOp(t.part(verb, op, args...), func(r structures.Reply) (int64, error) { return t.c.number(verb, r) })
}

func (t Txn) part(verb string, op protocol.Op, args ...int64) structures.TxnPart {
	return t.c.handle.TxnPart(t.c.call(verb, op, 0, protocol.AppendInts(nil, args...)), "", nil)
}

func (t Txn) test(test structures.Test, n int64) structures.TxnTest {
	h := &t.c.handle
	return h.TxnTest(protocol.AppendInts(nil, int64(test), n), h.Partition(nil), "", nil)
}
