package dsemaphore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

var (
	// ErrNotInitialized is the error of every operation but Init and Destroy
	// before the first Init.
	ErrNotInitialized = errors.New("not initialized")
	// ErrTooMany is the error of a request for more permits than the semaphore
	// has: it could never be granted.
	ErrTooMany = errors.New("too many permits")
)

// Semaphore is a handle of one semaphore. Making it costs nothing; it is safe
// for concurrent use. A bad name is the error of every call.
type Semaphore struct{ handle structures.Handle }

// New returns the handle of the semaphore with the given name.
func New(inv structures.Invoker, name string) *Semaphore {
	return &Semaphore{structures.NewHandle(inv, Kind(), name, nil)}
}

// TryOption changes how TryAcquire tries.
type TryOption func(*try)

type try struct{ wait time.Duration }

// Wait lets TryAcquire wait in the line for as long as d. The time is the
// grid's: it stands still while the semaphore's group has no leader.
func Wait(d time.Duration) TryOption { return func(t *try) { t.wait = d } }

// Init agrees that the semaphore has n permits, 0 to MaxPermits. The same again
// is nil, whatever was acquired or added since; another n is
// quorate.ErrSettings, which names the one in force.
func (s *Semaphore) Init(ctx context.Context, n int64) error {
	const verb = "init"
	if n < 0 || n > MaxPermits {
		return s.invalid(verb, n, 0)
	}
	_, err := s.invoke(ctx, verb, opInit, 0, protocol.AppendInts(nil, n))
	return err
}

// Acquire takes n permits. It waits until they are free and those before it
// are served, ctx ends, the session is lost or the semaphore is destroyed
// (quorate.ErrDestroyed). What it returns must be released.
func (s *Semaphore) Acquire(ctx context.Context, n int64) (*structures.Held, error) {
	return s.acquire(ctx, "acquire", opAcquire, n, 0)
}

// TryAcquire takes n permits and reports whether it could. It does not wait,
// unless the option Wait says how long. It is false too where others wait.
func (s *Semaphore) TryAcquire(ctx context.Context, n int64, opts ...TryOption) (*structures.Held, bool, error) {
	var t try
	for _, opt := range opts {
		opt(&t)
	}
	op := opTryAcquire
	if t.wait > 0 {
		op = opAcquire
	}
	held, err := s.acquire(ctx, "try to acquire", op, n, t.wait)
	if errors.Is(err, errNone) {
		return nil, false, nil
	}
	return held, err == nil, err
}

// Available returns how many permits are free. It is negative after AddPermits
// has taken away more than were free.
func (s *Semaphore) Available(ctx context.Context) (int64, error) {
	const verb = "get the available permits of"
	return s.number(ctx, verb, opAvailable, protocol.FlagRead)
}

// Drain removes all free permits and returns how many they were. They belong to
// nobody: AddPermits puts permits back.
func (s *Semaphore) Drain(ctx context.Context) (int64, error) {
	return s.number(ctx, "drain", opDrain, 0)
}

// AddPermits adds n permits, or takes away -n, free or not: a semaphore may
// have fewer permits than are held, and then grants nothing until enough have
// come back. More than MaxPermits in all, or fewer than -MaxPermits free, is
// quorate.ErrInvalid.
func (s *Semaphore) AddPermits(ctx context.Context, n int64) error {
	const verb = "add permits to"
	if n < -MaxPermits || n > MaxPermits {
		return s.invalid(verb, n, -MaxPermits)
	}
	_, err := s.invoke(ctx, verb, opAddPermits, 0, protocol.AppendInts(nil, n))
	return err
}

// Destroy removes the semaphore with all that is held of it. Who waits gets
// quorate.ErrDestroyed. The name can be used again at once.
func (s *Semaphore) Destroy(ctx context.Context) error {
	_, err := s.invoke(ctx, "destroy", opDestroy, 0, protocol.AppendInts(nil))
	return err
}

// errNone is how invoke says that too few permits were free for as long as the
// call could wait; TryAcquire answers false.
var errNone = errors.New("too few permits are free")

func (s *Semaphore) acquire(ctx context.Context, verb string, op protocol.Op, n int64, wait time.Duration) (*structures.Held, error) {
	if n < 1 || n > MaxPermits {
		return nil, s.invalid(verb, n, 1)
	}
	flags, body := protocol.Flags(0), protocol.AppendInts(nil, n)
	if op == opAcquire {
		flags, body = protocol.FlagWait, protocol.AppendInts(nil, n, structures.WaitMilliseconds(wait))
	}
	reply, err := s.invoke(ctx, verb, op, flags, body)
	if err != nil {
		return nil, err
	}
	var token int64
	if protocol.ReadInts(reply.Body, &token) != nil || reply.Lease == nil {
		return nil, s.handle.Garbled(verb, reply)
	}
	return structures.NewHeld(reply.Lease, s.handle.Object(), protocol.Token(token), func(ctx context.Context) error {
		_, err := s.invoke(ctx, "release", opRelease, 0, protocol.AppendInts(nil, token))
		return err
	}), nil
}

// number carries out an operation whose result is a number.
func (s *Semaphore) number(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags) (int64, error) {
	reply, err := s.invoke(ctx, verb, op, flags, protocol.AppendInts(nil))
	if err != nil {
		return 0, err
	}
	var n int64
	if protocol.ReadInts(reply.Body, &n) != nil {
		return 0, s.handle.Garbled(verb, reply)
	}
	return n, nil
}

// giveBack releases a grant whose caller has been told that the outcome is
// unknown.
func (s *Semaphore) giveBack(r structures.Reply) {
	var token int64
	if protocol.ReadInts(r.Body, &token) != nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), lateRelease)
		defer cancel()
		// What is not released by then returns with the session's end.
		_, _ = s.invoke(ctx, "release", opRelease, 0, protocol.AppendInts(nil, token))
	}()
}

// lateRelease bounds the release of a grant that nobody waits for any more.
const lateRelease = time.Minute

// invoke carries out an operation; every code but OK is an error.
func (s *Semaphore) invoke(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags, body []byte) (structures.Reply, error) {
	h := &s.handle
	call := h.Call(verb, op, flags, h.Partition(nil), body)
	if flags&protocol.FlagWait != 0 {
		call.Late = s.giveBack
	}
	reply, err := h.Invoke(ctx, call)
	if err != nil {
		return structures.Reply{}, err
	}
	switch reply.Code {
	case protocol.CodeOK:
		return reply, nil
	case protocol.CodeTimedOut, codeNone:
		err = errNone
	case codeNotInitialized:
		err = ErrNotInitialized
	case codeTooMany:
		err = ErrTooMany
	case codeNotHeld:
		err = quorate.ErrSessionLost
	default:
		return structures.Reply{}, h.Garbled(verb, reply)
	}
	return structures.Reply{}, h.Refused(verb, err, reply)
}

func (s *Semaphore) invalid(verb string, n, lowest int64) error {
	return s.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("%d permits, not within %d to %d", n, lowest, MaxPermits))
}
