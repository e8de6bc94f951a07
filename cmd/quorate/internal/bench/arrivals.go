package bench

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// arrivals is an open loop: operations that are due at times that are fixed
// before the first, whatever becomes of them. They are carried out by workers
// that are kept: one that is refused at once goes on with the next, so that
// what an operation costs here is little beside what it costs the grid.
type arrivals struct {
	Rate  float64                           // a second
	Count int64                             // in all
	Most  int                               // workers at most: operations under way
	Do    func(i int64, due time.Time)      // carries one out
	Tell  func(passed time.Duration, n int) // of progress, about every 5 s; n are under way

	begin time.Time
	all   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	work    sync.Cond  // there is more to do, or no more ever
	due     int64      // operations that are due
	next    int64      // the first not begun
	idle    int        // workers that wait for work
	woken   int        // of them, those told to look
	workers int
	over    bool
}

// arrivalTick is how often it is looked what is due.
const arrivalTick = time.Millisecond

// run carries all operations out, the oldest that are due first, and returns
// when the last has ended.
func (a *arrivals) run(ctx context.Context) {
	a.work.L = &a.mu
	a.begin = time.Now()
	told := a.begin
	for ctx.Err() == nil {
		passed := time.Since(a.begin)
		due := min(int64(a.Rate*passed.Seconds()), a.Count)
		a.mu.Lock()
		a.due = due
		a.wake()
		busy := a.workers - a.idle
		a.mu.Unlock()
		if due == a.Count {
			break
		}
		if now := a.begin.Add(passed); a.Tell != nil && now.Sub(told) >= 5*time.Second {
			told = now
			a.Tell(passed, busy)
		}
		time.Sleep(arrivalTick)
	}
	a.mu.Lock()
	a.over = true
	a.work.Broadcast()
	a.mu.Unlock()
	a.all.Wait()
}

// at returns when the i-th is due.
func (a *arrivals) at(i int64) time.Time {
	return a.begin.Add(time.Duration(float64(i) / a.Rate * float64(time.Second)))
}

// wake sees to it that somebody looks, where there is something to do and
// nobody is about to. mu is held.
func (a *arrivals) wake() {
	switch {
	case a.next >= a.due || a.woken > 0:
	case a.idle > 0:
		a.woken++
		a.work.Signal()
	case a.workers < a.Most:
		a.workers++
		a.woken++
		a.all.Go(a.worker)
	}
}

func (a *arrivals) worker() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.woken--
	for {
		for a.next >= a.due {
			if a.over {
				return
			}
			a.idle++
			a.work.Wait()
			a.idle--
			a.woken = max(a.woken-1, 0)
		}
		i := a.next
		a.next++
		a.wake()
		a.mu.Unlock()
		a.Do(i, a.at(i))
		if i%64 == 0 {
			runtime.Gosched() // those who were answered go first now and then
		}
		a.mu.Lock()
	}
}
