package verify

import (
	"testing"
	"time"
)

func TestTimeline(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	times := timeline{spans: []span{
		{fault: "a", from: at(10), to: at(12)},
		{fault: "b", from: at(12.5), to: at(20)},
		{fault: "c", from: at(30)},
	}}
	for _, test := range []struct {
		from, to float64
		during   string
		quiet    float64
	}{
		{0, 5, noFault, 5},
		{0, 11, "a", 10},
		{9, 22, "b", 2}, // a and b with what comes after them, without a break
		{12.2, 12.4, "a", 0},
		{22, 29, noFault, 7},
		{22, 40, "c", 8},
	} {
		if got := times.during(at(test.from), at(test.to)); got != test.during {
			t.Errorf("%v to %v: %s, want %s", test.from, test.to, got, test.during)
		}
		if got := times.quiet(at(test.from), at(test.to)); got != time.Duration(test.quiet*float64(time.Second)) {
			t.Errorf("%v to %v: quiet for %v, want %v s", test.from, test.to, got, test.quiet)
		}
	}
}
