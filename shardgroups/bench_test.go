package shardgroups_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
)

// BenchmarkGroup measures the path from Submit to Done at the leaders of two
// groups of three replicas in one process, on disk: half of the operations are
// adds, half linearizable reads.
func BenchmarkGroup(b *testing.B) {
	for _, inFlight := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprint("inflight=", inFlight), func(b *testing.B) {
			c := newCluster(b)
			for i := range c.hosts {
				c.start(i, true)
			}
			c.found()
			s := c.session(1, time.Minute)
			for p := range protocol.PartitionID(partitions) {
				c.do(add(s, p, 1))
			}
			leaders := map[protocol.PartitionID]int{}
			for p := range protocol.PartitionID(partitions) {
				leaders[p] = c.leader(protocol.SystemGroup + 1 + protocol.GroupID(p%groups))
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan struct{}, inFlight)
			b.ReportAllocs()
			b.ResetTimer()
			for w := range inFlight {
				go func() {
					p := protocol.PartitionID(w % partitions)
					g := c.hosts[leaders[p]].Group(protocol.SystemGroup + 1 + protocol.GroupID(p%groups))
					slot := uint16(w/partitions + 1)
					for seq := uint64(1); left.Add(-1) >= 0; seq++ {
						q := add(s, p, seq)
						q.Caller.Slot, q.Highest = slot, 1023
						if seq%2 == 0 {
							q = protocol.Request{Partition: p, Flags: protocol.FlagRead, Kind: dcounter.Kind().ID, Op: 1, Name: hits(p), Body: protocol.AppendArray(nil, 0)}
						}
						if r := submit(g, q); r.Code != protocol.CodeOK {
							b.Errorf("code %d: %q", r.Code, r.Body)
							break
						}
					}
					done <- struct{}{}
				}()
			}
			for range inFlight {
				<-done
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}
