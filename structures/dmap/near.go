package dmap

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// NearOption changes how a [NearCache] works. The zero NearOption changes nothing.
type NearOption struct {
	stale  time.Duration // 0: not said
	shared bool
	within []ScanOption
	err    error
}

// nearOptions are what the options of a near cache ask for together.
type nearOptions struct {
	spec   structures.NearSpec
	within []ScanOption
	err    error
}

// NearCache keeps in this client what [Map.Get], [Map.Entry] and [Map.GetAll] have read,
// that there is no entry included, and answers them from there, without I/O. Handles of the
// map in one client share it, and client.WithNearCacheBytes bounds all near caches of a
// client together. It is for maps that are read far more often than they are written: each
// write of a key costs an event to each such client.
//
// By the caller's clock, a call that may be answered from it returns what was the value at
// some moment between [MaxStale] before the call and its return. This holds even if the
// connection is dead, the member is deposed or paused, or this process was: then calls go to
// the grid. In one client the values of a key never go back, and a call that begins after
// this client's own write of the key was answered returns that value or a later one. Nothing
// is returned after its time to live. While a group changes its leader, for up to about
// three quarters of MaxStale, what is kept is still returned.
//
// What others write is seen within MaxStale, and between keys there is no order. [Fresh] has
// a call answered by the grid. [Map.Update], [Map.All], [Map.Keys], [Map.Len], transactions
// and reads with [Stale] do not use it.
//
// It begins with the first read, with a watch, and ends when nothing is read for ten times
// MaxStale, or a minute if that is longer. While the watch cannot be had the map is like one
// without it. Another handle of the map in the client with other options for it is
// [quorate.ErrSettings] at each call, a MaxStale out of range [quorate.ErrInvalid].
func NearCache(opts ...NearOption) Option {
	near := &nearOptions{}
	for _, o := range opts {
		if o.stale != 0 {
			near.spec.MaxStale = o.stale
		}
		near.spec.Shared = near.spec.Shared || o.shared
		near.within = append(near.within, o.within...)
		if o.err != nil {
			near.err = o.err
		}
	}
	return Option{near: near}
}

// MaxStale is how long ago a value may have been the present one, 200 ms to 1 minute; 2 s
// without it. A probe goes to each group of the map four times in that time.
func MaxStale(d time.Duration) NearOption {
	o := NearOption{stale: d}
	if d < structures.MinStale || d > structures.MostStale {
		o.err = fmt.Errorf("%w: a near cache may be stale for %v to %v, not %v", quorate.ErrInvalid, structures.MinStale, structures.MostStale, d)
	}
	return o
}

// SharedValues keeps values decoded: all callers get the same one, and must not change what
// it refers to. Without it each call decodes a value of its own.
func SharedValues() NearOption { return NearOption{shared: true} }

// Within keeps only the keys of a range, and learns of the changes of these alone.
func Within(scan ...ScanOption) NearOption { return NearOption{within: scan} }

// NearStats are counts of a near cache.
type NearStats = structures.NearStats

// NearStats returns the counts of the map's near cache in this client; zero without one.
func (m *Map[K, V]) NearStats() NearStats {
	if m.near == nil {
		return NearStats{}
	}
	return m.near.Stats()
}

// keepNear gives the handle its near cache.
func keepNear[K comparable, V any](m *Map[K, V], o *nearOptions) {
	err := o.err
	if err == nil {
		var in watchOptions
		for _, s := range o.within {
			s.watch(&in)
		}
		var watch structures.WatchSpec
		if watch, err = m.watchSpec("keep", &in); err == nil {
			spec := o.spec
			spec.From, spec.To, spec.Partitions = watch.From, watch.To, watch.Partitions
			m.near, err = m.handle.NearCache(spec)
		}
	}
	if err != nil {
		m.near = nil
		m.handle.SetBad(err)
	}
}

