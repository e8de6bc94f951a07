package structures

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

var (
	// ErrReleased is the cause of the end of the context of a [Held] that was released.
	ErrReleased = errors.New("released")
	// ErrNotHeld is the error of an operation on a hold that has ended although its
	// session is open: it was released before or revoked, or the structure was
	// destroyed.
	ErrNotHeld = errors.New("not held")
	// ErrRevoked is what the cause of the end of the context of a [Held] Is if somebody
	// has revoked it, or has destroyed the structure. The cause has the reason, if one
	// was given with a grace: of a hold that ended at once the grid keeps none.
	ErrRevoked = errors.New("revoked")
)

// releaseBound is how long a release goes on after its caller has stopped waiting. A
// hold that is not released by then ends with its session.
const releaseBound = time.Hour

// lateRelease bounds the release of a grant that nobody waits for any more.
const lateRelease = time.Minute

// Held is something that a session holds, such as permits. It is safe for concurrent
// use.
type Held struct {
	holder
	ctx    context.Context
	cancel context.CancelCauseFunc
	lease  context.Context
	id     protocol.HoldID
	token  protocol.Token

	askOnce sync.Once
	asked   chan struct{} // closed when somebody asks for it

	boundMu sync.Mutex
	bound   map[*context.CancelCauseFunc]struct{} // of Bind, that have not ended

	once      sync.Once
	releasing chan struct{} // closed when the release begins
	done      chan struct{} // closed when err is the outcome of the release
	err       error
}

// holder is how a hold was acquired, and is released.
type holder struct {
	handle    Handle
	partition protocol.PartitionID
	op        protocol.Op // that releases
}

// Acquire carries out a call that holds, and returns what was granted. The operation
// that releases it has the body [hold]. A grant that does not reach the caller, because
// the outcome was unknown or the session was lost, is released.
func (h *Handle) Acquire(ctx context.Context, call Call, release protocol.Op) (*Held, error) {
	from := holder{handle: *h, partition: call.Partition, op: release}
	call.Late = from.giveBack
	return h.acquire(ctx, call, release)
}

func (h *Handle) acquire(ctx context.Context, call Call, release protocol.Op) (*Held, error) {
	from := holder{handle: *h, partition: call.Partition, op: release}
	reply, err := h.Invoke(ctx, call)
	if err != nil {
		return nil, err
	}
	id, token, err := readGranted(reply.Body)
	if err != nil || reply.Lease == nil {
		return nil, h.Garbled(call.Verb, reply)
	}
	held := &Held{holder: from, lease: reply.Lease, id: id, token: token}
	held.asked, held.releasing, held.done = make(chan struct{}), make(chan struct{}), make(chan struct{})
	held.ctx, held.cancel = context.WithCancelCause(context.WithValue(reply.Lease, h.heldKey(), held))
	keeperOf(reply.Lease).add(held)
	return held, nil
}

// Exchange gives a hold up for another one, which the call is granted in its place: a
// write lock for a read lock (LOCK-4). The contexts of the former end before the call is sent: once
// that is applied, others may be granted what the former excluded, and the reply may be
// lost. On an error the former is released.
func (h *Handle) Exchange(ctx context.Context, former *Held, call Call) (*Held, error) {
	if err := h.owns(call.Verb, former); err != nil {
		return nil, err
	}
	if !former.giveUp() {
		return nil, h.Fail(call.Verb, ErrNotHeld, "it was released before")
	}
	call.Lease = former.lease
	next, err := h.Acquire(ctx, call, former.op)
	if err != nil {
		go former.run(context.WithoutCancel(ctx))
		return nil, err
	}
	close(former.done)
	return next, nil
}

// TryExchange has a hold replaced by another one, which the call is granted in its place:
// a read lock by a write lock. If the call is refused the former goes on. If its outcome is
// unknown the former goes on, too, unless the grid has replaced it: then, as soon as the
// client knows, its contexts end, and after the margin that holders have to stop the new
// hold is given back.
func (h *Handle) TryExchange(ctx context.Context, former *Held, call Call) (*Held, error) {
	if err := h.owns(call.Verb, former); err != nil {
		return nil, err
	}
	call.Lease, call.Partition = former.lease, former.partition
	call.Late = func(r Reply) {
		if former.giveUp() {
			go former.run(context.Background())
		}
		time.AfterFunc(keeperOf(former.lease).stopTime(), func() { former.giveBack(r) })
	}
	next, err := h.acquire(ctx, call, former.op)
	if err == nil && former.giveUp() {
		close(former.done)
	}
	return next, err
}

