package nearcache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

const (
	testPart = protocol.PartitionID(3)
	testKind = protocol.KindID(1)
	stale    = 2 * time.Second
)

// grid is what a test plays: the watch and the reads of one cache.
type grid struct {
	t      *testing.T
	caches *Caches
	cache  *Cache
	work   sync.WaitGroup

	mu      sync.Mutex
	stream  *stream
	watches int
	silent  bool // probes are not answered
	cluster protocol.UUID
	value   string // of every key; "": there is none
	left    time.Duration
	version protocol.Version // of the partition
	reads   int
}

type stream struct {
	structures.WatchStream
	g      *grid
	events chan structures.WatchEvent
	closed chan struct{}
	once   sync.Once
	probes []uint64
}

// near runs a test with a cache whose watch has begun at version 10, in a bubble.
func near(t *testing.T, f func(t *testing.T, g *grid)) {
	nearWith(t, structures.NearSpec{}, f)
}

func nearWith(t *testing.T, spec structures.NearSpec, f func(t *testing.T, g *grid)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &grid{t: t, version: 10, value: "a"}
		g.caches = New(g, DefaultBytes)
		spec.Kind, spec.Name, spec.Partitions, spec.MaxStale = testKind, "m", []protocol.PartitionID{testPart}, stale
		c, err := g.caches.NearCache(spec)
		if err != nil {
			t.Fatal(err)
		}
		g.cache = c.(*Cache)
		g.cache.Get([]byte("k")) // begins
		synctest.Wait()
		g.tell(structures.WatchEvent{Event: structures.Event{Type: structures.EventSynced}, Version: 10})
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		f(t, g)
		if r := g.cache.run.Load(); r != nil {
			r.end()
		}
		g.work.Wait()
		g.caches.Close()
	})
}

func (g *grid) WatchNear(structures.WatchSpec) (Stream, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watches++
	g.stream = &stream{g: g, events: make(chan structures.WatchEvent, 1000), closed: make(chan struct{})}
	return g.stream, nil
}

func (g *grid) Spawn(f func()) bool { g.work.Go(f); return true }
func (g *grid) Partitions() int     { return 8 }
func (g *grid) Cluster() protocol.UUID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cluster
}

func (s *stream) Next(context.Context) (structures.WatchEvent, error) {
	select {
	case e := <-s.events:
		return e, nil
	case <-s.closed:
		return structures.WatchEvent{}, quorate.ErrClosed
	}
}

func (s *stream) Close() { s.once.Do(func() { close(s.closed) }) }

func (s *stream) Sync(n uint64) {
	s.g.mu.Lock()
	silent := s.g.silent
	s.probes = append(s.probes, n)
	s.g.mu.Unlock()
	if !silent {
		s.answer(n)
	}
}

// answer answers a probe, behind the events that were sent before.
func (s *stream) answer(n uint64) {
	s.events <- structures.WatchEvent{Event: structures.Event{Type: structures.EventProgress}, Probe: n, Covered: []protocol.PartitionID{testPart}}
}

// tell sends an event, and waits until it is carried out.
func (g *grid) tell(e structures.WatchEvent) {
	e.Partition = testPart
	g.stream.events <- e
	synctest.Wait()
}

func (g *grid) event(what structures.EventType, key string, v protocol.Version) {
	g.tell(structures.WatchEvent{Event: structures.Event{Type: what, Key: []byte(key)}, Version: v})
}

func (g *grid) probes() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.stream.probes)
}

func (g *grid) silence(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent = on
}

// write writes a value at the next version. Nobody is told.
func (g *grid) write(value string) protocol.Version {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.version++
	g.value = value
	return g.version
}

// state is what a read finds now.
func (g *grid) state() structures.NearValue {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads++
	return structures.NearValue{Exists: g.value != "", Value: []byte(g.value), Version: g.version, Seen: g.version, Left: g.left}
}

