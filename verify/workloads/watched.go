package workloads

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/verify"
)

// watched is a map and a counter of an epoch that all clients write, with watches of them
// that are left and begun again. When nobody writes any more, what each watch was told must
// add up to what is there.
type watched struct {
	run     *Run
	name    string
	history *verify.Watched
	over    context.Context // ends with the watches
	stop    context.CancelFunc
	running sync.WaitGroup
	leaves  atomic.Bool // watches are left now and then
	values  atomic.Int64

	watchers []*verify.Watcher // of the map

	mu      sync.Mutex // guards counter
	counter verify.WatchedCounter
}

const (
	watchedKeys   = 12 // of a tag, and without one
	watchedTags   = 3
	watchedTTL    = 500 * time.Millisecond
	watchCursors  = 4 // that a watcher keeps
	watchProgress = time.Second

	settleWatches = 45 * time.Second // for the watches of an epoch; more at the end
	finalEvery    = 100 * time.Millisecond
)

// watchKeys returns the keys of a watched map.
func watchKeys() (keys []string) {
	for i := range watchedKeys {
		keys = append(keys, fmt.Sprint("k", i))
		for t := range watchedTags {
			keys = append(keys, fmt.Sprintf("{t%d}%d", t, i))
		}
	}
	return keys
}

// newWatched starts the watches of an epoch.
func (r *Run) newWatched(e *epoch) *watched {
	w := &watched{run: r, name: e.prefix + "watched"}
	w.over, w.stop = context.WithCancel(context.Background())
	w.leaves.Store(true)
	keys := map[string]protocol.PartitionID{}
	for _, k := range watchKeys() {
		encoded, _ := structures.AppendKey(nil, k)
		keys[k] = r.cfg.Clients[0].Partition(w.name, encoded)
	}
	w.history = verify.NewWatched(keys)
	for i, kind := range watchKinds() {
		c := r.cfg.Clients[i%len(r.cfg.Clients)]
		rng := rand.New(rand.NewPCG(r.cfg.Seed, uint64(e.number)<<16|uint64(i)))
		v := w.history.Watcher(kind.name, kind.matches, kind.keysOnly)
		w.watchers = append(w.watchers, v)
		one := &watchedBy{watched: w, kind: kind, recorder: v, number: i, rng: rng, m: dmap.New[string, string](c, w.name)}
		w.running.Go(one.run)
	}
	w.counter.Watches = make([][]verify.RowChange, min(2, len(r.cfg.Clients)))
	for i := range w.counter.Watches {
		w.running.Go(func() { w.watchCounter(i) })
	}
	return w
}

// watchKind is what a watch watches, and how.
type watchKind struct {
	name     string
	matches  func(key string) bool
	opts     []dmap.WatchOption
	keysOnly bool
	start    verify.WatchStart // in the first place
	resumes  bool              // goes on behind cursors when it was left
}

// watchKinds returns the watches of a map.
func watchKinds() []watchKind {
	all := func(string) bool { return true }
	below := func(p string) func(string) bool {
		return func(key string) bool { return strings.HasPrefix(key, p) }
	}
	one := func(k string) func(string) bool { return func(key string) bool { return key == k } }
	relist := dmap.Relist()
	return []watchKind{
		{name: "map", matches: all, opts: []dmap.WatchOption{relist}, start: verify.WatchCurrent, resumes: true},
		{name: "map without relist", matches: all, start: verify.WatchCurrent, resumes: true},
		{name: "map from now", matches: all, opts: []dmap.WatchOption{relist}, start: verify.WatchFromNow},
		{name: "keys of the map", matches: all, opts: []dmap.WatchOption{relist, dmap.KeysOnly()}, keysOnly: true, start: verify.WatchFromNow, resumes: true},
		{name: "map, small window", matches: all, opts: []dmap.WatchOption{relist, dmap.Window(2 << 10)}, start: verify.WatchCurrent},
		{name: "prefix k", matches: below("k"), opts: []dmap.WatchOption{dmap.Prefix("k"), relist}, start: verify.WatchCurrent, resumes: true},
		{name: "prefix {t0}", matches: below("{t0}"), opts: []dmap.WatchOption{dmap.Prefix("{t0}"), relist}, start: verify.WatchCurrent},
		{name: "prefix {t1} from now", matches: below("{t1}"), opts: []dmap.WatchOption{dmap.Prefix("{t1}")}, start: verify.WatchFromNow, resumes: true},
		{name: "key k1", matches: one("k1"), opts: []dmap.WatchOption{dmap.Key("k1"), relist}, start: verify.WatchCurrent, resumes: true},
		{name: "key {t2}2", matches: one("{t2}2"), opts: []dmap.WatchOption{dmap.Key("{t2}2")}, start: verify.WatchFromNow},
	}
}

// watchedBy is one watch of the map.
type watchedBy struct {
	*watched
	kind     watchKind
	recorder *verify.Watcher
	number   int
	rng      *rand.Rand
	m        *dmap.Map[string, string]
	cursors  []savedCursor
}

// savedCursor is a cursor, and the number of the event that it was taken from.
type savedCursor struct {
	cursor dmap.WatchCursor
	event  int
}

