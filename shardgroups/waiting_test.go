package shardgroups

import (
	"runtime"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// TestWaitingCallsKeepNothing: a call that waits keeps neither the frame that it
// came in nor the requests that were allocated with it.
func TestWaitingCallsKeepNothing(t *testing.T) {
	const calls, neighbours, size = 64, 7, 64 << 10
	g := &Group{waiting: map[waitKey][]*Request{}}
	before := liveBytes()
	for i := range calls {
		slab := make([]Request, 1+neighbours)
		for j := range slab {
			slab[j].Raw = make([]byte, size)
			slab[j].Body = slab[j].Raw[size/2:]
		}
		q := &slab[0]
		q.Partition, q.Name = protocol.PartitionID(i), string(q.Raw[:8])
		q.Caller = protocol.Caller{Session: 7, Slot: uint16(i), Sequence: 1}
		q.Done = func(protocol.Reply) {}
		s := applySink{g: g, e: &entry{requests: []*Request{q}}}
		s.Replied(0, &q.Request, structures.Waiting(), 1)
	}
	if kept := liveBytes() - before; kept > calls*size {
		t.Errorf("%d waiting calls keep %d KiB", calls, kept>>10)
	}
	if len(g.waiting) != calls {
		t.Errorf("%d calls wait", len(g.waiting))
	}
	runtime.KeepAlive(g)
}

func liveBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