// gets wants a Get to return a value; from the cache, or from the grid with a ! behind it.
func (g *grid) gets(want string) {
	g.t.Helper()
	g.got(want)
	synctest.Wait() // the store has what was read
}

// got is gets of one goroutine of several.
func (g *grid) got(want string) {
	g.t.Helper()
	v, hit := g.cache.Get([]byte("k"))
	got := string(v.Value)
	if !hit {
		var err error
		if v, err = g.cache.Read(context.Background(), testPart, []byte("k"), false, func() (structures.NearValue, error) { return g.state(), nil }); err != nil {
			g.t.Fatal(err)
		}
		got = string(v.Value) + "!"
	}
	if got != want {
		g.t.Errorf("got %q, want %q; %+v", got, want, g.cache.Stats())
	}
}

// wrote says that a mutation of the key by this client was answered.
func (g *grid) wrote(v protocol.Version, err error) {
	g.caches.Answered(&structures.Call{Kind: testKind, Name: "m", Partition: testPart, Key: []byte("k")}, g.cluster, v, err)
}

// slowly begins a read, which finds the state of now, and whose reply is under way until
// the returned function is called. That returns what the caller gets.
func (g *grid) slowly() func() string {
	began, arrive, done := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	go func() {
		v, err := g.cache.Read(context.Background(), testPart, []byte("k"), false, func() (structures.NearValue, error) {
			v := g.state()
			close(began)
			<-arrive
			return v, nil
		})
		done <- fmt.Sprint(string(v.Value), err)
	}()
	<-began
	return func() string {
		close(arrive)
		got := <-done
		synctest.Wait()
		return got
	}
}

// TestNear_Order: a value is returned only while its partition is confirmed, and how recent
// that is is read before whether the entry is dead.
func TestNear_Order(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		g.gets("a!")
		g.gets("a")
		v := g.write("b")
		g.event(structures.EventPut, "k", v)
		g.gets("b!")
		g.gets("b")

		// An event and the answer to a probe come while a Get is between its two looks.
		g.silence(true)
		time.Sleep(stale + time.Second)
		g.gets("b!") // too old: not a hit, and read anew
		v = g.write("c")
		once := false
		g.caches.now = func() time.Time {
			if !once {
				once = true
				g.stream.events <- structures.WatchEvent{Event: structures.Event{Type: structures.EventPut, Key: []byte("k")}, Partition: testPart, Version: v}
				g.stream.answer(g.stream.probes[len(g.stream.probes)-1])
				synctest.Wait()
			}
			return time.Now()
		}
		g.gets("c!")
		if s := g.cache.Stats(); s.TooOld == 0 || s.Hits != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// TestNear_Fill: a reply that is older than what was learned of its key meanwhile is not
// kept, and nobody joins its read then.
func TestNear_Fill(t *testing.T) {
	t.Run("event", func(t *testing.T) {
		near(t, func(t *testing.T, g *grid) {
			arrive := g.slowly()
			g.event(structures.EventPut, "k", g.write("b"))
			g.gets("b!") // it does not join
			arrive()
			g.gets("b")
			g.event(structures.EventPut, "k", g.write("c"))
			late := g.slowly()
			g.event(structures.EventPut, "k", g.write("d"))
			late()
			g.gets("d!")
		})
	})
	t.Run("before the watch", func(t *testing.T) {
		near(t, func(t *testing.T, g *grid) {
			g.version, g.value = 9, "old"
			arrive := g.slowly()
			g.version, g.value = 10, "new"
			arrive()
			g.gets("new!")
		})
	})
	t.Run("another read", func(t *testing.T) {
		near(t, func(t *testing.T, g *grid) {
			arrive := g.slowly()
			v := g.write("b")
			// Another handle has read b; nothing of it is kept.
			g.caches.Answered(&structures.Call{Kind: testKind, Name: "m", Partition: testPart, Key: []byte("k"), Flags: protocol.FlagRead}, g.cluster, v, nil)
			arrive()
			g.gets("b!")
		})
	})
}

// TestNear_GoesBack: once a read of another handle, or a Fresh one, has shown a newer value,
// no hit shows an older one.
func TestNear_GoesBack(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		g.gets("a!")
		v := g.write("b") // its event is on its way
		g.caches.Answered(&structures.Call{Kind: testKind, Name: "m", Partition: testPart, Key: []byte("k"), Flags: protocol.FlagRead}, g.cluster, v, nil)
		g.gets("b!")
	})
}

