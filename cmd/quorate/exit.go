package main

import (
	"context"
	"errors"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// Exit statuses. A command that semaphore acquire runs has its own, and these
// like a shell's: 124 to 127.
const (
	exitDone        = 0
	exitNo          = 1
	exitUsage       = 2
	exitUnavailable = 3
	exitUnknown     = 4
	exitUnreadable  = 5  // or another codec, or not initialized: there is something, but not what was asked for
	exitConfig      = 78 // of start, in place of exitUsage: Go's own status after a panic is 2, too, and that start is worth another try

	exitInterrupted = 130 // verify: a signal came before it was done

	exitNotAcquired = 124
	exitOurs        = 125
	exitNotRunnable = 126
	exitNotFound    = 127
)

// exitError is an error with an exit status of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// errSilent is the error of a command that has said all there is to say.
var errSilent = errors.New("no")

// no is the answer no: exit status 1, with a reason for people.
func no(err error) error { return &exitError{code: exitNo, err: err} }

// exitCode returns the exit status that err stands for.
func exitCode(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, quorate.ErrOutcomeUnknown):
		return exitUnknown
	case errors.Is(err, quorate.ErrInvalid):
		return exitUsage
	case errors.Is(err, quorate.ErrCodec), errors.Is(err, dsemaphore.ErrNotInitialized):
		return exitUnreadable
	case unavailable(err):
		return exitUnavailable
	default:
		return exitNo
	}
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
		{dsemaphore.ErrNotInitialized, "not_initialized"},
		{quorate.ErrSettings, "settings"},
		{quorate.ErrDestroyed, "destroyed"},
		{quorate.ErrNotInTime, "not_in_time"},
		{quorate.ErrInvalid, "invalid"},
		{quorate.ErrUnsupported, "unsupported"},
		{context.DeadlineExceeded, "deadline"},
	} {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	switch exitCode(err) {
	case exitNo:
		return "no"
	case exitUsage:
		return "usage"
	}
	return "failed"
}
