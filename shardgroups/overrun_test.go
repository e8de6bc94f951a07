package shardgroups

import (
	"testing"
	"time"
)

// TestOverrun: a queue that moves is bounded in time; one that stands still, or
// is short, is not.
func TestOverrun(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		queued        int
		waited, since time.Duration
		want          bool
	}{
		{shortQueue, 2 * maxQueueTime, 0, true},
		{shortQueue - 1, 2 * maxQueueTime, 0, false},
		{shortQueue, maxQueueTime / 2, 0, false},
		{shortQueue, 2 * maxQueueTime, 2 * maxQueueTime, false},
		{0, 0, 0, false},
	} {
		p := &proposer{completedAt: now.Add(-test.since)}
		for range test.queued {
			p.writes = append(p.writes, &Request{Arrived: now.Add(-test.waited)})
		}
		if got := p.overrun(now); got != test.want {
			t.Errorf("%d queued for %v, the last entry applied %v ago: %v", test.queued, test.waited, test.since, got)
		}
	}
}
