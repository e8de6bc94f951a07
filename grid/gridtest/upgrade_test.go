package gridtest_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dqueue"
)

// TestUpgrade takes a grid from one version to the next, member by member,
// under load. The later version, made up for the test, is the one that has
// queues: a kind of level 2.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	var later atomic.Bool // the version of members that start now
	queue := dqueue.Kind().ID
	version := func(cfg *shardgroups.Config) {
		i := slices.IndexFunc(cfg.Kinds, func(k structures.Kind) bool { return k.ID == queue })
		cfg.Kinds = slices.Clone(cfg.Kinds)
		switch {
		case later.Load():
			cfg.TestHooks.MaxLevel = 2
			if i >= 0 {
				cfg.Kinds[i].Level = 2
			}
		case i >= 0:
			cfg.Kinds = slices.Delete(cfg.Kinds, i, i+1)
		}
	}
	c := gridtest.Start(t, 3, gridtest.WithTuning(version))
	ctx := testContext(t)
	cl := c.Client(t)
	hits := dcounter.New(cl, "hits")
	jobs := dqueue.New[int](cl, "jobs")
	refused := func(when string) {
		t.Helper()
		if err := jobs.Put(ctx, 1); err == nil || !strings.Contains(err.Error(), "know") {
			t.Errorf("%s: a queue is used: %v", when, err)
		}
	}

	load, stop := context.WithCancel(ctx)
	defer stop()
	var done int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for load.Err() == nil {
			if _, err := hits.Add(ctx, 1); err != nil {
				t.Errorf("after %d: %v", done, err)
				return
			}
			done++
		}
	})
	refused("before")
	later.Store(true)
	for i := range c.Len() {
		refused("in between")
		c.Close(i)
		c.Restart(i)
		c.WaitReady()
	}
	c.Eventually("queues", func() bool { return jobs.Put(ctx, 1) == nil })
	stop()
	wg.Wait()
	if n, err := hits.Get(ctx); err != nil || n != done {
		t.Errorf("counter %d, %v, want %d", n, err, done)
	}
	if v, ok, err := jobs.Poll(ctx); err != nil || !ok || v != 1 {
		t.Errorf("Poll = %d, %t, %v", v, ok, err)
	}
	sameHashes(t, c)

	// There is no way back: the directory says so before anything is read.
	c.Close(0)
	later.Store(false)
	if err := c.TryRestart(0); err == nil || !strings.Contains(err.Error(), "start the version that wrote it") {
		t.Errorf("the earlier version starts: %v", err)
	}
}
