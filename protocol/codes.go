package protocol

import (
	"slices"

	"github.com/quorate/quorate"
)

// Code is the outcome of a request. Numbers are never used again.
type Code uint16

// The codes. Those from CodeKindBase on belong to the structure that was called.
const (
	CodeOK Code = 0

	// Not entered: nothing changed, and no record of the request is left.
	CodeNotLeader      Code = 1  // another member leads the group; the client refreshes its table
	CodeNotOwner       Code = 2  // the group does not own the partition
	CodeFrozen         Code = 3  // held back for now; try again as hinted
	CodeBusy           Code = 4  // a queue is full; wait as hinted
	CodeSessionUnknown Code = 5  // the group does not know the session; try again
	CodeSessionEnded   Code = 6  // the session has ended
	CodeExpired        Code = 7  // the deadline passed in the queue
	CodeMemoryFull     Code = 8  // a voter is short of memory
	CodeReadOnly       Code = 9  // no free space on disk
	CodeShutdown       Code = 10 // the member is going away
	CodeNoLeader       Code = 11 // the group has no leader that this member knows

	// Unknown: the request may have been, or may yet be, applied.
	CodeUnknown      Code = 20 // leadership changed while it was in flight
	CodeReplyDropped Code = 21 // it was applied, but its reply is no longer kept

	// Refused: a definite answer.
	CodeInvalid     Code = 40 // malformed, or an argument out of range
	CodeTooLarge    Code = 41 // over a limit
	CodeUnsupported Code = 42 // an operation this member does not know
	CodeStale       Code = 43 // a sequence below the slot's: refused, never applied
	CodeCancelled   Code = 44 // the call was cancelled; it took nothing
	CodeTimedOut    Code = 45 // a waiting call's time ran out; it took nothing
	CodeDestroyed   Code = 46 // the structure was destroyed while the call waited
	CodeSettings    Code = 47 // other settings are in force
	CodeWaiters     Code = 48 // too many waiting calls
	CodePanic       Code = 49 // a defect in a structure; nothing changed
	CodeWrongGrid   Code = 50 // the member belongs to another cluster
	CodeVersion     Code = 51 // a protocol version the member does not speak
	CodeNotKept     Code = 55 // members keep the session: what holds needs one that its client keeps

	// Done, with a condition: the body is the operation's, but what it holds is
	// only reserved until the client has confirmed.
	CodeReserved Code = 60

	// CodeKindBase is the first code of a structure's own.
	CodeKindBase Code = 1000
)

// NumCodes bounds the codes below CodeKindBase that are in use: all are less.
const NumCodes = 64

// CodeInfo describes a code below CodeKindBase.
type CodeInfo struct {
	Code    Code
	Name    string // as metrics and logs have it
	Meaning string // in a sentence without its full stop; sections are those of docs/protocol.md
	Client  string // what a client does that gets it, "" if it reports it
}

