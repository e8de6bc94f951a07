package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/drwlock"
)

// Lock records what a lock's handle does, and adds to a counter in the same partition that
// are carried out only while the lock is held.
type Lock struct {
	locking
	lock *dlock.Lock
}

// NewLock returns a recorder of a lock for one client. The counter is one in the partition
// of the lock, which nobody else uses.
func NewLock(h *History, client int, name string, l *dlock.Lock, guarded *dcounter.Counter) *Lock {
	return &Lock{locking{recorder{h, client, object{kind: locks, name: name}}, guarded}, l}
}

// Lock records dlock.Lock.Lock, and what becomes of the grant.
func (l *Lock) Lock(ctx context.Context, opts ...dlock.LockOption) (*Held, error) {
	return l.acquire(writes, true, func() (*structures.Held, error) { return l.lock.Lock(ctx, opts...) })
}

// TryLock records dlock.Lock.TryLock without a wait, and what becomes of the grant.
func (l *Lock) TryLock(ctx context.Context) (*Held, bool, error) {
	return l.try(writes, func() (*structures.Held, bool, error) { return l.lock.TryLock(ctx) })
}

// Revoke records dlock.Lock.ForceUnlock.
func (l *Lock) Revoke(ctx context.Context, hold protocol.HoldID, opts ...structures.RevokeOption) (existed bool, err error) {
	return l.revoke(func() (bool, error) { return l.lock.ForceUnlock(ctx, hold, opts...) }, hold)
}

// Inspect is dlock.Lock.Inspect, which is not recorded.
func (l *Lock) Inspect(ctx context.Context) (structures.Inspection, error) {
	return l.lock.Inspect(ctx)
}

// RWLock records what the handle of a lock for readers and writers does, and adds to a counter
// in the same partition that are carried out only while the lock is held. The model is that of
// Lock.
type RWLock struct {
	locking
	lock *drwlock.RWLock
}

// NewRWLock returns a recorder of a lock for one client. The counter is one in the partition
// of the lock, which nobody else uses.
func NewRWLock(h *History, client int, name string, l *drwlock.RWLock, guarded *dcounter.Counter) *RWLock {
	return &RWLock{locking{recorder{h, client, object{kind: rwlocks, name: name}}, guarded}, l}
}

// RLock records drwlock.RWLock.RLock, and what becomes of the grant.
func (l *RWLock) RLock(ctx context.Context, opts ...drwlock.LockOption) (*Held, error) {
	return l.acquire(reads, true, func() (*structures.Held, error) { return l.lock.RLock(ctx, opts...) })
}

// TryRLock records drwlock.RWLock.TryRLock without a wait, and what becomes of the grant.
func (l *RWLock) TryRLock(ctx context.Context) (*Held, bool, error) {
	return l.try(reads, func() (*structures.Held, bool, error) { return l.lock.TryRLock(ctx) })
}

// Lock records drwlock.RWLock.Lock, and what becomes of the grant.
func (l *RWLock) Lock(ctx context.Context, opts ...drwlock.LockOption) (*Held, error) {
	return l.acquire(writes, true, func() (*structures.Held, error) { return l.lock.Lock(ctx, opts...) })
}

// TryLock records drwlock.RWLock.TryLock without a wait, and what becomes of the grant.
func (l *RWLock) TryLock(ctx context.Context) (*Held, bool, error) {
	return l.try(writes, func() (*structures.Held, bool, error) { return l.lock.TryLock(ctx) })
}

// Downgrade records drwlock.RWLock.Downgrade, and what becomes of the grant. On an error what
// was held is on its way back.
func (l *RWLock) Downgrade(ctx context.Context, held *Held) (*Held, error) {
	in := l.exchange(reads, held)
	call := l.history.now()
	next, err := l.lock.Downgrade(ctx, held.Held)
	if next == nil {
		held.exchanged(true)
	}
	return l.exchanged(call, in, held, next, err), err
}

