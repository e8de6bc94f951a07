package nearcache

import (
	"bytes"
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// retryTime is the pause after a watch has failed. Until then every read goes to the grid.
const retryTime = 5 * time.Second

// Cache is the near cache of one structure. Its first Get begins a run, which ends when
// nothing is read for a time.
type Cache struct {
	caches *Caches
	spec   structures.NearSpec
	store  bounded
	run    atomic.Pointer[run]

	counts                         [stripes]counts // by hash
	stored, notStored, invalidated atomic.Uint64
	gaps, evicted                  atomic.Uint64
	bytes, entries                 atomic.Int64

	mu     sync.Mutex // guards what follows, and the begin of a run
	failed time.Time  // when a watch failed
}

// counts are those of reads.
type counts struct {
	hits, absentHits, misses, tooOld, joined atomic.Uint64
	_                                        [24]byte // of a cache line
}

var _ structures.NearCache = (*Cache)(nil)

// since returns the time that has passed, by the monotonic or the wall clock, whichever
// says more: the monotonic one stands still while the machine is suspended.
func since(then, now time.Time) time.Duration {
	return max(now.Sub(then), time.Duration(now.UnixNano()-then.UnixNano()))
}

// covers reports whether a key is one that is kept.
func (c *Cache) covers(key []byte) bool {
	return bytes.Compare(key, c.spec.From) >= 0 && (len(c.spec.To) == 0 || bytes.Compare(key, c.spec.To) < 0)
}

// Get implements structures.NearCache.
//
// How recent the partition is is read before whether the entry is dead (NEAR-1): else an
// event and the answer to a probe may come in between, and an entry that the event has
// ended would pass for one that the probe has confirmed.
func (c *Cache) Get(key []byte) (structures.NearValue, bool) {
	if !c.covers(key) {
		return structures.NearValue{}, false
	}
	r := c.run.Load()
	if r == nil {
		c.begin()
		c.counts[0].misses.Add(1)
		return structures.NearValue{}, false
	}
	hash := maphash.Bytes(r.seed, key)
	n := &c.counts[hash%stripes]
	e, ok := c.store.get(hash)
	if !ok || e == nil || e.run != r || e.key != string(key) {
		r.use(c.caches.now())
		n.misses.Add(1)
		return structures.NearValue{}, false
	}
	p := &r.parts[e.part]
	dead := mutants.On(mutants.NearFlagFirst) && e.isDead(p)
	confirmed := p.confirmed.Load()
	now := c.caches.now()
	r.use(now)
	if mutants.On(mutants.NearFlagFirst) {
		confirmed = p.confirmed.Load()
	} else {
		dead = e.isDead(p)
	}
	age := time.Duration(0) // of what has a time to live
	if e.life > 0 {
		age = since(e.sent, now)
	}
	if dead || e.life > 0 && age >= e.life && !mutants.On(mutants.NearTTLIgnored) {
		n.misses.Add(1)
		return structures.NearValue{}, false
	}
	if (confirmed == nil || since(*confirmed, now) > c.spec.MaxStale) && !mutants.On(mutants.NearBoundIgnored) {
		n.tooOld.Add(1)
		return structures.NearValue{}, false
	}
	v := e.value
	if v.Left > 0 {
		v.Left = e.life - age
	}
	if v.Exists {
		n.hits.Add(1)
	} else {
		n.absentHits.Add(1)
	}
	return v, true
}

// Read implements structures.NearCache. One caller carries the read out, in its own
// context. If that has ended, those who waited read for themselves (NEAR-6).
func (c *Cache) Read(ctx context.Context, p protocol.PartitionID, key []byte, fresh bool, read func() (structures.NearValue, error)) (structures.NearValue, error) {
	r := c.run.Load()
	if r == nil || !c.covers(key) || int(p) >= len(r.parts) {
		return read()
	}
	f, joined := r.begin(p, key, fresh)
	if joined {
		c.counts[f.hash%stripes].joined.Add(1)
		select {
		case <-f.done:
			if f.shared {
				return f.value, f.err
			}
		case <-ctx.Done():
		}
		f, _ = r.begin(p, key, true)
	}
	defer f.Abandon()
	v, err := read()
	switch {
	case err == nil:
		f.Done(v)
	case contexts.Err(ctx) == nil: // it is the grid's, and not of this caller
		f.fail(err)
	}
	return v, err
}

// Begin implements structures.NearCache.
func (c *Cache) Begin(p protocol.PartitionID, key []byte) structures.NearRead {
	r := c.run.Load()
	if r == nil || !c.covers(key) || int(p) >= len(r.parts) {
		return notKept{}
	}
	f, _ := r.begin(p, key, true)
	return f
}

// notKept is a read of a key that is not kept.
type notKept struct{}

func (notKept) Done(structures.NearValue) {}
func (notKept) Abandon()                  {}

// Stats implements structures.NearCache.
func (c *Cache) Stats() structures.NearStats {
	s := structures.NearStats{
		Stored: c.stored.Load(), NotStored: c.notStored.Load(), Invalidated: c.invalidated.Load(),
		Gaps: c.gaps.Load(), Evicted: c.evicted.Load(), Entries: int(c.entries.Load()), Bytes: c.bytes.Load(),
	}
	for i := range c.counts {
		n := &c.counts[i]
		s.Hits += n.hits.Load()
		s.AbsentHits += n.absentHits.Load()
		s.Misses += n.misses.Load()
		s.TooOld += n.tooOld.Load()
		s.Joined += n.joined.Load()
	}
	if r := c.run.Load(); r != nil {
		s.Age = r.age(c.caches.now())
	}
	return s
}
