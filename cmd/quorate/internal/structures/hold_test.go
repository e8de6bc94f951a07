package structures

import (
	"testing"
	"time"
)

// TestKillAfter: a command that is killed is dead before anyone else is granted
// what it held, and as much of the TTL is left to hear from the grid.
func TestKillAfter(t *testing.T) {
	given := func(d time.Duration) *time.Duration { return &d }
	for _, tt := range []struct {
		ttl    time.Duration
		given  *time.Duration
		want   time.Duration // -1: refused
		margin time.Duration
	}{
		{15 * time.Second, nil, 5 * time.Second, 6 * time.Second},
		{2 * time.Second, nil, 0, time.Second},
		{8 * time.Second, nil, 3 * time.Second, 4 * time.Second},
		{8 * time.Second, given(3 * time.Second), 3 * time.Second, 4 * time.Second},
		{8 * time.Second, given(3001 * time.Millisecond), -1, 0},
		{8 * time.Second, given(0), 0, time.Second},
		{time.Hour, nil, 5 * time.Second, 6 * time.Minute},
		{time.Hour, given(20 * time.Minute), 20 * time.Minute, 20*time.Minute + time.Second},
		{time.Second, nil, -1, 0},
		{61 * time.Minute, nil, -1, 0},
		{15 * time.Second, given(-time.Second), -1, 0},
	} {
		h := holding{TTL: tt.ttl, KillAfter: tt.given}
		err := h.Validate()
		switch {
		case tt.want < 0 && err == nil:
			t.Errorf("%v, %v: accepted", tt.ttl, tt.given)
		case tt.want >= 0 && (err != nil || h.killAfter() != tt.want || h.margin() != tt.margin):
			t.Errorf("%v, %v: %v, %v, %v", tt.ttl, tt.given, h.killAfter(), h.margin(), err)
		case tt.want >= 0 && h.margin() > tt.ttl/2:
			t.Errorf("%v: a margin of %v is refused", tt.ttl, h.margin())
		}
	}
}