// TryUpgrade records drwlock.RWLock.TryUpgrade, and what becomes of the grant.
func (l *RWLock) TryUpgrade(ctx context.Context, held *Held) (*Held, bool, error) {
	in := l.exchange(writes, held)
	call := l.history.now()
	next, ok, err := l.lock.TryUpgrade(ctx, held.Held)
	return l.exchanged(call, in, held, next, err), ok, err
}

// exchange is the input of an operation that exchanges a hold.
func (l *RWLock) exchange(mode lockMode, held *Held) lockInput {
	return lockInput{op: lockExchange, mode: mode, grant: l.history.number(), former: held.release.(lockInput).grant}
}

// exchanged records what came of an exchange. If it was refused the former goes on.
func (l *RWLock) exchanged(call int64, in lockInput, held *Held, next *structures.Held, err error) *Held {
	switch {
	case next != nil:
		held.exchanged(false)
	case errors.Is(err, structures.ErrNotHeld) && !unknown(err) && in.mode == writes && held.release.(lockInput).mode == reads:
		l.record(call, in, lockOutput{notHeld: true}, nil)
		return nil
	}
	return l.outcome(call, in, next, err)
}

// Revoke records drwlock.RWLock.ForceUnlock.
func (l *RWLock) Revoke(ctx context.Context, hold protocol.HoldID, opts ...structures.RevokeOption) (existed bool, err error) {
	return l.revoke(func() (bool, error) { return l.lock.ForceUnlock(ctx, hold, opts...) }, hold)
}

// Inspect is drwlock.RWLock.Inspect, which is not recorded.
func (l *RWLock) Inspect(ctx context.Context) (structures.Inspection, error) {
	return l.lock.Inspect(ctx)
}

// locking is what the recorders of locks have, also of those for readers and writers.
type locking struct {
	recorder
	guarded *dcounter.Counter
}

// lockMode says how a lock is held.
type lockMode bool

const (
	reads  lockMode = false
	writes lockMode = true
)

type lockOp uint8

const (
	lockAcquire lockOp = iota + 1
	lockRelease
	lockExchange // one hold for another
	lockAdd      // to the counter, if it is held
)

type lockInput struct {
	op        lockOp
	mode      lockMode // of acquire and exchange: of the hold that is granted
	grant     int      // which grant
	former    int      // of an exchange: the grant before
	contended bool     // of an acquire that was not granted: others waited
}

type lockOutput struct {
	granted bool
	token   protocol.Token
	n       int64 // of the counter, after an add
	notHeld bool  // of an add or exchange: the hold had ended
}

// acquire records an acquisition that may wait.
func (l *locking) acquire(mode lockMode, waits bool, do func() (*structures.Held, error)) (*Held, error) {
	call := l.history.now()
	held, err := do()
	in := lockInput{op: lockAcquire, mode: mode, grant: l.history.number()}
	if waits {
		end := l.history.now()
		if err != nil && !notInTime(err) {
			end = Pending // it may stand in the line until its session has ended
		}
		l.history.waited(wait{object: l.object, call: call, end: end})
	}
	if notInTime(err) {
		return l.outcome(call, in, nil, nil), err
	}
	return l.outcome(call, in, held, err), err
}

// try records an acquisition that does not wait.
func (l *locking) try(mode lockMode, do func() (*structures.Held, bool, error)) (*Held, bool, error) {
	granted := false
	held, err := l.acquire(mode, false, func() (held *structures.Held, err error) {
		held, granted, err = do()
		return held, err
	})
	return held, granted, err
}

// outcome records what came of an operation that holds.
func (l *locking) outcome(call int64, in lockInput, held *structures.Held, err error) *Held {
	release := lockInput{op: lockRelease, mode: in.mode, grant: in.grant}
	switch {
	case held != nil:
		l.record(call, in, lockOutput{granted: true, token: held.Token()}, nil)
		return l.hold(call, release, lockOutput{}, held)
	case unknown(err), errors.Is(err, quorate.ErrSessionLost), errors.Is(err, quorate.ErrClosed):
		// It may hold until its session has ended, unseen.
		l.returns(call, in)
		l.returns(call, release)
	case err == nil:
		l.record(call, in, lockOutput{}, nil)
	}
	return nil
}

