package gridtest_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures/dmap"
)

// BenchmarkPutBesideSnapshots puts 100 bytes under 200,000 keys, 256 at a time,
// without snapshots and with one after every 8 MiB of a group's log: four
// times as often as by default.
func BenchmarkPutBesideSnapshots(b *testing.B) {
	const keys, inFlight = 200_000, 256
	for name, every := range map[string]uint64{"none": 1 << 40, "every-8MiB": 8 << 20} {
		b.Run(name, func(b *testing.B) {
			c := gridtest.Start(b, 3, gridtest.WithTuning(func(cfg *shardgroups.Config) { cfg.SnapshotBytes, cfg.RetainBytes = every, every }))
			m := dmap.New[int, string](c.Client(b), "entries")
			ctx := context.Background()
			value := string(make([]byte, 100))
			fill := make(map[int]string, keys)
			for k := range keys {
				fill[k] = value
			}
			if err := m.PutAll(ctx, maps.All(fill)); err != nil {
				b.Fatal(err)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var done sync.WaitGroup
			for range inFlight {
				done.Go(func() {
					for left.Add(-1) >= 0 {
						if err := m.Put(ctx, rand.IntN(keys), value); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			done.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			b.StopTimer()
			taken := uint64(0)
			for i := range 3 {
				s, err := c.Status(i)
				if err != nil {
					b.Fatal(err)
				}
				for _, g := range s.Groups {
					taken += g.Snapshots
				}
			}
			b.ReportMetric(float64(taken), "snapshots")
		})
	}
}
