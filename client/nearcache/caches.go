package nearcache

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Grid is what near caches need of their client.
type Grid interface {
	// WatchNear begins a watch for a near cache.
	WatchNear(spec structures.WatchSpec) (Stream, error)
	// Spawn runs f in a goroutine that the client awaits when it is closed. It reports false if
	// the client is closed.
	Spawn(f func()) bool
	// Partitions returns how many partitions there are.
	Partitions() int
	// Cluster returns the id of the grid.
	Cluster() protocol.UUID
}

// Stream is the watch of a near cache.
type Stream interface {
	structures.WatchStream
	// Sync sends a probe with a number to each member where a part of the watch stands.
	Sync(n uint64)
}

// DefaultBytes bounds the near caches of a client, and LeastBytes that bound.
const (
	DefaultBytes = 64 << 20
	LeastBytes   = 1 << 20
)

// Caches are the near caches of a client. They are safe for concurrent use.
type Caches struct {
	grid  Grid
	bytes int64
	now   func() time.Time

	mu     sync.Mutex // guards making a cache
	all    atomic.Pointer[map[of]*Cache]
	store  bounded // nil: there is no cache
	closed bool
}

// of names a structure.
type of struct {
	kind protocol.KindID
	name string
}

// New returns the near caches of a client, none, which will keep that many bytes together.
func New(grid Grid, bytes int64) *Caches { return &Caches{grid: grid, bytes: bytes, now: time.Now} }

// NearCache implements structures.Cacher. What is kept is the same for all handles of a
// structure, so its settings are, too: those of the first handle.
func (cs *Caches) NearCache(spec structures.NearSpec) (structures.NearCache, error) {
	if spec.MaxStale == 0 {
		spec.MaxStale = structures.DefaultStale
	}
	if spec.MaxStale < structures.MinStale || spec.MaxStale > structures.MostStale {
		return nil, fmt.Errorf("%w: a near cache may be stale for %v to %v, not %v", quorate.ErrInvalid, structures.MinStale, structures.MostStale, spec.MaxStale)
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	all := map[of]*Cache{}
	if p := cs.all.Load(); p != nil {
		all = *p
	}
	key := of{spec.Kind, spec.Name}
	if c := all[key]; c != nil {
		if s := &c.spec; s.MaxStale != spec.MaxStale || s.Shared != spec.Shared || !bytes.Equal(s.From, spec.From) || !bytes.Equal(s.To, spec.To) {
			return nil, fmt.Errorf("%w: another handle of this client has a near cache with other options: its values may be stale for %v", quorate.ErrSettings, s.MaxStale)
		}
		return c, nil
	}
	if cs.store == nil && !cs.closed {
		s, err := newStore(cs.bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: a near cache of %d bytes: %v", quorate.ErrInvalid, cs.bytes, err)
		}
		cs.store = s
	}
	c := &Cache{caches: cs, spec: spec, store: cs.store}
	all = maps.Clone(all)
	all[key] = c
	cs.all.Store(&all)
	return c, nil
}

// Close ends the caches. The client's goroutines have ended.
func (cs *Caches) Close() {
	cs.mu.Lock()
	cs.closed = true
	s := cs.store
	cs.mu.Unlock()
	if s != nil {
		s.close()
	}
}

// Answered says how a call to a grid has ended, before its caller is told. All calls of a
// client come here, whichever handle they are of.
//
// What a mutation has changed is dropped, so that a Get that begins after its answer sees
// it or what came later (NEAR-5). If its outcome is unknown it is dropped as well. What it
// has stored is not kept: its time to live is not known here. A read makes older entries of
// its keys old: a later hit must not show what came before (NEAR-4).
func (cs *Caches) Answered(call *structures.Call, cluster protocol.UUID, version protocol.Version, err error) {
	all := cs.all.Load()
	if all == nil {
		return
	}
	read := call.Flags&protocol.FlagRead != 0
	if err != nil {
		if !errors.Is(err, quorate.ErrOutcomeUnknown) {
			return
		}
		version = unknown
	}
	if !read && mutants.On(mutants.NearOwnWrite) || read && (call.Flags&protocol.FlagStale != 0 || mutants.On(mutants.NearGoesBack)) {
		return
	}
	if call.Kind == protocol.KindTxn {
		for _, c := range *all {
			c.changed(call.Partition, cluster, version)
		}
		return
	}
	c := (*all)[of{call.Kind, call.Name}]
	switch {
	case c == nil:
	case call.Key != nil:
		c.learn(call.Key, cluster, version)
	case call.Keys != nil:
		for key := range call.Keys {
			c.learn(key, cluster, version)
		}
	case !read:
		c.changed(call.Partition, cluster, version)
	}
}

// unknown is the version of a mutation whose outcome is not known: no entry is as new.
const unknown = ^protocol.Version(0)

// learn notes that a key has changed at a version, or was read there.
func (c *Cache) learn(key []byte, cluster protocol.UUID, version protocol.Version) {
	if r := c.of(cluster); r != nil {
		r.learn(key, version)
	}
}

// changed notes that anything in a partition may have changed at a version.
func (c *Cache) changed(p protocol.PartitionID, cluster protocol.UUID, version protocol.Version) {
	r := c.of(cluster)
	switch {
	case r == nil:
	case version == unknown:
		r.sweep(p)
	default:
		r.raise(p, version)
	}
}

// of returns the run if it is of a grid, and ends it if it is of another: versions of two
// grids do not compare (NEAR-8).
func (c *Cache) of(cluster protocol.UUID) *run {
	r := c.run.Load()
	if r != nil && r.cluster != cluster {
		r.end()
		return nil
	}
	return r
}