// codeInfos describe the codes below CodeKindBase, by number, ascending.
var codeInfos = []CodeInfo{
	{CodeOK, "ok", "it was carried out", ""},
	{CodeNotLeader, "not_leader", "another member leads the group", "goes to `problem.leader`, or asks for the table"},
	{CodeNotOwner, "not_owner", "the group does not own the partition", "asks for the table"},
	{CodeFrozen, "frozen", "held back for now: the partition moves, its state is being loaded, or its group grants nothing yet after a loss", "tries again as hinted"},
	{CodeBusy, "busy", "a queue is full", "waits for `problem.wait` ms"},
	{CodeSessionUnknown, "session_unknown", "the group does not know the session", "tries again"},
	{CodeSessionEnded, "session_ended", "the session has ended", "section 6"},
	{CodeExpired, "expired", "the time left passed in the queue", "tries again if it still has time"},
	{CodeMemoryFull, "memory_full", "a member of the group is short of memory", "waits, then reports it"},
	{CodeReadOnly, "read_only", "no free space on disk", "waits, then reports it"},
	{CodeShutdown, "shutdown", "the member is going away", "goes elsewhere"},
	{CodeNoLeader, "no_leader", "no leader is known", "tries again"},
	{CodeUnknown, "unknown", "leadership changed while it was in flight", "repeats it, unless it has forgotten this `id` for that of a repeat (waiting calls, section 6)"},
	{CodeReplyDropped, "reply_dropped", "it was applied; its reply is no longer kept", "reports that"},
	{CodeInvalid, "invalid", "malformed, an argument out of range, or another partition than that of the key", ""},
	{CodeTooLarge, "too_large", "over a limit: section 2, welcome", ""},
	{CodeUnsupported, "unsupported", "an operation the member does not know", ""},
	{CodeStale, "stale", "a sequence below the slot's: never applied", ""},
	{CodeCancelled, "cancelled", "the call was cancelled; it took nothing", ""},
	{CodeTimedOut, "timed_out", "a waiting call's time ran out; it took nothing", ""},
	{CodeDestroyed, "destroyed", "the structure was destroyed while the call waited", ""},
	{CodeSettings, "settings", "other settings are in force", ""},
	{CodeWaiters, "waiters", "too many calls wait", ""},
	{CodePanic, "panic", "a defect in the structure", ""},
	{CodeWrongGrid, "wrong_grid", "the member belongs to another cluster", ""},
	{CodeVersion, "version", "a version the member does not speak", ""},
	{CodeNotKept, "not_kept", "members keep the session, and the operation holds: section 6", "keeps the session by heartbeats"},
	{CodeReserved, "reserved", "reserved: section 6", "confirms"},
}

// Codes returns the descriptions of the codes below CodeKindBase, by number, ascending.
func Codes() []CodeInfo { return slices.Clone(codeInfos) }

// codeNames are the names of the codes.
var codeNames = func() (names [NumCodes]string) {
	for _, c := range codeInfos {
		names[c.Code] = c.Name
	}
	return names
}()

// Name returns a code's name: "ok", "not_leader", ... and "other" for those
// that have none.
func (c Code) Name() string {
	if int(c) < NumCodes && codeNames[c] != "" {
		return codeNames[c]
	}
	return "other"
}

// Class says what a code means for the request's effect.
type Class uint8

// The classes of codes.
const (
	ClassDone       Class = iota // CodeOK
	ClassNotEntered              // nothing changed, no record left: send it again, anywhere
	ClassUnknown                 // may have been applied: only the same identity may be sent again
	ClassRefused                 // a definite answer, nothing changed
)

// String names the class: "done", "not_entered", "unknown", "refused".
func (c Class) String() string {
	switch c {
	case ClassDone:
		return "done"
	case ClassNotEntered:
		return "not_entered"
	case ClassUnknown:
		return "unknown"
	}
	return "refused"
}

// Class returns the class of c. A code this version does not know counts as
// refused.
func (c Code) Class() Class {
	switch {
	case c == CodeOK || c == CodeReserved:
		return ClassDone
	case c < 20:
		return ClassNotEntered
	case c < 40:
		return ClassUnknown
	default:
		return ClassRefused
	}
}

// Err returns the sentinel an application compares, nil for CodeOK, and for
// CodeTimedOut and a structure's own codes, which the structure maps itself.
func (c Code) Err() error {
	switch c {
	case CodeOK, CodeReserved, CodeTimedOut:
		return nil
	case CodeBusy, CodeWaiters:
		return quorate.ErrOverloaded
	case CodeSessionUnknown, CodeSessionEnded:
		return quorate.ErrSessionLost
	case CodeMemoryFull:
		return quorate.ErrMemoryFull
	case CodeReadOnly:
		return quorate.ErrReadOnly
	case CodeNotLeader, CodeNotOwner, CodeFrozen, CodeExpired, CodeShutdown, CodeNoLeader:
		return quorate.ErrUnavailable
	case CodeUnknown, CodeReplyDropped:
		return quorate.ErrOutcomeUnknown
	case CodeTooLarge:
		return quorate.ErrTooLarge
	case CodeUnsupported, CodeVersion:
		return quorate.ErrUnsupported
	case CodeDestroyed:
		return quorate.ErrDestroyed
	case CodeSettings:
		return quorate.ErrSettings
	}
	if c >= CodeKindBase {
		return nil
	}
	return quorate.ErrInvalid
}
