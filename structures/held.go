package structures

import (
	"context"
	"sync"

	"github.com/quorate/quorate/protocol"
)

// Held is something a session holds: permits, later locks and leadership. It is
// safe for concurrent use.
type Held struct {
	ctx     context.Context
	cancel  context.CancelFunc
	token   protocol.Token
	release func(context.Context) error

	mu   sync.Mutex // guards done and err; held while releasing
	done bool
	err  error
}

// NewHeld returns a Held that ends with lease. Rooms call it.
func NewHeld(lease context.Context, token protocol.Token, release func(context.Context) error) *Held {
	ctx, cancel := context.WithCancel(lease)
	return &Held{ctx: ctx, cancel: cancel, token: token, release: release}
}

// Context ends when it is released, or when the session is lost: before
// anyone else can be granted. A process that was paused learns of it only when
// it runs again; what is protected should check the Token.
func (h *Held) Context() context.Context { return h.ctx }

// Token is the fencing number of this grant. It only grows: a resource that
// remembers the largest it has seen can refuse an older holder.
func (h *Held) Token() protocol.Token { return h.token }

// Release gives back what is held. It works after ctx has ended: ctx bounds
// only the wait for the answer. A second call returns what the first did.
func (h *Held) Release(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		return h.err
	}
	h.done = true
	h.err = h.release(ctx)
	h.cancel()
	return h.err
}
