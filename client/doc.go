// Package client carries the calls of handles to the grid.
//
// A handle makes a [structures.Call] and gives it to [Client.Invoke]. A mutation gets
// an identity: a slot of its partition with the next sequence, under the client's
// session. The routing table names the leader of the partition's group. The call
// encodes its request straight into the pending buffer of the connection to that
// member, and its caller sleeps. The writer of the connection sends whatever has
// gathered with one write. The reader reads whatever has arrived, finds each call by
// its request ID, and wakes its caller. What the call does next depends on the class of
// the answer. A definite answer is returned. "Not entered" is sent again, anywhere.
// "Unknown" and silence are sent again under the same identity, so that the mutation is
// applied once. When the time of a call is over, its error says whether anything may
// have changed.
//
// A connection has a window of requests in flight that follows how fast the member
// answers. Calls beyond it wait in the connection's backlog, and are refused at once
// if that would take too long: see window, backlog and budget.
//
// An identity is never replaced while an attempt under it may have entered. So when the
// session has ended, a call with an unanswered attempt returns ErrOutcomeUnknown; all
// others continue under the next session. See slotTable for the slot of a call that was
// given up.
//
// Calls, sessions and connections belong to one cluster. If a cluster in memory is lost
// and formed anew, the client switches to the new one, and sends it none of the former
// calls: see cluster.
//
// Waiting calls (FlagWait) use connections of their own, so that no other call waits
// behind them, and have limits of their own, so that capacity is left for the calls
// that they wait for: see admission. They are repeated when the table changes, when a
// connection is lost, and every 5 s. When their context ends they are cancelled, and
// the answer to the cancel decides: a result that was on its way wins. A result that a
// member has only reserved is confirmed before it is returned.
//
// Reply.Lease ends when the client gives the session up, which it does before the grid
// can have ended it. A reply carries the lease of the session that the mutation was
// sent in, which may have ended already; a structure package whose operations hold
// something checks that.
//
// Who owns which state:
//
//   - Client: the configuration, and what lives as long as the client.
//   - table: the routing table. Calls read its routes without a lock.
//   - refresher: refreshes the table, reconnects, switches to a new cluster.
//   - connections: the open connections, and the sweeper, the only timer of calls.
//   - link and conn: the way to one member, and one connection to it.
//   - sessions and session: the client's sessions, and what one of them holds.
//   - sessionEvents and eventQueue: what receivers of session events have not taken yet.
//   - admission: the bounds of waiting calls.
//   - call: one call, its identity and its attempts.
//   - tasks: the goroutines.
//
// Lock order: sessions.mu before session.mu and tasks.mu; sessionEvents.mu after both,
// before eventQueue.mu; connections.mu before
// conn.mu; link.mu before tasks.mu; table.mu alone. No lock is held while a goroutine
// waits for a channel, uses a connection, or runs a caller's code.
//
// Goroutines: one sweeper (asleep while nothing is in flight), one refresher, a writer
// and a reader for each connection, three for the session, and one for each OnSession. Close waits for all of them.
package client
