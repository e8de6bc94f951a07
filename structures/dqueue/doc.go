// Package dqueue is a distributed queue: first in, first out.
//
//	jobs := dqueue.New[Job](c, "jobs")
//	err := jobs.Put(ctx, job)
//	job, err := jobs.Take(ctx)
//
// A queue is empty until it is first written, and has no capacity unless Configure sets
// one. Calls that wait are served in the order of arrival, on both sides, and none
// overtakes another. Every operation is linearizable, and every mutation is applied
// exactly once.
//
//	                 waits until ctx ends; Wait(d): for d; Wait(0): never   never waits
//	add one          Put -> error                                           Offer -> bool, error
//	add many         PutAll -> error
//	remove the head  Take -> T, error                                       Poll -> T, bool, error
//	remove many      TakeN -> []T, error                                    Drain -> []T, error
//	look                                                                    Peek, Len
//
// An operation that waits returns quorate.ErrNotInTime if the time of Wait is over. For one
// that never waits an empty or full queue is an answer, not an error. The methods of Java's
// BlockingQueue are here: put and offer with a time as Put, take and poll with a time as
// Take, offer and poll without one as Offer and Poll, addAll as PutAll, drainTo as Drain.
//
// Take is at most once: an element taken by a process that then dies is lost. A Take or
// TakeN that ended with an error has taken nothing, unless its outcome is unknown
// (quorate.ErrOutcomeUnknown). An element that another codec wrote stays in the queue
// (quorate.ErrCodec). One of another type than the handle's is taken if it was there at
// once; the error then Is both.
//
// An element for a waiting Take or TakeN is reserved for it, and taken when the client
// has confirmed its arrival. Until then it counts neither in Len nor in the capacity. If
// the call was withdrawn or its session has ended, the element returns to its old
// position, ahead of those put after it, or goes to the oldest call that waits. So a queue
// may have more elements than its capacity for a while, and elements put earlier may then
// be taken after later ones.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package dqueue
