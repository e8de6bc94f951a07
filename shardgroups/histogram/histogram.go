// Package histogram counts values by powers of two: latencies, and the sizes of
// entries. To count is two atomic additions.
package histogram

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	buckets = 20

	// LatencyLow is the low of a latency in nanoseconds: the first bucket ends at 33
	// microseconds, the last but one at 8.6 seconds.
	LatencyLow = 15
	// SizeLow is the low of a number of things.
	SizeLow = 1
)

// Recorder counts values: bucket i has those below 1<<(low+i), the last one the
// rest. The observer knows low, and gives the same one always. The zero Recorder
// is empty. It is safe for concurrent use.
type Recorder struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Uint64
}

// Observe counts a value.
func (r *Recorder) Observe(v uint64, low int) {
	r.counts[min(max(bits.Len64(v)-low, 0), buckets-1)].Add(1)
	r.sum.Add(v)
}

// ObserveTime counts a latency, by LatencyLow.
func (r *Recorder) ObserveTime(d time.Duration) { r.Observe(uint64(max(d, 0)), LatencyLow) }

// Read returns what was counted.
func (r *Recorder) Read(low int) Histogram {
	h := Histogram{Sum: r.sum.Load()}
	for i := range r.counts {
		h.Counts = append(h.Counts, r.counts[i].Load())
		if i < buckets-1 {
			h.Bounds = append(h.Bounds, 1<<(low+i))
		}
	}
	return h
}

// Histogram is what a [Recorder] has counted. The zero Histogram is empty.
type Histogram struct {
	Bounds []uint64 // exclusive upper ends; the last bucket has none
	Counts []uint64 // by bucket, one more than Bounds
	Sum    uint64
}

// Count returns how many values there were.
func (h Histogram) Count() uint64 {
	var n uint64
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Plus returns h and o added up. Both count by the same bounds; either may be
// zero.
func (h Histogram) Plus(o Histogram) Histogram {
	switch {
	case h.Counts == nil:
		return o
	case o.Counts == nil:
		return h
	}
	sum := Histogram{Bounds: h.Bounds, Counts: make([]uint64, len(h.Counts)), Sum: h.Sum + o.Sum}
	for i := range sum.Counts {
		sum.Counts[i] = h.Counts[i] + o.Counts[i]
	}
	return sum
}
