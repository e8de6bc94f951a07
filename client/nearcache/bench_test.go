package nearcache

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

const benchKeys = 1000

// benchGrid is a grid with a near cache whose watch has begun, and the run of that.
func benchGrid(b *testing.B) (*grid, *run) {
	g := &grid{version: 10, value: string(make([]byte, 100))}
	g.caches = New(g, DefaultBytes)
	c, err := g.caches.NearCache(structures.NearSpec{Kind: testKind, Name: "m", Partitions: []protocol.PartitionID{testPart}})
	if err != nil {
		b.Fatal(err)
	}
	g.cache = c.(*Cache)
	g.cache.Get([]byte("k"))
	r := g.cache.run.Load()
	r.parts[testPart].began.Store(10)
	return g, r
}

// BenchmarkGet_Hit is a hit with all that it looks at, without decoding.
func BenchmarkGet_Hit(b *testing.B) {
	g, r := benchGrid(b)
	now := g.caches.now()
	keys := make([][]byte, benchKeys)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "user%06d", i)
		if _, err := g.cache.Read(context.Background(), testPart, keys[i], false, func() (structures.NearValue, error) { return g.state(), nil }); err != nil {
			b.Fatal(err)
		}
	}
	g.cache.store.(*store).cache.Wait()
	r.parts[testPart].confirmed.Store(&now)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if i++; i == benchKeys {
			i = 0
			now := g.caches.now()
			r.parts[testPart].confirmed.Store(&now)
		}
		if _, ok := g.cache.Get(keys[i]); !ok {
			b.Fatalf("%+v", g.cache.Stats())
		}
	}
	b.StopTimer()
	r.end()
	g.work.Wait()
	g.caches.Close()
}

// BenchmarkEntry_Memory is what an entry of 100 bytes under a key of 10 takes, on the heap and
// of the bound.
func BenchmarkEntry_Memory(b *testing.B) {
	const entries = 100_000
	for b.Loop() {
		g, r := benchGrid(b)
		before := heap()
		for i := range entries {
			v := structures.NearValue{Exists: true, Version: 10, Seen: 10, Value: make([]byte, 100)}
			if _, err := g.cache.Read(b.Context(), testPart, fmt.Appendf(nil, "user%06d", i), false, func() (structures.NearValue, error) { return v, nil }); err != nil {
				b.Fatal(err)
			}
			if i%1000 == 0 { // else it drops some
				g.cache.store.(*store).cache.Wait()
			}
		}
		g.cache.store.(*store).cache.Wait()
		s := g.cache.Stats()
		b.ReportMetric(float64(heap()-before)/float64(s.Entries), "heap-B/entry")
		b.ReportMetric(float64(s.Bytes)/float64(s.Entries), "bound-B/entry")
		r.end()
		g.work.Wait()
		g.caches.Close()
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkRistretto_Get is what a hit is compared with: ristretto alone, by the same keys.
func BenchmarkRistretto_Get(b *testing.B) {
	c, err := ristretto.NewCache(&ristretto.Config[[]byte, []byte]{NumCounters: 1 << 20, MaxCost: DefaultBytes, BufferItems: 64})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	keys := make([][]byte, benchKeys)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "user%06d", i)
		c.Set(keys[i], make([]byte, 100), 100)
	}
	c.Wait()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if i++; i == benchKeys {
			i = 0
		}
		if _, ok := c.Get(keys[i]); !ok {
			b.Fatal("a miss")
		}
	}
}
