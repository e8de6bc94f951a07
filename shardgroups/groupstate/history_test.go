package groupstate

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// eventSize is what an event takes.
func TestEventSize(t *testing.T) {
	if n := unsafe.Sizeof(event{}); n != eventSize {
		t.Errorf("an event takes %d bytes and counts for %d", n, eventSize)
	}
}

// Events that are dropped give their memory back, large ones too.
func TestHistoryHoldsNoMoreThanItsBudget(t *testing.T) {
	const budget = 100_000
	var h history
	before := heapAlive()
	for i := range 1000 {
		v := protocol.Version(i + 1)
		h.append(&event{version: v, end: v, key: fmt.Sprint(i), value: string(make([]byte, 20_000))})
		for h.bytes > budget {
			h.drop()
		}
	}
	if grown := heapAlive() - before; grown > 4*budget {
		t.Errorf("a history of %d bytes holds %d", budget, grown)
	}
	runtime.KeepAlive(h)
}

func heapAlive() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Whoever may lose most is found among all, the lowest of several.
func TestHistoriesAgainstScan(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	var g histories
	spare := map[protocol.PartitionID]int{}
	for i := range 20_000 {
		id := protocol.PartitionID(rnd.IntN(271))
		spare[id] = rnd.IntN(300)
		g.set(id, spare[id])
		var want heaped
		found := false
		for id, n := range spare {
			if v := (heaped{n, id}); !found || v.before(want) {
				want, found = v, true
			}
		}
		if g.heap[0] != want || len(g.heap) != len(spare) {
			t.Fatalf("seed %d, after %d: %+v at the top of %d, want %+v of %d", seed, i, g.heap[0], len(g.heap), want, len(spare))
		}
	}
}

// Mutations that were applied as one are dropped as one, and a reader that has some
// of their events goes on in their midst, by how many it has.
func TestChanges_AppliedAsOne(t *testing.T) {
	s := New(nil)
	p := newPartition(0, s.counts)
	s.partitions, s.owned, s.history.budget = []*partition{p}, 1, 1<<20
	for _, e := range []event{{version: 1, end: 1}, {version: 2, end: 4}, {version: 3, end: 4}, {version: 4, end: 4}, {version: 6, end: 6}} {
		e.typ, e.name = structures.EventPut, "m"
		p.revision = max(p.revision, protocol.Revision(e.end))
		p.history.append(&e)
	}
	p.revision = 7
	read := func(at Position, most int) (versions []int, next Position) {
		changes, next, ok := s.Changes(0, at, most)
		if !ok {
			t.Fatalf("%v is not served", at)
		}
		for _, c := range changes {
			versions = append(versions, int(c.Version))
		}
		return versions, next
	}
	for _, test := range []struct {
		at   Position
		most int
		want []int
		next Position
	}{
		{Position{}, 1, []int{1}, Position{1, 0}},
		{Position{}, 2, []int{1, 2}, Position{1, 1}},
		{Position{1, 1}, 1, []int{3}, Position{1, 2}},
		{Position{1, 1}, 2, []int{3, 4}, Position{4, 0}},
		{Position{1, 2}, 9, []int{4, 6}, Position{7, 0}},
		{Position{0, 1}, 9, []int{2, 3, 4, 6}, Position{7, 0}},
		{Position{3, 0}, 9, []int{2, 3, 4, 6}, Position{7, 0}}, // of what was applied as one nothing is left out
		{Position{5, 0}, 1, []int{6}, Position{7, 0}},
		{Position{6, 0}, 9, nil, Position{7, 0}},
		{Position{7, 0}, 9, nil, Position{7, 0}},
		{Position{9, 2}, 9, nil, Position{9, 2}}, // ahead
	} {
		if got, next := read(test.at, test.most); cmp.Diff(test.want, got) != "" || next != test.next {
			t.Errorf("%d behind %v: %v, then %v; want %v, then %v", test.most, test.at, got, next, test.want, test.next)
		}
	}
	p.history.drop()
	p.history.drop()
	if got, _ := read(Position{4, 0}, 9); cmp.Diff([]int{6}, got) != "" || p.history.floor != 4 || p.history.spare() != 0 {
		t.Errorf("%v is left, the floor is %d, %d bytes to spare", got, p.history.floor, p.history.spare())
	}
	if _, _, ok := s.Changes(0, Position{3, 0}, 9); ok {
		t.Error("a position in what was dropped is served")
	}
}
