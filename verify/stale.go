package verify

import (
	"fmt"
	"sync"
	"time"
)

// Stale is what is known of one key whose values grow, to check reads that may show what
// was there a bounded time ago. It is safe for concurrent use.
type Stale struct {
	MaxStale time.Duration

	mu    sync.Mutex
	sent  int64 // the largest value that was sent
	acked []ackedValue
}

type ackedValue struct {
	value int64
	at    time.Time
}

// staleKept is how long acknowledged values are kept: longer than any read takes.
const staleKept = 2 * time.Minute

// Sent says that a write of a value begins.
func (s *Stale) Sent(value int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = max(s.sent, value)
}

// Acknowledged says that a write of a value was acknowledged at a time.
func (s *Stale) Acknowledged(value int64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.acked) > 1 && at.Sub(s.acked[1].at) > staleKept {
		s.acked = s.acked[1:]
	}
	s.acked = append(s.acked, ackedValue{value, at})
}

// CheckStale reports whether a read that began at a time may return a value: whether it was
// ever written, its successor was not acknowledged more than MaxStale before the read began,
// and it is not older than what the same client had seen, or written itself, before.
func CheckStale(s *Stale, began time.Time, value, seen int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value > s.sent {
		return fmt.Errorf("%d was read, and nobody wrote it", value)
	}
	if value < seen {
		return fmt.Errorf("%d was read by a client that had seen %d", value, seen)
	}
	for _, a := range s.acked {
		if late := began.Sub(a.at); a.value > value && late > s.MaxStale {
			return fmt.Errorf("%d was read by a call that began %v after %d was acknowledged", value, late, a.value)
		}
	}
	return nil
}