// Add adds one to the counter, if the hold is there, and reports whether it was.
func (l *locking) Add(ctx context.Context, held *Held) (bool, error) {
	in := lockInput{op: lockAdd, grant: held.release.(lockInput).grant}
	call := l.history.now()
	n, err := l.guarded.Add(ctx, 1, dcounter.IfHeld(held.Held))
	switch {
	case errors.Is(err, structures.ErrNotHeld) && !unknown(err):
		l.record(call, in, lockOutput{notHeld: true}, nil)
		return false, nil
	case err == nil || unknown(err):
		l.record(call, in, lockOutput{n: n}, err)
	}
	return err == nil, err
}

// lockState is the state of a lock and of its counter.
type lockState struct {
	held  []lockGrant // in the order of their numbers
	token protocol.Token
	n     int64
}

type lockGrant struct {
	number int
	mode   lockMode
}

var lockChecker = checker{name: "lock", model: lockModel, contended: lockContended}

// lockContended marks an acquisition that was not granted while others waited.
func lockContended(op *Operation, overlaps func(puts bool) bool) any {
	in := op.Input.(lockInput)
	if out, ok := op.Output.(lockOutput); ok && in.op == lockAcquire && !out.granted {
		in.contended = overlaps(false)
	}
	return in
}

// lockModel is a set of grants, of which one that writes is alone, and the last token. That
// a write is carried out only while its writer holds shows in the counter.
var lockModel = porcupine.Model{
	Init:  func() any { return lockState{} },
	Step:  lockStep,
	Equal: lockEqual,
	DescribeOperation: func(input, output any) string {
		in := input.(lockInput)
		names := []string{"", "acquire", "release", "exchange", "add if held"}
		mode := "read"
		if in.mode == writes {
			mode = "write"
		}
		return fmt.Sprintf("%s(%s) grant %d of %d -> %+v", names[in.op], mode, in.grant, in.former, output)
	},
}

func lockEqual(a, b any) bool {
	p, q := a.(lockState), b.(lockState)
	return p.token == q.token && p.n == q.n && slices.Equal(p.held, q.held)
}

func lockStep(state, input, output any) (bool, any) {
	s, in := state.(lockState), input.(lockInput)
	out, known := output.(lockOutput)
	next, ok := s.step(in, out, known)
	if !ok {
		return !known, s
	}
	return true, next
}

// step returns the state after an operation that did what out says, and false if it cannot
// have done that. What is not known is taken to have succeeded, if it can.
func (s lockState) step(in lockInput, out lockOutput, known bool) (lockState, bool) {
	i := slices.IndexFunc(s.held, func(g lockGrant) bool { return g.number == in.grant })
	former := slices.IndexFunc(s.held, func(g lockGrant) bool { return g.number == in.former })
	switch in.op {
	case lockRelease:
		if i < 0 {
			return s, false
		}
		s.held = slices.Delete(slices.Clone(s.held), i, i+1)
		return s, true
	case lockAdd:
		if known && out.notHeld {
			return s, i < 0
		}
		s.n++
		return s, i >= 0 && (!known || s.n == out.n)
	case lockExchange:
		others := len(s.held) > 1
		switch {
		case known && out.notHeld:
			return s, former < 0
		case known && !out.granted:
			return s, former >= 0 && others
		case former < 0 || in.mode == writes && others:
			return s, false
		}
		s.held = slices.Delete(slices.Clone(s.held), former, former+1)
	case lockAcquire:
		conflict := len(s.held) > 0 && (in.mode == writes || s.held[0].mode == writes)
		if known && !out.granted {
			return s, in.contended || conflict
		}
		if conflict {
			return s, false
		}
	}
	if known {
		// Readers that are let in together share a token.
		if out.token < s.token || in.mode == writes && out.token == s.token {
			return s, false
		}
		s.token = out.token
	}
	s.held = slices.Clone(s.held)
	at, _ := slices.BinarySearchFunc(s.held, in.grant, func(g lockGrant, n int) int { return g.number - n })
	s.held = slices.Insert(s.held, at, lockGrant{in.grant, in.mode})
	return s, true
}
