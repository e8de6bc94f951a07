package dqueue

import (
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Txn makes conditions and operations of the queue for a transaction: see package txn. It
// does no I/O.
type Txn[T any] struct{ q *Queue[T] }

// Txn returns what makes conditions and operations of the queue for a transaction.
func (q *Queue[T]) Txn() Txn[T] { return Txn[T]{q} }

// IfLen is the condition that the queue has n elements, as [Queue.Len] counts them.
func (t Txn[T]) IfLen(n int) structures.TxnTest {
	return t.test(protocol.AppendInts(nil, int64(testLength), int64(n)))
}

// IfEmpty is the condition that the queue has no element, as [Queue.Len] counts them.
func (t Txn[T]) IfEmpty() structures.TxnTest {
	return t.test(protocol.AppendInts(nil, int64(testEmpty)))
}

// Offer is [Queue.Offer] in a transaction. If the queue is full, or Puts wait, the
// transaction is refused with [quorate.ErrNotInTime].
func (t Txn[T]) Offer(v T) structures.TxnStep {
	const verb = "offer to"
	value, err := t.q.encode(verb, v)
	return structures.NewTxnOp[struct{}](t.part(verb, opOffer, offered(value), err), nil)
}

// Poll is [Queue.Poll] in a transaction: the step finds nothing if the queue is empty. A
// head that another codec wrote refuses the transaction with [quorate.ErrCodec].
func (t Txn[T]) Poll() *structures.TxnFound[T] {
	return t.element("poll", opPoll, protocol.AppendInts(nil, t.q.reads()))
}

// Peek is [Queue.Peek] in a transaction: the step finds nothing if the queue is empty.
func (t Txn[T]) Peek() *structures.TxnFound[T] {
	return t.element("peek at", opPeek, protocol.AppendInts(nil))
}

// Len is [Queue.Len] in a transaction.
func (t Txn[T]) Len() *structures.TxnOp[int] {
	const verb = "get the length of"
	return structures.NewTxnOp(t.part(verb, structures.OpLength, protocol.AppendInts(nil), nil), func(r structures.Reply) (int, error) {
		var n int64
		if protocol.ReadInts(r.Body, &n) != nil {
			return 0, t.q.handle.Garbled(verb, r)
		}
		return int(n), nil
	})
}

// element returns an operation whose result is an element or nothing.
func (t Txn[T]) element(verb string, op protocol.Op, body []byte) *structures.TxnFound[T] {
	part := t.part(verb, op, body, nil)
	return structures.NewTxnFound(part, func(r structures.Reply) (v T, ok bool, err error) {
		switch r.Code {
		case codeEmpty:
			return v, false, nil
		case protocol.CodeOK:
			v, err = t.q.result(part.Call, r)
			return v, err == nil, err
		}
		return v, false, t.q.handle.Fail(verb, quorate.ErrUnsupported, fmt.Sprintf("the answer %d", r.Code))
	})
}

func (t Txn[T]) part(verb string, op protocol.Op, body []byte, err error) structures.TxnPart {
	return t.q.handle.TxnPart(t.q.call(verb, op, 0, body), "", err)
}

func (t Txn[T]) test(body []byte) structures.TxnTest {
	h := &t.q.handle
	return h.TxnTest(body, h.Partition(nil), "", nil)
}
