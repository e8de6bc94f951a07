// Package delection elects a leader among clients: one at a time has the leadership, with
// its session, and the others wait for it as candidates.
//
//	schedulers := delection.New[Endpoint](c, "scheduler")
//	lead, err := schedulers.Campaign(ctx, me, delection.Priority(10))
//	defer lead.Resign(ctx)
//	work(lead.Context(), lead.Token())
//
// Campaign waits until the caller leads. Run does it again and again: it calls a function
// whenever the caller leads, and campaigns again when the leadership was lost and the
// function has returned. A leader publishes a value, which the campaign has brought and
// Proclaim changes. Leader returns who leads, Observe every change of that, and Candidates
// who waits. Every operation is linearizable, and every mutation is applied exactly once.
//
// When a leader resigns, or its session has ended, the next is the candidate that was named
// by Transfer, if it still waits; else the one with the highest priority, and of several
// the one that has waited longest. A leader is never replaced because somebody with a
// higher priority has come.
//
// A leadership carries a fencing token: the version of the mutation that elected. Tokens
// grow from leader to leader, even after Destroy. The leader's context ends before the grid
// can elect another, unless the process was paused or the leadership was taken away with no
// grace; so what a leader writes should depend on the leadership (IfHeld), or on the token.
//
// Transfer and ForceResign take the leadership away from a leader that is stuck, or is to
// stop: its context ends, with structures.ErrRevoked as cause, and the next is elected when
// it has resigned, or has stopped and the grace is over.
//
// The leadership of a Campaign whose outcome is unknown is given back as soon as the client
// knows the outcome, and at the latest with the session. An election that nobody leads and
// nobody campaigns in costs the grid nothing.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package delection