// giveBack releases a grant that its caller does not have.
func (f holder) giveBack(r Reply) {
	id, _, err := readGranted(r.Body)
	if err != nil || mutants.On(mutants.LateGrantKept) {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), lateRelease)
		defer cancel()
		// A hold that is not released by then ends with its session.
		_ = f.release(ctx, r.Lease, id)
	}()
}

// release releases a hold, under the session that it was granted to.
func (f holder) release(ctx context.Context, lease context.Context, id protocol.HoldID) error {
	call := f.handle.Call("release", f.op, 0, f.partition, AppendHold(nil, id))
	call.Lease = lease
	_, err := f.handle.Invoke(ctx, call)
	return err
}

// heldKey is the key under which a context carries a Held of a structure.
type heldKey struct {
	kind protocol.KindID
	name string
}

func (h *Handle) heldKey() heldKey { return heldKey{h.kind.ID, h.name} }

// HeldIn returns the hold of this structure that ctx carries, as [Held.Context] and
// [Held.Bind] do; nil: there is none, or it has ended. So a lock can refuse to wait for
// itself.
func (h *Handle) HeldIn(ctx context.Context) *Held {
	held, ok := ctx.Value(h.heldKey()).(*Held)
	if !ok || held.ctx.Err() != nil || !reflect.TypeOf(h.inv).Comparable() || held.handle.inv != h.inv {
		return nil
	}
	return held
}

// Context returns a context that ends when the hold is released, when it is known to be
// revoked, and when the session is lost or the client is closed: before the grid can
// grant it to anyone else. Its [context.Cause] Is [ErrReleased], [ErrRevoked],
// [quorate.ErrSessionLost] or [quorate.ErrClosed]. A revocation is known within a fifth
// of the session's TTL, or a second if that is more. A holder that is revoked with a
// grace has, from the end of the context on, as much time to stop as one that loses its
// session. A process that was paused learns of the end only when it runs again, so the
// protected resource should check the [Held.Token].
func (h *Held) Context() context.Context { return h.ctx }

// Bind returns a context that ends with ctx, or with the hold; its [context.Cause] is
// that of the one that ended first. It has the values of ctx, and carries the hold for
// [Handle.HeldIn].
func (h *Held) Bind(ctx context.Context) context.Context {
	bound, cancel := context.WithCancelCause(context.WithValue(ctx, h.handle.heldKey(), h))
	h.boundMu.Lock()
	if h.bound == nil {
		h.bound = map[*context.CancelCauseFunc]struct{}{}
	}
	h.bound[&cancel] = struct{}{}
	h.boundMu.Unlock()
	stop := context.AfterFunc(h.ctx, h.endBound)
	context.AfterFunc(bound, func() {
		stop()
		h.boundMu.Lock()
		defer h.boundMu.Unlock()
		delete(h.bound, &cancel)
	})
	h.endBound() // if it has ended
	return bound
}

// endBound ends the contexts of Bind if the hold has ended. What ends a hold calls it before
// it goes on: the goroutine of [context.AfterFunc] may run after others were granted what was
// held.
func (h *Held) endBound() {
	if h.ctx.Err() == nil {
		return
	}
	h.boundMu.Lock()
	defer h.boundMu.Unlock()
	for cancel := range h.bound {
		(*cancel)(context.Cause(h.ctx))
	}
	clear(h.bound)
}

// Asked returns a channel that is closed when somebody asks for the hold ([AskOnly]).
// The holder decides whether to release it.
func (h *Held) Asked() <-chan struct{} { return h.asked }

// Token is the fencing number of this grant: the version of the mutation that
// granted it. It only grows: a resource that remembers the largest it has seen can
// refuse an older holder. Permits that one mutation grants to several share it.
func (h *Held) Token() protocol.Token { return h.token }

