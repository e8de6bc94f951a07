package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// watcher watches a map and keeps what came.
type watcher struct {
	t    *testing.T
	cl   *client.Client
	name string

	mu       sync.Mutex
	has      map[string]int64
	seen     map[int64]bool // values of puts
	last     map[protocol.PartitionID]dmap.Version
	events   map[string]bool // by version and key
	gaps     int
	synced   int
	progress int
	err      error
	pause    atomic.Int64 // nanoseconds after each event
}

// watching starts a watch of a map, in a client of its own.
func watching(t *testing.T, c *gridtest.Cluster, name string, opts []dmap.WatchOption, with ...client.Option) (w *watcher, stop func()) {
	t.Helper()
	w = &watcher{
		t: t, cl: c.Client(t, with...), name: name, has: map[string]int64{}, seen: map[int64]bool{},
		last: map[protocol.PartitionID]dmap.Version{}, events: map[string]bool{},
	}
	ctx, cancel := context.WithCancel(testContext(t))
	var done sync.WaitGroup
	done.Go(func() {
		for e, err := range dmap.New[string, int64](w.cl, name).Watch(ctx, opts...) {
			w.take(e, err)
			if d := w.pause.Load(); d > 0 {
				time.Sleep(time.Duration(d))
			}
		}
	})
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	c.Eventually("the watch stands", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.synced > 0 || w.err != nil })
	return w, stop
}

// take checks the order of an event and that it comes once, and folds it.
func (w *watcher) take(e dmap.Event[string, int64], err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = err
		return
	}
	switch e.Type {
	case dmap.Synced:
		w.synced++
		return
	case dmap.Progress:
		w.progress++
		return
	case dmap.Gap, dmap.Destroyed:
		for k := range w.has {
			if e.Covers(k) {
				delete(w.has, k)
			}
		}
		if e.Type == dmap.Gap {
			w.gaps++
		}
		return
	case dmap.Current:
		w.has[e.Key], w.seen[e.Value] = e.Value, true
		return
	case dmap.Put:
		w.has[e.Key], w.seen[e.Value] = e.Value, true
	default:
		delete(w.has, e.Key)
	}
	key, _ := structures.AppendKey(nil, e.Key)
	p := w.cl.Partition(w.name, key)
	if e.Version < w.last[p] {
		w.t.Errorf("%v %s of version %d comes behind version %d", e.Type, e.Key, e.Version, w.last[p])
	}
	w.last[p] = e.Version
	id := fmt.Sprint(e.Version, " ", e.Key, " ", e.Type)
	if w.events[id] {
		w.t.Errorf("%s comes twice", id)
	}
	w.events[id] = true
}

// await waits until what the watch has seen adds up to what the map has, below a prefix.
func (w *watcher) await(c *gridtest.Cluster, prefix string) {
	w.t.Helper()
	want := map[string]int64{}
	for e, err := range dmap.New[string, int64](c.Client(w.t), w.name).All(testContext(w.t)) {
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.HasPrefix(e.Key, prefix) {
			want[e.Key] = e.Value
		}
	}
	diff := ""
	for start := time.Now(); time.Since(start) < gridtest.WaitTimeout; time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		diff = cmp.Diff(want, w.has)
		err := w.err
		w.mu.Unlock()
		if diff == "" {
			return
		}
		if err != nil {
			w.t.Fatalf("the watch has ended: %v", err)
		}
	}
	w.t.Fatalf("the watch below %q: -map +events\n%s", prefix, diff)
}

// complete checks that all puts that were acknowledged have come.
func (w *watcher) complete(acknowledged map[int64]string, prefix string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	missing := 0
	for n, key := range acknowledged {
		if strings.HasPrefix(key, prefix) && !w.seen[n] {
			missing++
		}
	}
	if missing > 0 {
		w.t.Errorf("%d of %d acknowledged puts did not come below %q", missing, len(acknowledged), prefix)
	}
}

// putting puts values that are unique until stop, which returns the acknowledged ones
// with their keys.
func putting(t *testing.T, c *gridtest.Cluster, name string) (count *atomic.Int64, stop func() map[int64]string) {
	t.Helper()
	var n, done atomic.Int64
	over := make(chan struct{})
	var workers sync.WaitGroup
	var mu sync.Mutex
	acknowledged := map[int64]string{}
	for w := range 4 {
		m := dmap.New[string, int64](c.Client(t, client.WithOperationTimeout(gridtest.WaitTimeout)), name)
		workers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				v, key := n.Add(1), fmt.Sprintf("%c%d", 'a'+rune(i%2), (i*7+w)%50)
				var err error
				if i%10 == 9 {
					_, err = m.Delete(t.Context(), key)
				} else if err = m.Put(t.Context(), key, v); err == nil {
					mu.Lock()
					acknowledged[v] = key
					mu.Unlock()
				}
				if err != nil {
					t.Errorf("worker %d: %v", w, err)
					return
				}
				done.Add(1)
			}
		})
	}
	return &done, func() map[int64]string {
		close(over)
		workers.Wait()
		return acknowledged
	}
}

