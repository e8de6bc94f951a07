package delection

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Txn makes conditions and operations of the election for a transaction: see package txn.
// It does no I/O. A transaction cannot campaign, since a campaign may have to wait.
type Txn[T any] struct{ e *Election[T] }

// Txn returns what makes conditions and operations of the election for a transaction.
func (e *Election[T]) Txn() Txn[T] { return Txn[T]{e} }

// IfHeld is the condition that a leadership of the election is held, by the session that
// carries the transaction out: l.Held of a [Leadership].
func (t Txn[T]) IfHeld(h *structures.Held) structures.TxnTest { return t.e.handle.IfHeld(h) }

// Leader is [Election.Leader] in a transaction.
func (t Txn[T]) Leader() *structures.TxnFound[Leader[T]] {
	const verb = "get the leader of"
	part := t.e.handle.TxnPart(t.e.call(verb, opLeader, 0, protocol.AppendInts(nil)), "", nil)
	return structures.NewTxnFound(part, func(r structures.Reply) (Leader[T], bool, error) {
		if r.Code == codeNone {
			return Leader[T]{None: true, Version: r.Version}, false, nil
		}
		l, err := t.e.leader(verb, r)
		return l, err == nil, err
	})
}

// Proclaim is [Leadership.Proclaim] in a transaction. A leadership that has ended refuses
// it with [structures.ErrNotHeld].
func (t Txn[T]) Proclaim(l *Leadership[T], v T) structures.TxnStep {
	call, err := t.e.proclaim(l, v)
	return structures.NewTxnOp[struct{}](t.e.handle.TxnPart(call, "", err), nil)
}

// Resign gives up a leadership, as a part of the transaction. Its contexts end before the
// transaction is sent. If the transaction is not carried out, call [Leadership.Resign]. A
// leadership that has ended refuses the transaction with [structures.ErrNotHeld].
func (t Txn[T]) Resign(h *structures.Held) structures.TxnStep { return t.e.handle.TxnRelease(h) }
