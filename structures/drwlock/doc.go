// Package drwlock is a distributed lock for many readers or one writer.
//
//	l := drwlock.New(c, "catalogue")
//	err := l.RDo(ctx, func(ctx context.Context, token protocol.Token) error {
//		return read(ctx) // beside other readers; stop when ctx ends
//	})
//
// RLock waits until the caller reads, beside others that do; Lock until it writes, alone. It
// is fair: there is one line, in the order of arrival. A reader is let in at once only if
// nobody writes and nobody waits; when the lock comes free the writer at the head of the line
// is let in, or all readers up to the next writer. So neither readers nor writers starve.
// Every operation is linearizable, and every mutation is applied exactly once.
//
// What a holder can rely on, and what protects from one that was paused, is the same as of a
// lock: see package [github.com/quorate/quorate/structures/dlock]. A writer's token is larger
// than those of all grants before it; readers that one mutation lets in share a token, but
// never a hold. The lock is free of a holder when its hold is released, when its session has
// ended, or when it was revoked ([RWLock.ForceUnlock]). It is not reentrant, neither to read
// nor to write: a reader that reads again would wait behind a writer that waits for it.
//
// [RWLock.Downgrade] makes a writer a reader, and no writer comes between.
// [RWLock.TryUpgrade] makes the only reader a writer. It never waits, since two readers that
// wait for each other to leave would wait for ever.
//
// A lock costs nothing while nobody holds it and none of its settings is set.
//
// For those who know others: Curator's InterProcessReadWriteLock is this one, with Downgrade
// where its writer acquires the read lock as well; the RWMutex of etcd's recipes is Lock and
// RLock. Hazelcast's CP subsystem and Consul have none.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package drwlock
