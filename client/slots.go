package client

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// slotTable assigns slots to the mutations in flight in one partition. Each gets the
// lowest free slot, with a higher sequence than the slot's last use.
//
// A mutation keeps its slot until its outcome is definite, or until its caller has got
// ErrOutcomeUnknown. In the second case the request may still be on its way when the
// slot is used again. If it arrives before the next use, it is applied, and the next
// use acknowledges it. If it arrives after, the record has the higher sequence, and the
// late request is refused for ever. Either way the two are never confused. The error
// was true: the outcome was unknown when it was returned, and it is decided once a
// later call in the same slot has been answered. A waiting call keeps its slot until
// its cancel is answered, because its record is the waiter itself.
type slotTable struct {
	highest atomic.Uint32 // at least the highest slot in use

	mu       sync.Mutex
	limit    int
	used     []uint64      // bit per slot
	sequence []uint64      // last used, by slot
	lowered  int           // acquisitions since highest was last lowered
	waiters  []*slotWaiter // the oldest first; Invariant: none while a slot is free
}

// lowerEvery is the number of acquisitions after which highest is lowered to the
// highest slot in use. A lower value lets the member drop replies. It is not lowered at
// once, because then a request that overtakes another could drop the other's reply.
const lowerEvery = 1024

// slotWaiter is a call that waits for a slot.
type slotWaiter struct {
	ready    chan struct{} // closed when there is one
	slot     uint16        // valid then
	sequence uint64
}

// has reports whether there is a slot.
func (w *slotWaiter) has() bool {
	select {
	case <-w.ready:
		return true
	default:
		return false
	}
}

// acquire takes the lowest free slot. If there is none it returns a waiter for one.
func (t *slotTable) acquire() (slot uint16, sequence uint64, w *slotWaiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.lowest()
	if !ok {
		w := &slotWaiter{ready: make(chan struct{})}
		t.waiters = append(t.waiters, w)
		return 0, 0, w
	}
	slot, sequence = t.take(i)
	return slot, sequence, nil
}

// tryAcquire takes the lowest free slot, if there is one.
func (t *slotTable) tryAcquire() (slot uint16, sequence uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.lowest()
	if !ok {
		return 0, 0, false
	}
	slot, sequence = t.take(i)
	return slot, sequence, true
}

// take uses a slot. mu is held.
func (t *slotTable) take(i int) (slot uint16, sequence uint64) {
	t.used[i/64] |= 1 << (i % 64)
	t.sequence[i]++
	if t.lowered++; t.lowered >= lowerEvery {
		t.lowered = 0
		t.highest.Store(uint32(t.top()))
	} else if uint32(i) > t.highest.Load() {
		t.highest.Store(uint32(i))
	}
	return uint16(i), t.sequence[i]
}

func (t *slotTable) lowest() (int, bool) {
	for w, used := range t.used {
		if used == ^uint64(0) {
			continue
		}
		i := w*64 + bits.TrailingZeros64(^used)
		if i >= t.limit {
			return 0, false
		}
		for len(t.sequence) <= i {
			t.sequence = append(t.sequence, 0)
		}
		return i, true
	}
	i := len(t.used) * 64
	if i >= t.limit {
		return 0, false
	}
	t.used = append(t.used, 0)
	for len(t.sequence) <= i {
		t.sequence = append(t.sequence, 0)
	}
	return i, true
}

func (t *slotTable) top() int {
	for w := len(t.used) - 1; w >= 0; w-- {
		if t.used[w] != 0 {
			return w*64 + 63 - bits.LeadingZeros64(t.used[w])
		}
	}
	return 0
}

// release frees a slot, or gives it to the oldest waiter.
func (t *slotTable) release(slot uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiters) == 0 {
		t.used[slot/64] &^= 1 << (slot % 64)
		return
	}
	w := t.waiters[0]
	t.waiters[0] = nil
	t.waiters = t.waiters[1:]
	w.slot, w.sequence = t.take(int(slot))
	close(w.ready)
}

// giveUp ends the wait of w, and releases the slot that w may have been given
// meanwhile.
func (t *slotTable) giveUp(w *slotWaiter) {
	t.mu.Lock()
	for i := range t.waiters {
		if t.waiters[i] == w {
			t.waiters = append(t.waiters[:i], t.waiters[i+1:]...)
			t.mu.Unlock()
			return
		}
	}
	t.mu.Unlock()
	t.release(w.slot)
}
