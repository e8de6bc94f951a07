package nearcache

import (
	"bytes"
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

const (
	shards       = 64
	idleProbes   = 10                   // times MaxStale without a read after which nothing is confirmed,
	idleEnd      = time.Minute          // and, if that is longer, this much after which the run ends
	settleTime   = 5 * time.Millisecond // between the begin of a partition and a probe, in which others begin
	sentKept     = 256                  // probes whose times of sending are kept
	probesWithin = 4                    // probes within MaxStale
)

// run is what a cache keeps from one begin of its watch to the end of it.
type run struct {
	cache   *Cache
	cluster protocol.UUID
	seed    maphash.Seed
	stream  Stream
	parts   []part // by partition
	shards  [shards]shard
	used    atomic.Int64 // when a Get last came, in nanoseconds since 1970
	ended   atomic.Bool
	over    chan struct{} // closed by end
	begun   chan struct{} // capacity 1: a partition has begun
	since   time.Time

	mu   sync.Mutex // guards sent
	sent [sentKept]probe
}

// probe is when a probe was sent.
type probe struct {
	n  uint64
	at time.Time
}

// part is what is known of a partition. An entry of a state before began or least is dead.
type part struct {
	// confirmed is when the last probe was sent whose answer has come, behind all events
	// before it; nil: none has (NEAR-2).
	confirmed atomic.Pointer[time.Time]
	began     atomic.Uint64 // the version where the watch has begun; notBegun: it has not
	least     atomic.Uint64 // the version of the last change of anything in it
}

const notBegun = ^uint64(0)

func (p *part) floor() protocol.Version {
	return protocol.Version(max(p.began.Load(), p.least.Load()))
}

// shard is a part of the index, and the flights of its keys.
type shard struct {
	mu sync.Mutex
	// index has the entries that are not dead, by key.
	// Invariant: an entry that is not in it is dead.
	index   map[string]*entry
	flights map[string]*flight // the last of a key
}

// entry is what is kept of a key. Only dead ever changes.
type entry struct {
	run   *run
	hash  uint64
	key   string
	part  protocol.PartitionID
	value structures.NearValue
	sent  time.Time     // the read
	life  time.Duration // from then on; 0: without end
	cost  int64
	dead  atomic.Bool
}

// overhead is about what an entry takes beside its key and value, in bytes.
const overhead = 320

func (e *entry) isDead(p *part) bool { return e.dead.Load() || e.value.Seen < p.floor() }

// exit is called when the store has dropped the entry, however often. It may have a newer
// one of the key, which stays in the index (NEAR-3).
func (e *entry) exit() {
	if e == nil {
		return
	}
	s := e.run.shard(e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if mutants.On(mutants.NearIndexByKey) {
		delete(s.index, e.key)
		return
	}
	s.kill(e)
}

func (e *entry) evicted() {
	if e != nil && !e.dead.Load() {
		e.run.cache.evicted.Add(1)
	}
}

func (e *entry) refused() {
	if e != nil && !e.dead.Load() {
		e.run.cache.notStored.Add(1)
	}
}

// kill removes an entry from the index, if it is there. mu is held.
func (s *shard) kill(e *entry) {
	e.dead.Store(true)
	if s.index[e.key] == e {
		delete(s.index, e.key)
		e.run.cache.bytes.Add(-e.cost)
		e.run.cache.entries.Add(-1)
	}
}

func (r *run) shard(hash uint64) *shard { return &r.shards[hash%shards] }

// begin begins a run, unless there is one, or the last one has just failed.
func (c *Cache) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.caches.now()
	if c.run.Load() != nil || since(c.failed, now) < retryTime {
		return
	}
	r := &run{
		cache: c, cluster: c.caches.grid.Cluster(), seed: maphash.MakeSeed(), parts: make([]part, c.caches.grid.Partitions()),
		over: make(chan struct{}), begun: make(chan struct{}, 1), since: now,
	}
	for i := range r.parts {
		r.parts[i].began.Store(notBegun)
	}
	for i := range r.shards {
		r.shards[i].index, r.shards[i].flights = map[string]*entry{}, map[string]*flight{}
	}
	r.used.Store(now.UnixNano())
	stream, err := c.caches.grid.WatchNear(structures.WatchSpec{
		Kind: c.spec.Kind, Verb: "watch for the near cache of", Label: c.spec.Label, Name: c.spec.Name,
		Partitions: c.spec.Partitions, From: c.spec.From, To: c.spec.To, Options: protocol.WatchKeysOnly, Restart: true,
	})
	if err != nil {
		c.failed = now
		return
	}
	r.stream = stream
	c.run.Store(r)
	if !c.caches.grid.Spawn(r.follow) || !c.caches.grid.Spawn(r.confirm) {
		r.end()
	}
}

// end ends the run: none of what it keeps is returned any more. Another may begin.
func (r *run) end() {
	if r.ended.Swap(true) {
		return
	}
	r.cache.run.CompareAndSwap(r, nil)
	r.stream.Close()
	close(r.over)
}

// use notes that something was asked for.
func (r *run) use(now time.Time) {
	if at := now.UnixNano(); at-r.used.Load() > int64(r.cache.spec.MaxStale/probesWithin) {
		r.used.Store(at)
	}
}

// follow carries the events of the watch out until the run has ended.
func (r *run) follow() {
	defer r.clear()
	for {
		e, err := r.stream.Next(context.Background())
		if err != nil {
			if !r.ended.Load() {
				r.cache.mu.Lock()
				r.cache.failed = r.cache.caches.now()
				r.cache.mu.Unlock()
			}
			r.end()
			return
		}
		p := &r.parts[e.Partition]
		switch e.Type {
		case structures.EventGap:
			r.cache.gaps.Add(1)
			if e.Reason == structures.GapOtherGrid {
				r.end()
				return
			}
			// What has changed is not known: nothing of before is kept (NEAR-8).
			if !mutants.On(mutants.NearGapKept) {
				p.confirmed.Store(nil)
				p.began.Store(notBegun)
			}
		case structures.EventSynced:
			p.began.Store(uint64(e.Version))
			select {
			case r.begun <- struct{}{}:
			default:
			}
		case structures.EventProgress:
			r.covered(e.Probe, e.Covered)
		case structures.EventDestroyed:
			r.raise(e.Partition, e.Version)
		default:
			r.learn(e.Key, e.Version)
			if mutants.On(mutants.NearFromEvent) && e.Type == structures.EventExpired {
				r.absentFrom(&e)
			}
		}
	}
}

// clear drops all entries of a run that has ended.
func (r *run) clear() {
	for i := range r.shards {
		s := &r.shards[i]
		var hashes []uint64
		s.mu.Lock()
		for _, e := range s.index {
			hashes = append(hashes, e.hash)
			s.kill(e)
		}
		s.mu.Unlock()
		for _, hash := range hashes {
			r.cache.store.del(hash)
		}
	}
}

// confirm sends a probe several times within MaxStale, as long as something is read, and
// ends the run when nothing was for long.
func (r *run) confirm() {
	d := r.cache.spec.MaxStale
	every := time.NewTicker(d / probesWithin)
	defer every.Stop()
	for n := uint64(1); ; n++ {
		select {
		case <-r.over:
			return
		case <-every.C:
		case <-r.begun:
			time.Sleep(settleTime)
		}
		now := r.cache.caches.now()
		idle := time.Duration(now.UnixNano() - r.used.Load())
		if idle > max(idleProbes*d, idleEnd) {
			r.end()
			return
		}
		if idle > idleProbes*d {
			continue
		}
		r.mu.Lock()
		r.sent[n%sentKept] = probe{n, now}
		r.mu.Unlock()
		r.stream.Sync(n)
	}
}

// covered notes that a probe was answered for some partitions: all that was acknowledged
// when it was sent has been carried out.
func (r *run) covered(n uint64, ids []protocol.PartitionID) {
	r.mu.Lock()
	sent := r.sent[n%sentKept]
	r.mu.Unlock()
	if sent.n != n {
		return
	}
	for _, id := range ids {
		if was := r.parts[id].confirmed.Load(); was == nil || was.Before(sent.at) {
			r.parts[id].confirmed.Store(&sent.at)
		}
	}
}

// age returns how long ago the least recent partition was confirmed.
func (r *run) age(now time.Time) (age time.Duration) {
	for _, id := range r.cache.spec.Partitions {
		at := r.since
		if p := r.parts[id].confirmed.Load(); p != nil {
			at = *p
		}
		age = max(age, since(at, now))
	}
	return age
}

// raise notes that anything in a partition may have changed at a version.
func (r *run) raise(p protocol.PartitionID, version protocol.Version) {
	least := &r.parts[p].least
	for was := least.Load(); was < uint64(version) && !least.CompareAndSwap(was, uint64(version)); was = least.Load() {
	}
}

// learn notes that a key has changed at a version, or was read there: what is older is no
// longer kept, nor will be (NEAR-3, NEAR-4).
func (r *run) learn(key []byte, version protocol.Version) {
	hash := maphash.Bytes(r.seed, key)
	s := r.shard(hash)
	s.mu.Lock()
	for f := s.flights[string(key)]; f != nil; f = f.older {
		f.newest, f.raised = max(f.newest, version), true
	}
	e := s.index[string(key)]
	old := e != nil && e.value.Seen < version
	if old {
		s.kill(e)
	}
	s.mu.Unlock()
	if old {
		r.cache.invalidated.Add(1)
		r.cache.store.del(hash)
	}
}

// sweep drops everything of a partition, of which nothing is known any more.
func (r *run) sweep(p protocol.PartitionID) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for _, e := range s.index {
			if e.part == p {
				s.kill(e)
			}
		}
		for _, f := range s.flights {
			for ; f != nil; f = f.older {
				if f.part == p {
					f.newest, f.raised = unknown, true
				}
			}
		}
		s.mu.Unlock()
	}
}

