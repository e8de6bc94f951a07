package shardgroups_test

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures/dmap"
)

// BenchmarkCatchUp measures, in memory, how long a new replica takes to have a
// group streamed, and how much heap the process takes in that time beside the
// data: its largest live heap, less what is live at the end, by the size of one
// copy. Garbage is collected early for the second, as it is not for the first.
func BenchmarkCatchUp(b *testing.B) {
	for _, size := range []int{10 << 20, 100 << 20} {
		for name, gc := range map[string]int{"time": 400, "heap": 5} {
			b.Run(fmt.Sprintf("%s/%dMB", name, size>>20), func(b *testing.B) {
				defer debug.SetGCPercent(debug.SetGCPercent(gc))
				for b.Loop() {
					catchUp(b, size)
				}
			})
		}
	}
}

// putAll is a request to put entries of 1,000 bytes under new keys.
func putAll(s protocol.SessionID, seq uint64, entries int) protocol.Request {
	const opPutAll, raw = 12, 3
	body := protocol.AppendInt(protocol.AppendArray(nil, 1+2*entries), 0)
	for i := range entries {
		body = protocol.AppendBytes(body, fmt.Appendf([]byte{protocol.KeyText}, "%08d-%04d", seq, i))
		body = protocol.AppendBytes(body, append([]byte{raw}, make([]byte, 1000)...))
	}
	return protocol.Request{
		Kind: dmap.Kind().ID, Op: opPutAll, Name: "entries", Caller: protocol.Caller{Session: s, Sequence: seq}, Body: body,
	}
}

func catchUp(b *testing.B, size int) {
	b.StopTimer()
	c := newTunedCluster(b, func(cfg *shardgroups.Config) {
		cfg.Memory, cfg.Dir = true, ""
		cfg.Kinds = append(cfg.Kinds, dmap.Kind())
	})
	defer func() {
		for i := range c.hosts {
			c.close(i)
		}
	}()
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	for seq := uint64(1); int(seq)*500*1000 <= size; seq++ {
		if r := c.do(putAll(s, seq, 500)); r.Code != protocol.CodeOK {
			b.Fatalf("put: code %d: %q", r.Code, r.Body)
		}
	}
	const group, fresh = protocol.SystemGroup + 1, members + 1
	replaced := (c.leader(group) + 1) % members
	c.close(replaced)
	c.mu.Lock()
	c.ids[replaced] = protocol.UUID{3, byte(replaced)}
	c.mu.Unlock()
	c.open(replaced)
	time.Sleep(2 * time.Second) // the log is compacted, connections to the old one end
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := c.host(c.leader(group)).AddNonVoting(ctx, group, fresh, c.ids[replaced]); err != nil {
		b.Fatal(err)
	}
	before := live()
	stop := make(chan struct{})
	peak := make(chan uint64)
	go func() {
		var most uint64
		for {
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(time.Millisecond):
				most = max(most, liveAtLastCollection())
			}
		}
	}()
	b.StartTimer()
	begin := time.Now()
	if err := c.hosts[replaced].StartGroup(shardgroups.GroupSpec{Group: group, Replica: fresh, NonVoting: true}, true); err != nil {
		b.Fatal(err)
	}
	if err := c.hosts[replaced].CaughtUp(ctx, group); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(begin).Seconds(), "s/catch-up")
	b.StopTimer()
	close(stop)
	most, after := <-peak, live()
	b.ReportMetric(float64(after-before)/(1<<20), "MB/copy")
	b.ReportMetric((float64(most)-float64(after))/float64(after-before), "copies-beside")
	if c.hosts[replaced].Group(group).Applied() < uint64(size/500/1000) || c.hosts[c.leader(group)].Group(group).Status().Snapshots == 0 {
		b.Fatal("nothing was streamed")
	}
	b.StartTimer()
}

// live returns how much of the heap is in use.
func live() uint64 {
	runtime.GC()
	runtime.GC()
	return liveAtLastCollection()
}

func liveAtLastCollection() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
