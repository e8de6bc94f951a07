package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/structures"
)

// Latency sums up how long the operations of one kind took. In an open loop
// it counts from the moment an operation was due.
type Latency struct {
	Count                          int64
	Mean, P50, P90, P99, P999, Max time.Duration
}

// Measurement is what a run measured.
type Measurement struct {
	Config       Config // with its defaults
	Elapsed      time.Duration
	OpsPerSecond float64 // that succeeded
	Operations   map[string]Latency
	Errors       map[string]int64 // by cause
	FirstError   error            // one of them, whole
}

// Run prepares the structures and measures. Workers are spread over the
// clients, of which there must be one at least; they need not be used by the
// benchmark alone. It returns an error where nothing could be measured; errors
// of single operations are part of the measurement.
func Run(ctx context.Context, clients []structures.Invoker, c Config) (*Measurement, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	if len(clients) == 0 {
		return nil, errors.New("bench: no client")
	}
	w := workloads[c.Workload]
	worker, err := w.prepare(ctx, clients[0], c, loading(c))
	if err != nil {
		return nil, fmt.Errorf("bench: prepare workload %s: %w", c.Workload, err)
	}
	r := newRun(c, w.operations)
	err = r.do(ctx, func(i int) turn { return worker(clients[i%len(clients)], uint64(i)+1) })
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return r.measurement(), nil
}

// grace is how long the last operations of a run may take.
const grace = 15 * time.Second

// run is one run.
type run struct {
	Config
	*recorder
	begin, from, to time.Time // of the warm-up, of the measurement, its end
	scheduled       atomic.Int64
}

func newRun(c Config, operations []string) *run {
	return &run{Config: c, recorder: newRecorder(operations)}
}

// do runs the workers; worker returns the turn of the i-th.
func (r *run) do(ctx context.Context, worker func(i int) turn) error {
	turns := make([]turn, r.InFlight)
	for i := range turns {
		turns[i] = worker(i)
	}
	r.begin = time.Now()
	r.from = r.begin.Add(r.Warmup)
	r.to = r.from.Add(r.Duration)
	// A worker's last operation may take its time, but not for ever.
	running, cancel := context.WithDeadline(ctx, r.to.Add(grace))
	defer cancel()
	var workers sync.WaitGroup
	for _, turn := range turns {
		workers.Go(func() { r.work(running, turn) })
	}
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		r.report(running)
	}()
	workers.Wait()
	cancel()
	<-reported
	return contexts.Err(ctx)
}

// work takes turns until the run ends.
func (r *run) work(ctx context.Context, turn turn) {
	log := r.log()
	defer func() { log.flush(time.Now()) }()
	var due time.Time // of the operation that runs
	lap := func(operation int, err error) {
		now := time.Now()
		measured := !due.Before(r.from) && due.Before(r.to)
		if err != nil {
			r.fail(err, measured)
		} else {
			log.add(operation, due, now, measured)
		}
		due = now
	}
	if r.Rate > 0 {
		for ctx.Err() == nil {
			due = r.begin.Add(time.Duration(float64(r.scheduled.Add(1)-1) / r.Rate * float64(time.Second)))
			if !due.Before(r.to) || !sleepUntil(ctx, due) {
				return
			}
			turn(ctx, lap)
		}
		return
	}
	for due = time.Now(); due.Before(r.to) && ctx.Err() == nil; {
		turn(ctx, lap)
	}
}

// sleepUntil reports false if ctx ended first.
func sleepUntil(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// report calls Progress until the run ends.
func (r *run) report(ctx context.Context) {
	if r.Progress == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last int64
	lastAt := r.begin
	for {
		var now time.Time
		select {
		case now = <-tick.C:
		case <-ctx.Done():
			return
		}
		done := r.done.Load()
		p := Progress{
			Phase: "warm-up", Elapsed: now.Sub(r.begin), Total: r.Warmup, Done: done,
			Rate: float64(done-last) / now.Sub(lastAt).Seconds(), Errors: r.failed.Load(),
		}
		if now.After(r.from) {
			p.Phase, p.Elapsed, p.Total = "measure", now.Sub(r.from), r.Duration
		}
		r.Progress(p)
		last, lastAt = done, now
	}
}

// loading returns what reports the progress of loading.
func loading(c Config) func(done int) {
	begin := time.Now()
	last := begin
	return func(done int) {
		now := time.Now()
		if c.Progress == nil || now.Sub(last) < time.Second && done < c.Keys {
			return
		}
		last = now
		c.Progress(Progress{
			Phase: "load", Elapsed: now.Sub(begin), Done: int64(done), Target: int64(c.Keys),
			Rate: float64(done) / now.Sub(begin).Seconds(),
		})
	}
}

// measurement sums up a run that has ended.
func (r *run) measurement() *Measurement {
	m := &Measurement{
		Config: r.Config, Elapsed: r.Duration, Operations: map[string]Latency{}, Errors: r.errors, FirstError: r.firstError,
	}
	var total int64
	for i, h := range r.histograms {
		if h.TotalCount() == 0 {
			continue
		}
		total += h.TotalCount()
		m.Operations[r.operations[i]] = latencies(h)
	}
	m.OpsPerSecond = float64(total) / r.Duration.Seconds()
	return m
}