// ID names the hold inside its structure, as [Handle.Inspect] lists it and
// [Handle.Revoke] takes it. No other hold of the structure has the same.
func (h *Held) ID() protocol.HoldID { return h.id }

// Call returns a call about the hold, such as one that changes what its holder has said
// of it: it is made under the session that holds, and no other.
func (h *Held) Call(verb string, op protocol.Op, body []byte) Call {
	call := h.handle.Call(verb, op, 0, h.partition, body)
	call.Lease = h.lease
	return call
}

// Release gives back what is held. It ends [Held.Context] first, and then releases at
// the grid. It works after ctx has ended: ctx bounds only the wait for the answer. The
// release goes on without the caller until it is answered, the session has ended, which
// gives back what is held too, or an hour has passed. Every call waits for the one
// release and returns its outcome.
//
// Errors: [quorate.ErrOutcomeUnknown] if ctx ends first, which Is ctx's error and its
// cause, too; [quorate.ErrSessionLost] or [quorate.ErrClosed] if the session was lost,
// or the client closed, before the release; [ErrNotHeld] if the session is open and the
// hold had ended, because it was revoked or the structure destroyed.
func (h *Held) Release(ctx context.Context) error {
	if h.giveUp() {
		go h.run(context.WithoutCancel(ctx))
	}
	select {
	case <-h.done:
		return h.err
	default:
	}
	select {
	case <-h.done:
		return h.err
	case <-ctx.Done():
		return &quorate.Error{
			Op: "release", Object: h.handle.Object(), Cause: contexts.Unanswered(ctx), Unknown: true,
			Detail: "the release goes on without the caller",
		}
	}
}

// giveUp ends the contexts, and reports whether this is the first call: then the caller
// closes done.
func (h *Held) giveUp() (first bool) {
	h.once.Do(func() {
		first = true
		h.cancel(ErrReleased)
		h.endBound()
		close(h.releasing)
		keeperOf(h.lease).remove(h)
	})
	return first
}

// Do runs f while it is held, and then releases it. The context that f gets is that of
// [Held.Bind]. If ctx has ended before, f is not run, and the error is that of ctx. If the
// hold has ended before, f is not run, and the error is the reason, [ErrNotHeld] if it was
// released. If it was lost while f ran, Do returns the reason, such as [ErrRevoked] or
// [quorate.ErrSessionLost], joined to the error of f. Closing the client waits for f to
// return, for the margin that holders have to stop.
func (h *Held) Do(ctx context.Context, f func(ctx context.Context, token protocol.Token) error) (err error) {
	if err := contexts.Err(ctx); err != nil {
		_ = h.Release(ctx) // goes on without the caller
		return h.handle.Fail("run under", err, "")
	}
	if h.ctx.Err() != nil {
		_ = h.Release(ctx)
		if cause := context.Cause(h.ctx); cause != ErrReleased {
			return h.handle.Fail("run under", cause, "it was lost before")
		}
		return h.handle.Fail("run under", ErrNotHeld, "it was released before")
	}
	returned := keeperOf(h.lease).running()
	defer func() {
		lost := h.ctx.Err() != nil
		cause := context.Cause(h.ctx)
		released := h.Release(ctx)
		returned()
		switch {
		case lost && !errors.Is(cause, ErrReleased):
		case errors.Is(released, ErrNotHeld), errors.Is(released, quorate.ErrSessionLost), errors.Is(released, quorate.ErrClosed):
			cause = released
		default:
			return
		}
		err = errors.Join(err, h.handle.Fail("run under", cause, "it was lost on the way"))
	}()
	return f(h.Bind(ctx), h.token)
}

// run releases once and publishes the outcome.
func (h *Held) run(ctx context.Context) {
	defer close(h.done)
	ctx, cancel := context.WithTimeout(ctx, releaseBound)
	defer cancel()
	defer context.AfterFunc(h.lease, cancel)()
	h.err = h.release(ctx, h.lease, h.id)
	if h.err != nil && h.lease.Err() != nil {
		// Whatever happened to the attempt, the end of the session gives the hold back.
		h.err = &quorate.Error{Op: "release", Object: h.handle.Object(), Cause: context.Cause(h.lease)}
	}
}
