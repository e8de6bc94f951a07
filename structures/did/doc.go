// Package did gives out ids: integers of 64 bits that are never given out again, whoever
// asks.
//
//	orders := did.New(c, "orders")
//	id, err := orders.Next(ctx)
//
// A handle reserves a block of ids in one logged step, and gives them out without I/O. It
// reserves the next block when a quarter is left, so an outage of the grid is not noticed
// for as long as that lasts. Keep one handle for each name in a process: what is left of a
// block when the process ends is never given out, and is a gap.
//
// The ids of one handle grow. Those of two handles differ, and do not follow the order in
// which they were given out, because each has its own block: for a rough order use small
// blocks, or [MaxAge]; for an order that matters use a counter of package dcounter.
//
// No id is given out twice, also after the grid has lost data: a block begins at the version
// of the mutation that reserves it or above, and versions never repeat. So the first id is
// no small number, the ids have gaps, and at most 2^24 (16,777,216) of a name are reserved
// in a second of log time, and as many more once. The structure cannot be destroyed. What
// does not outlive a loss of data in memory is a [Sequence.Raise] above the ids that were
// possible by then: the ids go on at a smaller number, and can come to those again that were
// given out above.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package did