// TestNear_OwnWrite: a Get that begins after the client's own write was answered sees it,
// before its event has come, and joins no read from before.
func TestNear_OwnWrite(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		g.gets("a!")
		g.gets("a")
		g.wrote(g.write("b"), nil)
		g.gets("b!")

		late := g.slowlyFresh()
		v := g.write("c")
		g.wrote(v, nil)
		g.gets("c!")
		late()
		g.gets("c")

		// A transaction, and what is about all keys of a partition, end all entries of it.
		g.caches.Answered(&structures.Call{Kind: protocol.KindTxn, Partition: testPart}, g.cluster, g.write("d"), nil)
		g.gets("d!")
		g.caches.Answered(&structures.Call{Kind: testKind, Name: "m", Partition: testPart}, g.cluster, g.write("e"), nil)
		g.gets("e!")
		g.gets("e")
		g.caches.Answered(&structures.Call{Kind: testKind, Name: "other", Partition: testPart}, g.cluster, g.write("e"), nil)
		g.gets("e")

		// An outcome that is not known ends it, too; a call that changed nothing does not.
		g.write("f")
		g.wrote(0, quorate.ErrUnavailable)
		g.gets("e")
		g.wrote(0, quorate.ErrOutcomeUnknown)
		g.gets("f!")
		g.gets("f")
		g.write("g")
		g.caches.Answered(&structures.Call{Kind: protocol.KindTxn, Partition: testPart}, g.cluster, 0, quorate.ErrOutcomeUnknown)
		g.gets("g!")
	})
}

// slowlyFresh is slowly for a read that joins no other.
func (g *grid) slowlyFresh() func() {
	f := g.cache.Begin(testPart, []byte("k"))
	v := g.state()
	return func() { f.Done(v); synctest.Wait() }
}

// TestNear_RepeatedPut: the answer to a put that was repeated has the version of the put.
// What others have written since is not taken for it: nothing is kept of a write.
func TestNear_RepeatedPut(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		mine := g.write("mine")
		g.event(structures.EventPut, "k", mine)
		g.event(structures.EventPut, "k", g.write("theirs"))
		g.wrote(mine, nil) // from its record
		g.gets("theirs!")
		g.gets("theirs")
		g.wrote(mine, nil)
		g.gets("theirs") // it is newer than that
	})
}

// TestNear_Silent: while no probe is answered hits end MaxStale after the last one that was,
// counted from when it was sent. They go on when the stream does, with nothing missed.
func TestNear_Silent(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		g.gets("a!")
		g.silence(true)
		began := time.Now()
		for time.Since(began) < 2*stale {
			if _, hit := g.cache.Get([]byte("k")); !hit {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took > stale || took < stale/2 {
			t.Errorf("hits went on for %v", took)
		}
		if s := g.cache.Stats(); s.TooOld != 1 || s.Age < stale {
			t.Errorf("%+v", s)
		}
		g.silence(false)
		time.Sleep(stale)
		g.gets("a") // it was not dropped
	})
}

// TestNear_Suspended: the monotonic clock stands still while the machine is suspended. The
// wall clock says that time has passed.
func TestNear_Suspended(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		g.gets("a!")
		g.gets("a")
		g.caches.now = func() time.Time {
			return time.Now().Round(0).Add(stale + time.Second) // without a monotonic reading
		}
		if v, hit := g.cache.Get([]byte("k")); hit {
			t.Errorf("a hit, %q, after the machine was suspended", v.Value)
		}
	})
}

