package structures

import (
	"testing"

	"github.com/quorate/quorate/protocol"
)

// TestKind_Op: operations are found by their numbers, with gaps between them and
// none below or above.
func TestKind_Op(t *testing.T) {
	k := Kind{Ops: []OpInfo{{Op: 1, Name: "a"}, {Op: 2, Name: "b"}, {Op: 5, Name: "c"}, {Op: 200, Name: "d"}}}
	want := map[protocol.Op]string{1: "a", 2: "b", 5: "c", 200: "d"}
	for _, o := range k.Generic() {
		want[o.Op] = o.Name
	}
	for op := range 256 {
		if got := k.OpName(protocol.Op(op)); got != want[protocol.Op(op)] {
			t.Errorf("operation %d is %q, want %q", op, got, want[protocol.Op(op)])
		}
	}
}

// TestOpInfo_Fits: of all flags only these are right.
func TestOpInfo_Fits(t *testing.T) {
	const (
		read, stale  = protocol.FlagRead, protocol.FlagStale
		wait, repeat = protocol.FlagWait, protocol.FlagRepeat
	)
	for name, test := range map[string]struct {
		op   OpInfo
		fits map[protocol.Flags]bool
	}{
		"read":     {OpInfo{Read: true}, map[protocol.Flags]bool{read: true, read | stale: true, read | repeat: true, read | stale | repeat: true}},
		"mutation": {OpInfo{}, map[protocol.Flags]bool{0: true, repeat: true}},
		"waits":    {OpInfo{Waits: true}, map[protocol.Flags]bool{wait: true, wait | repeat: true}},
	} {
		for flags := range 256 {
			if f := protocol.Flags(flags); test.op.Fits(f) != test.fits[f] {
				t.Errorf("%s: the flags %#x fit: %v", name, f, test.op.Fits(f))
			}
		}
	}
}

// BenchmarkKind_Op is part of every request.
func BenchmarkKind_Op(b *testing.B) {
	k := Kind{Ops: make([]OpInfo, 21)}
	for i := range k.Ops {
		k.Ops[i].Op = protocol.Op(i + 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		if k.Op(7) == nil {
			b.Fatal("not found")
		}
	}
}
