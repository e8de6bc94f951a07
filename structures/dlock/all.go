package dlock

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// All is what [LockAll] returns: several locks, all held. It is safe for concurrent use.
type All struct {
	names []string
	held  []*structures.Held // in the order of names
	ctx   context.Context
}

// LockAll acquires several locks, in the order of their names, so that two callers never have
// half each and wait for the other half. It returns all or none: if one cannot be had, those
// that it has go back first. While it waits for one it holds those before it. The same lock
// given twice counts once; all are of one grid. The options apply to each lock; [Wait] bounds
// the whole.
//
// Errors: those of [Lock.Lock]; [quorate.ErrInvalid] without locks.
func LockAll(ctx context.Context, locks []*Lock, opts ...LockOption) (*All, error) {
	with := structures.LockWith(opts)
	begun := time.Now()
	locks = slices.Clone(locks)
	slices.SortStableFunc(locks, func(a, b *Lock) int { return cmp.Compare(a.handle.Name(), b.handle.Name()) })
	locks = slices.CompactFunc(locks, func(a, b *Lock) bool { return a.handle.Name() == b.handle.Name() })
	if len(locks) == 0 {
		return nil, &quorate.Error{Op: "lock all", Cause: quorate.ErrInvalid, Detail: "no locks were given"}
	}
	all := &All{}
	for _, l := range locks {
		rest := with
		rest.WaitBound = with.Less(time.Since(begun))
		held, err := l.lock(ctx, "lock", rest)
		if err != nil {
			_ = all.Release(ctx) // goes on without the caller if ctx has ended
			return nil, err
		}
		all.names, all.held = append(all.names, l.handle.Name()), append(all.held, held)
	}
	all.ctx = all.held[0].Context()
	for _, h := range all.held[1:] {
		all.ctx = h.Bind(all.ctx)
	}
	return all, nil
}

// TryLockAll is [LockAll] that reports whether it could, and waits only with the option
// [Wait].
func TryLockAll(ctx context.Context, locks []*Lock, opts ...LockOption) (*All, bool, error) {
	all, err := LockAll(ctx, locks, append([]LockOption{Wait(0)}, opts...)...)
	if errors.Is(err, quorate.ErrNotInTime) {
		return nil, false, nil
	}
	return all, err == nil, err
}

// Context returns a context that ends when any of the locks is lost or released, with the
// cause of the first. It carries all of the holds.
func (a *All) Context() context.Context { return a.ctx }

// Held returns the hold of one of the locks; nil: it is none of them.
func (a *All) Held(l *Lock) *structures.Held {
	if i := slices.Index(a.names, l.handle.Name()); i >= 0 {
		return a.held[i]
	}
	return nil
}

// Token returns the token of one of the locks; 0: it is none of them.
func (a *All) Token(l *Lock) protocol.Token {
	if h := a.Held(l); h != nil {
		return h.Token()
	}
	return 0
}

// Release releases all of the locks, in the reverse order: see [structures.Held.Release]. The
// error joins those of the locks.
func (a *All) Release(ctx context.Context) error {
	var failed []error
	for _, h := range slices.Backward(a.held) {
		failed = append(failed, h.Release(ctx))
	}
	return errors.Join(failed...)
}