// TestNear_TTL: nothing is returned after its time to live, though its event is late, and
// what is left is never more than it was.
func TestNear_TTL(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		g.left = time.Second
		g.gets("a!")
		time.Sleep(500 * time.Millisecond)
		if v, hit := g.cache.Get([]byte("k")); !hit || v.Left > 500*time.Millisecond || v.Left < 400*time.Millisecond {
			t.Fatalf("%v, %v", v, hit)
		}
		time.Sleep(490 * time.Millisecond)
		g.value = ""
		g.gets("!")
		if life := lifeOf(time.Millisecond); life > time.Microsecond {
			t.Errorf("what may end at once lives for %v", life)
		}
	})
}

// TestNear_Absent: that there is no entry is kept as well, until a put. An event never makes
// an entry: expiry and put come in one mutation, with one version.
func TestNear_Absent(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		g.value = ""
		g.gets("!")
		g.gets("")
		if s := g.cache.Stats(); s.AbsentHits != 1 || s.Hits != 0 {
			t.Errorf("%+v", s)
		}
		v := g.write("b")
		g.event(structures.EventPut, "k", v)
		g.gets("b!")
		g.gets("b")
		v = g.write("c")
		g.event(structures.EventExpired, "k", v)
		g.event(structures.EventPut, "k", v)
		g.gets("c!")
	})
}

// TestNear_Gap: where events are missing nothing of before is kept, nor what is read before
// the watch has begun anew. Another grid begins everything anew.
func TestNear_Gap(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		g.gets("a!")
		g.gets("a")
		g.write("b")
		g.tell(structures.WatchEvent{Event: structures.Event{Type: structures.EventGap}, Reason: structures.GapCompacted})
		g.gets("b!")
		g.gets("b!") // not kept: nothing is known of changes since
		began := g.write("c")
		g.tell(structures.WatchEvent{Event: structures.Event{Type: structures.EventSynced}, Version: began})
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		g.gets("c!")
		g.gets("c")
		g.tell(structures.WatchEvent{Event: structures.Event{Type: structures.EventDestroyed}, Version: g.write("")})
		g.gets("!")
		g.gets("")
		if s := g.cache.Stats(); s.Gaps != 1 {
			t.Errorf("%+v", s)
		}

		// Another grid: its versions begin anew, and the first answer from there ends it.
		g.mu.Lock()
		g.cluster, g.version, g.value = protocol.UUID{2}, 1, "new"
		g.mu.Unlock()
		g.wrote(1, nil)
		g.gets("new!")
		synctest.Wait()
		if g.watches != 2 {
			t.Errorf("%d watches", g.watches)
		}
		g.tell(structures.WatchEvent{Event: structures.Event{Type: structures.EventSynced}, Version: 1})
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		g.gets("new!")
		g.gets("new")
	})
}

// TestNear_Stampede: misses of a key share one read. Who leaves does not take the others
// along, and nobody joins an old read.
func TestNear_Stampede(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		arrive := g.slowly()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { g.got("a!") })
		}
		synctest.Wait()
		if s := g.cache.Stats(); s.Joined != 100 || g.reads != 1 {
			t.Errorf("%d reads, %+v", g.reads, s)
		}
		arrive()
		all.Wait()

		g.event(structures.EventPut, "k", g.write("b"))
		ctx, cancel := context.WithCancel(context.Background())
		var left sync.WaitGroup
		left.Go(func() {
			_, err := g.cache.Read(ctx, testPart, []byte("k"), false, func() (structures.NearValue, error) {
				<-ctx.Done()
				return structures.NearValue{}, ctx.Err()
			})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		left.Go(func() { g.got("b!") })
		synctest.Wait()
		cancel()
		left.Wait()

		g.event(structures.EventPut, "k", g.write("c"))
		old := g.slowly()
		time.Sleep(stale/2 + time.Millisecond)
		g.gets("c!")
		old()
	})
}

