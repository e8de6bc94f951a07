// Package dbarrier is a distributed barrier, at which a number of parties meet: each waits
// until all have come.
//
//	step := dbarrier.New(c, "step", 3)
//	arrival, err := step.Await(ctx) // of each of three parties; returns when all have come
//
//	job := dbarrier.NewDouble(c, "job", 3)
//	inside, err := job.Enter(ctx)   // returns when three have entered
//	...
//	err = inside.Leave(ctx)         // returns when all three have left
//
// New is a cyclic barrier: when the last party arrives all go on together, in a round of
// their own, and the next round begins. NewDouble is a double barrier: parties enter together
// and leave together, and who enters while a round is inside waits for the next one. The
// number of parties, 2 to MaxParties, and the form are those of who waits or is inside:
// another one is quorate.ErrSettings until they have gone. The barrier itself keeps nothing;
// when nobody waits and nobody is inside it does not exist.
//
// The last arrival lets all go in one step, so never only some of them. Who gives up before
// that, or dies, is not counted, and the others go on waiting for another party: a barrier is
// never broken. A party that has died counts until its session has ended. Who is inside a
// double barrier is there until it leaves, or its session has ended: the context of Inside
// ends then, as that of every structures.Held. So nobody waits for the dead for longer than
// the TTL of their session.
//
// Every operation is linearizable, and every mutation is applied exactly once. Beside the
// errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package dbarrier