// run watches, leaves, and watches again.
func (w *watchedBy) run() {
	for w.over.Err() == nil {
		start, at := w.kind.start, savedCursor{event: -1}
		if w.kind.resumes && len(w.cursors) > 0 {
			start, at = verify.WatchAfter, w.cursors[w.rng.IntN(len(w.cursors))]
		}
		opts := append(slices.Clip(w.kind.opts), dmap.ProgressEvery(watchProgress))
		switch start {
		case verify.WatchCurrent:
			opts = append(opts, dmap.WithCurrent())
		case verify.WatchAfter:
			opts = append(opts, dmap.After(at.cursor))
		}
		w.recorder.Begin(start, at.event)
		w.watch(opts)
	}
}

// watch watches until the watch ends, or is left.
func (w *watchedBy) watch(opts []dmap.WatchOption) {
	for e, err := range w.m.Watch(w.over, opts...) {
		var gap *structures.GapError
		switch {
		case err == nil:
		case w.over.Err() != nil:
			return
		case errors.As(err, &gap):
			w.watched.run.watchGaps.Add(1)
			w.cursors, w.kind.start = nil, verify.WatchCurrent
			return
		case errors.Is(err, quorate.ErrOverloaded): // its list was overrun
			w.cursors = nil
			_ = contexts.Sleep(w.over, watchedTTL)
			return
		default:
			w.watched.run.violates("watch", "watch %s of %s has ended: %v", w.kind.name, w.name, err)
			_ = contexts.Sleep(w.over, time.Second)
			return
		}
		n := w.recorder.Event(e)
		leaves := w.leaves.Load() && w.rng.IntN(200) == 0
		if w.kind.resumes && (leaves || w.rng.IntN(20) == 0) {
			if w.cursors = append(w.cursors, savedCursor{e.Cursor(), n}); len(w.cursors) > watchCursors {
				w.cursors = w.cursors[1:]
			}
		}
		if leaves {
			return
		}
		w.watched.run.stall.wait(w.over, w.number)
	}
}

// watchCounter watches the counter.
func (w *watched) watchCounter(i int) {
	for e, err := range dcounter.New(w.run.cfg.Clients[i], w.name).Watch(w.over) {
		if err != nil {
			if w.over.Err() == nil {
				w.run.violates("watch", "the watch of counter %s has ended: %v", w.name, err)
			}
			return
		}
		w.mu.Lock()
		told := &w.counter.Watches[i]
		*told = append(*told, verify.RowChange{At: time.Now(), Value: e.Value, Version: e.Version, Gone: e.Gone})
		w.mu.Unlock()
		w.run.stall.wait(w.over, i)
	}
}

// writeWatched writes what an epoch's watches watch.
func (r *Run) writeWatched(_ int, c *client.Client) worker {
	keys := watchKeys()
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		w := e.watched
		if rng.IntN(5) == 0 {
			w.count(ctx, c, rng)
			return
		}
		m := dmap.New[string, string](c, w.name)
		key, value := keys[rng.IntN(len(keys))], fmt.Sprint(w.values.Add(1))
		done := w.history.Write
		var err error
		switch n := rng.IntN(600); {
		case n == 0:
			end := done(verify.WatchWrite{})
			err = m.Destroy(ctx)
			end(inPart(err))
		case n < 3:
			end := done(verify.WatchWrite{})
			err = m.Clear(ctx)
			end(inPart(err))
		case n < 50:
			end := done(verify.WatchWrite{Key: key, Value: value, TTL: true})
			err = m.Put(ctx, key, value, dmap.TTL(watchedTTL))
			end(err)
		case n < 150:
			end := done(verify.WatchWrite{Key: key})
			_, err = m.Delete(ctx, key)
			end(err)
		case n < 220:
			err = w.putAll(ctx, m, rng)
		case n < 300:
			var old dmap.Entry[string, string]
			if old, _, err = m.Entry(ctx, key); err == nil {
				_ = r.seen(nil)
				end := done(verify.WatchWrite{Key: key, Value: value})
				_, err = m.Replace(ctx, key, old.Version, value)
				end(err)
				err = conflict(err)
			}
		default:
			end := done(verify.WatchWrite{Key: key, Value: value})
			err = m.Put(ctx, key, value)
			end(err)
		}
		_ = r.count(err)
	}
}

// inPart returns err as one with an unknown outcome: part of the operation may have been
// carried out.
func inPart(err error) error {
	if err != nil {
		err = fmt.Errorf("%w: %w", quorate.ErrOutcomeUnknown, err)
	}
	return err
}

// putAll puts some keys of one tag, in one mutation.
func (w *watched) putAll(ctx context.Context, m *dmap.Map[string, string], rng *rand.Rand) error {
	entries := map[string]string{}
	var writes []verify.WatchWrite
	tag := rng.IntN(watchedTags)
	for range 2 + rng.IntN(4) {
		key := fmt.Sprintf("{t%d}%d", tag, rng.IntN(watchedKeys))
		if entries[key] == "" {
			entries[key] = fmt.Sprint(w.values.Add(1))
			writes = append(writes, verify.WatchWrite{Key: key, Value: entries[key]})
		}
	}
	end := w.history.Write(writes...)
	err := m.PutAll(ctx, maps.All(entries))
	end(err)
	return err
}

