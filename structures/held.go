package structures

import (
	"context"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// releaseBound is how long a release goes on after its caller has stopped
// waiting. What is not released by then returns with the session's end.
const releaseBound = time.Hour

// Held is something a session holds: permits, later locks and leadership. It is
// safe for concurrent use.
type Held struct {
	ctx     context.Context
	cancel  context.CancelFunc
	lease   context.Context
	object  string // for errors: "semaphore writers"
	token   protocol.Token
	release func(context.Context) error

	once sync.Once
	done chan struct{} // closed when err is the outcome of the release
	err  error
}

// NewHeld returns what the session behind lease holds of object, which errors
// name. Rooms call it. The function release is called at most once; its context
// ends with the lease, so it also ends when the client is closed.
func NewHeld(lease context.Context, object string, token protocol.Token, release func(context.Context) error) *Held {
	ctx, cancel := context.WithCancel(lease)
	return &Held{
		ctx: ctx, cancel: cancel, lease: lease, object: object, token: token,
		release: release, done: make(chan struct{}),
	}
}

// Context ends when it is released, or when the session is lost: before
// anyone else can be granted. A process that was paused learns of it only when
// it runs again; what is protected should check the Token.
func (h *Held) Context() context.Context { return h.ctx }

// Token is the fencing number of this grant. It only grows: a resource that
// remembers the largest it has seen can refuse an older holder.
func (h *Held) Token() protocol.Token { return h.token }

// Release gives back what is held. It ends Context first, then tells the grid.
//
// It works after ctx has ended: ctx bounds only the wait for the answer, and
// the release goes on without the caller until it is answered or the session
// has ended, which gives back what is held too. Where ctx ends first the error
// Is both quorate.ErrOutcomeUnknown and the cause of ctx. The error Is
// quorate.ErrSessionLost where the session's end came before the release.
//
// Every call waits for the one release and returns its outcome.
func (h *Held) Release(ctx context.Context) error {
	h.once.Do(func() {
		h.cancel()
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
			Op: "release", Object: h.object, Cause: context.Cause(ctx), Unknown: true,
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
	h.err = h.release(ctx)
	if h.err != nil && h.lease.Err() != nil {
		// Whatever became of the attempt, the session's end gives it back.
		h.err = &quorate.Error{Op: "release", Object: h.object, Cause: quorate.ErrSessionLost}
	}
}
