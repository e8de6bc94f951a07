package verify_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/verify"
)

// TestCheckStale: what the check of reads of a near cache refuses.
func TestCheckStale(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	s := &verify.Stale{MaxStale: 2 * time.Second}
	for i := range int64(10) {
		s.Sent(i + 1)
		s.Acknowledged(i+1, at(int(i)*10))
	}
	for _, c := range []struct {
		began       time.Time
		value, seen int64
		ok          bool
	}{
		{at(91), 10, 10, true},
		{at(91), 9, 9, true},    // its successor was acknowledged a second before
		{at(93), 9, 9, false},   // three seconds
		{at(91), 9, 10, false},  // it goes back
		{at(91), 8, 0, false},   // much too old
		{at(91), 11, 0, false},  // from nowhere
		{at(5), 10, 0, true},    // written while it was read
		{at(-10), 0, 0, true},   // before all
		{at(1000), 10, 0, true}, // nobody has written since
	} {
		if err := verify.CheckStale(s, c.began, c.value, c.seen); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
