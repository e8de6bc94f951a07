package dref

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Txn makes conditions and operations of the reference for a transaction: see package txn.
// It does no I/O.
type Txn[T any] struct{ r *Ref[T] }

// Txn returns what makes conditions and operations of the reference for a transaction.
func (r *Ref[T]) Txn() Txn[T] { return Txn[T]{r} }

// IfVersion is the condition that the value has the version that was read.
func (t Txn[T]) IfVersion(version Version) structures.TxnTest {
	b := protocol.AppendUint(protocol.AppendArray(nil, 2), uint64(testVersion))
	return t.test(protocol.AppendUint(b, uint64(version)), nil)
}

// IfValue is the condition that there is a value and that it is encoded as v is. A codec
// that need not encode equal values alike is [quorate.ErrCodec], as in [Ref.CompareAndSet].
func (t Txn[T]) IfValue(v T) structures.TxnTest {
	const verb = "test"
	if err := structures.CheckDeterministic(t.r.codec); err != nil {
		return t.test(nil, t.r.handle.Fail(verb, err, ""))
	}
	value, err := t.r.encode(verb, v)
	b := protocol.AppendUint(protocol.AppendArray(nil, 2), uint64(testValue))
	return t.test(protocol.AppendBytes(b, value), err)
}

// IfAbsent is the condition that there is no value.
func (t Txn[T]) IfAbsent() structures.TxnTest {
	return t.test(protocol.AppendUint(protocol.AppendArray(nil, 1), uint64(testAbsent)), nil)
}

// Get is [Ref.Get] in a transaction.
func (t Txn[T]) Get() *structures.TxnFound[T] {
	const verb = "get"
	return structures.NewTxnFound(t.part(verb, opGet, nothing, nil), func(r structures.Reply) (T, bool, error) {
		e, ok, err := t.r.entry(verb, r)
		return e.Value, ok, err
	})
}

// Entry is [Ref.Entry] in a transaction.
func (t Txn[T]) Entry() *structures.TxnFound[Entry[T]] {
	const verb = "get"
	return structures.NewTxnFound(t.part(verb, opGet, nothing, nil), func(r structures.Reply) (Entry[T], bool, error) {
		return t.r.entry(verb, r)
	})
}

// Set is [Ref.Set] in a transaction.
func (t Txn[T]) Set(v T) structures.TxnStep {
	const verb = "set"
	value, err := t.r.encode(verb, v)
	return structures.NewTxnOp[struct{}](t.part(verb, opSet, appendValues(nil, value), err), nil)
}

// Swap is [Ref.Swap] in a transaction.
func (t Txn[T]) Swap(v T) *structures.TxnFound[T] { return t.found("swap", opSwap, v) }

// SetIfAbsent is [Ref.SetIfAbsent] in a transaction: if the step finds a value, it has set
// none. That refuses nothing; [Txn.IfAbsent] does.
func (t Txn[T]) SetIfAbsent(v T) *structures.TxnFound[T] {
	return t.found("set if absent", opSetIfAbsent, v)
}

// Replace is [Ref.Replace] in a transaction. If the value has another version, the
// transaction is refused with [ErrConflict].
func (t Txn[T]) Replace(version Version, v T) *structures.TxnOp[Version] {
	const verb = "replace"
	value, err := t.r.encode(verb, v)
	return structures.NewTxnOp(t.part(verb, opReplace, replacing(value, version), err), func(r structures.Reply) (Version, error) {
		return t.r.readVersion(verb, r)
	})
}

// CompareAndSet is [Ref.CompareAndSet] in a transaction. Another value, or none, refuses the
// transaction.
func (t Txn[T]) CompareAndSet(old, v T) structures.TxnStep {
	call, err := t.r.compareCall(old, v)
	return structures.NewTxnOp[struct{}](t.r.handle.TxnPart(call, "", err), nil)
}

// Delete is [Ref.Delete] in a transaction.
func (t Txn[T]) Delete() *structures.TxnOp[bool] {
	const verb = "delete"
	return structures.NewTxnOp(t.part(verb, opDelete, nothing, nil), func(r structures.Reply) (bool, error) {
		return t.r.truth(verb, r)
	})
}

func (t Txn[T]) found(verb string, op protocol.Op, v T) *structures.TxnFound[T] {
	value, err := t.r.encode(verb, v)
	return structures.NewTxnFound(t.part(verb, op, appendValues(nil, value), err), func(r structures.Reply) (T, bool, error) {
		return t.r.found(verb, op, r)
	})
}

func (t Txn[T]) part(verb string, op protocol.Op, body []byte, err error) structures.TxnPart {
	return t.r.handle.TxnPart(t.r.call(verb, op, 0, body), "", err)
}

func (t Txn[T]) test(body []byte, err error) structures.TxnTest {
	h := &t.r.handle
	return h.TxnTest(body, h.Partition(nil), "", err)
}
