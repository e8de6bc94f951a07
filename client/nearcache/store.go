package nearcache

import (
	"sync"

	"github.com/dgraph-io/ristretto/v2"
)

// bounded holds entries up to a number of bytes, and decides which ones. It is safe for
// concurrent use.
type bounded interface {
	get(hash uint64) (*entry, bool)
	// set reports false if the entry was refused at once. It may be refused later, too.
	set(hash uint64, e *entry) bool
	del(hash uint64)
	close()
}

// stripes is into how many parts the lock of a store is split.
const stripes = 16

// store is a bounded one made of ristretto.
type store struct {
	cache *ristretto.Cache[uint64, *entry]
	// Ristretto must not be used while, or after, it is closed: users hold the lock of a
	// stripe, close holds all of them.
	locks [stripes]struct {
		sync.RWMutex
		closed bool
		_      [39]byte // of a cache line
	}
}

// countersPer is for how many bytes of the bound there is a counter of how often a key is
// asked for. An entry takes five times as much, or more.
const countersPer = 64

func newStore(bytes int64) (*store, error) {
	c, err := ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		NumCounters: max(bytes/countersPer, 1024), MaxCost: bytes, BufferItems: 64, IgnoreInternalCost: true,
		KeyToHash: func(hash uint64) (uint64, uint64) { return hash, 0 },
		OnEvict:   func(i *ristretto.Item[*entry]) { i.Value.evicted() },
		OnReject:  func(i *ristretto.Item[*entry]) { i.Value.refused() },
		OnExit:    func(e *entry) { e.exit() },
	})
	if err != nil {
		return nil, err
	}
	return &store{cache: c}, nil
}

func (s *store) get(hash uint64) (*entry, bool) {
	l := &s.locks[hash%stripes]
	l.RLock()
	defer l.RUnlock()
	if l.closed {
		return nil, false
	}
	return s.cache.Get(hash)
}

func (s *store) set(hash uint64, e *entry) bool {
	l := &s.locks[hash%stripes]
	l.RLock()
	defer l.RUnlock()
	return !l.closed && s.cache.Set(hash, e, e.cost)
}

func (s *store) del(hash uint64) {
	l := &s.locks[hash%stripes]
	l.RLock()
	defer l.RUnlock()
	if !l.closed {
		s.cache.Del(hash)
	}
}

func (s *store) close() {
	for i := range s.locks {
		s.locks[i].Lock()
		defer s.locks[i].Unlock()
		if s.locks[i].closed {
			return
		}
		s.locks[i].closed = true
	}
	s.cache.Close()
}