// TestWatch_Failover watches a map under load while leaders change, die, are cut off and
// paused, and connections break: what comes is in order, comes once, and is all there is.
func TestWatch_Failover(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	now, _ := watching(t, c, "m", nil)
	progress, _ := watching(t, c, "m", []dmap.WatchOption{dmap.ProgressEvery(time.Second)})
	done, stop := putting(t, c, "m")
	c.Eventually("some puts", func() bool { return done.Load() > 100 })
	all, _ := watching(t, c, "m", []dmap.WatchOption{dmap.WithCurrent()})
	prefix, _ := watching(t, c, "m", []dmap.WatchOption{dmap.Prefix("a"), dmap.WithCurrent(), dmap.Window(2000)})
	forward, _ := watching(t, c, "m", []dmap.WatchOption{dmap.WithCurrent()}, client.WithForward())
	groups := c.Groups(0)
	step := func(what string, f func()) {
		before := done.Load()
		f()
		c.Eventually("puts go on after "+what, func() bool { return done.Load() > before+200 })
	}
	step("a transfer", func() {
		for i, g := range groups[1:] {
			c.MoveLeader(g, i%3)
		}
	})
	step("lost connections", c.CutClients)
	step("a kill", func() { c.Kill(c.LeaderOf(groups[1])) })
	for i := range 3 {
		if c.Member(i) == nil {
			step("a restart", func() { c.Restart(i); c.WaitReady() })
		}
	}
	step("an isolation", func() { c.Isolate(c.LeaderOf(groups[2])) })
	step("the end of it", func() { c.Heal(); c.WaitReady() })
	acknowledged := stop()
	for w, prefix := range map[*watcher]string{now: "", all: "", prefix: "a", forward: "", progress: ""} {
		w.await(c, prefix)
	}
	now.complete(acknowledged, "")
	progress.complete(acknowledged, "")
	for _, w := range []*watcher{now, all, prefix, forward} {
		if w.gaps > 0 {
			t.Errorf("%d gaps", w.gaps)
		}
	}
	before := progress.progress
	c.Eventually("progress", func() bool { progress.mu.Lock(); defer progress.mu.Unlock(); return progress.progress > before })
	if s := all.cl.Stats(); s.Watches != 1 || s.WatchResumes == 0 {
		t.Errorf("%+v", s)
	}
}

// smallHistory is a grid whose histories are short, so that gaps are common.
func smallHistory(t *testing.T, n int) *gridtest.Cluster {
	return gridtest.Start(t, n, gridtest.WithTuning(func(cfg *shardgroups.Config) { cfg.HistoryBytes = 16 << 10 }))
}

// TestWatch_SlowConsumer: a loop that is too slow for the history is told so, nobody else
// is held up by it, and with Relist it has it all again in the end.
func TestWatch_SlowConsumer(t *testing.T) {
	t.Parallel()
	c := smallHistory(t, 1)
	slow, _ := watching(t, c, "m", []dmap.WatchOption{dmap.Window(500)})
	relists, _ := watching(t, c, "m", []dmap.WatchOption{dmap.Window(500), dmap.WithCurrent(), dmap.Relist()})
	slow.pause.Store(int64(100 * time.Millisecond))
	relists.pause.Store(int64(100 * time.Millisecond))
	done, stop := putting(t, c, "m")
	c.Eventually("many puts", func() bool { return done.Load() > 5000 })
	acknowledged := stop()
	slow.pause.Store(0)
	relists.pause.Store(0)
	relists.await(c, "")
	if relists.gaps == 0 {
		t.Error("no gap was told")
	}
	c.Eventually("the watch ends", func() bool { slow.mu.Lock(); defer slow.mu.Unlock(); return slow.err != nil })
	var gap *structures.GapError
	if !errors.As(slow.err, &gap) || gap.Reason != structures.GapCompacted || !errors.Is(slow.err, quorate.ErrCompacted) || gap.Cursor.IsZero() {
		t.Fatalf("%v", slow.err)
	}
	// What was before the gap was complete: the first puts of each partition.
	if len(slow.seen) == 0 || len(slow.seen) >= len(acknowledged) {
		t.Errorf("%d of %d puts came", len(slow.seen), len(acknowledged))
	}
	// Behind the cursor events are missing for whoever goes on from it.
	w, _ := watching(t, c, "m", []dmap.WatchOption{dmap.After(gap.Cursor)})
	if !errors.Is(w.err, quorate.ErrCompacted) {
		t.Errorf("after the cursor of a gap: %v", w.err)
	}
}

