package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// load is what is done to each system.
type load struct {
	inFlight         int
	puts             int // of a hundred operations; the others are gets
	keys, valueSize  int
	warmup, duration time.Duration
	ttl              time.Duration // of sessions
	seed             uint64
}

// figures are what a run measured.
type figures struct {
	PerSecond float64       `json:"ops_per_sec"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Errors    int           `json:"errors"`
	First     string        `json:"first_error,omitempty"`
	Puts      float64       `json:"puts_per_sec,omitempty"` // while events were counted
}

// fail counts an error; nil is none.
func (f *figures) fail(err error) {
	if err == nil {
		return
	}
	if f.Errors++; f.First == "" {
		f.First = err.Error()
	}
}

// take takes over what was measured in a time.
func (f *figures) take(times *hdrhistogram.Histogram, in time.Duration) {
	f.PerSecond = float64(times.TotalCount()) / in.Seconds()
	f.P50, f.P99 = time.Duration(times.ValueAtQuantile(50)), time.Duration(times.ValueAtQuantile(99))
}

func key(i int) string { return fmt.Sprintf("user%06d", i) }

// fill writes every key once.
func (l load) fill(ctx context.Context, c conn) error {
	value := make([]byte, l.valueSize)
	next := make(chan int)
	failed := make(chan error, 64)
	var workers sync.WaitGroup
	for range cap(failed) {
		workers.Go(func() {
			for i := range next {
				if err := c.put(ctx, key(i), value); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	var err error
	for i := 0; i < l.keys && err == nil; i++ {
		select {
		case next <- i:
		case err = <-failed:
		}
	}
	close(next)
	workers.Wait()
	return err
}

// run keeps operations in flight, over several clients, and measures.
func (l load) run(ctx context.Context, clients []conn) figures {
	ctx, cancel := context.WithTimeout(ctx, l.warmup+l.duration+15*time.Second)
	defer cancel()
	var mu sync.Mutex
	var all figures
	total := hdrhistogram.New(1, int64(time.Minute), 3)
	from := time.Now().Add(l.warmup)
	to := from.Add(l.duration)
	var workers sync.WaitGroup
	for w := range l.inFlight {
		workers.Go(func() {
			c, random := clients[w%len(clients)], rand.New(rand.NewPCG(l.seed, uint64(w)))
			value := make([]byte, l.valueSize)
			mine := hdrhistogram.New(1, int64(time.Minute), 3)
			var failed figures
			for begun := time.Now(); begun.Before(to) && ctx.Err() == nil; {
				k := key(random.IntN(l.keys))
				var err error
				if random.IntN(100) < l.puts {
					err = c.put(ctx, k, value)
				} else {
					err = c.get(ctx, k)
				}
				now := time.Now()
				switch {
				case begun.Before(from):
				case err != nil:
					failed.fail(err)
				default:
					_ = mine.RecordValue(min(int64(now.Sub(begun)), int64(time.Minute)))
				}
				begun = now
			}
			mu.Lock()
			defer mu.Unlock()
			total.Merge(mine)
			if all.Errors += failed.Errors; all.First == "" {
				all.First = failed.First
			}
		})
	}
	workers.Wait()
	all.take(total, l.duration)
	return all
}
