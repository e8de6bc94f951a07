package dlatch

import (
	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Txn makes conditions and operations of the latch for a transaction: see package txn. It
// does no I/O. A transaction neither waits for a latch nor takes a hold of it.
type Txn struct{ l *Latch }

// Txn returns what makes conditions and operations of the latch for a transaction.
func (l *Latch) Txn() Txn { return Txn{l} }

// IfHeld is the condition that a hold of the latch is held, by the session that carries the
// transaction out.
func (t Txn) IfHeld(h *structures.Held) structures.TxnTest { return t.l.handle.IfHeld(h) }

// IfAtMost is the condition that the latch is set, and its count n or less: 0 if it is open.
func (t Txn) IfAtMost(n int64) structures.TxnTest {
	h := &t.l.handle
	return h.TxnTest(protocol.AppendInts(nil, int64(testAtMost), n), h.Partition(nil), "", nil)
}

// Set is [Latch.Set] in a transaction, which refuses it with [ErrNotZero] if the count is
// above 0.
func (t Txn) Set(n int64) *structures.TxnOp[Round] {
	call, err := t.l.setCall(n)
	return structures.NewTxnOp(t.l.handle.TxnPart(call, "", err), func(r structures.Reply) (Round, error) {
		return t.l.round("set", r)
	})
}

// CountDown is [Latch.CountDown] in a transaction, without the option [IfHeld]: that is a
// condition of the transaction. [ErrNotSet] and [ErrRound] refuse the transaction.
func (t Txn) CountDown(opts ...DownOption) *structures.TxnOp[int64] {
	call, guard, err := t.l.downCall(opts)
	if err == nil && guard.Asks() {
		err = t.l.handle.Fail("count down", quorate.ErrInvalid, "IfHeld is a condition of the transaction")
	}
	return t.number(call, err)
}

// Count is the count of [Latch.Count] in a transaction. Before [Latch.Set] it refuses the
// transaction with [ErrNotSet].
func (t Txn) Count() *structures.TxnOp[int64] {
	const verb = "get the count of"
	part := t.l.handle.TxnPart(t.l.call(verb, opCount, 0, protocol.AppendInts(nil)), "", nil)
	return structures.NewTxnOp(part, func(r structures.Reply) (int64, error) {
		var c count
		if protocol.ReadInts(r.Body, &c.n, &c.round, &c.first) != nil {
			return 0, t.l.handle.Garbled(verb, r)
		}
		return c.n, nil
	})
}

// Release gives back what is held, as a part of the transaction. The contexts of h end
// before the transaction is sent. If it is not carried out, call [structures.Held.Release].
// A hold that has ended refuses the transaction with [structures.ErrNotHeld].
func (t Txn) Release(h *structures.Held) structures.TxnStep { return t.l.handle.TxnRelease(h) }

// number returns an operation whose result is a number.
func (t Txn) number(call structures.Call, err error) *structures.TxnOp[int64] {
	return structures.NewTxnOp(t.l.handle.TxnPart(call, "", err), func(r structures.Reply) (int64, error) {
		return t.l.number(call.Verb, r)
	})
}
