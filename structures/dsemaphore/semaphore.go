package dsemaphore

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

var (
	// ErrNotInitialized is the error of an operation before the first [Semaphore.Init].
	ErrNotInitialized = errors.New("not initialized")
	// ErrTooMany is the error of a request for more permits than the semaphore has: it
	// could never be granted.
	ErrTooMany = errors.New("too many permits")
)

// Semaphore is a handle of one semaphore. Making one costs nothing. It is safe for
// concurrent use.
type Semaphore struct{ handle structures.Handle }

// New returns the handle of the semaphore with the given name. A bad name is the error of
// every call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for more than 255 bytes.
func New(inv structures.Invoker, name string) *Semaphore {
	return &Semaphore{structures.NewHandle(inv, &kind, name, nil)}
}

// Init sets that the semaphore has n permits, 0 to [MaxPermits], once. The same n again is
// no error, whatever was acquired or added since. Errors: [quorate.ErrSettings], which names
// the number in force, for another n; [quorate.ErrInvalid] for one out of range.
func (s *Semaphore) Init(ctx context.Context, n int64) error {
	const verb = "init"
	if n < 0 || n > MaxPermits {
		return s.invalid(verb, n, 0)
	}
	_, err := s.invoke(ctx, verb, opInit, 0, protocol.AppendInts(nil, n))
	return err
}

// Acquire takes n permits, 1 to [MaxPermits]. While too few are free, or other calls wait,
// it waits for its turn until ctx ends, or for the time of the option [Wait]; with Wait(0)
// it never waits. Release what it returns.
//
// Errors: [quorate.ErrNotInTime] if the time of Wait is over; [ErrTooMany] if the semaphore
// has fewer than n permits; [ErrNotInitialized]; [quorate.ErrInvalid] for n out of range;
// [quorate.ErrTooLarge] or [quorate.ErrInvalid] for a note of more than 255 bytes, or that is
// not UTF-8; [quorate.ErrOverloaded] if too many calls wait; [quorate.ErrDestroyed] and
// [quorate.ErrSessionLost] end the wait.
func (s *Semaphore) Acquire(ctx context.Context, n int64, opts ...AcquireOption) (*structures.Held, error) {
	return s.acquire(ctx, "acquire", n, structures.LockWith(opts))
}

// TryAcquire takes n permits and reports whether it could. It waits only with the option
// [Wait]; without it TryAcquire returns false if too few are free or other calls wait. Its
// other errors are those of [Semaphore.Acquire].
func (s *Semaphore) TryAcquire(ctx context.Context, n int64, opts ...AcquireOption) (*structures.Held, bool, error) {
	held, err := s.acquire(ctx, "try to acquire", n, structures.LockWith(append([]AcquireOption{Wait(0)}, opts...)))
	if errors.Is(err, quorate.ErrNotInTime) {
		return nil, false, nil
	}
	return held, err == nil, err
}

// Available returns how many permits are free. It is negative after [Semaphore.AddPermits]
// has taken away more than were free. The error can be [ErrNotInitialized].
func (s *Semaphore) Available(ctx context.Context, opts ...ReadOption) (int64, error) {
	reading := structures.ReadWith(opts)
	n, reply, err := s.number(ctx, "get the available permits of", opAvailable, reading.Flags)
	if err == nil {
		reading.Saw(reply)
	}
	return n, err
}

// Drain removes all free permits and returns how many. They do not return by themselves:
// [Semaphore.AddPermits] adds permits. The error can be [ErrNotInitialized].
func (s *Semaphore) Drain(ctx context.Context) (int64, error) {
	n, _, err := s.number(ctx, "drain", opDrain, 0)
	return n, err
}

// AddPermits adds n permits, or takes away -n, free or not. A semaphore with fewer permits
// than are held grants nothing until enough have returned. Errors: [ErrNotInitialized];
// [quorate.ErrInvalid] if there would be more than [MaxPermits] in all, or fewer than
// -MaxPermits free.
func (s *Semaphore) AddPermits(ctx context.Context, n int64, opts ...WriteOption) error {
	call, err := s.addCall(n)
	if err == nil {
		_, err = s.handle.InvokeIf(ctx, structures.WriteWith(opts), call)
	}
	return err
}

func (s *Semaphore) addCall(n int64) (structures.Call, error) {
	const verb = "add permits to"
	if n < -MaxPermits || n > MaxPermits {
		return structures.Call{}, s.invalid(verb, n, -MaxPermits)
	}
	return s.call(verb, opAddPermits, 0, protocol.AppendInts(nil, n)), nil
}

// Destroy removes the semaphore. The contexts of its holds end, with [structures.ErrRevoked]
// as cause, and calls that wait return [quorate.ErrDestroyed]. The name can be used again
// at once.
func (s *Semaphore) Destroy(ctx context.Context) error {
	return s.handle.Destroy(ctx)
}

// Inspect returns the holders of permits and the calls that wait: see
// [structures.Handle.Inspect]. Of a semaphore that does not exist it is empty.
func (s *Semaphore) Inspect(ctx context.Context) (structures.Inspection, error) {
	return s.handle.Inspect(ctx)
}

// Revoke takes the permits of a hold, which [Semaphore.Inspect] lists, from the session that
// has them, or asks for them, and reports whether there was such a hold. The options are
// [structures.Grace], [structures.AskOnly] and [structures.Reason]; the default grace is
// [structures.DefaultGrace]. [structures.Handle.Revoke] says what is promised, and names the
// errors.
func (s *Semaphore) Revoke(ctx context.Context, hold protocol.HoldID, opts ...structures.RevokeOption) (existed bool, err error) {
	return s.handle.Revoke(ctx, hold, opts...)
}

func (s *Semaphore) acquire(ctx context.Context, verb string, n int64, with structures.Locking) (*structures.Held, error) {
	if n < 1 || n > MaxPermits {
		return nil, s.invalid(verb, n, 1)
	}
	if err := structures.CheckNote(with.Note); err != nil {
		return nil, s.handle.Fail(verb, err, "")
	}
	call := s.call(verb, opAcquire, protocol.FlagWait, appendAcquire(nil, n, structures.WaitMilliseconds(with.Time()), with.Note))
	if with.Never() {
		call = s.call(verb, opTryAcquire, 0, appendTryAcquire(nil, n, with.Note))
	}
	call.Wait = with.Time()
	return s.handle.Acquire(ctx, call, opRelease)
}

// number carries out an operation whose result is a number.
func (s *Semaphore) number(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags) (int64, structures.Reply, error) {
	reply, err := s.invoke(ctx, verb, op, flags, protocol.AppendInts(nil))
	if err != nil {
		return 0, reply, err
	}
	var n int64
	if protocol.ReadInts(reply.Body, &n) != nil {
		return 0, reply, s.handle.Garbled(verb, reply)
	}
	return n, reply, nil
}

// invoke carries out an operation; every code but OK is an error.
func (s *Semaphore) invoke(ctx context.Context, verb string, op protocol.Op, flags protocol.Flags, body []byte) (structures.Reply, error) {
	return s.handle.Invoke(ctx, s.call(verb, op, flags, body))
}

func (s *Semaphore) call(verb string, op protocol.Op, flags protocol.Flags, body []byte) structures.Call {
	return s.handle.Call(verb, op, flags, s.handle.Partition(nil), body)
}

func (s *Semaphore) invalid(verb string, n, lowest int64) error {
	return s.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("%d permits, not within %d to %d", n, lowest, MaxPermits))
}
