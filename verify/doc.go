// Package verify finds out whether the grid keeps its promises: recorders
// around the handles write down what was called and what came back, and
// checkers decide whether the history could have come from one correct
// structure.
//
// The example records the adds of several clients to a counter, and checks them with
// Check.
//
// Linearizability is decided by porcupine with a model for each structure. An
// operation whose outcome is unknown stays possible for ever: it may have taken
// effect at any time since it was called, or never. One that was refused
// without a condition of the structure had no effect, and is left out.
//
// Counting checkers are exact where a history is too long for a search: sums of
// counters, elements of queues.
//
// Times are those of one process; a history cannot be merged with that of
// another.
package verify
