package structures

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
)

// keepAge is how long something is held before the grid is asked whether it was
// revoked: a short hold costs no request.
const keepAge = time.Second

// Keeper learns whether the holds of one session were asked for or revoked. An Invoker
// that opens sessions has one Keeper for each, and its leases carry it. It is safe for
// concurrent use.
//
//	        asked for, or revoked                contexts have ended
//	held ---------------------------> noticed -------------------------> acknowledged
//	                                     |          for the margin            |
//	                                     '---- released, or the session ------'
//
// A revocation is acknowledged only after the hold's contexts have ended for the margin,
// the time that holders have to stop when their session is lost. From then on the grid
// may grant to others what was held.
type Keeper struct {
	inv           Invoker
	every, margin time.Duration
	wake          chan struct{} // something is held again

	mu   sync.Mutex
	held map[*Held]*kept
	runs int           // of Held.Do that have not returned
	idle chan struct{} // closed when runs falls to 0; nil: nobody waits for that
}

// kept is what a Keeper knows of a Held.
type kept struct {
	since         time.Time
	acknowledging bool
}

// NewKeeper returns a Keeper that asks inv at intervals, and gives holders a margin to
// stop. [Keeper.Run] must be called.
func NewKeeper(inv Invoker, every, margin time.Duration) *Keeper {
	return &Keeper{inv: inv, every: every, margin: margin, wake: make(chan struct{}, 1), held: map[*Held]*kept{}}
}

type keeperKey struct{}

// Lease returns the lease of the session that the Keeper is for.
func (k *Keeper) Lease(ctx context.Context) context.Context {
	return context.WithValue(ctx, keeperKey{}, k)
}

// keeperOf returns the Keeper of a lease; nil: it has none, and no revocation is
// noticed.
func keeperOf(lease context.Context) *Keeper {
	k, _ := lease.Value(keeperKey{}).(*Keeper)
	return k
}

// add has the Keeper check a Held; a nil Keeper does nothing.
func (k *Keeper) add(h *Held) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[h] = &kept{since: time.Now()}
	if len(k.held) == 1 {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

func (k *Keeper) remove(h *Held) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, h)
}

// LeaseEnded ends the contexts that are bound to what is held ([Held.Bind]). It is called when
// the lease has ended, before anybody is notified of that.
func (k *Keeper) LeaseEnded() {
	k.mu.Lock()
	held := slices.Collect(maps.Keys(k.held))
	k.mu.Unlock()
	for _, h := range held {
		h.endBound()
	}
}

// running counts a function that runs under a hold, until what it returns is called. A nil
// Keeper counts nothing.
func (k *Keeper) running() (returned func()) {
	if k == nil {
		return func() {}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.runs++
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.runs--; k.runs == 0 && k.idle != nil {
			close(k.idle)
			k.idle = nil
		}
	}
}

// AwaitRunning waits until no function runs under a hold ([Held.Do]) any more, for the
// margin that holders have to stop at most, and no longer than ctx. Their contexts have ended.
func (k *Keeper) AwaitRunning(ctx context.Context) {
	k.mu.Lock()
	if k.runs == 0 {
		k.mu.Unlock()
		return
	}
	if k.idle == nil {
		k.idle = make(chan struct{})
	}
	idle := k.idle
	k.mu.Unlock()
	t := time.NewTimer(k.margin)
	defer t.Stop()
	select {
	case <-idle:
	case <-t.C:
	case <-ctx.Done():
	}
}

// stopTime is the time that holders have to stop.
func (k *Keeper) stopTime() time.Duration {
	if k == nil {
		return 0
	}
	return k.margin
}

// Run checks what is held until the lease ends. It returns when all it has begun is
// done.
func (k *Keeper) Run(lease context.Context) {
	var acknowledging sync.WaitGroup
	defer acknowledging.Wait()
	for lease.Err() == nil {
		k.mu.Lock()
		idle := len(k.held) == 0
		k.mu.Unlock()
		if idle {
			select {
			case <-k.wake:
			case <-lease.Done():
				return
			}
		}
		if !contexts.Pause(lease, k.every) {
			return
		}
		ctx, cancel := context.WithTimeout(lease, k.every)
		for _, h := range k.check(ctx, time.Now().Add(-keepAge)) {
			acknowledging.Go(func() { k.acknowledge(lease, h) })
		}
		cancel()
	}
}

// Check checks all that is held, whatever its age, and acknowledges what is revoked, as
// Run does.
func (k *Keeper) Check(lease context.Context) {
	for _, h := range k.check(lease, time.Now()) {
		k.acknowledge(lease, h)
	}
}

// check asks the grid for the holds since before a time. It ends the contexts of those
// that are revoked or absent, and returns those to be acknowledged.
func (k *Keeper) check(ctx context.Context, before time.Time) (revoked []*Held) {
	var held []*Held
	k.mu.Lock()
	for h, v := range k.held {
		if !v.acknowledging && !v.since.After(before) {
			held = append(held, h)
		}
	}
	k.mu.Unlock()
	if len(held) == 0 {
		return nil
	}
	slices.SortFunc(held, func(a, b *Held) int { return cmp.Compare(a.id, b.id) })
	calls := make([]Call, len(held))
	for i, h := range held {
		calls[i] = h.handle.Call("ask for a hold of", OpHold, protocol.FlagRead, h.partition, AppendHold(nil, h.id))
	}
	replies, errs := k.inv.InvokeAll(ctx, calls)
	for i, h := range held {
		var state HoldState
		if errs[i] != nil || replies[i].Code != protocol.CodeOK || state.Read(replies[i].Body) != nil {
			continue // until the next check
		}
		switch state.Mark {
		case HoldAsked:
			h.ask()
		case HoldAbsent, HoldAcknowledged:
			h.revoked(state.Reason)
			k.remove(h)
		case HoldRevoked:
			h.revoked(state.Reason)
			k.mu.Lock()
			if v := k.held[h]; v != nil { // it was not released meanwhile
				v.acknowledging = true
				revoked = append(revoked, h)
			}
			k.mu.Unlock()
		}
	}
	return revoked
}

// acknowledge acknowledges, after the margin, that nobody works with a revoked hold any
// more, unless it is released before. If that fails the next check finds the hold
// revoked again.
func (k *Keeper) acknowledge(lease context.Context, h *Held) {
	select {
	case <-time.After(k.margin):
	case <-h.releasing:
		return
	case <-lease.Done():
		return
	}
	call := h.handle.Call("acknowledge a revocation of", OpAcknowledge, 0, h.partition, AppendHold(nil, h.id))
	call.Lease = lease
	reply, err := k.inv.Invoke(lease, call)
	if err == nil && reply.Code == protocol.CodeOK {
		k.remove(h)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.held[h]; v != nil {
		v.acknowledging = false
	}
}

// ask notifies the holder that somebody asks for the hold.
func (h *Held) ask() { h.askOnce.Do(func() { close(h.asked) }) }

// revoked ends the contexts of a hold that was revoked.
func (h *Held) revoked(reason string) {
	cause := ErrRevoked
	if reason != "" {
		cause = fmt.Errorf("%w: %s", ErrRevoked, reason)
	}
	mutantCancel(h.cancel)(cause)
	h.endBound()
}