// nearEntry reads an entry, from the near cache if it has it.
func nearEntry[K comparable, V any](m *Map[K, V], ctx context.Context, verb string, k K, reading structures.Reading) (Entry[K, V], bool, error) {
	if !reading.Fresh {
		var space [64]byte
		key, err := structures.AppendKey(space[:0], k)
		if err == nil && contexts.Err(ctx) == nil {
			if v, ok := m.near.Get(key); ok {
				return nearValue(m, verb, k, v, reading)
			}
		}
	}
	call, err := m.call(verb, opGet, k, 1)
	if err != nil {
		return Entry[K, V]{}, false, err
	}
	call.Flags = reading.Flags
	v, err := m.near.Read(ctx, call.Partition, call.Key, reading.Fresh, func() (structures.NearValue, error) {
		reply, err := m.handle.Invoke(ctx, call)
		if err != nil {
			return structures.NearValue{}, err
		}
		r := protocol.NewReader(reply.Body)
		fields := r.ArrayLen()
		v, e := structures.NearValue{Exists: fields > 0, Seen: reply.Version}, Entry[K, V]{}
		if v.Exists {
			v.Value = m.readEntry(&r, &e)
			v.Version, v.Left = e.Version, e.Left
		}
		if fields > 3 {
			r.Uint() // the owner, which the near cache does not keep
		}
		return v, done(&m.handle, verb, &r, reply)
	})
	if err != nil {
		return Entry[K, V]{}, false, err
	}
	return nearValue(m, verb, k, v, reading)
}

// nearValue makes an entry of what is known of a key.
func nearValue[K comparable, V any](m *Map[K, V], verb string, k K, v structures.NearValue, reading structures.Reading) (Entry[K, V], bool, error) {
	if reading.Seen != nil {
		*reading.Seen = v.Seen
	}
	if !v.Exists {
		return Entry[K, V]{}, false, nil
	}
	e := Entry[K, V]{Key: k, Version: v.Version, Left: v.Left}
	if v.Memo != nil {
		if p := v.Memo.Load(); p != nil {
			if shared, ok := (*p).(V); ok {
				e.Value = shared
				return e, true, nil
			}
		}
	}
	if err := structures.DecodeValue(m.codec, v.Value, &e.Value); err != nil {
		return Entry[K, V]{}, false, m.handle.Fail(verb, err, "")
	}
	if v.Memo != nil {
		shared := any(e.Value)
		v.Memo.Store(&shared)
	}
	return e, true, nil
}

// nearAll is the near cache in a read of many keys.
type nearAll[K comparable, V any] struct {
	m     *Map[K, V]
	found map[K]V
	reads map[K]structures.NearRead // of what the near cache does not have
}

func newNearAll[K comparable, V any](m *Map[K, V], found map[K]V) nearAll[K, V] {
	n := nearAll[K, V]{m: m, found: found}
	if m.near != nil {
		n.reads = map[K]structures.NearRead{}
	}
	return n
}

// get takes a key from the near cache, or notes that it is about to be read.
func (n *nearAll[K, V]) get(k K) bool {
	m := n.m
	if m.near == nil {
		return false
	}
	key, err := structures.AppendKey(nil, k)
	if err != nil {
		return false
	}
	if v, ok := m.near.Get(key); ok {
		if e, exists, err := nearValue(m, "get all", k, v, structures.Reading{}); err == nil {
			if exists {
				n.found[k] = e.Value
			}
			return true
		}
	}
	if n.reads[k] == nil {
		n.reads[k] = m.near.Begin(m.handle.Partition(key), key)
	}
	return false
}

func (n *nearAll[K, V]) done(k K, v structures.NearValue) {
	if read := n.reads[k]; read != nil {
		read.Done(v)
	}
}

// absent says that keys have no entry.
func (n *nearAll[K, V]) absent(items []batchItem[K], seen Version) {
	if n.reads == nil {
		return
	}
	for i := range items {
		n.done(items[i].key, structures.NearValue{Seen: seen})
	}
}

// abandon ends the reads of keys that were not read.
func (n *nearAll[K, V]) abandon() {
	for _, read := range n.reads {
		read.Abandon()
	}
}
