package gridtest_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// counting adds to counters until stop, which returns how many adds were
// acknowledged.
func counting(t *testing.T, c *gridtest.Cluster, opts ...client.Option) (acknowledged *atomic.Int64, stop func() int64) {
	t.Helper()
	var done atomic.Int64
	over := make(chan struct{})
	var workers sync.WaitGroup
	for w := range 6 {
		hits := dcounter.New(c.Client(t, opts...), fmt.Sprint("hits", w%3))
		workers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if _, err := hits.Add(t.Context(), 1); err != nil {
					t.Errorf("worker %d: %v", w, err)
					return
				}
				done.Add(1)
			}
		})
	}
	return &done, func() int64 {
		close(over)
		workers.Wait()
		return done.Load()
	}
}

// exactly checks that as many adds were counted as were acknowledged, and that the
// replicas have the same state.
func exactly(t *testing.T, c *gridtest.Cluster, acknowledged int64) {
	t.Helper()
	if n := counted(t, c); n != acknowledged {
		t.Errorf("%d counted, %d acknowledged", n, acknowledged)
	}
	sameHashes(t, c)
}

func counted(t *testing.T, c *gridtest.Cluster) int64 {
	t.Helper()
	total, cl := int64(0), c.Client(t)
	for i := range 3 {
		n, err := dcounter.New(cl, fmt.Sprint("hits", i)).Get(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

// TestPowerLoss takes the power of one member, then of all, under load: what
// was acknowledged is there.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	done, stop := counting(t, c)
	for _, members := range [][]int{{1}, {0, 1, 2}, {0, 2}, {0, 1, 2}} {
		before := done.Load()
		c.Eventually("some adds", func() bool { return done.Load() > before+100 })
		c.PowerLoss(members...)
		for _, i := range members {
			c.Restart(i)
		}
		c.WaitReady()
	}
	exactly(t, c, stop())
}

// TestFailingDisk lets disks fail at any write: the member dies there, and
// comes back with what it had synced.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks(), gridtest.WithSeed(seed), gridtest.WithTuning(func(cfg *shardgroups.Config) {
		cfg.SnapshotBytes, cfg.RetainBytes = 16<<10, 16<<10 // some of the writes are a snapshot's
	}))
	_, stop := counting(t, c)
	for range 3 {
		i := rng.IntN(3)
		c.Disk(i).Fail(1 + rng.IntN(60))
		c.Eventually("the disk fails", func() bool { return c.Disk(i).Failed() })
		c.PowerLoss(i)
		c.Restart(i)
		c.WaitReady()
	}
	exactly(t, c, stop())
}

// TestSlowDisk shows that a member whose disk has become slow hands over what it
// leads, which is as slow as its disk, and that it holds up nobody after that:
// the others are a majority. With a swift disk it leads again.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	for _, g := range c.Groups(0)[:2] { // the system group is one of them
		c.MoveLeader(g, 2)
	}
	done, stop := counting(t, c, client.WithOperationTimeout(gridtest.WaitTimeout))
	c.Eventually("some adds", func() bool { return done.Load() > 100 })
	c.Disk(2).Slow(300 * time.Millisecond)
	c.Eventually("it leads nothing", func() bool {
		n, known := leads(t, c, 2, 0)
		return n == 0 && known == 4
	})
	before := done.Load()
	c.Eventually("adds go on", func() bool { return done.Load() > before+300 })
	c.Disk(2).Slow(0)
	c.Eventually("it leads again", func() bool { n, _ := leads(t, c, 2, 0); return n > 0 })
	if want, n := stop(), counted(t, c); n != want {
		t.Errorf("%d counted, %d acknowledged", n, want)
	}
	sameHashes(t, c)
}

// TestMoveLeadersUnderLoad moves every leader around, the system group's too,
// and takes snapshots: no operation fails.
func TestMoveLeadersUnderLoad(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	_, stop := counting(t, c)
	for i := range 3 {
		for _, g := range c.Groups(0) {
			c.MoveLeader(g, (i+int(g))%3)
		}
		c.Snapshot(i)
	}
	exactly(t, c, stop())
}

// TestClock lets log time pass by hand: an entry lives exactly as long as the
// test says.
func TestClock(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithClock())
	ctx := testContext(t)
	cl := c.Client(t, client.WithSessionTTL(time.Hour))
	m := dmap.New[string, int](cl, "short")
	if err := m.Put(ctx, "k", 1, dmap.TTL(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	has := func() bool {
		t.Helper()
		// A write of another key brings the time of the leader into the state.
		if err := m.Put(ctx, "other", 1); err != nil {
			t.Fatal(err)
		}
		_, ok, err := m.Get(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	c.Advance(9*time.Minute + 59*time.Second)
	if !has() {
		t.Fatal("the entry is gone a second early")
	}
	for _, g := range c.Groups(0) { // another leader goes on where the time stood
		c.MoveLeader(g, (c.LeaderOf(g)+1)%3)
	}
	if !has() { // and takes the clock with its first entry
		t.Fatal("the entry is gone with its leader")
	}
	c.Advance(2 * time.Second)
	c.Eventually("the entry goes", func() bool { return !has() })
}
