package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/txn"
)

// recently is what was acknowledged of a key: values that grow, with when.
type recently struct {
	mu  sync.Mutex
	all []acknowledged
}

type acknowledged struct {
	value int64
	at    time.Time
}

func (r *recently) add(value int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, acknowledged{value, time.Now()})
}

// before returns the last value that was acknowledged before a time.
func (r *recently) before(at time.Time) (last int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.all) - 1; i >= 0; i-- {
		if r.all[i].at.Before(at) {
			return r.all[i].value
		}
	}
	return 0
}

// hitting waits until reads of a key come from the near cache.
func hitting(t *testing.T, c *gridtest.Cluster, m *dmap.Map[string, int64], k string) {
	t.Helper()
	c.Eventually("a hit", func() bool {
		before := m.NearStats().Hits
		if _, _, err := m.Get(testContext(t), k); err != nil {
			t.Error(err)
		}
		return m.NearStats().Hits > before
	})
}

// TestNear_DeposedLeader: the member that a near cache watches is cut off from its group,
// and goes on serving clients. What others write meanwhile is seen within MaxStale.
func TestNear_DeposedLeader(t *testing.T) {
	t.Parallel()
	const stale = 500 * time.Millisecond
	c := gridtest.Start(t, 3)
	writer := c.Client(t)
	w := dmap.New[string, int64](writer, "{t}m")
	m := dmap.New[string, int64](c.Client(t), "{t}m", dmap.NearCache(dmap.MaxStale(stale)))
	ctx := testContext(t)
	for i := range int64(3) {
		if err := w.Put(ctx, "k", 10*i); err != nil {
			t.Fatal(err)
		}
		hitting(t, c, m, "k")
		hits := m.NearStats().Hits
		c.Isolate(c.Leader(writer, "{t}m", nil)) // from the others; clients reach it
		if err := w.Put(ctx, "k", 10*i+1); err != nil {
			t.Fatal(err)
		}
		acknowledged := time.Now()
		for {
			began := time.Now()
			v, ok, err := m.Get(ctx, "k")
			if err != nil || !ok {
				t.Fatal(v, ok, err)
			}
			if v == 10*i+1 {
				break
			}
			if late := began.Sub(acknowledged); late > stale {
				t.Fatalf("round %d: a Get that began %v after a put was acknowledged does not see it: %+v", i, late, m.NearStats())
			}
		}
		t.Logf("round %d: the put was seen %v after it was acknowledged, with %d hits in between", i, time.Since(acknowledged), m.NearStats().Hits-hits)
		c.Heal()
		c.WaitReady()
	}
}

// TestNear_Failover: while leaders are killed and transferred values are never older than
// MaxStale, nor go back, and a client sees its own writes. Hits go on over a transfer.
func TestNear_Failover(t *testing.T) {
	t.Parallel()
	const stale, keys = time.Second, 8
	c := gridtest.Start(t, 3)
	cl := c.Client(t)
	name := "near"
	m := dmap.New[string, int64](cl, name, dmap.NearCache(dmap.MaxStale(stale)))
	w := dmap.New[string, int64](c.Client(t), name)
	ctx := testContext(t)
	var done [keys]recently
	var reads, last atomic.Int64
	var over atomic.Bool
	var all sync.WaitGroup
	defer all.Wait()
	defer over.Store(true)
	for i := range keys {
		k := fmt.Sprint("k", i)
		from := w
		if i%2 == 1 { // the reader's own
			from = m
		}
		all.Go(func() {
			for v := int64(1); !over.Load(); v++ {
				if err := from.Put(ctx, k, v); err != nil {
					continue // unknown: a later one has a larger value
				}
				done[i].add(v)
				if got, _, err := m.Get(ctx, k); i%2 == 1 && err == nil && got < v {
					t.Errorf("%s is %d behind the own put of %d", k, got, v)
				}
				last.Store(v)
				time.Sleep(20 * time.Millisecond)
			}
		})
		all.Go(func() {
			seen := int64(0)
			for !over.Load() {
				began := time.Now()
				got, _, err := m.Get(ctx, k)
				if err != nil {
					continue
				}
				reads.Add(1)
				if want := done[i].before(began.Add(-stale)); got < want {
					t.Errorf("%s is %d, and %d was acknowledged more than %v before", k, got, want, stale)
				}
				if got < seen {
					t.Errorf("%s is %d after it was %d", k, got, seen)
				}
				seen = got
				time.Sleep(time.Millisecond)
			}
		})
	}
	for range 3 {
		hitting(t, c, m, "k0")
		leader := c.Leader(cl, name, nil)
		c.Kill(leader)
		before := last.Load()
		c.Eventually("writes", func() bool { return last.Load() > before+5 })
		hitting(t, c, m, "k0")
		c.Restart(leader)
		c.WaitReady()
	}
	s := m.NearStats()
	t.Logf("%d reads, %+v", reads.Load(), s)
	if s.Hits < uint64(reads.Load())/4 {
		t.Errorf("of %d reads %d were hits", reads.Load(), s.Hits)
	}
}

