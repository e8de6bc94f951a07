package drwlock

import (
	"context"
	"errors"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// ErrHeld is the error of an acquisition whose context carries a hold of the lock: it could
// wait for itself.
var ErrHeld = errors.New("already held by the caller")

// RWLock is a handle of one lock for readers and writers. Making one costs nothing. It is
// safe for concurrent use.
type RWLock struct{ handle structures.Handle }

// New returns the handle of the lock with the given name. A bad name is the error of every
// call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for more than 255 bytes.
func New(inv structures.Invoker, name string) *RWLock {
	return &RWLock{structures.NewHandle(inv, &kind, name, nil)}
}

// RLock acquires the lock to read, beside others that read. If somebody writes, or other calls
// wait, or [MaxReaders] read, it waits for its turn until ctx ends, or for the time of the
// option [Wait]. Release what it returns. Its errors are those of [RWLock.Lock].
func (l *RWLock) RLock(ctx context.Context, opts ...LockOption) (*structures.Held, error) {
	return l.lock(ctx, "lock to read", false, structures.LockWith(opts))
}

// TryRLock acquires the lock to read and reports whether it could. It waits only with the
// option [Wait]; without it TryRLock returns false if RLock would wait. Its other errors are
// those of [RWLock.Lock].
func (l *RWLock) TryRLock(ctx context.Context, opts ...LockOption) (*structures.Held, bool, error) {
	return l.try(ctx, "try to lock to read", false, opts)
}

// Lock acquires the lock to write, alone. While anybody holds it, or other calls wait, it
// waits for its turn until ctx ends, or for the time of the option [Wait]. Release what it
// returns.
//
// Errors: [quorate.ErrNotInTime] if the time of Wait is over; [ErrHeld] if ctx carries a hold
// of this lock, to read or to write; [quorate.ErrTooLarge] or [quorate.ErrInvalid] for a note
// of more than 255 bytes, or that is not UTF-8; [quorate.ErrOverloaded] if 10,000 calls wait;
// [quorate.ErrDestroyed] and [quorate.ErrSessionLost] end the wait. If the outcome is unknown
// ([quorate.ErrOutcomeUnknown]), what was granted is given back as soon as the client knows,
// and at the latest when its session ends.
func (l *RWLock) Lock(ctx context.Context, opts ...LockOption) (*structures.Held, error) {
	return l.lock(ctx, "lock to write", true, structures.LockWith(opts))
}

// TryLock acquires the lock to write and reports whether it could. It waits only with the
// option [Wait]; without it TryLock returns false if the lock is held or others wait. Its
// other errors are those of [RWLock.Lock].
func (l *RWLock) TryLock(ctx context.Context, opts ...LockOption) (*structures.Held, bool, error) {
	return l.try(ctx, "try to lock to write", true, opts)
}

// RDo acquires the lock as [RWLock.RLock] does, runs f, and releases it: see [RWLock.Do].
func (l *RWLock) RDo(ctx context.Context, f func(ctx context.Context, token protocol.Token) error, opts ...LockOption) error {
	held, err := l.RLock(ctx, opts...)
	if err != nil {
		return err
	}
	return held.Do(ctx, f)
}

// Do acquires the lock as [RWLock.Lock] does, runs f, and releases it, also if f panics. The
// context that f gets ends with ctx or when the lock is lost, and carries the hold, so that
// an attempt to lock it again is [ErrHeld]. If ctx has ended when the lock is granted, f is
// not run. If the lock was lost while f ran, Do returns the reason, such as
// [structures.ErrRevoked] or [quorate.ErrSessionLost], joined to the error of f, even if that
// is nil. Closing the client waits for f to return, for the margin that holders have to stop.
func (l *RWLock) Do(ctx context.Context, f func(ctx context.Context, token protocol.Token) error, opts ...LockOption) error {
	held, err := l.Lock(ctx, opts...)
	if err != nil {
		return err
	}
	return held.Do(ctx, f)
}

// Downgrade makes a writer a reader: nobody writes between. It lets in the readers at the
// head of the line. The contexts of h end before the grid is asked, because once that has
// happened others may read; what is returned is another hold, with its own number, token and
// contexts. On an error h is released.
//
// Errors: [structures.ErrNotHeld] if h has ended, or is one that reads; [structures.ErrRevoked]
// if it is revoked; [quorate.ErrInvalid] for a hold of another lock, which stays as it is.
func (l *RWLock) Downgrade(ctx context.Context, h *structures.Held) (*structures.Held, error) {
	return l.handle.Exchange(ctx, h, l.exchange("downgrade", opDowngrade, h))
}

// TryUpgrade makes the only reader a writer, and reports whether it could: it returns false
// if others read too, or a hold was lost and the delay is not over. It never waits, and passes
// those that wait. The new hold has its own number and token, and the contexts of h end when
// it is there; if the answer is false, or an error, h goes on. If the outcome is unknown
// ([quorate.ErrOutcomeUnknown]) and the lock was upgraded, the contexts of h end as soon as the
// client knows, and what was granted is given back after the margin that holders have to stop.
//
// Its other errors are those of [RWLock.Downgrade], for a hold that writes.
func (l *RWLock) TryUpgrade(ctx context.Context, h *structures.Held) (*structures.Held, bool, error) {
	held, err := l.handle.TryExchange(ctx, h, l.exchange("try to upgrade", opUpgrade, h))
	if errors.Is(err, quorate.ErrNotInTime) {
		return nil, false, nil
	}
	return held, err == nil, err
}

// Inspect returns who holds the lock, to [Read] or to [Write], and the calls that wait: see
// [structures.Handle.Inspect]. Of a lock that is free it is empty.
func (l *RWLock) Inspect(ctx context.Context) (structures.Inspection, error) {
	return l.handle.Inspect(ctx)
}

// ForceUnlock takes the lock from the holder with a hold that [RWLock.Inspect] lists, or asks
// for it, and reports whether there was such a hold. It never affects a later holder. The
// options are [Grace], [Now], [AskOnly] and [Reason]; the default grace is
// [structures.DefaultGrace]. [structures.Handle.Revoke] says what is promised, and names the
// errors.
func (l *RWLock) ForceUnlock(ctx context.Context, hold protocol.HoldID, opts ...UnlockOption) (existed bool, err error) {
	return l.handle.Revoke(ctx, hold, opts...)
}

// Configure sets the settings of the lock, once; those not given are at their defaults. The
// same settings again are no error. Errors: [quorate.ErrSettings], which names those in force,
// for others; [quorate.ErrInvalid] for a delay out of range.
func (l *RWLock) Configure(ctx context.Context, settings ...Setting) error {
	return l.handle.Configure(ctx, settings...)
}

// Destroy removes the lock with its settings. The contexts of its holds end, with
// [structures.ErrRevoked] as cause, and calls that wait return [quorate.ErrDestroyed]. The
// name can be used again at once, before the former holders know: only tokens and IfHeld
// protect from them.
func (l *RWLock) Destroy(ctx context.Context) error {
	return l.handle.Destroy(ctx)
}

func (l *RWLock) try(ctx context.Context, verb string, write bool, opts []LockOption) (*structures.Held, bool, error) {
	held, err := l.lock(ctx, verb, write, structures.LockWith(append([]LockOption{Wait(0)}, opts...)))
	if errors.Is(err, quorate.ErrNotInTime) {
		return nil, false, nil
	}
	return held, err == nil, err
}

func (l *RWLock) lock(ctx context.Context, verb string, write bool, with structures.Locking) (*structures.Held, error) {
	if err := structures.CheckNote(with.Note); err != nil {
		return nil, l.handle.Fail(verb, err, "")
	}
	if l.handle.HeldIn(ctx) != nil {
		return nil, l.handle.Fail(verb, ErrHeld, "")
	}
	body := locking{write, structures.WaitMilliseconds(with.Time()), with.Note}
	op, flags := opLock, protocol.FlagWait
	if with.Never() {
		op, flags = opTryLock, 0
	}
	call := l.handle.Call(verb, op, flags, l.handle.Partition(nil), body.append(op, nil))
	call.Wait = with.Time()
	return l.handle.Acquire(ctx, call, opRelease)
}

// exchange is a call that exchanges a hold for another one.
func (l *RWLock) exchange(verb string, op protocol.Op, h *structures.Held) structures.Call {
	var id protocol.HoldID
	if h != nil {
		id = h.ID()
	}
	return l.handle.Call(verb, op, 0, l.handle.Partition(nil), structures.AppendHold(nil, id))
}
