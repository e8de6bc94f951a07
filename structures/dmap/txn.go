package dmap

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Txn makes conditions and operations of the map for a transaction: see package txn. It
// does no I/O. The keys of a transaction must be in one partition.
type Txn[K comparable, V any] struct{ m *Map[K, V] }

// Txn returns what makes conditions and operations of the map for a transaction.
func (m *Map[K, V]) Txn() Txn[K, V] { return Txn[K, V]{m} }

// IfVersion is the condition that the entry has the version that was read.
func (t Txn[K, V]) IfVersion(k K, version Version) structures.TxnTest {
	return t.test(testVersion, k, protocol.AppendUint(nil, uint64(version)), nil)
}

// IfAbsent is the condition that there is no entry.
func (t Txn[K, V]) IfAbsent(k K) structures.TxnTest { return t.test(testAbsent, k, nil, nil) }

// IfPresent is the condition that there is an entry.
func (t Txn[K, V]) IfPresent(k K) structures.TxnTest { return t.test(testPresent, k, nil, nil) }

// IfValue is the condition that there is an entry whose value is encoded as v is. A codec that
// need not encode equal values alike is [quorate.ErrCodec]: those of this module do, and
// another one says so by a method Deterministic() bool.
func (t Txn[K, V]) IfValue(k K, v V) structures.TxnTest {
	var value []byte
	err := structures.CheckDeterministic(t.m.codec)
	if err == nil {
		value, err = t.m.appendValue(nil, v)
	}
	if err != nil {
		err = t.m.handle.Fail("test", err, "")
	}
	return t.test(testValue, k, value, err)
}

// Get is [Map.Get] in a transaction.
func (t Txn[K, V]) Get(k K) *structures.TxnFound[V] {
	part := t.key(k, 1, "get", opGet)
	return structures.NewTxnFound(part, func(r structures.Reply) (V, bool, error) {
		e, ok, err := t.m.readGet(part.Call.Verb, k, r, structures.Reading{})
		return e.Value, ok, err
	})
}

// Entry is [Map.Entry] in a transaction.
func (t Txn[K, V]) Entry(k K) *structures.TxnFound[Entry[K, V]] {
	part := t.key(k, 1, "entry", opGet)
	return structures.NewTxnFound(part, func(r structures.Reply) (Entry[K, V], bool, error) {
		return t.m.readGet(part.Call.Verb, k, r, structures.Reading{})
	})
}

// Put is [Map.Put] in a transaction.
func (t Txn[K, V]) Put(k K, v V, opts ...TTLOption) structures.TxnStep {
	return structures.NewTxnOp[struct{}](t.put("put", opPut, k, v, opts), nil)
}

// Swap is [Map.Swap] in a transaction.
func (t Txn[K, V]) Swap(k K, v V, opts ...TTLOption) *structures.TxnFound[V] {
	return t.found(t.put("swap", opSwap, k, v, opts))
}

// PutIfAbsent is [Map.PutIfAbsent] in a transaction: if the step finds a value, it has stored
// none. That refuses nothing; [Txn.IfAbsent] does.
func (t Txn[K, V]) PutIfAbsent(k K, v V, opts ...TTLOption) *structures.TxnFound[V] {
	return t.found(t.put("put if absent", opPutIfAbsent, k, v, opts))
}

// Replace is [Map.Replace] in a transaction. If the entry has another version, or does not
// exist, the transaction is refused with [ErrConflict].
func (t Txn[K, V]) Replace(k K, version Version, v V, opts ...TTLOption) *structures.TxnOp[Version] {
	part := t.put("replace", opReplace, k, v, opts)
	part.Call.Body = protocol.AppendUint(part.Call.Body, uint64(version))
	return structures.NewTxnOp(part, func(r structures.Reply) (Version, error) { return readVersion(&t.m.handle, part.Call.Verb, r) })
}

// Delete is [Map.Delete] in a transaction.
func (t Txn[K, V]) Delete(k K) *structures.TxnOp[bool] {
	return t.truth(t.key(k, 1, "delete", opDelete))
}

// Remove is [Map.Remove] in a transaction.
func (t Txn[K, V]) Remove(k K) *structures.TxnFound[V] {
	return t.found(t.key(k, 1, "remove", opRemove))
}

// DeleteVersion is [Map.DeleteVersion] in a transaction. If the entry has another version,
// or does not exist, the transaction is refused with [ErrConflict].
func (t Txn[K, V]) DeleteVersion(k K, version Version) structures.TxnStep {
	call, err := deleteVersionCall(t.m, k, version)
	return structures.NewTxnOp[struct{}](t.part(call, k, err), nil)
}

// SetTTL is [Map.SetTTL] in a transaction.
func (t Txn[K, V]) SetTTL(k K, ttl time.Duration) *structures.TxnOp[bool] {
	call, err := setTTLCall(t.m, k, ttl)
	return t.truth(t.part(call, k, err))
}

// TxnAdd is [Add] in a transaction, which it refuses with [ErrNotInteger] or [ErrOverflow].
func TxnAdd[K comparable, V Integer](t Txn[K, V], k K, delta V) *structures.TxnOp[V] {
	call, err := addCall(t.m, k, delta)
	return structures.NewTxnOp(t.part(call, k, err), func(r structures.Reply) (V, error) { return readSum(t.m, call.Verb, r) })
}

// key returns an operation on a key whose body has that many fields.
func (t Txn[K, V]) key(k K, fields int, verb string, op protocol.Op) structures.TxnPart {
	call, err := t.m.call(verb, op, k, fields)
	return t.part(call, k, err)
}

// put returns an operation that stores a value.
func (t Txn[K, V]) put(verb string, op protocol.Op, k K, v V, opts []TTLOption) structures.TxnPart {
	ttl := make([]PutOption, len(opts))
	for i, o := range opts {
		ttl[i] = o
	}
	call, _, err := t.m.putCall(verb, op, k, v, ttl)
	return t.part(call, k, err)
}

func (t Txn[K, V]) part(call structures.Call, k K, err error) structures.TxnPart {
	return t.m.handle.TxnPart(call, shown(k), err)
}

func (t Txn[K, V]) found(part structures.TxnPart) *structures.TxnFound[V] {
	return structures.NewTxnFound(part, func(r structures.Reply) (V, bool, error) { return t.m.found(part.Call, r) })
}

func (t Txn[K, V]) truth(part structures.TxnPart) *structures.TxnOp[bool] {
	return structures.NewTxnOp(part, func(r structures.Reply) (bool, error) { return readTruth(&t.m.handle, part.Call.Verb, r) })
}

// test returns a condition about a key, with what its body has behind the key: a version,
// or a value as a byte string.
func (t Txn[K, V]) test(test structures.Test, k K, more []byte, err error) structures.TxnTest {
	h := &t.m.handle
	fields := 2
	if more != nil {
		fields = 3
	}
	key, bad := structures.AppendKey(nil, k)
	if bad == nil {
		bad = checkSize(h.Limits(), key, nil)
	}
	if bad != nil {
		err = h.Fail("test", bad, "")
	}
	body := protocol.AppendUint(protocol.AppendArray(nil, fields), uint64(test))
	body = append(protocol.AppendBytes(body, key), more...)
	return h.TxnTest(body, h.Partition(key), shown(k), err)
}

// shown is a key as errors have it.
func shown[K comparable](k K) string {
	shown := any(k)
	if encoded, ok := shown.(structures.EncodedKey); ok {
		if shown, ok = encoded.Value(); !ok {
			shown = encoded.Diagnose()
		}
	}
	return fmt.Sprintf("%.40q", fmt.Sprint(shown))
}
