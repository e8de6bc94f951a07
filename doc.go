// Package quorate holds the errors an application compares.
//
// Quorate is a distributed in-memory data grid: maps, counters, semaphores and
// queues that are linearizable, partitioned over many Raft groups, and used
// through a typed Go client. Start reading in package client (Dial), in the
// structures (structures/dmap, structures/dcounter, ...) and in package grid
// (an embedded member).
//
// Every error of a Quorate call says why it happened and whether the call may
// have changed anything:
//
//	error               meaning                                        changed anything?  what to do
//	ErrUnavailable      no leader answered within the deadline          no                 repeat later
//	ErrOutcomeUnknown   sent, and no answer came back                   perhaps            read before you write again
//	ErrSessionLost      the client's session ended                      no                 what was held is gone; acquire again
//	ErrGridLost         the grid was lost and formed anew, empty        no                 write again what is needed; also Is ErrSessionLost
//	ErrClosed           the client or the member is closed              no                 open another
//	ErrTooLarge         name, key, value or request over its limit      no                 send less; the error names limit and size
//	ErrOverloaded       a queue or a limit of the grid is full          no                 repeat after a pause
//	ErrReadOnly         the group has no room on disk                   no                 free space; reads go on
//	ErrMemoryFull       a member of the group is short of memory        no                 delete, or wait for expiry
//	ErrCodec            a value was written by another codec            no                 use the codec it was written with
//	ErrSettings         the structure exists with other settings        no                 use the settings in force
//	ErrDestroyed        the structure was destroyed while waiting       no                 the name can be used again at once
//	ErrInvalid          a bad name, key, option or argument             no                 correct the call
//	ErrUnsupported      the member does not know this operation         no                 upgrade the member
//
// An error of a mutation that may have left the process Is both
// ErrOutcomeUnknown and its cause (for example context.DeadlineExceeded).
// SafeToRetry tells the two apart.
package quorate
