package verify_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/verify"
)

// TestCheckEphemeral: an entry must be there while its session lives, and must have gone when
// that has ended and its time has run, disturbed time aside.
func TestCheckEphemeral(t *testing.T) {
	now := time.Now()
	lives, closed := verify.Ephemeral{}, verify.Ephemeral{Ended: now}
	killed := verify.Ephemeral{TTL: 5 * time.Second, Ended: now}
	all := func(from, to time.Time) time.Duration { return to.Sub(from) }
	none := func(time.Time, time.Time) time.Duration { return 0 }
	for _, c := range []struct {
		name         string
		e            verify.Ephemeral
		there, lives bool
		after        time.Duration
		quiet        func(from, to time.Time) time.Duration
		ok           bool
	}{
		{"there while it lives", lives, true, true, time.Hour, all, true},
		{"gone while it lives", lives, false, true, 0, all, false},
		{"gone, and its client has given up", lives, false, false, 0, all, true},
		{"killed, and its client still holds", killed, false, true, time.Second, all, false},
		{"killed, within its time", killed, true, true, 5 * time.Second, all, true},
		{"killed, late", killed, true, false, 8 * time.Second, all, false},
		{"killed, late, under faults", killed, true, false, 8 * time.Second, none, true},
		{"closed, at once", closed, true, false, time.Second, all, true},
		{"closed, late", closed, true, false, 3 * time.Second, all, false},
		{"read before the end", killed, true, true, -time.Second, all, true},
	} {
		err := verify.CheckEphemeral(c.e, c.there, c.lives, now.Add(c.after), c.quiet)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
