package gridtest_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/shardgroups"
)

// TestSchedule lets a seed choose what happens to the grid, and when, under
// load. QUORATE_SEED repeats the choices of a run; the scheduler's stay its own.
func TestSchedule(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("QUORATE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0x5c))
	c := gridtest.Start(t, 3, gridtest.WithSeed(seed), gridtest.WithMemoryDisks(), gridtest.WithTuning(func(cfg *shardgroups.Config) {
		cfg.SnapshotBytes, cfg.RetainBytes = 64<<10, 16<<10
	}))
	_, stop := counting(t, c)
	groups := c.Groups(0)
	for range 8 {
		i, j := rng.IntN(3), rng.IntN(2)
		j = (i + 1 + j) % 3
		back := false
		switch what := rng.IntN(10); what {
		case 0:
			c.Cut(i, j)
		case 1:
			c.CutOneWay(i, j)
		case 2:
			c.Isolate(i)
		case 3:
			c.Partition([]int{i, gridtest.Clients}, []int{j})
		case 4:
			c.SetLinks(gridtest.Link{Delay: time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.05, Duplicate: 0.1, Reorder: 0.1, Reset: 0.001})
		case 5:
			c.Kill(i)
			back = true
		case 6:
			c.PowerLoss(i)
			back = true
		case 7:
			c.Disk(i).Slow(time.Duration(rng.IntN(100)) * time.Millisecond)
		case 8:
			c.MoveLeader(groups[rng.IntN(len(groups))], i)
		case 9:
			c.CutClients()
			c.Snapshot(i)
		}
		time.Sleep(time.Duration(50+rng.IntN(500)) * time.Millisecond)
		c.Heal()
		c.Disk(i).Slow(0)
		if back {
			c.Restart(i)
		}
		c.WaitReady()
	}
	exactly(t, c, stop())
}
