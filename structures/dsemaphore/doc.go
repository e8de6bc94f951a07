// Package dsemaphore is a distributed counting semaphore: permits that clients
// hold together with their session.
//
//	writers := dsemaphore.New(c, "writers")
//	err := writers.Init(ctx, 4)
//	held, err := writers.Acquire(ctx, 1)
//	defer held.Release(ctx)
//
// Init agrees once how many permits there are. Acquire takes some of them, or
// waits; who waits is served in the order of arrival, and a large request is
// not overtaken by small ones behind it, not even by a TryAcquire that does not
// wait. What was acquired returns when it is released, or when the session of
// its holder has ended. Every operation is linearizable, and every mutation is
// applied exactly once.
//
// Acquire waits until its context ends, with the option Wait for so long, and with
// Wait(0) not at all: quorate.ErrNotInTime. TryAcquire never waits and answers. From
// Java's Semaphore: acquire and tryAcquire with a time are Acquire, tryAcquire
// without one is TryAcquire, release is the Held's, availablePermits and drainPermits
// are Available and Drain, reducePermits is AddPermits.
//
// A grant carries a fencing token: the version of the mutation that granted it, so
// tokens grow from grant to grant, also over Destroy and a new Init. Grants that
// one mutation makes, because it has freed permits for several, share it. A grant
// has a number, too (structures.Held.ID): that of the call that asked. Release
// names it, so a release that comes late never frees what was granted since.
//
// Inspect lists who holds permits, since when, and who waits. Revoke takes a hold away
// from a holder that is stuck: its Held.Context ends, with structures.ErrRevoked as
// cause, and the permits return when it has stopped and the grace is over.
//
// AddPermits and Drain change how many permits there are and wait for nobody.
// They may leave fewer than are held: then nobody is granted until enough have
// come back. A request for more than the semaphore has is ErrTooMany at once;
// it has its Init value or, where that is more, the permits that exist, free
// and held. A request that has become too large while it waited is told when
// its turn comes.
//
// An Acquire whose outcome is unknown may hold permits nobody can release. They
// return with the session.
package dsemaphore
