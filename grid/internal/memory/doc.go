// Package memory watches the memory of a member's process against its limit.
//
// It counts live memory, not the size of the heap: with a GC percentage of 400, and a
// memory limit, the heap grows up to the limit before it is collected, however little
// of it is live. The runtime reports what the last collection found live, which is out
// of date if there was none lately. So a Watch starts a collection when the heap comes
// near the mark and much of it is not known to be live, but so seldom that it costs
// little.
//
// Memory that the runtime does not manage counts, too: a log store that allocates its
// buffers in C, and what the C library retains of them, are a good part of a small
// member. It is the resident memory less the runtime's own count.
//
// The headroom, which is what may be added before the mark, is an underestimate: memory
// that was not collected yet is taken to be live, until somebody needs more than that
// and the Watch collects.
//
//	          >= 85 % of the limit alive
//	room ---------------------------------> full
//	     <---------------------------------
//	          < 80 %
package memory