// TestWatch_Quiet: a watch of what does not change has no gap, however much changes
// beside it, not even when its connection breaks; nor has one that begins at the version
// of an entry that was written long ago.
func TestWatch_Quiet(t *testing.T) {
	t.Parallel()
	c := smallHistory(t, 1)
	m := dmap.New[string, int64](c.Client(t), "{t}m")
	ctx := testContext(t)
	if err := m.Put(ctx, "quiet", 1); err != nil {
		t.Fatal(err)
	}
	e, _, err := m.Entry(ctx, "quiet")
	if err != nil {
		t.Fatal(err)
	}
	quiet, _ := watching(t, c, "{t}m", []dmap.WatchOption{dmap.Prefix("quiet")})
	done, stop := putting(t, c, "{t}m")
	c.Eventually("many puts", func() bool { return done.Load() > 2000 })
	c.CutClients()
	before := done.Load()
	c.Eventually("more puts", func() bool { return done.Load() > before+500 })
	stop()
	old, _ := watching(t, c, "{t}m", []dmap.WatchOption{dmap.Key("quiet"), dmap.AfterVersion(e.Version)})
	if err := m.Put(ctx, "quiet", -2); err != nil {
		t.Fatal(err)
	}
	for what, w := range map[string]*watcher{"prefix": quiet, "key": old} {
		c.Eventually("the change of the "+what, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.has["quiet"] == -2 || w.err != nil })
		if w.err != nil {
			t.Errorf("the %s: %v", what, w.err)
		}
	}
}

// TestWatch_Deposed: a leader that was cut off from its group says no Progress, and what it
// has sent is not sent again by the next.
func TestWatch_Deposed(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	cl := c.Client(t)
	m := dmap.New[string, int64](cl, "{t}m")
	w, _ := watching(t, c, "{t}m", []dmap.WatchOption{dmap.ProgressEvery(time.Second)})
	ctx := testContext(t)
	leader := c.Leader(cl, "{t}m", nil)
	for i := range 5 {
		c.Isolate(leader) // from the others; clients reach it
		if err := m.Put(ctx, "k", int64(i)); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		behind, before := !w.seen[int64(i)], w.progress
		w.mu.Unlock()
		c.Eventually("progress", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.progress > before+1 })
		if w.mu.Lock(); behind && !w.seen[int64(i)] {
			t.Errorf("put %d was acknowledged before a Progress that it did not come before", i)
		}
		w.mu.Unlock()
		c.Heal()
		c.WaitReady()
		leader = c.Leader(cl, "{t}m", nil)
	}
	w.await(c, "")
}

// TestWatch_Counter watches counters under load: values only grow, and the last one comes.
func TestWatch_Counter(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	hits := dcounter.New(c.Client(t), "hits0")
	var last atomic.Int64
	var gone atomic.Bool
	var done sync.WaitGroup
	watching, cancel := context.WithCancel(ctx)
	watch := dcounter.New(c.Client(t), "hits0")
	done.Go(func() {
		first := true
		for ch, err := range watch.Watch(watching) {
			switch {
			case errors.Is(err, context.Canceled):
				return
			case err != nil:
				t.Error(err)
				return
			case first && !ch.Gone:
				t.Errorf("at first %+v", ch)
			case !ch.Gone && ch.Value <= last.Load():
				t.Errorf("%d comes behind %d", ch.Value, last.Load())
			}
			first = false
			gone.Store(ch.Gone)
			last.Store(ch.Value)
		}
	})
	c.Eventually("the state at first", gone.Load)
	adds, stop := counting(t, c)
	c.Eventually("adds", func() bool { return adds.Load() > 300 })
	c.Kill(c.Leader(c.Client(t), "hits0", nil))
	before := adds.Load()
	c.Eventually("more adds", func() bool { return adds.Load() > before+300 })
	stop()
	n, err := hits.Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.Eventually("the last value", func() bool { return last.Load() == n })
	if err := hits.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	c.Eventually("its end", gone.Load)
	cancel()
	done.Wait()
}

// TestWatch_Many has thousands of watches of one map at a time, of single keys and of all.
func TestWatch_Many(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1)
	ctx, cancel := context.WithCancel(testContext(t))
	const keys, whole = 3000, 50
	cl := c.Client(t)
	m := dmap.New[int, int](cl, "m")
	var stood, got atomic.Int64
	var done sync.WaitGroup
	watch := func(opts ...dmap.WatchOption) {
		done.Go(func() {
			for e, err := range m.Watch(ctx, opts...) {
				switch {
				case err != nil:
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					return
				case e.Type == dmap.Synced:
					stood.Add(1)
				case e.Type == dmap.Put:
					got.Add(1)
				}
			}
		})
	}
	for i := range keys {
		watch(dmap.Key(i))
	}
	for range whole {
		watch()
	}
	c.Eventually("all stand", func() bool { return stood.Load() == keys+whole })
	all := map[int]int{}
	for i := range keys {
		all[i] = i
	}
	if err := m.PutAll(ctx, maps.All(all)); err != nil {
		t.Fatal(err)
	}
	c.Eventually("all have it", func() bool { return got.Load() == keys+keys*whole })
	cancel()
	done.Wait()
	c.Eventually("none is left at the member", func() bool { return c.Watches(0) == 0 })
}