// flight is a read of a key on its way.
type flight struct {
	run   *run
	hash  uint64
	key   string
	part  protocol.PartitionID
	begun time.Time
	least uint64 // of the partition, when it began

	// Guarded by the shard's mu.
	newest protocol.Version // that was learned of the key meanwhile
	raised bool             // something was: nobody joins it
	over   bool
	older  *flight // of the same key

	// Valid once done is closed.
	done   chan struct{}
	shared bool // value and err are for those who wait
	value  structures.NearValue
	err    error
}

// begin begins a flight, or returns one of the same key to join. Nobody joins one that
// began before something was learned of the key, or of its partition: a Get would not see
// its own write (NEAR-5).
func (r *run) begin(p protocol.PartitionID, key []byte, alone bool) (f *flight, joined bool) {
	hash := maphash.Bytes(r.seed, key)
	now := r.cache.caches.now()
	r.use(now)
	s, least := r.shard(hash), r.parts[p].least.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.flights[string(key)]
	if last != nil && !alone && !last.raised && last.least == least && since(last.begun, now) < r.cache.spec.MaxStale/2 {
		return last, true
	}
	f = &flight{
		run: r, hash: hash, key: string(key), part: p, begun: now, least: least,
		older: last, done: make(chan struct{}),
	}
	s.flights[f.key] = f
	return f, false
}

