// Package nearcache keeps in the client what it has read of structures, as long as it is
// known to be recent.
//
// A [Cache] is of one structure. It watches the keys that it keeps, and sends a probe
// several times within the time that a value may be stale: when the answer to a probe comes
// behind all events before it, everything that was acknowledged when the probe was sent has
// been taken in (WATCH-11). So what is kept of a partition is known to be as recent as the
// last probe of it was sent, by the client's own clock and nothing else.
//
//	Get ----> an entry? dead? newer than what its partition has dropped? within its time
//	  |       to live? its partition confirmed within MaxStale? ----> a hit, without I/O
//	  '-----> a flight: a read of the key on its way. What is learned of the key meanwhile
//	          (an event, an answer to the client's own write, another read) is noted in it,
//	          and its reply is kept only if it is not older than all of that.
//
// Entries come from replies only; events end them. Ristretto decides which entries stay
// within the bound of bytes, which all caches of a client share. It never decides what is
// true: a Set of it may be dropped, and a Del overtaken. Beside it an index has each entry
// that is not dead, by key, and an event ends it there.
//
// Locks: a shard's mutex guards its part of the index and its flights. Nothing is called
// under it but the standard library: Ristretto calls back into the index.
package nearcache
