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
// A grant carries a fencing token: the version of the Acquire that it answers.
// Grants are made in the order of arrival, so tokens grow with them, also over
// Destroy and a new Init.
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
