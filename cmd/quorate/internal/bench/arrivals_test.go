package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Each arrival is carried out once, with the time at which it was due, which no
// delay moves.
func TestArrivalsAreAsFixedBeforehand(t *testing.T) {
	const count = 5000
	var seen [count]atomic.Int32
	var wrong atomic.Int64
	a := arrivals{Rate: 50_000, Count: count, Most: 100}
	a.Do = func(i int64, due time.Time) {
		seen[i].Add(1)
		if time.Until(due) > 0 {
			wrong.Add(1) // begun too early
		}
		if d := due.Sub(a.begin) - time.Duration(i)*20*time.Microsecond; d.Abs() > time.Microsecond {
			wrong.Add(1)
		}
	}
	a.run(t.Context())
	for i := range seen {
		if n := seen[i].Load(); n != 1 {
			t.Fatalf("arrival %d was carried out %d times", i, n)
		}
	}
	if wrong.Load() > 0 {
		t.Errorf("%d arrivals were not begun as they were due", wrong.Load())
	}
}

// Operations that take long do not hold up the next, up to the bound.
func TestArrivalsGoOnBesideThoseThatWait(t *testing.T) {
	const most = 7
	var under, high atomic.Int32
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a := arrivals{Rate: 1e6, Count: 100, Most: most}
	a.Do = func(int64, time.Time) {
		n := under.Add(1)
		for h := high.Load(); n > h && !high.CompareAndSwap(h, n); h = high.Load() {
		}
		if n == most {
			once.Do(func() { close(reached) })
		}
		<-release
		under.Add(-1)
	}
	go func() { <-reached; close(release) }()
	a.run(t.Context())
	if high.Load() != most || a.next != 100 {
		t.Errorf("%d at once, want %d; %d begun", high.Load(), most, a.next)
	}
}

func TestArrivalsEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	a := arrivals{Rate: 1e5, Count: 1 << 40, Most: 3, Do: func(int64, time.Time) {
		if n.Add(1) == 10 {
			cancel()
		}
	}}
	a.run(ctx)
	if n.Load() < 10 {
		t.Errorf("%d were carried out", n.Load())
	}
}
