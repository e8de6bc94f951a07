package groupstate

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/structures"
)

// eventOf returns an event whose value has n bytes.
func eventOf(key string, n int) event {
	return event{Event: structures.Event{Key: []byte(key), Value: make([]byte, n)}}
}

func keysOf(r *ring) (first uint64, keys []string) {
	r.each(func(n uint64, e event) bool {
		if first == 0 {
			first = n
		}
		keys = append(keys, string(e.Key))
		return true
	})
	return first, keys
}

// The ring keeps the newest events that fit, whatever their sizes, and a copy
// keeps what it was.
func TestRingAgainstSlice(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := newRing()
	var all []string
	var sizes []int
	var copies []ring
	var wants [][]string
	budget := 20_000
	for i := range 3000 {
		size := rnd.IntN(200)
		if rnd.IntN(20) == 0 {
			size = rnd.IntN(30_000) // perhaps more than fits
		}
		e := eventOf(fmt.Sprint(i), size)
		all, sizes = append(all, string(e.Key)), append(sizes, eventBytes(e))
		r.append(e, budget)
		var want []string
		for j, sum := len(all)-1, 0; j >= 0; j-- {
			if sum += sizes[j]; sum > budget {
				break
			}
			want = append([]string{all[j]}, want...)
		}
		first, got := keysOf(&r)
		if diff := cmp.Diff(want, got); diff != "" || len(got) != r.len() || len(got) > 0 && first != uint64(len(all)-len(got)+1) {
			t.Fatalf("seed %d, after %d (first %d):\n%s", seed, i, first, diff)
		}
		if i%100 == 0 {
			copies, wants = append(copies, r.copy()), append(wants, want)
		}
	}
	for i := range copies {
		if _, got := keysOf(&copies[i]); cmp.Diff(wants[i], got) != "" {
			t.Errorf("seed %d: copy %d has changed", seed, i)
		}
	}
}

// Events that are dropped give their memory back, large ones too.
func TestRingHoldsNoMoreThanItsBudget(t *testing.T) {
	const budget = 100_000
	r := newRing()
	before := heapAlive()
	for i := range 1000 {
		r.append(eventOf(fmt.Sprint(i), 20_000), budget)
	}
	if grown := heapAlive() - before; grown > 4*budget {
		t.Errorf("a ring of %d bytes holds %d", budget, grown)
	}
	runtime.KeepAlive(r)
}

func heapAlive() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
