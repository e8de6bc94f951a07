package demo

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
)

// demoTally gathers what the worker processes report.
type demoTally struct {
	mu                 sync.Mutex // guards the rest
	files, words, adds int64
	acks               []int64
	held               [][2]int64
	stats              []client.Stats
	followed           []time.Time // when worker processes reported the setting that was changed
}

// add takes a report in.
func (t *demoTally) add(r demoReport) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files += r.Files
	t.words += r.Words
	t.adds += r.Adds
	t.acks = append(t.acks, r.Acks...)
	t.held = append(t.held, r.Held...)
	if r.Every == demoReportEvery {
		t.followed = append(t.followed, time.Now())
	}
	if r.Stats != nil {
		t.stats = append(t.stats, *r.Stats)
	}
}

// followers returns how many worker processes have followed the change of the setting, and
// when the last did.
func (t *demoTally) followers() (n int, last time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n = len(t.followed); n > 0 {
		last = t.followed[n-1]
	}
	return n, last
}

// progress returns what is done so far.
func (t *demoTally) progress() (files, words, adds int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.files, t.words, t.adds
}

// longestGap returns the longest time in which no worker got an answer.
func (t *demoTally) longestGap() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.Sort(t.acks)
	var longest int64
	for i := 1; i < len(t.acks); i++ {
		longest = max(longest, t.acks[i]-t.acks[i-1])
	}
	return time.Duration(longest)
}

// mostHeld returns how many permits were held at once, at most.
func (t *demoTally) mostHeld() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	type change struct {
		at int64
		by int
	}
	var changes []change
	for _, h := range t.held {
		changes = append(changes, change{h[0], 1}, change{h[1], -1})
	}
	// At one moment an end comes first: the permit went from hand to hand.
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by))
	})
	held, most := 0, 0
	for _, c := range changes {
		held += c.by
		most = max(most, held)
	}
	return most
}
