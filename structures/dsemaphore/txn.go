package dsemaphore

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Txn makes conditions and operations of the semaphore for a transaction: see package txn.
// It does no I/O. A transaction cannot acquire permits, since an acquisition may have to
// wait.
type Txn struct{ s *Semaphore }

// Txn returns what makes conditions and operations of the semaphore for a transaction.
func (s *Semaphore) Txn() Txn { return Txn{s} }

// IfHeld is the condition that permits of the semaphore are held, by the session that
// carries the transaction out.
func (t Txn) IfHeld(h *structures.Held) structures.TxnTest { return t.s.handle.IfHeld(h) }

// IfAvailable is the condition that n permits are free, or more. It does not hold before
// [Semaphore.Init].
func (t Txn) IfAvailable(n int64) structures.TxnTest {
	h := &t.s.handle
	return h.TxnTest(protocol.AppendInts(nil, int64(testAvailable), n), h.Partition(nil), "", nil)
}

// Available is [Semaphore.Available] in a transaction. Before [Semaphore.Init] it refuses
// the transaction with [ErrNotInitialized].
func (t Txn) Available() *structures.TxnOp[int64] {
	const verb = "get the available permits of"
	part := t.s.handle.TxnPart(t.s.call(verb, opAvailable, 0, protocol.AppendInts(nil)), "", nil)
	return structures.NewTxnOp(part, func(r structures.Reply) (n int64, err error) {
		if protocol.ReadInts(r.Body, &n) != nil {
			return 0, t.s.handle.Garbled(verb, r)
		}
		return n, nil
	})
}

// AddPermits is [Semaphore.AddPermits] in a transaction.
func (t Txn) AddPermits(n int64) structures.TxnStep {
	call, err := t.s.addCall(n)
	return structures.NewTxnOp[struct{}](t.s.handle.TxnPart(call, "", err), nil)
}

// Release gives back what is held, as a part of the transaction. The contexts of h end
// before the transaction is sent, so that nobody works with the permits when others are
// granted them. If the transaction is not carried out, call [structures.Held.Release]. A
// hold that has ended refuses the transaction with [structures.ErrNotHeld].
func (t Txn) Release(h *structures.Held) structures.TxnStep { return t.s.handle.TxnRelease(h) }
