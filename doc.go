// Package quorate holds the errors an application compares.
//
// Quorate is a distributed in-memory data grid: maps, counters, queues, locks,
// elections and more that are linearizable, partitioned over many Raft groups, and
// used through a typed Go client. Start reading in package client (Dial), in the
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
//	ErrOverloaded       a limit of the grid or of the client is met     no                 repeat after a pause; have fewer calls wait
//	ErrReadOnly         the group has no room on disk                   no                 free space; reads go on
//	ErrMemoryFull       a member of the group is short of memory        no                 delete, or wait for expiry
//	ErrCodec            a value was written by another codec            no                 use the codec it was written with
//	ErrSettings         the structure exists with other settings        no                 use the settings in force
//	ErrDestroyed        the structure was destroyed while waiting       no                 the name can be used again at once
//	ErrNotInTime        not within the time of the option Wait          no                 wait for longer, or do without
//	ErrCompacted        events of a watch are no longer kept            no                 read anew, and watch from then on
//	ErrInvalid          a bad name, key, value, option or address       no                 correct the call
//	ErrUnsupported      not every member knows this operation yet       no                 upgrade the members
//
// An error of a mutation that may have left the process Is both
// ErrOutcomeUnknown and its cause: ErrUnavailable where no leader answered in time.
// SafeToRetry tells the two apart. So is ErrCodec of a mutation that was carried
// out and whose result the caller's type cannot hold: a value that was swapped or
// removed, an element that was taken. The detail says that it was. An error of a
// call that a context has ended Is that context's error (context.Canceled or
// context.DeadlineExceeded) and its context.Cause.
//
// A value that its own codec could not read again (nested too deep, a time outside
// the years 0 to 9999) is ErrInvalid, and is not stored. A call that held something
// when its session ended, or whose grant came after that, is ErrSessionLost: what
// it was granted is given back. The context of what is held ends with a cause that
// says why: structures.ErrReleased, structures.ErrRevoked, or one of the above.
package quorate
