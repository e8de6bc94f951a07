package client

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/quorate/quorate/structures"
)

// benchmarkInFlight measures calls against a member in the same process that
// answers at once: what is left is the client, the loopback and the fake.
func benchmarkInFlight(b *testing.B, call structures.Call, inFlight int) {
	members := fakeGrid(b, 1)
	members[0].keep = false
	c := dialFake(b, members)
	call.Body = make([]byte, 120)
	ctx := context.Background()
	if _, err := c.Invoke(ctx, call); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	work := make(chan int, inFlight)
	var wg sync.WaitGroup
	for range inFlight {
		wg.Go(func() {
			for n := range work {
				call := call
				for range n {
					call.Partition = (call.Partition + 1) % fakePartitions
					if _, err := c.Invoke(ctx, call); err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	n := 0
	for b.Loop() {
		if n++; n == 64 {
			work <- n
			n = 0
		}
	}
	close(work)
	wg.Wait()
}

func BenchmarkInvoke(b *testing.B) {
	for _, inFlight := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprintf("write/%d", inFlight), func(b *testing.B) { benchmarkInFlight(b, testCall, inFlight) })
		b.Run(fmt.Sprintf("read/%d", inFlight), func(b *testing.B) { benchmarkInFlight(b, testRead(), inFlight) })
	}
}

func BenchmarkInvokeAll(b *testing.B) {
	members := fakeGrid(b, 1)
	members[0].keep = false
	c := dialFake(b, members)
	ctx := context.Background()
	if _, err := c.Invoke(ctx, testCall); err != nil {
		b.Fatal(err)
	}
	calls := make([]structures.Call, 64)
	for i := range calls {
		calls[i] = testCall
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := c.InvokeAll(ctx, calls); errs[0] != nil {
			b.Fatal(errs[0])
		}
	}
}
