// Package hub serves the watches of one group, at the replica that leads it.
//
// A Hub is one goroutine. It follows the histories of the partitions that somebody
// watches, wakes with each entry that is applied, and never holds one up: it shares the
// state's lock with reads, for a bounded number of events at a time.
//
// Of a watch each partition is live, behind, or resting:
//
//	registered ----> behind --(has reached the hub's position)--> live
//	    |              ^                                           |
//	    |              '--(no credit, no room, a frame too large)--'
//	    |              |
//	    '-> live       '--(events are missing: a gap)--> resting, until it is registered anew
//
// Where it is live its position is the hub's, so a live watch costs nothing but its place
// in the index, and what is new is encoded once for all watches of the same filter. Where
// it is behind it is served by itself from the history, a turn at a time, in turn with
// all others that are. What is not replicated here is not kept: after a change of leader
// the client registers at the next one, with the positions it has.
package hub
