// Package dsemaphore is a distributed counting semaphore: permits that clients
// hold together with their session.
//
//	writers := dsemaphore.New(c, "writers")
//	err := writers.Init(ctx, 4)
//	held, err := writers.Acquire(ctx, 1)
//	defer held.Release(ctx)
//
// Init sets once how many permits there are. Acquire takes some of them, or waits. Calls
// that wait are served in the order of arrival: small requests do not overtake a large
// one, not even a TryAcquire, which does not wait. Permits return when they are released,
// or when the session of their holder has ended. Every operation is linearizable, and
// every mutation is applied exactly once.
//
// Acquire waits until its context ends, or for the time of the option Wait: then it
// returns quorate.ErrNotInTime. TryAcquire waits only with that option and returns a bool. The methods of
// Java's Semaphore are here: acquire and tryAcquire with a time as Acquire, tryAcquire
// without one as TryAcquire, release as Held.Release, availablePermits and drainPermits as
// Available and Drain, reducePermits as AddPermits.
//
// A grant carries a fencing token: the version of the mutation that granted it. So tokens
// grow from grant to grant, even after Destroy and a new Init. If one mutation frees
// permits for several calls, their grants share a token. A hold also has a number
// (structures.Held.ID), which Release names, so a late release never frees what was
// granted since.
//
// Inspect lists the holders and the calls that wait, with the Note that each has given. Revoke takes a hold away from a
// holder that is stuck: its Held.Context ends, with structures.ErrRevoked as cause, and the
// permits return when it has stopped and the grace is over.
//
// AddPermits and Drain change how many permits there are, and never wait. They may leave
// fewer than are held: then nothing is granted until enough have returned. A request for
// more permits than the semaphore has is ErrTooMany at once. The semaphore has its Init
// value or, if that is more, all permits that exist, free and held. A request that has
// become too large while it waited fails when its turn comes.
//
// The permits of an Acquire whose outcome is unknown are given back as soon as the client
// knows the outcome, and at the latest with the session.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package dsemaphore