// count changes the counter.
func (w *watched) count(ctx context.Context, c *client.Client, rng *rand.Rand) {
	counter := dcounter.New(c, w.name)
	w.mu.Lock()
	destroys := rng.IntN(50) == 0
	calls := &w.counter.Added
	if destroys {
		calls = &w.counter.Destroyed
	}
	*calls = append(*calls, time.Now())
	w.mu.Unlock()
	if destroys {
		_ = w.run.count(counter.Destroy(ctx))
		return
	}
	_, err := counter.Add(ctx, 1)
	_ = w.run.count(err)
}

// settle waits until every watch is complete up to when nobody wrote any more, and adds up
// to what is there. If it does not come to that before ctx ends it returns why.
func (w *watched) settle(ctx context.Context) (err error) {
	w.leaves.Store(false)
	err = errors.New("what is there cannot be read")
	for ; ctx.Err() == nil; _ = contexts.Sleep(ctx, finalEvery) {
		began := time.Now()
		before, lost := w.read(ctx)
		if lost != nil {
			continue
		}
		if late := w.behind(ctx, began); late != "" {
			err = fmt.Errorf("watch %s is not known to be complete", late)
			continue
		}
		after, lost := w.read(ctx)
		if lost != nil || !maps.Equal(before, after) {
			continue // something with an unknown outcome, or that is due
		}
		if err = verify.CheckFinal(w.history, after); err != nil {
			continue
		}
		read, cancel := context.WithTimeout(ctx, operationTime)
		n, lost := dcounter.New(w.run.cfg.Clients[0], w.name).Get(read)
		cancel()
		if lost != nil {
			continue
		}
		w.mu.Lock()
		err = verify.CheckCounterEnd(w.counter, n)
		w.mu.Unlock()
		if err == nil {
			return nil
		}
	}
	return err
}

// read returns the entries of the map.
func (w *watched) read(ctx context.Context) (map[string]verify.WatchEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTime)
	defer cancel()
	entries := map[string]verify.WatchEntry{}
	for e, err := range dmap.New[string, string](w.run.cfg.Clients[0], w.name).All(ctx) {
		if err != nil {
			return nil, err
		}
		entries[e.Key] = verify.WatchEntry{Value: e.Value, Version: e.Version}
	}
	return entries, nil
}

// behind waits for a short time until all watches are complete up to a time. It names one
// that is not.
func (w *watched) behind(ctx context.Context, to time.Time) (name string) {
	for until := time.Now().Add(5 * watchProgress); time.Now().Before(until) && ctx.Err() == nil; _ = contexts.Sleep(ctx, finalEvery) {
		name = ""
		for i, v := range w.watchers {
			if !v.AsOf().After(to) {
				name = watchKinds()[i].name
			}
		}
		if name == "" {
			return ""
		}
	}
	return name
}

// close settles the watches of an epoch that is over, and checks what they were told. It
// reports false if they do not settle in time.
func (w *watched) close(ctx context.Context, last bool) bool {
	err := w.settle(ctx)
	if err != nil && !last {
		return false
	}
	w.stop()
	w.running.Wait()
	if err != nil {
		w.run.violates("watch", "%s: at the end: %v", w.name, err)
	}
	if err := verify.CheckWatch(w.history); err != nil {
		w.run.violates("watch", "%s: %v", w.name, err)
	}
	if err := verify.CheckCounterWatch(w.counter); err != nil {
		w.run.violates("watch", "counter %s: %v", w.name, err)
	}
	for _, v := range w.watchers {
		events, resumed, gaps := v.Counts()
		w.run.watchEvents.Add(int64(events))
		w.run.watchResumes.Add(int64(resumed))
		w.run.watchGaps.Add(int64(gaps))
	}
	return true
}

// clean destroys what was watched.
func (w *watched) clean(ctx context.Context) {
	c := w.run.cfg.Clients[0]
	_ = dmap.New[string, string](c, w.name).Destroy(ctx)
	_ = dcounter.New(c, w.name).Destroy(ctx)
}

// stall holds up half of the watches.
type stall struct {
	mu   sync.Mutex // guards what follows
	side int
	over chan struct{} // closed when they go on; nil: they are not held up
}

// wait holds a watch up, by its number.
func (s *stall) wait(ctx context.Context, number int) {
	s.mu.Lock()
	over := s.over
	if number%2 != s.side {
		over = nil
	}
	s.mu.Unlock()
	if over == nil {
		return
	}
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// StallWatches has half of the watches read nothing until end is called.
func (r *Run) StallWatches(rng *rand.Rand) (end func()) {
	over := make(chan struct{})
	r.stall.mu.Lock()
	r.stall.side, r.stall.over = rng.IntN(2), over
	r.stall.mu.Unlock()
	return func() {
		r.stall.mu.Lock()
		r.stall.over = nil
		r.stall.mu.Unlock()
		close(over)
	}
}
