package verify

import (
	"context"
	"errors"
	"sync"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Held records what becomes of a grant.
type Held struct {
	*structures.Held
	recorder
	call     int64 // of the operation that was granted it
	release  any   // the input of its release
	released any   // the output of its release

	once sync.Once
	err  error
}

// hold keeps a grant in mind until it is released.
func (r *recorder) hold(call int64, release, released any, held *structures.Held) *Held {
	h := &Held{Held: held, recorder: *r, call: call, release: release, released: released}
	r.history.mu.Lock()
	defer r.history.mu.Unlock()
	r.history.held[h] = true
	return h
}

// pending is the release of what may come back by itself, at any time since call.
func (h *Held) pending(call int64) Operation {
	return Operation{Client: h.client, Object: h.object, Call: call, Return: Pending, Input: h.release}
}

// returns notes a release at any time since call, or never.
func (r *recorder) returns(call int64, release any) {
	r.history.add(Operation{Client: r.client, Object: r.object, Call: call, Return: Pending, Input: release})
}

// Release records structures.Held.Release. The first call counts.
func (h *Held) Release(ctx context.Context) error {
	h.once.Do(func() {
		call := h.history.now()
		h.err = h.Held.Release(ctx)
		switch {
		case errors.Is(h.err, structures.ErrNotHeld):
			return // it has come back before: since when says who has revoked it, perhaps later
		case h.err != nil:
			h.returns(h.call, h.release)
		default:
			h.record(call, h.release, h.released, nil)
		}
		h.forget()
	})
	return h.err
}

// exchanged notes that there is nothing to release any more, or that it is on its way back.
func (h *Held) exchanged(back bool) {
	h.once.Do(func() {
		if back {
			h.returns(h.call, h.release)
		}
		h.forget()
	})
}

// forget is called when the release is in the history.
func (h *Held) forget() {
	h.history.mu.Lock()
	defer h.history.mu.Unlock()
	delete(h.history.held, h)
}

// revoke records a revocation: what is revoked may come back at any time from the call on,
// and not before.
func (r *recorder) revoke(do func() (existed bool, err error), hold protocol.HoldID) (existed bool, err error) {
	call := r.history.now()
	existed, err = do()
	switch {
	case unknown(err):
		r.history.revoke(r.object, hold, 0)
	case existed:
		r.history.revoke(r.object, hold, call)
	}
	return existed, err
}
