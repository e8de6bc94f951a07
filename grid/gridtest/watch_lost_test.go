package gridtest_test

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
)

// lostWatch is a watch of a map with entries of its own numbers, which goes on over a loss.
type lostWatch struct {
	mu      sync.Mutex
	has     map[int]int
	reasons map[structures.GapReason]int // of gaps
	covered map[int]bool                 // keys that gaps were about
	synced  int
	err     error
}

func watchLoss(ctx context.Context, t *testing.T, cl *client.Client, opts ...dmap.WatchOption) *lostWatch {
	t.Helper()
	w := &lostWatch{has: map[int]int{}, reasons: map[structures.GapReason]int{}, covered: map[int]bool{}}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	t.Cleanup(func() { cancel(); done.Wait() })
	done.Go(func() {
		for e, err := range dmap.New[int, int](cl, "m").Watch(ctx, append(opts, dmap.WithCurrent())...) {
			w.take(e, err)
		}
	})
	return w
}

func (w *lostWatch) take(e dmap.Event[int, int], err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.err = err
	case e.Type == dmap.Synced:
		w.synced++
	case e.Type == dmap.Gap:
		w.reasons[e.Reason]++
		for k := range lossKeys {
			if e.Covers(k) {
				delete(w.has, k)
				w.covered[k] = true
			}
		}
	case e.Type == dmap.Put, e.Type == dmap.Current:
		w.has[e.Key] = e.Value
	default:
		delete(w.has, e.Key)
	}
}

// does waits until f, which is called with the watch locked, reports true.
func (w *lostWatch) does(c *gridtest.Cluster, what string, f func() bool) {
	c.Eventually(what, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return f() })
}

const lossKeys = 200

// TestWatch_MajorityLost takes the memory of a majority of one group: watches are told of a
// gap in its partitions and in no others, because the data is lost, and with Relist they go
// on with what is there.
func TestWatch_MajorityLost(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 5, gridtest.WithDurability(grid.Memory))
	ctx := testContext(t)
	cl := c.Client(t)
	a, b, lost := victims(t, c)
	m := dmap.New[int, int](cl, "m")
	all := map[int]int{}
	for k := range lossKeys {
		all[k] = k
	}
	if err := m.PutAll(ctx, maps.All(all)); err != nil {
		t.Fatal(err)
	}
	relists, ends := watchLoss(ctx, t, c.Client(t), dmap.Relist()), watchLoss(ctx, t, c.Client(t))
	for _, w := range []*lostWatch{relists, ends} {
		w.does(c, "the entries", func() bool { return w.synced > 0 && maps.Equal(w.has, all) })
	}
	for _, i := range []int{a, b} {
		c.Kill(i)
	}
	for _, i := range []int{a, b} {
		c.Restart(i)
	}
	inLost := func(k int) bool {
		key, _ := structures.AppendKey(nil, k)
		return groupOfPartition(t, cl.Partition("m", key)) == lost
	}
	for k := range all {
		all[k] += lossKeys
	}
	c.Eventually("the lost group is written again", func() bool { return m.PutAll(ctx, maps.All(all)) == nil })
	relists.does(c, "the entries anew", func() bool { return relists.err != nil || maps.Equal(relists.has, all) })
	relists.mu.Lock()
	defer relists.mu.Unlock()
	if relists.err != nil || len(relists.reasons) != 1 || relists.reasons[structures.GapDataLost] == 0 {
		t.Errorf("gaps %v, %v", relists.reasons, relists.err)
	}
	for k := range lossKeys {
		if relists.covered[k] != inLost(k) {
			t.Errorf("key %d: gap %t, in the lost group %t", k, relists.covered[k], inLost(k))
		}
	}
	ends.does(c, "the end of the other watch", func() bool { return ends.err != nil })
	var gap *structures.GapError
	if !errors.As(ends.err, &gap) || gap.Reason != structures.GapDataLost || errors.Is(ends.err, quorate.ErrCompacted) {
		t.Errorf("it ended with %v", ends.err)
	}
}

// groupOfPartition returns the group that had a partition at first, in a grid of five.
func groupOfPartition(t *testing.T, p protocol.PartitionID) uint64 {
	t.Helper()
	return uint64(firstTable(t).Partitions[p])
}

// TestWatch_AnotherGrid takes the memory of all: the grid is formed anew, and watches are
// told that it is another one, in every partition.
func TestWatch_AnotherGrid(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
	ctx := testContext(t)
	m := dmap.New[int, int](c.Client(t), "m")
	if err := m.Put(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	relists, ends := watchLoss(ctx, t, c.Client(t), dmap.Relist()), watchLoss(ctx, t, c.Client(t))
	for _, w := range []*lostWatch{relists, ends} {
		w.does(c, "the entry", func() bool { return w.synced > 0 && w.has[1] == 1 })
	}
	for i := range 3 {
		c.Kill(i)
	}
	for i := range 3 {
		c.Restart(i)
	}
	c.WaitReady()
	c.Eventually("a write to the next grid", func() bool { return m.Put(ctx, 2, 2) == nil })
	relists.does(c, "its entries", func() bool {
		return relists.err != nil || maps.Equal(relists.has, map[int]int{2: 2}) && relists.synced > 1
	})
	if n := relists.reasons[structures.GapOtherGrid]; relists.err != nil || n != c.Client(t).Partitions() || len(relists.reasons) != 1 {
		t.Errorf("gaps %v, %v", relists.reasons, relists.err)
	}
	ends.does(c, "the end of the other watch", func() bool { return ends.err != nil })
	if !errors.Is(ends.err, quorate.ErrGridLost) {
		t.Errorf("it ended with %v", ends.err)
	}
}

// TestWatch_TenThousand has as many idle watches on a connection as a member takes, says
// what memory they need, and that each still gets its event.
func TestWatch_TenThousand(t *testing.T) {
	t.Parallel()
	const watches = 10_000
	const most = 48 << 10 // bytes of a watch, of the member, the client and its loop together
	c := gridtest.Start(t, 1)
	ctx, cancel := context.WithCancel(testContext(t))
	m := dmap.New[int, int](c.Client(t), "m")
	used := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc + s.StackInuse
	}
	before := used()
	var stood, got atomic.Int64
	var done sync.WaitGroup
	for i := range watches {
		done.Go(func() {
			for e, err := range m.Watch(ctx, dmap.Key(i)) {
				switch {
				case err != nil:
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					return
				case e.Type == dmap.Synced:
					stood.Add(1)
				case e.Type == dmap.Put && e.Key == i:
					got.Add(1)
				}
			}
		})
	}
	c.Eventually("all stand", func() bool { return stood.Load() == watches })
	each := (max(used(), before) - before) / watches
	t.Logf("%d bytes for each idle watch, at the member and in the client with its goroutines", each)
	if each > most {
		t.Errorf("%d bytes for each idle watch, at most %d are expected", each, most)
	}
	began := time.Now()
	for i := range watches / 1000 {
		all := map[int]int{}
		for k := range 1000 {
			all[1000*i+k] = 1
		}
		if err := m.PutAll(ctx, maps.All(all)); err != nil {
			t.Fatal(err)
		}
	}
	c.Eventually("each has its event", func() bool { return got.Load() == watches })
	t.Logf("%d puts came after %v", watches, time.Since(began))
	cancel()
	done.Wait()
	c.Eventually("none is left at the member", func() bool { return c.Watches(0) == 0 })
}
