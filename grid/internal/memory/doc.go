// Package memory watches the memory of a member's process against its limit.
//
// What counts is what lives, not what the heap holds at the moment: with the
// collector's percentage at 400, and a memory limit, the heap grows up to the
// limit before it is collected, however little of it is in use. The runtime
// tells what the last collection found alive. That is old news where nothing
// was collected lately, so a Watch collects when the heap comes near the mark
// and much of it is not known to live, seldom enough to cost little.
//
// What the runtime does not know of counts, too: a log store that takes its
// buffers from C, and what the C library keeps of them, is a good part of a
// small member. It is what is resident beyond the runtime's own count.
//
// What may be added before the mark is told cautiously: what was not collected
// yet is taken to live, until somebody needs more than that and a Watch collects.
//
//	          >= 85 % of the limit alive
//	room ---------------------------------> full
//	     <---------------------------------
//	          < 80 %
package memory
