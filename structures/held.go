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
	// ErrReleased is the cause of the end of a Held's context where it was
	// released.
	ErrReleased = errors.New("released")
	// ErrNotHeld is the error of an operation on a hold that is not there, although
	// its session lives: it was released before, revoked at once, or went with the
	// structure, which was destroyed.
	ErrNotHeld = errors.New("not held")
	// ErrRevoked is what the cause of the end of a Held's context Is where somebody
	// else has revoked it, or has destroyed the structure. It has the reason, if one
	// was given.
	ErrRevoked = errors.New("revoked")
)

// releaseBound is how long a release goes on after its caller has stopped
// waiting. What is not released by then returns with the session's end.
const releaseBound = time.Hour

// lateRelease bounds the release of a grant that nobody waits for any more.
const lateRelease = time.Minute

// Held is something a session holds: permits, later locks and leadership. It is
// safe for concurrent use.
type Held struct {
	holder
	ctx    context.Context
	cancel context.CancelCauseFunc
	lease  context.Context
	id     protocol.HoldID
	token  protocol.Token

	askOnce sync.Once
	asked   chan struct{} // closed when somebody asks for it

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

// Acquire carries out a call that holds, and returns what was granted. The
// operation that releases it has the body [hold]. What is granted and does not
// reach the caller, because the outcome was unknown or the session was lost, is
// released.
func (h *Handle) Acquire(ctx context.Context, call Call, release protocol.Op) (*Held, error) {
	from := holder{handle: *h, partition: call.Partition, op: release}
	call.Late = from.giveBack
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

// giveBack releases a grant that its caller does not have.
func (f holder) giveBack(r Reply) {
	id, _, err := readGranted(r.Body)
	if err != nil || mutants.On(mutants.LateGrantKept) {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), lateRelease)
		defer cancel()
		// What is not released by then returns with the session's end.
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

// HeldIn returns what ctx carries of the structure, as Held.Context and Held.Bind
// do, and nil where that is nothing or has ended. So a lock can refuse to wait for
// itself.
func (h *Handle) HeldIn(ctx context.Context) *Held {
	held, ok := ctx.Value(h.heldKey()).(*Held)
	if !ok || held.ctx.Err() != nil || !reflect.TypeOf(h.inv).Comparable() || held.handle.inv != h.inv {
		return nil
	}
	return held
}

// Context ends when it is released, when the session is lost or the client is
// closed, before anyone else can be granted, and when it is known to be revoked.
// Its context.Cause Is what ended it: ErrReleased, quorate.ErrSessionLost,
// quorate.ErrClosed or ErrRevoked. A revocation is known within a fifth of the
// session's TTL, or a second if that is more; who is revoked with a grace has, from the
// end of the context on, as long to stop as who loses the session. A process that was paused learns of it only
// when it runs again; what is protected should check the Token.
func (h *Held) Context() context.Context { return h.ctx }

// Bind returns a context that ends with ctx, or with the hold; its context.Cause
// is that of the one that ended first. It has the values of ctx and carries the
// hold, so that what is called with it can tell.
func (h *Held) Bind(ctx context.Context) context.Context {
	bound, cancel := context.WithCancelCause(context.WithValue(ctx, h.handle.heldKey(), h))
	stop := context.AfterFunc(h.ctx, func() { cancel(context.Cause(h.ctx)) })
	context.AfterFunc(bound, func() { stop() })
	return bound
}

// Asked returns a channel that is closed when somebody asks for the hold (AskOnly).
// It is the holder's to release it, or not.
func (h *Held) Asked() <-chan struct{} { return h.asked }

// Token is the fencing number of this grant: the version of the mutation that
// granted it. It only grows: a resource that remembers the largest it has seen can
// refuse an older holder. Permits that one mutation grants to several share it.
func (h *Held) Token() protocol.Token { return h.token }

// ID names the hold inside its structure: Inspect lists it, Revoke names it. No
// other hold of the structure has the same.
func (h *Held) ID() protocol.HoldID { return h.id }

// Release gives back what is held. It ends Context first, then tells the grid.
//
// It works after ctx has ended: ctx bounds only the wait for the answer, and
// the release goes on without the caller until it is answered or the session
// has ended, which gives back what is held too. Where ctx ends first the error
// Is quorate.ErrOutcomeUnknown, ctx's error and its cause. Where the session was
// lost, or the client closed, before the release, the error Is that:
// quorate.ErrSessionLost or quorate.ErrClosed. It Is ErrNotHeld where the session
// lives and the hold had gone: it was revoked, or the structure destroyed.
//
// Every call waits for the one release and returns its outcome.
func (h *Held) Release(ctx context.Context) error {
	h.once.Do(func() {
		h.cancel(ErrReleased)
		close(h.releasing)
		keeperOf(h.lease).remove(h)
		go h.run(context.WithoutCancel(ctx))
	})
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

// run releases once and publishes the outcome.
func (h *Held) run(ctx context.Context) {
	defer close(h.done)
	ctx, cancel := context.WithTimeout(ctx, releaseBound)
	defer cancel()
	defer context.AfterFunc(h.lease, cancel)()
	h.err = h.release(ctx, h.lease, h.id)
	if h.err != nil && h.lease.Err() != nil {
		// Whatever became of the attempt, the session's end gives it back.
		h.err = &quorate.Error{Op: "release", Object: h.handle.Object(), Cause: context.Cause(h.lease)}
	}
}
