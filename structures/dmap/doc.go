// Package dmap is a distributed map from keys to values.
//
//	users := dmap.New[string, User](c, "users")
//	err := users.Put(ctx, "ada", ada, dmap.TTL(time.Hour))
//	u, ok, err := users.Get(ctx, "ada")
//
// Entries are spread over the partitions by their keys. Every operation on one key is
// linearizable, except reads with the option Stale, and every mutation is applied exactly
// once. An operation over many keys is a set of parts: the keys of one partition, 1,000 or
// 1 MiB at most. Each part is atomic; all together are not. The error is a *PartialError,
// which names the keys that were not done.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
//
// # Time to live
//
// An entry with a TTL expires when its time has passed on the replicated clock of its
// group, which stops while the group has no leader. A write without a TTL option gives the
// entry the map's default TTL, even if it had another; KeepTTL keeps what it has. Add and
// AddAll keep it as well. Without Configure a map has no default TTL.
//
// # Versions
//
// Every write gives an entry a Version that is larger than all before it in its partition,
// those of deleted entries and maps included. So if a Replace succeeds, nobody has written
// the entry since it was read.
//
// # Together with others
//
// Txn makes conditions and operations for a transaction with other keys and structures of
// one partition: see package txn. The option IfHeld has an entry written only if the caller
// still holds something, such as the permits of a semaphore, in that partition.
//
// # Iteration
//
// All and Keys return every entry that exists throughout exactly once. They may return an
// entry that is written during the iteration, or not. Inside a partition entries come in the
// order of their keys. The option Resume keeps a Cursor, from which an iteration that was
// left or has failed can be resumed, in another process, too:
//
//	var at dmap.Cursor // or as it was stored
//	for e, err := range users.All(ctx, dmap.Resume(&at)) {
//		if err != nil {
//			return err // resume from at
//		}
//		send(e)
//		store(at.String()) // e is behind at
//	}
//
// ops.go is what goes over the wire, state.go and many.go the deterministic state that every
// replica keeps, map.go, batch.go, scan.go and cursor.go the handle that applications use.
package dmap
