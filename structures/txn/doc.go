// Package txn carries out operations of several structures together, or not at all: a
// transaction inside one partition.
//
//	u, n, q := users.Txn(), stock.Txn(), jobs.Txn() // make conditions and operations, without I/O
//	left := n.Add(-1)
//	done, err := txn.New(c).
//		If(u.IfVersion("{o7}ada", e.Version), n.IfAtLeast(1)).
//		Then(u.Put("{o7}ada", ada), left, q.Offer(job)).
//		Else(u.Get("{o7}ada")).
//		Commit(ctx)
//	number, err := left.Result()
//
// All conditions are looked at in one state, then the operations of one branch run in it, one
// after the other: each sees what those before it have done. No other call comes between. A
// transaction is linearizable with all that happens in its partition, and is applied exactly
// once; it is one request and one entry of the log.
//
// If an operation is refused, for example by dmap.ErrConflict or because a queue is full, the
// transaction is refused with an [OpError], and nothing has changed.
//
// What is in one transaction must be in one partition. A {tag} puts it there: the first text
// in braces in the name of a structure, or else in a key, decides the partition. So the
// structures "{o7}stock" and "{o7}jobs" are in that of the key "{o7}ada" of any map without
// a tag in its name. [structures.ErrNotCollocated] says which are not.
//
// Operations that may wait, that are about many keys, or that clear, configure or destroy
// cannot be part of a transaction, nor can acquisitions. It has at most
// [structures.MaxTxnOps] conditions and operations, and is about as large as one value may be,
// 1 MiB by default; its results have at most 1 MiB beside the largest.
package txn
