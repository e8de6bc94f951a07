package shardgroups

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{-1, 0, 1, 32 * time.Microsecond, 33 * time.Microsecond, time.Millisecond, time.Hour} {
		h.observeTime(d)
	}
	r := h.read(latencyLow)
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
	var sizes histogram
	sizes.observe(1, sizeLow)
	sizes.observe(2, sizeLow)
	sizes.observe(4096, sizeLow)
	if s := sizes.read(sizeLow); s.Counts[0] != 1 || s.Counts[1] != 1 || s.Counts[12] != 1 {
		t.Errorf("sizes %v, bounds %v", s.Counts, s.Bounds)
	}
	if sum := r.Plus(Histogram{}).Plus(r); sum.Count() != 14 || sum.Sum != 2*r.Sum {
		t.Errorf("added up: %+v", sum)
	}
}

func TestMeasure(t *testing.T) {
	g := &Group{}
	g.meter.kinds[1] = new(kindMeter)
	now := time.Now()
	ask := func(kind protocol.KindID, op protocol.Op, code protocol.Code) time.Duration {
		q := &Request{Request: protocol.Request{Kind: kind, Op: op}, Arrived: now.Add(-time.Millisecond)}
		return g.measure(q, ClassWrite, code, now)
	}
	if took := ask(1, 2, protocol.CodeOK); took != time.Millisecond {
		t.Errorf("took %v", took)
	}
	ask(1, 2, protocol.CodeInvalid)     // an answer, and a refusal
	ask(1, 200, protocol.CodeRoom)      // an answer of the structure; an operation of a later version
	ask(1, 2, protocol.CodeNotOwner)    // no answer
	ask(1, 2, protocol.CodeUnknown)     // neither
	ask(9, 2, protocol.CodeUnsupported) // of no kind
	m := g.Meters()
	if len(m.Operations) != 2 || m.Operations[0] != (OperationCount{1, 2, 2}) || m.Operations[1] != (OperationCount{1, 200, 1}) {
		t.Errorf("operations %v", m.Operations)
	}
	if len(m.Latency) != 1 || m.Latency[0].Class != ClassWrite || m.Latency[0].Time.Count() != 3 {
		t.Errorf("latency %v", m.Latency)
	}
	for code, n := range map[protocol.Code]uint64{
		protocol.CodeInvalid: 1, protocol.CodeNotOwner: 1, protocol.CodeUnknown: 1, protocol.CodeUnsupported: 1, protocol.CodeOK: 0,
	} {
		if m.Refused[code] != n {
			t.Errorf("refused %s: %d, want %d", code.Name(), m.Refused[code], n)
		}
	}
}

// BenchmarkMeasure is what counting costs an operation.
func BenchmarkMeasure(b *testing.B) {
	g := &Group{}
	g.meter.kinds[1] = new(kindMeter)
	now := time.Now()
	q := &Request{Request: protocol.Request{Kind: 1, Op: 2}, Arrived: now.Add(-time.Millisecond)}
	b.ReportAllocs()
	for b.Loop() {
		g.measure(q, ClassWrite, protocol.CodeOK, now)
	}
}
