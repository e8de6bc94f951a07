// Package contexts says why a context has ended: every error of a call that a
// context has ended Is both the context's error and its cause.
package contexts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
)

// Ended returns why a context has ended, if its cause is another than its error.
type Ended struct {
	Err   error // context.Canceled or context.DeadlineExceeded
	Cause error // context.Cause of the context
}

func (e *Ended) Error() string { return e.Err.Error() + ": " + e.Cause.Error() }

// Unwrap returns both.
func (e *Ended) Unwrap() []error { return []error{e.Err, e.Cause} }

// Err returns why a context has ended; nil: it has not.
func Err(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		return &Ended{err, cause}
	}
	return err
}

// Unanswered returns why a call to which nobody has answered ends with ctx: where its
// deadline has passed that Is quorate.ErrUnavailable, too.
func Unanswered(ctx context.Context) error {
	err := Err(ctx)
	if TimedOut(err) {
		return fmt.Errorf("%w: %w", quorate.ErrUnavailable, err)
	}
	return err
}

// TimedOut reports whether an error is of a context, or a call, whose deadline has
// passed: not of one that was cancelled, even by what has timed out.
func TimedOut(err error) bool {
	var ended *Ended
	if errors.As(err, &ended) {
		return ended.Err == context.DeadlineExceeded
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// Pause waits for d; it reports false where ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Sleep waits for d; its error says why ctx ended first.
func Sleep(ctx context.Context, d time.Duration) error {
	if Pause(ctx, d) {
		return nil
	}
	return Err(ctx)
}
