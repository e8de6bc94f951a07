package quorate

import (
	"errors"
	"fmt"
	"strings"
)

// The conditions an application can act on. The table in the package
// documentation says what each means. Compare with errors.Is.
var (
	ErrUnavailable    = errors.New("unavailable")
	ErrOutcomeUnknown = errors.New("outcome unknown")
	ErrSessionLost    = errors.New("session lost")
	ErrGridLost       = fmt.Errorf("grid lost and formed anew: %w", ErrSessionLost)
	ErrClosed         = errors.New("closed")
	ErrTooLarge       = errors.New("too large")
	ErrOverloaded     = errors.New("overloaded")
	ErrReadOnly       = errors.New("read only")
	ErrMemoryFull     = errors.New("memory full")
	ErrCodec          = errors.New("another codec")
	ErrSettings       = errors.New("other settings")
	ErrDestroyed      = errors.New("destroyed")
	ErrNotInTime      = errors.New("not in time")
	ErrCompacted      = errors.New("compacted")
	ErrInvalid        = errors.New("invalid")
	ErrUnsupported    = errors.New("unsupported")
)

// Error is the error of one operation on the grid. It Is its cause and, where
// the operation may have taken effect, also ErrOutcomeUnknown.
type Error struct {
	Op      string // what was done, for example "put"
	Object  string // on what, for example "map users"; may be empty
	Detail  string // what else is known; may be empty
	Cause   error  // why; never nil
	Unknown bool   // whether the operation may have taken effect
	_       struct{}
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Object != "" {
		b.WriteByte(' ')
		b.WriteString(e.Object)
	}
	b.WriteString(": ")
	if e.Unknown && e.Cause != ErrOutcomeUnknown {
		b.WriteString("outcome unknown: ")
	}
	b.WriteString(e.Cause.Error())
	if e.Detail != "" {
		b.WriteString(": ")
		b.WriteString(e.Detail)
	}
	return b.String()
}

// Unwrap returns the cause and, where it applies, ErrOutcomeUnknown.
func (e *Error) Unwrap() []error {
	if e.Unknown {
		return []error{e.Cause, ErrOutcomeUnknown}
	}
	return []error{e.Cause}
}

// SafeToRetry reports whether err came from a Quorate call that certainly
// changed nothing, so that calling again cannot do its work twice. It is false
// for nil, for an outcome that is unknown, and for an error of another origin.
func SafeToRetry(err error) bool {
	if err == nil || errors.Is(err, ErrOutcomeUnknown) {
		return false
	}
	var e *Error
	return errors.As(err, &e)
}
