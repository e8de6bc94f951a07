package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/quorate/quorate"
)

// maxLatency is the largest latency that is distinguished; longer ones count as it.
const maxLatency = 10 * time.Minute

// recorder collects what the workers measured. Workers gather in buffers of
// their own and hand over when one is full, so that the hot path has no lock.
type recorder struct {
	operations []string // names, by index

	done   atomic.Int64 // handed over, measured or not; for progress
	failed atomic.Int64

	mu         sync.Mutex // guards the fields below
	histograms []*hdrhistogram.Histogram
	errors     map[string]int64
	firstError error
}

func newRecorder(operations []string) *recorder {
	r := &recorder{operations: operations, errors: map[string]int64{}}
	for range operations {
		r.histograms = append(r.histograms, hdrhistogram.New(1, maxLatency.Microseconds(), 3))
	}
	return r
}

type sample struct {
	operation int
	micros    int64
}

// log is one worker's buffer of a recorder.
type log struct {
	to      *recorder
	samples []sample
	quiet   int64 // done but not measured
	flushed time.Time
}

const (
	logSize  = 64
	logDelay = 500 * time.Millisecond
)

func (r *recorder) log() *log { return &log{to: r, samples: make([]sample, 0, logSize)} }

// add records an operation that was due at from and done at now.
func (l *log) add(operation int, from, now time.Time, measured bool) {
	if measured {
		l.samples = append(l.samples, sample{operation, now.Sub(from).Microseconds()})
	} else {
		l.quiet++
	}
	if len(l.samples) == logSize || now.Sub(l.flushed) > logDelay {
		l.flush(now)
	}
}

func (l *log) flush(now time.Time) {
	r := l.to
	r.done.Add(l.quiet + int64(len(l.samples)))
	l.quiet = 0
	l.flushed = now
	if len(l.samples) == 0 {
		return
	}
	r.mu.Lock()
	for _, s := range l.samples {
		h := r.histograms[s.operation]
		_ = h.RecordValue(min(max(s.micros, 1), h.HighestTrackableValue()))
	}
	r.mu.Unlock()
	l.samples = l.samples[:0]
}

// fail records an operation that failed.
func (r *recorder) fail(err error, measured bool) {
	r.failed.Add(1)
	if !measured {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors[ErrorName(err)]++
	if r.firstError == nil {
		r.firstError = err
	}
}

// ErrorName names an error's cause, the same for all errors of one cause.
func ErrorName(err error) string {
	unknown := ""
	if errors.Is(err, quorate.ErrOutcomeUnknown) {
		unknown = "outcome unknown"
	}
	for _, cause := range []error{
		quorate.ErrUnavailable, quorate.ErrOverloaded, quorate.ErrSessionLost, quorate.ErrClosed, quorate.ErrTooLarge,
		quorate.ErrReadOnly, quorate.ErrMemoryFull, quorate.ErrCodec, quorate.ErrSettings, quorate.ErrDestroyed,
		quorate.ErrInvalid, quorate.ErrUnsupported, context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, cause) {
			if unknown != "" {
				return unknown + ": " + cause.Error()
			}
			return cause.Error()
		}
	}
	if unknown != "" {
		return unknown
	}
	var e *quorate.Error
	if errors.As(err, &e) {
		return e.Cause.Error()
	}
	return err.Error()
}

// latencies sums up a histogram.
func latencies(h *hdrhistogram.Histogram) Latency {
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond }
	return Latency{
		Count: h.TotalCount(),
		Mean:  time.Duration(h.Mean() * float64(time.Microsecond)),
		P50:   at(50), P90: at(90), P99: at(99), P999: at(99.9),
		Max: time.Duration(h.Max()) * time.Microsecond,
	}
}
