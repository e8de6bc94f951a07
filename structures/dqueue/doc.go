// Package dqueue is a distributed queue: first in, first out.
//
//	jobs := dqueue.New[Job](c, "jobs")
//	err := jobs.Put(ctx, job)
//	job, err := jobs.Take(ctx)
//
// A queue is empty and without bounds until it is first written. Configure
// gives it a capacity; then Put waits while it is full, and Offer says so. Take
// waits while it is empty, and Poll for a while. Who waits is served in the
// order of arrival, on both sides, and nobody overtakes. Every operation is
// linearizable, and every mutation is applied exactly once.
//
// Take is at most once: an element taken by a process that then dies is gone.
// A Take that ended with an error has taken nothing, except where its outcome
// is unknown (quorate.ErrOutcomeUnknown), or where the element is not of the
// handle's codec and type (quorate.ErrCodec).
//
// An element for a waiting Take is reserved for it, and taken when its client
// has confirmed that it came; until then it belongs neither to Len nor to the
// capacity. If the call was withdrawn or its session has ended, the element
// returns to its old place, ahead of those put after it, or to the Take that
// waits longest. So a queue may have more elements than its capacity for a
// while, and elements put earlier may then come after later ones.
package dqueue
