package histogram

import (
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h Recorder
	for _, d := range []time.Duration{-1, 0, 1, 32 * time.Microsecond, 33 * time.Microsecond, time.Millisecond, time.Hour} {
		h.ObserveTime(d)
	}
	r := h.Read(LatencyLow)
	if r.Count() != 7 || len(r.Counts) != len(r.Bounds)+1 {
		t.Fatalf("%+v", r)
	}
	// 33 us lies beyond the first bucket, an hour beyond the last bound.
	if r.Counts[0] != 4 || r.Counts[1] != 1 || r.Counts[len(r.Counts)-1] != 1 {
		t.Errorf("counts %v", r.Counts)
	}
	if r.Bounds[0] != 1<<15 || r.Bounds[len(r.Bounds)-1] != 1<<33 {
		t.Errorf("bounds %v", r.Bounds)
	}
	// Powers of two are exclusive ends.
	var sizes Recorder
	sizes.Observe(1, SizeLow)
	sizes.Observe(2, SizeLow)
	sizes.Observe(4096, SizeLow)
	if s := sizes.Read(SizeLow); s.Counts[0] != 1 || s.Counts[1] != 1 || s.Counts[12] != 1 {
		t.Errorf("sizes %v, bounds %v", s.Counts, s.Bounds)
	}
	if sum := r.Plus(Histogram{}).Plus(r); sum.Count() != 14 || sum.Sum != 2*r.Sum {
		t.Errorf("added up: %+v", sum)
	}
}
