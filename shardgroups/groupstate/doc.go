// Package groupstate is the replicated state of one Raft group: the partitions
// it owns with their rows, exactly-once records, waiting calls, deadlines and
// history, the sessions it knows, and the replicated clock.
//
// It is deterministic: the same entries in the same order give the same state, byte for
// byte, on every replica and in every later version. It has no clock, no goroutine and
// no lock. The caller serialises Apply, Prepare and Restore; reads may run at the same
// time as other reads.
//
//	entry = header, commands          one entry of the group's log
//	  clock                           TIME-1: time moves, or stands
//	  for each command                a request, a claim of the clock, sessions, ownership
//	    request: ownership, session, exactly-once record, Machine, reply or waiter, events
//	  clean-up                        at most 1,000 due rows, ended sessions' rows, destroyed rows
//
// Trees are tidwall/btree maps whose values are replaced, never changed in
// place, so that Prepare can copy a partition in O(1).
package groupstate
