// Package dmap is a distributed map from keys to values.
//
//	users := dmap.New[string, User](c, "users")
//	err := users.Put(ctx, "ada", ada, dmap.TTL(time.Hour))
//	u, ok, err := users.Get(ctx, "ada")
//
// Entries are spread over the partitions by their keys. Every operation on one
// key is linearizable, except reads that ask to be Stale, and every mutation is
// applied exactly once. An operation over many keys is a set of such
// operations: the keys of one partition form a part, which is atomic by itself
// (in parts of 1,000 keys or 1 MiB), but there is no atomicity across. Its error
// is a *PartialError, which names the keys that were not done.
//
// # Time to live
//
// An entry with a TTL is gone when its time has passed on the replicated clock
// of its group, which stands still while the group has no leader. A write
// without a TTL option gives the entry the map's default TTL, also where the
// entry had another; KeepTTL keeps what it has. Add and AddAll keep it as well.
// Without Configure a map has no default TTL.
//
// # Versions
//
// Every write gives an entry a Version that is larger than all before it in its
// partition, also than those of an entry, or a map, that was deleted. So a
// Replace that succeeds has seen nobody else's write.
//
// # Iteration
//
// All and Keys return every entry that is there throughout exactly once. What
// is written meanwhile may be seen or not. Inside a partition entries come in
// the order of their keys. The option Resume keeps a Cursor, from which an iteration
// that was left or has failed goes on, in another process, too:
//
//	var at dmap.Cursor // or as it was stored
//	for e, err := range users.All(ctx, dmap.Resume(&at)) {
//		if err != nil {
//			return err // at is where to go on
//		}
//		send(e)
//		store(at.String()) // e is done with
//	}
//
// ops.go is what goes over the wire, state.go and many.go the deterministic
// state that every replica keeps, map.go, batch.go, scan.go and cursor.go the handle that
// applications use.
package dmap
