package shardgroups

import (
	"sync"
	"time"
)

// monotime is the clock that a leader's entries carry: monotonic time, read every tick.
// After a pause of the process the gap between two ticks counts as at most maxGap
// (TIME-1), so that a pause does not end sessions before their clients can send a
// heartbeat.
type monotime struct {
	fake func() time.Duration // of a test; nil: the process's clock

	mu    sync.Mutex // guards last and total
	last  time.Time
	total time.Duration
}

const (
	tickInterval = 100 * time.Millisecond
	maxGap       = time.Second
)

func newMonotime(fake func() time.Duration) *monotime {
	return &monotime{fake: fake, last: time.Now()}
}

// tick is called every tickInterval.
func (m *monotime) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.total += min(now.Sub(m.last), maxGap)
	m.last = now
}

// now returns the time since some fixed moment.
func (m *monotime) now() time.Duration {
	if m.fake != nil {
		return m.fake()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total + min(time.Since(m.last), maxGap)
}
