package cli

import (
	"context"
	"errors"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/kinds"
)

// Exit statuses. A command that semaphore acquire runs has its own, and these
// like a shell's: 124 to 127.
const (
	ExitDone        = 0
	ExitNo          = 1
	ExitUsage       = 2
	ExitUnavailable = 3
	exitUnknown     = 4
	exitUnreadable  = 5  // or another codec, or not usable yet: there is something, but not what was asked for
	ExitConfig      = 78 // of start, in place of exitUsage: Go's own status after a panic is 2, too, and that start is worth another try

	ExitInterrupted = 130 // verify: a signal came before it was done

	ExitNotAcquired = 124
	ExitOurs        = 125
	ExitNotRunnable = 126
	ExitNotFound    = 127
)

// ExitError is an error with an exit status of its own.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// ErrSilent is the error of a command that has said all there is to say.
var ErrSilent = errors.New("no")

// No is the answer no: exit status 1, with a human-readable reason.
func No(err error) error { return &ExitError{Code: ExitNo, Err: err} }

// exitCode returns the exit status that err stands for.
func exitCode(err error) int {
	var e *ExitError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, quorate.ErrOutcomeUnknown):
		return exitUnknown
	case errors.Is(err, quorate.ErrInvalid), errors.Is(err, quorate.ErrTooLarge):
		return ExitUsage
	case errors.Is(err, quorate.ErrCodec), unusable(err) != "":
		return exitUnreadable
	case unavailable(err):
		return ExitUnavailable
	default:
		return ExitNo
	}
}

// unusable returns the name of the code of a kind by which a structure says that it
// cannot be used as it is; "": the error is no such code's.
func unusable(err error) string {
	for _, k := range kinds.All() {
		for _, c := range k.Codes {
			if c.Unusable && errors.Is(err, c.Err) {
				return c.Name
			}
		}
	}
	return ""
}

// unavailable reports whether err says that the grid could not answer.
func unavailable(err error) bool {
	for _, cause := range []error{
		quorate.ErrUnavailable, quorate.ErrOverloaded, quorate.ErrMemoryFull, quorate.ErrReadOnly, quorate.ErrSessionLost,
		quorate.ErrClosed, context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

// reason names an error's kind for programs.
func reason(err error) string {
	for _, r := range []struct {
		err  error
		name string
	}{
		{quorate.ErrOutcomeUnknown, "outcome_unknown"},
		{quorate.ErrUnavailable, "unavailable"},
		{quorate.ErrSessionLost, "session_lost"},
		{quorate.ErrClosed, "closed"},
		{quorate.ErrTooLarge, "too_large"},
		{quorate.ErrOverloaded, "overloaded"},
		{quorate.ErrReadOnly, "read_only"},
		{quorate.ErrMemoryFull, "memory_full"},
		{quorate.ErrCodec, "codec"},
		{quorate.ErrSettings, "settings"},
		{quorate.ErrDestroyed, "destroyed"},
		{quorate.ErrNotInTime, "not_in_time"},
		{quorate.ErrCompacted, "compacted"},
		{quorate.ErrInvalid, "invalid"},
		{quorate.ErrUnsupported, "unsupported"},
		{context.DeadlineExceeded, "deadline"},
	} {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	if name := unusable(err); name != "" {
		return name
	}
	switch exitCode(err) {
	case ExitNo:
		return "no"
	case ExitUsage:
		return "usage"
	}
	return "failed"
}