// refusing is a store that takes nothing, as one does whose buffer is full.
type refusing struct{ bounded }

func (refusing) set(uint64, *entry) bool { return false }

// TestNear_FullBuffer: what the store refuses is not in the index, and what leaves the store
// takes no newer entry of its key along.
func TestNear_FullBuffer(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		whole := g.cache.store
		g.cache.store = refusing{whole}
		g.gets("a!")
		g.gets("a!")
		if s := g.cache.Stats(); s.NotStored != 2 || s.Entries != 0 || s.Bytes != 0 {
			t.Errorf("%+v", s)
		}
		g.cache.store = whole
		g.gets("a!")
		g.gets("a")
		g.wrote(g.write("b"), nil)
		g.gets("b!")
		g.gets("b")
		// A read in which nothing has changed replaces the entry. The old one leaves the
		// store; an event must find the new one.
		g.slowlyFresh()()
		g.gets("b")
		g.event(structures.EventPut, "k", g.write("c"))
		g.gets("c!")
	})
}

// TestNear_Bound: what all caches keep together stays within the bound.
func TestNear_Bound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grid{t: t, version: 10, value: string(make([]byte, 1000))}
		g.caches = New(g, LeastBytes)
		c, err := g.caches.NearCache(structures.NearSpec{Kind: testKind, Name: "m", Partitions: []protocol.PartitionID{testPart}})
		if err != nil {
			t.Fatal(err)
		}
		g.cache = c.(*Cache)
		g.cache.Get([]byte("k"))
		g.tell(structures.WatchEvent{Event: structures.Event{Type: structures.EventSynced}, Version: 10})
		for i := range 5000 {
			key := fmt.Appendf(nil, "k%d", i)
			if _, err := g.cache.Read(context.Background(), testPart, key, false, func() (structures.NearValue, error) { return g.state(), nil }); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		s := g.cache.Stats()
		if s.Bytes > LeastBytes || s.Bytes < LeastBytes/2 || s.Entries < 300 || s.Evicted+s.NotStored < 4000 {
			t.Errorf("%+v", s)
		}
		g.cache.run.Load().end()
		g.work.Wait()
		if s := g.cache.Stats(); s.Bytes != 0 || s.Entries != 0 {
			t.Errorf("after the end: %+v", s)
		}
		g.caches.Close()
		g.caches.Close()
		if _, hit := g.cache.Get([]byte("k1")); hit {
			t.Error("a hit after Close")
		}
		g.cache.run.Load().end()
		g.work.Wait()
	})
}

// TestNear_Idle: nothing is confirmed for a cache that nobody reads, and after a time its
// watch ends. The next read begins another.
func TestNear_Idle(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		g.gets("a!")
		time.Sleep(idleProbes*stale + time.Second)
		n := g.probes()
		time.Sleep(10 * time.Second)
		if more := g.probes() - n; more > 0 {
			t.Errorf("%d probes for nobody", more)
		}
		time.Sleep(idleEnd)
		if s := g.cache.Stats(); g.cache.run.Load() != nil || s.Entries != 0 {
			t.Errorf("the watch goes on: %+v", s)
		}
		g.gets("a!")
		if g.watches != 2 {
			t.Errorf("%d watches", g.watches)
		}
	})
}

// TestNearCache_Settings: handles of a structure share a cache, and agree on its options.
func TestNearCache_Settings(t *testing.T) {
	near(t, func(t *testing.T, g *grid) {
		spec := g.cache.spec
		if c, err := g.caches.NearCache(spec); c != structures.NearCache(g.cache) || err != nil {
			t.Error(c, err)
		}
		spec.Shared = true
		if _, err := g.caches.NearCache(spec); !errors.Is(err, quorate.ErrSettings) {
			t.Error(err)
		}
		spec.MaxStale = time.Millisecond
		if _, err := g.caches.NearCache(spec); !errors.Is(err, quorate.ErrInvalid) {
			t.Error(err)
		}
	})
}
