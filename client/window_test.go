package client

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// answer takes in n replies of the given round trip and ends the epoch.
func (w *window) answer(now time.Duration, n int, trip time.Duration, refused, inFlight int, wait bool) time.Duration {
	now += max(trip, windowEpoch) + 1
	for i := range n {
		w.add(now, now-trip, i < refused)
	}
	w.turn(now, inFlight, wait)
	return now
}

func TestWindow(t *testing.T) {
	tests := []struct {
		name     string
		trip     time.Duration
		refused  int // of 100
		inFlight int
		wait     bool
		want     func(before, after int) bool
	}{
		{"short trips, calls wait", 10 * ms, 0, 400, true, func(b, a int) bool { return a > b }},
		{"short trips, nobody waits", 10 * ms, 0, 400, false, func(b, a int) bool { return a == b }},
		{"long trips", 150 * ms, 0, 400, true, func(b, a int) bool { return a < b && a > b/2 }},
		{"long trips with little in flight", 150 * ms, 0, -60, false, func(b, a int) bool { return a == b }},
		{"refusals", 10 * ms, 50, 400, true, func(b, a int) bool { return a < b }},
		{"few refusals", 10 * ms, 5, 400, true, func(b, a int) bool { return a > b }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWindow(4096, 0, 0)
			now := w.answer(0, 100, 5*ms, 0, 0, false)
			before := w.size
			w.answer(now, 100, test.trip, test.refused, test.inFlight, test.wait)
			if !test.want(before, w.size) {
				t.Errorf("%d before, %d after", before, w.size)
			}
		})
	}
}

func TestWindowStaysWithinBounds(t *testing.T) {
	w := newWindow(1000, 0, 0)
	now := w.answer(0, 100, ms, 0, 0, false)
	for range 100 {
		now = w.answer(now, 100, ms, 0, w.size, true)
	}
	if w.size != 1000 {
		t.Errorf("%d with short trips, want the member's limit", w.size)
	}
	for range 30 {
		now = w.answer(now, 20, 200*ms, 0, w.size, true)
	}
	if w.size != calmWindow {
		t.Errorf("%d with long trips, want %d", w.size, calmWindow)
	}
	for range 30 {
		now = w.answer(now, 20, 200*ms, 20, w.size, true)
	}
	if w.size != leastWindow {
		t.Errorf("%d with refusals, want %d", w.size, leastWindow)
	}
	if small := newWindow(2, 0, 0); small.size != 2 {
		t.Errorf("%d where the member allows 2", small.size)
	}
}

// A member that is far away is not a loaded one.
func TestWindowOfLongWay(t *testing.T) {
	w := newWindow(4096, 0, 0)
	now := time.Duration(0)
	for range 20 {
		now = w.answer(now, 100, 180*ms, 0, 600, true)
	}
	if w.size <= firstWindow {
		t.Errorf("%d: it has not grown though no trip is longer than the shortest", w.size)
	}
}

func TestGuessOfWait(t *testing.T) {
	w := newWindow(4096, 0, 0)
	if got := w.wait(100); got != 0 {
		t.Errorf("nothing is known: %v", got)
	}
	now := w.answer(0, 50, 10*ms, 0, 500, true)
	guess := w.wait(100)
	if guess < 90*ms || guess > 120*ms {
		t.Errorf("behind 100 calls at 50 replies in 50 ms: %v", guess)
	}
	// The time that the member stood still is no part of the guess.
	now += 5 * time.Second
	w.add(now, now-10*ms, false)
	now = w.answer(now, 50, 10*ms, 0, 500, true)
	if got := w.wait(100); got > 2*guess {
		t.Errorf("%v after a standstill, %v before", got, guess)
	}
	// While nobody waits it is not known how much faster the member could be.
	for range 40 {
		now = w.answer(now, 50, 10*ms, 0, 10, false)
	}
	if got := w.wait(100); got > ms {
		t.Errorf("nobody has waited for long: %v", got)
	}
}

func TestBudget(t *testing.T) {
	var b budget
	n := 0
	for b.spend() {
		n++
	}
	if n != budgetMost {
		t.Errorf("%d repeats, want %d", n, budgetMost)
	}
	for range budgetShare {
		b.earn()
	}
	if !b.spend() || b.spend() {
		t.Errorf("want one repeat for %d calls", budgetShare)
	}
	for range 2 * budgetMost * budgetShare {
		b.earn()
	}
	for n = 0; b.spend(); {
		n++
	}
	if n != budgetMost {
		t.Errorf("%d repeats were saved up, want %d", n, budgetMost)
	}
}
