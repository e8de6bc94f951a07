package shardgroups

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

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
	ask(1, 200, protocol.CodeKindBase)  // an answer of the structure; an operation of a later version
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
