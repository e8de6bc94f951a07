// Package dqueue is a distributed queue: first in, first out.
//
//	jobs := dqueue.New[Job](c, "jobs")
//	err := jobs.Put(ctx, job)
//	job, err := jobs.Take(ctx)
//
// A queue is empty and without bounds until it is first written. Configure
// gives it a capacity. Who waits is served in the order of arrival, on both
// sides, and nobody overtakes. Every operation is linearizable, and every mutation is
// applied exactly once.
//
//	                 waits until ctx ends; Wait(d): for d; Wait(0): never   never waits
//	add one          Put -> error                                           Offer -> bool, error
//	add many         PutAll -> error
//	remove the head  Take -> T, error                                       Poll -> T, bool, error
//	remove many      TakeN -> []T, error                                    Drain -> []T, error
//	look                                                                    Peek, Len
//
// What waits has the error quorate.ErrNotInTime if it did not get within Wait what it
// waited for. What never waits answers: that there is nothing is no error. From
// Java's BlockingQueue: put and offer with a time are Put, take and poll with a time
// Take, offer and poll without one Offer and Poll, addAll PutAll, drainTo Drain.
//
// Take is at most once: an element taken by a process that then dies is gone.
// A Take or TakeN that ended with an error has taken nothing, except where its outcome
// is unknown (quorate.ErrOutcomeUnknown). An element that another codec wrote stays
// where it is (quorate.ErrCodec); one of another type than the handle's is taken where
// it was there at once, and then the error is of both sorts.
//
// An element for a waiting Take or TakeN is reserved for it, and taken when its client
// has confirmed that it came; until then it belongs neither to Len nor to the
// capacity. If the call was withdrawn or its session has ended, the element
// returns to its old place, ahead of those put after it, or to the call that
// waits longest. So a queue may have more elements than its capacity for a
// while, and elements put earlier may then come after later ones.
package dqueue
