package dlock

import (
	"context"
	"errors"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// ErrHeld is the error of an acquisition whose context carries a hold of the lock: it would
// wait for itself.
var ErrHeld = errors.New("already held by the caller")

// Lock is a handle of one lock. Making one costs nothing. It is safe for concurrent use.
type Lock struct{ handle structures.Handle }

// New returns the handle of the lock with the given name. A bad name is the error of every
// call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for more than 255 bytes.
func New(inv structures.Invoker, name string) *Lock {
	return &Lock{structures.NewHandle(inv, &kind, name, nil)}
}

// Lock acquires the lock. While it is held, or other calls wait, it waits for its turn until
// ctx ends, or for the time of the option [Wait]. Release what it returns.
//
// Errors: [quorate.ErrNotInTime] if the time of Wait is over; [ErrHeld] if ctx carries a hold
// of this lock; [quorate.ErrTooLarge] or [quorate.ErrInvalid] for a note of more than 255
// bytes, or that is not UTF-8; [quorate.ErrOverloaded] if 10,000 calls wait;
// [quorate.ErrDestroyed] and [quorate.ErrSessionLost] end the wait. If the outcome is unknown
// ([quorate.ErrOutcomeUnknown]), what was granted is given back as soon as the client knows,
// and at the latest when its session ends.
func (l *Lock) Lock(ctx context.Context, opts ...LockOption) (*structures.Held, error) {
	return l.lock(ctx, "lock", structures.LockWith(opts))
}

// TryLock acquires the lock and reports whether it could. It waits only with the option
// [Wait]; without it TryLock returns false if the lock is held or others wait. Its other
// errors are those of [Lock.Lock].
func (l *Lock) TryLock(ctx context.Context, opts ...LockOption) (*structures.Held, bool, error) {
	held, err := l.lock(ctx, "try to lock", structures.LockWith(append([]LockOption{Wait(0)}, opts...)))
	if errors.Is(err, quorate.ErrNotInTime) {
		return nil, false, nil
	}
	return held, err == nil, err
}

// Do acquires the lock as [Lock.Lock] does, runs f, and releases it, also if f panics. The
// context that f gets ends with ctx or when the lock is lost, and carries the hold, so that
// an attempt to lock it again is [ErrHeld]. If ctx has ended when the lock is granted, f is
// not run. If the lock was lost while f ran, Do returns the reason, such as
// [structures.ErrRevoked] or [quorate.ErrSessionLost], joined to the error of f, even if that
// is nil: others may have had the lock before f returned, if it ignored its context. Closing
// the client waits for f to return, for the margin that holders have to stop.
func (l *Lock) Do(ctx context.Context, f func(ctx context.Context, token protocol.Token) error, opts ...LockOption) error {
	held, err := l.Lock(ctx, opts...)
	if err != nil {
		return err
	}
	return held.Do(ctx, f)
}

// Inspect returns who holds the lock and the calls that wait: see
// [structures.Handle.Inspect]. Of a lock that is free it is empty.
func (l *Lock) Inspect(ctx context.Context) (structures.Inspection, error) {
	return l.handle.Inspect(ctx)
}

// ForceUnlock takes the lock from the holder with a hold that [Lock.Inspect] lists, or asks
// for it, and reports whether there was such a hold. It never affects a later holder. The
// options are [Grace], [Now], [AskOnly] and [Reason]; the default grace is
// [structures.DefaultGrace]. [structures.Handle.Revoke] says what is promised, and names the
// errors.
func (l *Lock) ForceUnlock(ctx context.Context, hold protocol.HoldID, opts ...UnlockOption) (existed bool, err error) {
	return l.handle.Revoke(ctx, hold, opts...)
}

// Configure sets the settings of the lock, once; those not given are at their defaults. The
// same settings again are no error. Errors: [quorate.ErrSettings], which names those in force,
// for others; [quorate.ErrInvalid] for a delay out of range.
func (l *Lock) Configure(ctx context.Context, settings ...Setting) error {
	return l.handle.Configure(ctx, settings...)
}

// Destroy removes the lock with its settings. The context of its hold ends, with
// [structures.ErrRevoked] as cause, and calls that wait return [quorate.ErrDestroyed]. The
// name can be used again at once, before the former holder knows: only tokens and IfHeld
// protect from it.
func (l *Lock) Destroy(ctx context.Context) error {
	return l.handle.Destroy(ctx)
}

func (l *Lock) lock(ctx context.Context, verb string, with structures.Locking) (*structures.Held, error) {
	if err := structures.CheckNote(with.Note); err != nil {
		return nil, l.handle.Fail(verb, err, "")
	}
	if l.handle.HeldIn(ctx) != nil {
		return nil, l.handle.Fail(verb, ErrHeld, "")
	}
	p := l.handle.Partition(nil)
	call := l.handle.Call(verb, opLock, protocol.FlagWait, p, appendLock(nil, structures.WaitMilliseconds(with.Time()), with.Note))
	if with.Never() {
		call = l.handle.Call(verb, opTryLock, 0, p, appendTryLock(nil, with.Note))
	}
	call.Wait = with.Time()
	return l.handle.Acquire(ctx, call, opRelease)
}
