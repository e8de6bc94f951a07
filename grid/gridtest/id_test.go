package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/did"
	"github.com/quorate/quorate/verify"
)

const (
	idClients = 6
	idBlock   = 5
)

// takers are clients that take ids of one name, each with a handle of its own.
type takers struct {
	t    *testing.T
	c    *gridtest.Cluster
	ids  verify.IDs
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	raises []raise
}

// raise is a number that all ids that are reserved later are not below.
type raise struct {
	least int64
	after []int // ids that each taker had by then
}

// takeIDs has clients take ids until end. An error fails the test, unless it is one of
// those that may come.
func takeIDs(ctx context.Context, t *testing.T, c *gridtest.Cluster, name string, may ...error) *takers {
	t.Helper()
	ctx, stop := context.WithCancel(ctx)
	a := &takers{t: t, c: c, stop: stop}
	t.Cleanup(func() { stop(); a.all.Wait() })
	for i := range idClients {
		taker := a.ids.Taker(did.New(c.Client(t), name, did.Block(idBlock)))
		a.all.Go(func() {
			for ctx.Err() == nil {
				_, err := taker.Next(ctx)
				if err == nil || ctx.Err() != nil {
					continue
				}
				if !slices.ContainsFunc(may, func(e error) bool { return errors.Is(err, e) }) {
					t.Errorf("client %d: %v", i, err)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return a
}

// counts returns how many ids each client has.
func (a *takers) counts() (n []int) {
	for _, given := range a.ids.Given() {
		n = append(n, len(given))
	}
	return n
}

// more waits until each client has n more ids.
func (a *takers) more(n int) {
	a.t.Helper()
	from := a.counts()
	a.c.Eventually("the clients to take ids", func() bool {
		for i, now := range a.counts() {
			if now < from[i]+n {
				return false
			}
		}
		return true
	})
}

// largest returns the largest id that a client has.
func (a *takers) largest() (id int64) {
	for _, given := range a.ids.Given() {
		id = max(id, slices.Max(given))
	}
	return id
}

// raised notes that no id that is reserved from now on is below least.
func (a *takers) raised(least int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.raises = append(a.raises, raise{least, a.counts()})
}

// end stops the clients, and checks what they have: no id twice, growing for each of them,
// and none below what was raised to but of the blocks that were reserved before.
func (a *takers) end() {
	a.t.Helper()
	a.stop()
	a.all.Wait()
	lists := a.ids.Given()
	if err := verify.CheckIDs(lists); err != nil {
		a.t.Error(err)
	}
	// Two blocks: one that is in use and the next one. One id may not be noted yet.
	const reserved = 2*idBlock + 1
	for _, r := range a.raises {
		later := 0
		for i, n := range r.after {
			since := lists[i][min(n+reserved, len(lists[i])):]
			later += len(since)
			if len(since) > 0 && slices.Min(since) < r.least {
				a.t.Errorf("client %d has got %d, which was reserved when no id was to be below %d", i, slices.Min(since), r.least)
			}
		}
		if later == 0 {
			a.t.Errorf("no id was reserved since none was to be below %d", r.least)
		}
	}
}

// TestIDs_KilledLeaders: while the leaders of their group are killed clients take ids, all of
// them different and growing for each client, and ids are raised, all of which outlives the
// next leader as well.
func TestIDs_KilledLeaders(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	const name = "orders"
	all := takeIDs(ctx, t, c, name)
	cl := c.Client(t)
	own := did.New(cl, name, did.Block(idBlock))
	for range 3 {
		all.more(10 * idBlock)
		killed := c.Leader(cl, name, nil)
		c.Kill(killed)
		least := all.largest() + 1_000_000
		next, err := own.Raise(ctx, least)
		if err != nil || next < least {
			t.Fatalf("raised to %d: %d, %v", least, next, err)
		}
		all.raised(least)
		if id, err := own.Next(ctx); err != nil || id < next {
			t.Errorf("after a raise whose answer was %d: %d, %v", next, id, err)
		}
		all.more(10 * idBlock)
		c.Restart(killed)
		c.WaitReady()
	}
	all.end()
}

// spendIDs reserves as many ids as may be reserved now, and returns a number that is above
// all that were reserved so far.
func spendIDs(ctx context.Context, t *testing.T, c *gridtest.Cluster, name string) int64 {
	t.Helper()
	cl := c.Client(t)
	above := int64(0)
	for {
		id, err := did.New(cl, name, did.Block(did.MaxBlock)).Next(ctx)
		if errors.Is(err, did.ErrTooFast) {
			return above
		}
		if err != nil {
			t.Fatal(err)
		}
		above = id + did.MaxBlock
	}
}

// TestIDs_MemoryLost takes the memory of all members of a grid, of most, or of those that
// have a majority of the ids' group, when as many ids as possible are reserved: those that
// follow are above all of them.
func TestIDs_MemoryLost(t *testing.T) {
	for what, members := range map[string]int{"all": 3, "most": 3, "a group": 5} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := gridtest.Start(t, members, gridtest.WithDurability(grid.Memory))
			ctx := testContext(t)
			name, killed, survivor, group := "orders", []int{0, 1, 2}, 0, uint64(0)
			switch what {
			case "most":
				killed, survivor = []int{0, 1}, 2
			case "a group":
				var a, b int
				a, b, group = victims(t, c)
				for i := 0; groupOf(t, name) != group; i++ {
					name = fmt.Sprint("orders-", i)
				}
				killed = []int{a, b}
				survivor = holder(t, c, group, a, b)
			}
			all := takeIDs(ctx, t, c, name, did.ErrTooFast, quorate.ErrGridLost, quorate.ErrOutcomeUnknown)
			all.more(10 * idBlock)
			least := all.largest() + 1_000_000 // as many are possible by now
			if _, err := did.New(c.Client(t), name).Raise(ctx, least); err != nil {
				t.Fatal(err)
			}
			all.raised(least)
			all.more(10 * idBlock)

			before := clusterOf(t, c, 0)
			above := spendIDs(ctx, t, c, name)
			for _, i := range killed {
				c.Kill(i)
			}
			for _, i := range killed {
				c.Restart(i)
			}
			c.Eventually("what was lost to begin anew", func() bool {
				s, err := c.Status(survivor)
				if err != nil || !s.Ready {
					return false
				}
				if group == 0 {
					return s.Cluster != before
				}
				return !slices.ContainsFunc(s.Groups, func(g protocol.StatusGroup) bool { return g.ID == group })
			})
			all.raised(above)
			all.more(10 * idBlock)
			all.end()
			if id, err := did.New(c.Client(t), name).Next(ctx); err != nil || id < above {
				t.Errorf("after the loss %d is given out, %v; ids up to %d were reserved before", id, err, above-1)
			}
		})
	}
}
