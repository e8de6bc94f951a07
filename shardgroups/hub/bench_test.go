package hub_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// BenchmarkWatch_Stalled is the time from a mutation until a watch that keeps up is sent it,
// beside others of the same entries that take nothing.
func BenchmarkWatch_Stalled(b *testing.B) {
	for _, stalled := range []int{0, 1000} {
		b.Run(fmt.Sprint(stalled), func(b *testing.B) {
			r := newReplica(b, groupstate.Ownership{Generation: 1, History: 1 << 20})
			now := parts(protocol.WatchPart{Start: protocol.WatchNow})
			crowd := &sink{t: b, r: r}
			for i := range stalled {
				r.register(crowd, uint64(i+1), protocol.Watch{Credit: 1, Parts: now})
			}
			told := make(chan struct{}, 1)
			live := &sink{t: b, r: r, sent: func() { told <- struct{}{} }}
			r.register(live, 1, protocol.Watch{Credit: 1 << 30, Parts: now})
			for r.hub.Stats().Watches <= stalled {
				time.Sleep(time.Millisecond)
			}
			r.put("a")
			<-told
			for r.hub.Stats().Behind < stalled {
				time.Sleep(time.Millisecond)
			}
			for b.Loop() {
				r.put("a")
				<-told
			}
		})
	}
}