// Done implements structures.NearRead.
func (f *flight) Done(v structures.NearValue) { f.end(v, nil, true) }

// Abandon implements structures.NearRead.
func (f *flight) Abandon() { f.end(structures.NearValue{}, nil, false) }

// fail ends the flight with an error that is also that of those who wait.
func (f *flight) fail(err error) { f.end(structures.NearValue{}, err, true) }

// end ends a flight, and keeps its value, unless something newer was learned meanwhile, or
// the watch has begun after it was read (NEAR-4). What was known before the flight is in
// what it has read.
func (f *flight) end(v structures.NearValue, err error, shared bool) {
	r, s := f.run, f.run.shard(f.hash)
	e := (*entry)(nil)
	s.mu.Lock()
	if f.over {
		s.mu.Unlock()
		return
	}
	f.over = true
	s.remove(f)
	if shared && err == nil {
		if r.cache.spec.Shared {
			v.Memo = new(atomic.Pointer[any])
		}
		for g := s.flights[f.key]; g != nil && !mutants.On(mutants.NearGoesBack); g = g.older {
			if g.newest < v.Seen {
				g.newest, g.raised = v.Seen, true
			}
		}
		e = f.keep(s, v)
	}
	f.value, f.err, f.shared = v, err, shared
	s.mu.Unlock()
	close(f.done)
	if e == nil {
		return
	}
	if !r.cache.store.set(f.hash, e) { // dropped, because its buffer is full
		r.cache.notStored.Add(1)
		e.exit()
		return
	}
	r.cache.stored.Add(1)
}

// keep makes the entry of what was read; nil: it is not to be kept. mu is held.
func (f *flight) keep(s *shard, v structures.NearValue) *entry {
	r := f.run
	late := v.Seen < f.newest || v.Seen < r.parts[f.part].floor()
	if r.ended.Load() || late && !mutants.On(mutants.NearFillLate) {
		r.cache.notStored.Add(1)
		return nil
	}
	was := s.index[f.key]
	if was != nil && was.value.Seen > v.Seen && !mutants.On(mutants.NearFillLate) {
		r.cache.notStored.Add(1)
		return nil
	}
	e := &entry{run: r, hash: f.hash, key: f.key, part: f.part, value: v, sent: f.begun}
	e.value.Value = bytes.Clone(v.Value) // it must not keep the connection's buffer
	if v.Left > 0 {
		e.life = lifeOf(v.Left)
	}
	e.cost = int64(overhead + len(e.key) + len(v.Value))
	if r.cache.spec.Shared {
		e.cost += int64(len(v.Value))
	}
	if was != nil {
		s.kill(was)
		r.cache.invalidated.Add(1)
	}
	s.index[e.key] = e
	r.cache.bytes.Add(e.cost)
	r.cache.entries.Add(1)
	return e
}

// lifeOf returns how long after a read was sent an entry may be returned that has some time
// left in the grid: log time is not faster than real time but for the difference of two
// clocks, and the time left was rounded up to a millisecond (NEAR-9).
func lifeOf(left time.Duration) time.Duration {
	return max((left-time.Millisecond)*31/32, 1)
}

// remove removes a flight from those of its key. mu is held.
func (s *shard) remove(f *flight) {
	last := s.flights[f.key]
	if last == f {
		if f.older == nil {
			delete(s.flights, f.key)
		} else {
			s.flights[f.key] = f.older
		}
		return
	}
	for g := last; g != nil; g = g.older {
		if g.older == f {
			g.older = f.older
			return
		}
	}
}

// absentFrom keeps that there is no entry because an event says so, which is a bug.
func (r *run) absentFrom(e *structures.WatchEvent) {
	f, _ := r.begin(e.Partition, e.Key, true)
	f.Done(structures.NearValue{Seen: e.Version})
}
