package bench

import (
	"errors"
	"fmt"
	"time"
)

// Distribution says how keys are chosen.
type Distribution string

// The distributions.
const (
	// Uniform chooses every key with the same probability.
	Uniform Distribution = "uniform"
	// Zipfian is YCSB's scrambled Zipfian with constant 0.99: few keys get most
	// operations, and they are spread over the key space.
	Zipfian Distribution = "zipfian"
)

// Config says what to measure. Zero fields mean the documented defaults.
type Config struct {
	Workload     string        // one of Workloads; "a" if empty
	InFlight     int           // operations in flight at most; 64
	Duration     time.Duration // of the measurement; 10 s
	Warmup       time.Duration // before it, not measured; 3 s; negative: none
	Keys         int           // keys of a map, or counters, queues, semaphores, locks; 10,000, or 16
	ValueSize    int           // bytes of a value; 100
	Rate         float64       // operations a second of an open loop; 0: closed loop
	Distribution Distribution  // Zipfian if empty
	Seed         uint64        // of the random choices; 0: from the clock
	Name         string        // of the map, and the prefix of the other structures; "bench"
	NoLoad       bool          // the keys are there already

	// Progress is called about once a second while keys are loaded and while it
	// measures, from one goroutine at a time. nil: not at all.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	Phase   string // "load", "warm-up", "measure"
	Elapsed time.Duration
	Total   time.Duration // of the phase; 0 while loading
	Done    int64         // operations, or keys loaded, in this phase
	Target  int64         // keys to load; 0 later
	Rate    float64       // operations a second since the last report
	Errors  int64
}

// withDefaults returns c with its zero fields replaced.
func (c Config) withDefaults() Config {
	if c.Workload == "" {
		c.Workload = "a"
	}
	if c.InFlight == 0 {
		c.InFlight = 64
	}
	if c.Duration == 0 {
		c.Duration = 10 * time.Second
	}
	switch {
	case c.Warmup == 0:
		c.Warmup = 3 * time.Second
	case c.Warmup < 0:
		c.Warmup = 0
	}
	if c.Keys == 0 {
		c.Keys = 10_000
		if w, ok := workloads[c.Workload]; ok && !w.mapped {
			c.Keys = 16
		}
	}
	if c.ValueSize == 0 {
		c.ValueSize = 100
	}
	if c.Distribution == "" {
		c.Distribution = Zipfian
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	if c.Name == "" {
		c.Name = "bench"
	}
	return c
}

// Validate returns all that is wrong with c.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, ok := workloads[c.Workload]; !ok {
		bad("workload %q: want one of %v", c.Workload, Workloads())
	}
	if c.Distribution != Uniform && c.Distribution != Zipfian {
		bad("distribution %q: want %s or %s", c.Distribution, Uniform, Zipfian)
	}
	if c.InFlight < 1 || c.InFlight > maxInFlight {
		bad("in flight %d: want 1 to %d", c.InFlight, maxInFlight)
	}
	if c.Keys < 1 {
		bad("keys %d: want at least 1", c.Keys)
	}
	if c.ValueSize < 1 {
		bad("value size %d: want at least 1", c.ValueSize)
	}
	if c.Duration < 0 {
		bad("duration %v: want more than 0", c.Duration)
	}
	if c.Rate < 0 {
		bad("rate %v: want at least 0", c.Rate)
	}
	return errors.Join(errs...)
}

const maxInFlight = 100_000