// TestNear_Options: what a map with a near cache does, as its users see it.
func TestNear_Options(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1)
	cl := c.Client(t)
	ctx := testContext(t)
	type account struct{ Tags []string }
	other := dmap.New[string, *account](c.Client(t), "m")
	m := dmap.New[string, *account](cl, "m", dmap.NearCache(dmap.SharedValues(), dmap.Within(dmap.Prefix("a"))))
	same := dmap.New[string, *account](cl, "m", dmap.NearCache(dmap.SharedValues(), dmap.Within(dmap.Prefix("a"))))
	for _, k := range []string{"a1", "a2", "b1"} {
		if err := other.Put(ctx, k, &account{Tags: []string{k}}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when string, stats func(s dmap.NearStats) uint64, want uint64) {
		t.Helper()
		if got := stats(m.NearStats()); got != want {
			t.Errorf("%s: %d, want %d: %+v", when, got, want, m.NearStats())
		}
	}
	hits := func(s dmap.NearStats) uint64 { return s.Hits }
	get := func(m *dmap.Map[string, *account], k string, opts ...dmap.ReadOption) *account {
		t.Helper()
		v, _, err := m.Get(ctx, k, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	c.Eventually("a hit", func() bool { get(m, "a1"); return m.NearStats().Hits > 0 })

	// Many keys: some are there, some are not, some were never read.
	if err := m.Put(ctx, "a1", &account{Tags: []string{"a1"}}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("hits of many keys", func() bool {
		before := m.NearStats()
		all, err := m.GetAll(ctx, "a1", "a2", "a3", "b1", "a1")
		if err != nil || len(all) != 3 || all["a2"].Tags[0] != "a2" || all["b1"].Tags[0] != "b1" {
			t.Errorf("%v, %v", all, err)
		}
		s := m.NearStats()
		return s.Hits == before.Hits+3 && s.AbsentHits == before.AbsentHits+1 && s.Misses == before.Misses && s.Entries == 3
	})
	before := m.NearStats().Hits
	if a, b := get(m, "a1"), get(same, "a1"); a != b {
		t.Error("the value is not shared")
	}
	want("two reads of what is kept", hits, before+2)
	get(m, "b1")
	get(m, "a1", dmap.Fresh())
	get(m, "a1", dmap.Stale())
	want("reads that it does not answer", hits, before+2)
	if e, _, err := m.Entry(ctx, "a2"); err != nil || e.Version == 0 || e.Left != 0 {
		t.Errorf("%+v, %v", e, err)
	}
	var seen dmap.Version
	get(m, "a2", dmap.Seen(&seen))
	if seen == 0 {
		t.Error("Seen is not set by a hit")
	}

	// All that this client does to the map is seen at once.
	if _, err := m.Update(ctx, "a1", func(old *account, _ bool) (*account, error) { return &account{Tags: append(old.Tags, "x")}, nil }); err != nil {
		t.Fatal(err)
	}
	if v := get(m, "a1"); len(v.Tags) != 2 {
		t.Errorf("after an Update: %v", v)
	}
	if _, err := m.DeleteAll(ctx, "a1", "a2"); err != nil {
		t.Fatal(err)
	}
	if all, err := m.GetAll(ctx, "a1", "a2"); len(all) != 0 || err != nil {
		t.Errorf("after DeleteAll: %v, %v", all, err)
	}
	if err := m.Put(ctx, "a1", &account{}); err != nil {
		t.Fatal(err)
	}
	get(m, "a1")
	if _, err := txn.New(cl).Then(m.Txn().Delete("a1")).Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if v := get(m, "a1"); v != nil {
		t.Errorf("after a transaction: %v", v)
	}
	for what, f := range map[string]func() error{"clear": func() error { return m.Clear(ctx) }, "destroy": func() error { return m.Destroy(ctx) }} {
		if err := m.Put(ctx, "a1", &account{}); err != nil {
			t.Fatal(err)
		}
		get(m, "a1")
		if err := f(); err != nil {
			t.Fatal(err)
		}
		if v := get(m, "a1"); v != nil {
			t.Errorf("after %s: %v", what, v)
		}
	}

	for want, opts := range map[error][]dmap.NearOption{
		quorate.ErrSettings: {dmap.MaxStale(time.Second)},
		quorate.ErrInvalid:  {dmap.MaxStale(time.Hour)},
	} {
		if _, _, err := dmap.New[string, *account](cl, "m", dmap.NearCache(opts...)).Get(ctx, "a1"); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	get(m, "a1")
	if _, _, err := m.Get(ended, "a1"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	cl.Close()
	if _, _, err := m.Get(ctx, "a1"); !errors.Is(err, quorate.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
