package drate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// ErrNotConfigured is the error of an operation before the first [Limit.Configure], or after
// the limit was destroyed or lost.
var ErrNotConfigured = errors.New("not configured")

// errNotNow is the error of codeNotNow.
var errNotNow = errors.New("not now")

// Limit is a handle of one rate limit. Making one costs nothing. It is safe for concurrent
// use.
type Limit struct{ handle structures.Handle }

// New returns the handle of the limit with the given name. A bad name is the error of every
// call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for more than 255 bytes.
func New(inv structures.Invoker, name string) *Limit {
	return &Limit{structures.NewHandle(inv, &kind, name, nil)}
}

// Configure sets the settings of the limit, once: [Rate], 1 a second without it, and [Burst] if
// that is to be another number. The burst is there at once. The same settings again are no error, so every process
// can begin with them; other ones take a [Limit.Destroy] before, after which the burst is
// there again. Errors: [quorate.ErrSettings], which names those in force, for others;
// [quorate.ErrInvalid] for settings out of range, and for a burst that would take more than
// 366 days to come.
func (l *Limit) Configure(ctx context.Context, list ...Setting) error {
	var all []structures.Setting
	for _, s := range list {
		all = append(all, s.list...)
	}
	return l.handle.Configure(ctx, all...)
}

// Allow spends n tokens if they are there now, and reports whether they were; it never
// sleeps. Errors: [ErrNotConfigured]; [quorate.ErrInvalid] for n below 1, or above the burst.
func (l *Limit) Allow(ctx context.Context, n int64) (bool, error) {
	_, err := l.take(ctx, "allow", n, 0)
	if errors.Is(err, errNotNow) {
		return false, nil
	}
	return err == nil, err
}

// Wait spends n tokens and sleeps until they are there, in the order in which the calls
// came. If they are not there before the deadline of ctx it spends none and returns
// [quorate.ErrNotInTime] at once. If ctx ends while it sleeps the tokens are spent, and the
// error Is [quorate.ErrOutcomeUnknown], beside the error of ctx and its cause.
//
// Errors, too: [ErrNotConfigured]; [quorate.ErrInvalid] for n below 1, or above the burst.
func (l *Limit) Wait(ctx context.Context, n int64) error {
	const verb = "wait for"
	most := structures.MaxWait
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, max(0, time.Until(deadline)))
	}
	sleep, err := l.take(ctx, verb, n, most.Milliseconds())
	if errors.Is(err, errNotNow) {
		var refused *quorate.Error
		errors.As(err, &refused)
		return l.handle.Fail(verb, quorate.ErrNotInTime, refused.Detail)
	}
	if err != nil || sleep == 0 {
		return err
	}
	timer := time.NewTimer(sleep)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return l.handle.Unreadable(verb, contexts.Err(ctx), "the tokens are spent")
	}
}

// Left returns how many tokens are there. The error can be [ErrNotConfigured].
func (l *Limit) Left(ctx context.Context, opts ...ReadOption) (int64, error) {
	const verb = "get what is left of"
	reading := structures.ReadWith(opts)
	n, reply, err := l.invoke(ctx, l.handle.Call(verb, opLeft, reading.Flags, l.handle.Partition(nil), protocol.AppendInts(nil)))
	if err == nil {
		reading.Saw(reply)
	}
	return n, err
}

// Destroy removes the limit with its settings. One that does not exist is no error. The name
// can be used again at once.
func (l *Limit) Destroy(ctx context.Context) error { return l.handle.Destroy(ctx) }

// take spends n tokens if they are there within some milliseconds, and returns the time until
// then.
func (l *Limit) take(ctx context.Context, verb string, n, most int64) (time.Duration, error) {
	if n < 1 || n > MaxTokens {
		return 0, l.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("%d tokens, not within 1 to %d", n, MaxTokens))
	}
	call := l.handle.Call(verb, opTake, 0, l.handle.Partition(nil), protocol.AppendInts(nil, n, most))
	ms, reply, err := l.invoke(ctx, call)
	if err == nil && (ms < 0 || ms > most) {
		err = l.handle.Garbled(verb, reply)
	}
	return time.Duration(ms) * time.Millisecond, err
}

// invoke carries out a call whose result is a number.
func (l *Limit) invoke(ctx context.Context, call structures.Call) (n int64, reply structures.Reply, err error) {
	if reply, err = l.handle.Invoke(ctx, call); err == nil && protocol.ReadInts(reply.Body, &n) != nil {
		err = l.handle.Garbled(call.Verb, reply)
	}
	return n, reply, err
}
