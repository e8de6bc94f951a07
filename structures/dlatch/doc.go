// Package dlatch is a distributed count-down latch: calls wait until a number of things
// are done, whoever does them.
//
//	loaded := dlatch.New(c, "loaded")
//	round, err := loaded.Set(ctx, 3)
//	...
//	n, err := loaded.CountDown(ctx, dlatch.In(round)) // by each of three loaders
//	...
//	round, err = loaded.Await(ctx)                    // returns when the count is 0
//
// Set gives the latch a count, CountDown lowers it, and Await returns when it is 0. At 0 the
// latch stays, so that those who come later do not wait, until it is set again or destroyed.
// It can be set only at 0: each Set begins a round, which has the version of the Set as its
// number. An Await belongs to the round in which it was called, and returns when that has
// ended, even if the latch has been set again before the answer is on its way. A CountDown
// of a worker that is late names its round with the option In, and changes nothing in
// another one.
//
// Hold adds one to the count, and its release, or the end of the session that holds, takes
// it away: so a worker that dies is not waited for. A hold counts in the round in which it
// was taken, and once. That makes of a latch what a WaitGroup is in one process:
//
//	round, err := work.Set(ctx, 1)
//	...                            // each worker: held, err := work.Hold(ctx, dlatch.In(round))
//	n, err := work.CountDown(ctx)  // all workers have begun
//	round, err = work.Await(ctx)   // and all have released, or are dead
//
// A latch that was never set, or is lost with a group's data, is not open: every call returns
// ErrNotSet. Every operation is linearizable, and every mutation is applied exactly once.
// Durations and tokens are those of package [github.com/quorate/quorate/structures].
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package dlatch
