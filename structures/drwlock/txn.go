package drwlock

import "github.com/quorate/quorate/structures"

// Txn makes conditions and operations of the lock for a transaction: see package txn. It does
// no I/O. A transaction cannot acquire the lock, since that may have to wait.
type Txn struct{ l *RWLock }

// Txn returns what makes conditions and operations of the lock for a transaction.
func (l *RWLock) Txn() Txn { return Txn{l} }

// IfHeld is the condition that the lock is held, by the session that carries the transaction
// out, with that very hold: a hold that was exchanged for another one is no more.
func (t Txn) IfHeld(h *structures.Held) structures.TxnTest { return t.l.handle.IfHeld(h) }

// Release gives the lock back, as a part of the transaction. The contexts of h end before the
// transaction is sent, so that nobody works under the lock when others are granted it. If the
// transaction is not carried out, call [structures.Held.Release]. A hold that has ended
// refuses the transaction with [structures.ErrNotHeld].
func (t Txn) Release(h *structures.Held) structures.TxnStep { return t.l.handle.TxnRelease(h) }
