// Package client carries the calls of handles to the grid.
//
// The life of a call: a handle makes a structures.Call and gives it to
// Client.Invoke. A mutation gets an identity, a slot of its partition with the
// next sequence, under the client's session. The routing table names the
// leader of the partition's group; the request is encoded straight into the
// pending buffer of the connection to it, and the caller sleeps. The
// connection's writer sends whatever has gathered with one write; its reader
// takes in whatever has arrived, finds each caller by the place that the
// request ID names, and wakes it. What the caller does then depends on the
// class of the answer: a definite one is returned, "not entered" is sent again
// anywhere, "unknown" and silence are sent again under the same identity, so
// that the mutation is applied once. When its time is over, the error says
// whether anything may have changed.
//
// A connection has a window of requests in flight that follows how fast the
// member answers. Calls beyond it wait in the connection's backlog, and are
// refused at once where that would take too long: see window, backlog and
// budget.
//
// An identity is never replaced while an attempt under it may have entered. So
// after the session has ended a call whose earlier attempt was not answered
// returns ErrOutcomeUnknown; all others go on under the next session. What
// happens to a slot whose call was given up is told at slotTable.
//
// Calls, sessions and connections belong to one life: a grid that the client
// has known (follow.go). Where one in memory is lost and formed anew, the client
// goes over to the next; nothing of before is sent there.
//
// Waiting calls (FlagWait) travel on connections of their own, so that nothing waits
// behind them, and are bounded apart, so that there is room for what they wait for:
// see admission. They are repeated when the table changes, a connection is lost,
// and every 5 s; when their context ends they are cancelled, and the answer to
// the cancel is the truth: a result that was on its way wins. What a member
// has only reserved is confirmed before it is returned.
//
// Reply.Lease ends when the session is given up: before the grid can have
// ended it. A mutation is answered under the session it was sent in, so its
// lease may have ended already; a room that hands out what a session holds
// looks at it.
//
// Lock order: sessions.mu, session.mu; routeMu, Client.mu, conn.mu; link.mu,
// Client.mu. No lock is held while a channel is waited for, a connection is
// used, or a caller runs.
//
// Goroutines: one sweeper (the only timer of calls; asleep while nothing is in
// flight), one scout (tables and reconnection), a writer and a reader for each
// connection, two for the session. Close waits for all of them.
package client
