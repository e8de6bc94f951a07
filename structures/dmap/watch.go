package dmap

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// EventType says what an event of a watch is.
type EventType = structures.EventType

// The types of events.
const (
	Put       = structures.EventPut          // the entry was written
	Removed   = structures.EventRemoved      // it was deleted, or cleared
	Expired   = structures.EventExpired      // its time to live has passed
	Ended     = structures.EventSessionEnded // the session that owned it has ended
	Evicted   = structures.EventEvicted      // it had to go to stay within the size of the map
	Destroyed = structures.EventDestroyed    // all entries of one partition are gone with the map: see Event.Covers
	Current   = structures.EventCurrent      // the entry is there: with WithCurrent, or after a Gap
	Synced    = structures.EventSynced       // the watch, or a list of it, is complete up to here
	Progress  = structures.EventProgress     // see ProgressEvery
	Gap       = structures.EventGap          // with Relist: changes of one partition are missing: see Event.Covers
)

// WatchCursor is a position in a watch: see [After].
type WatchCursor = structures.WatchCursor

// Event is an event of a watch: see [Map.Watch].
type Event[K comparable, V any] struct {
	Type EventType
	// Key is zero in Destroyed, Synced, Progress and Gap.
	Key K
	// Value is that of Put and Current, unless the watch has KeysOnly.
	Value V
	// Version is that of the mutation; of Current that of the entry.
	Version Version
	// Previous is the version that the entry had before; 0: there was none.
	Previous Version
	// Old is, with OldValues, the value before, if HasOld.
	Old    V
	HasOld bool
	// More says that another event of the same mutation follows.
	More bool
	// Left is, of Current, the time to live that is left; 0: it does not end.
	Left time.Duration
	// Reason is, of Gap, why changes are missing.
	Reason structures.GapReason
	// AsOf is, of Progress, when it was asked for: all that was acknowledged before then
	// has come.
	AsOf time.Time

	partition protocol.PartitionID
	watch     *watching
	number    uint64
}

// watching is what the events of a watch share.
type watching struct {
	stream    structures.WatchStream
	partition func(key []byte) protocol.PartitionID
	events    uint64 // that have come: the stream has the cursor of the last
}

// Covers reports whether a Gap or a Destroyed is about a key: both are about all keys of
// one partition. Of other events it is whether the key is the event's.
func (e Event[K, V]) Covers(k K) bool {
	if e.Type != Gap && e.Type != Destroyed {
		return e.watch != nil && e.Type != Synced && e.Type != Progress && e.Key == k
	}
	key, err := structures.AppendKey(nil, k)
	return err == nil && e.watch.partition(key) == e.partition
}

// WatchOption changes what [Map.Watch] watches, where it begins and what it gives. Every
// [ScanOption] but [Resume] is one: it restricts the watch to a range of keys.
type WatchOption interface{ watch(o *watchOptions) }

// watchOptions are what the options of a watch ask for together.
type watchOptions struct {
	spec   structures.WatchSpec
	scan   ScanOption
	key    []byte // the only one; nil: a range
	tagged bool   // the range has one partition: its keys share a tag
	old    bool
	err    error
}

func (o *watchOptions) fail(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf("%w: "+format, append([]any{quorate.ErrInvalid}, args...)...)
	}
}

type watchOption func(*watchOptions)

func (f watchOption) watch(o *watchOptions) { f(o) }

func (s ScanOption) watch(o *watchOptions) {
	if s.at != nil {
		o.fail("a watch goes on after a WatchCursor, not a Cursor")
		return
	}
	o.scan.add(s)
	if s.tag == protocol.KeyText && len(s.to) > 0 && len(s.from) > 0 && hasTag(string(s.from[1:])) {
		o.tagged = true
	}
}

// hasTag reports whether a name, or a prefix of one, has a {tag} that is not empty.
func hasTag(s string) bool {
	for {
		_, after, ok := strings.Cut(s, "{")
		if !ok {
			return false
		}
		tag, _, closed := strings.Cut(after, "}")
		if !closed {
			return false
		}
		if tag != "" {
			return true
		}
		s = after
	}
}

// Key watches one key. Nothing is missed of it by what happens to others: while the entry
// is not written, there is no gap.
func Key[K comparable](k K) WatchOption {
	return watchOption(func(o *watchOptions) {
		key, err := structures.AppendKey(nil, k)
		if err != nil && o.err == nil {
			o.err = err
		}
		o.key = key
	})
}

// WithCurrent begins with the entries that are there, as Current, then Synced, then what
// changes, without a gap or a duplicate between them.
func WithCurrent() WatchOption { return watchOption(func(o *watchOptions) { o.spec.Current = true }) }

// After goes on behind a cursor of a watch of the same keys, with the same filters. The
// zero cursor, and one of another map, is [quorate.ErrInvalid].
func After(c WatchCursor) WatchOption {
	return watchOption(func(o *watchOptions) { o.spec.After = &c })
}

// AfterVersion begins behind the mutation of that version, which an [Entry] has. It needs
// [Key], or keys that share a {tag}, because versions of different partitions do not
// compare.
func AfterVersion(v Version) WatchOption {
	return watchOption(func(o *watchOptions) {
		if v == 0 {
			o.fail("the version after which a watch begins is 0")
		}
		o.spec.AfterVersion = v
	})
}

// Only leaves out the changes of other types. Destroyed always comes.
func Only(types ...EventType) WatchOption {
	return watchOption(func(o *watchOptions) {
		for _, t := range types {
			if t >= 32 {
				o.fail("only changes can be left out, %v always comes", t)
				return
			}
			o.spec.Types |= 1 << t
		}
	})
}

// KeysOnly leaves the values out.
func KeysOnly() WatchOption {
	return watchOption(func(o *watchOptions) { o.spec.Options |= protocol.WatchKeysOnly })
}

// OldValues gives the values before, which a map with the setting [KeepOld] keeps. Without
// the setting it is [quorate.ErrSettings].
func OldValues() WatchOption {
	return watchOption(func(o *watchOptions) { o.spec.Options, o.old = o.spec.Options|protocol.WatchOldValues, true })
}

// Relist goes on where changes are missing: with Gap, which says of which partition, then
// its entries as Current, and Synced. Without it a watch ends there, with a
// [*structures.GapError].
func Relist() WatchOption { return watchOption(func(o *watchOptions) { o.spec.Relist = true }) }

// Newest, with [Key], gives the entry as it is now as Put, or Removed if there is none, and
// then its newest state whenever it has another: states in between may be left out, so
// there is never a gap. It has no cursor, and takes no other option.
func Newest() WatchOption {
	return watchOption(func(o *watchOptions) { o.spec.Options |= protocol.WatchRow })
}

// ProgressEvery gives a Progress every d, 1 s or more: all that was acknowledged when it was
// asked for, at AsOf, has come. It needs a leader: without one there is none.
func ProgressEvery(d time.Duration) WatchOption {
	return watchOption(func(o *watchOptions) {
		if d < structures.MinProgress {
			o.fail("progress every %v, at least %v", d, structures.MinProgress)
		}
		o.spec.Progress = d
	})
}

// Window is how many bytes of events may be on their way to the loop; 64 KiB without it,
// at most 4 MiB. A loop that takes longer than they last holds its watch up, and no one
// else's.
func Window(bytes int) WatchOption {
	return watchOption(func(o *watchOptions) {
		if bytes <= 0 || bytes > structures.MaxWindow {
			o.fail("a window of %d bytes, at most %d", bytes, structures.MaxWindow)
		}
		o.spec.Window = bytes
	})
}

// Watch iterates over the changes of the map from now on, of those of its entries that the
// options ask for, until the loop is left, ctx ends or there is an error, which is the last
// thing that comes. The loop is the subscription: nothing is left of it afterwards.
//
// In each partition the changes come in the order of their versions, each once, and all of
// them, or else a gap is told; those of one mutation together, all but the last with More.
// They come after they are committed, by a time that only [ProgressEvery] bounds. Between
// partitions there is no order: keys that need one share a {tag}. All this holds over
// changes of leaders, failures and lost connections. Once the watch stands in all
// partitions there is a Synced; without [WithCurrent], [After] and [AfterVersion] it comes
// first, and what is written after it comes.
//
// Errors: [*structures.GapError] where changes are missing, unless [Relist] is given: it Is
// [quorate.ErrCompacted] if they are no longer kept; [quorate.ErrOverloaded] for too many
// watches, and for entries that change faster than they are listed; [quorate.ErrInvalid]
// for options that do not fit the map or each other; [quorate.ErrSettings] for OldValues of
// a map that does not keep them; [quorate.ErrCodec] for a value that another codec wrote,
// or that V cannot hold, and for a key of another type than K.
func (m *Map[K, V]) Watch(ctx context.Context, opts ...WatchOption) iter.Seq2[Event[K, V], error] {
	return func(yield func(Event[K, V], error) bool) {
		stream, _, err := Stream(ctx, m, opts...)
		if err != nil {
			yield(Event[K, V]{}, err)
			return
		}
		defer stream.Close()
		w := &watching{stream: stream, partition: m.handle.Partition}
		for {
			got, err := stream.Next(ctx)
			if err != nil {
				yield(Event[K, V]{}, err)
				return
			}
			e, err := m.event(w, &got)
			if err != nil {
				yield(e, m.handle.Fail(watchVerb, err, ""))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

const watchVerb = "watch"

// Stream is for package config: the events of [Map.Watch] with keys and values as they are
// encoded, and the codec of the values. The caller closes it.
func Stream[K comparable, V any](ctx context.Context, m *Map[K, V], opts ...WatchOption) (structures.WatchStream, structures.Codec, error) {
	var o watchOptions
	for _, opt := range opts {
		opt.watch(&o)
	}
	spec, err := m.watchSpec(watchVerb, &o)
	if err == nil && o.old {
		err = keepsOld(ctx, &m.handle)
	}
	if err != nil {
		return nil, m.codec, m.handle.Fail(watchVerb, err, "")
	}
	stream, err := m.handle.Watch(ctx, spec)
	return stream, m.codec, err
}

// event decodes an event.
func (m *Map[K, V]) event(w *watching, got *structures.WatchEvent) (Event[K, V], error) {
	w.events++
	e := Event[K, V]{
		Type: got.Type, Version: got.Version, Previous: got.Previous, More: got.More, Left: got.Left, Reason: got.Reason, AsOf: got.AsOf,
		partition: got.Partition, watch: w, number: w.events,
	}
	if len(got.Key) == 0 {
		return e, nil
	}
	var err error
	if e.Key, err = structures.DecodeKey[K](got.Key); err != nil {
		return e, err
	}
	if len(got.Value) > 0 {
		if err := structures.DecodeValue(m.codec, got.Value, &e.Value); err != nil {
			return e, err
		}
	}
	if len(got.Old) > 0 {
		e.HasOld = true
		err = structures.DecodeValue(m.codec, got.Old, &e.Old)
	}
	return e, err
}

// Cursor returns the position behind the event, where [After] goes on. It is made when it
// is asked for, some 3 KB for a whole map. It is there until the next event has come: of an
// earlier one it is the zero cursor, which After refuses. With [Newest] there is none.
func (e Event[K, V]) Cursor() WatchCursor {
	if e.watch == nil || e.number != e.watch.events {
		return WatchCursor{}
	}
	return e.watch.stream.Cursor()
}

// keepsOld returns ErrSettings for a map that does not keep old values.
func keepsOld(ctx context.Context, h *structures.Handle) error {
	settings, _, err := h.Settings(ctx)
	if err != nil {
		return err
	}
	for _, s := range settings {
		if s.Name == oldSetting.Name && s.Value.Int != 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: the map does not keep old values: it needs the setting keep-old=1 (KeepOld)", quorate.ErrSettings)
}

// watchSpec returns what the options ask for.
func (m *Map[K, V]) watchSpec(verb string, o *watchOptions) (structures.WatchSpec, error) {
	spec := o.spec
	spec.Verb = verb
	row := spec.Options&protocol.WatchRow != 0
	begins := 0
	for _, given := range []bool{spec.Current, spec.After != nil, spec.AfterVersion != 0} {
		if given {
			begins++
		}
	}
	switch {
	case begins > 1:
		o.fail("a watch begins in one way: WithCurrent, After or AfterVersion")
	case o.key != nil && o.scan.tag != 0:
		o.fail("a key and a range of keys")
	case row && o.key == nil:
		o.fail("Newest is of one key: add Key")
	case row && (begins > 0 || spec.Relist || spec.Types != 0 || spec.Options != protocol.WatchRow):
		o.fail("Newest takes no other option than Key, ProgressEvery and Window")
	}
	if o.err != nil {
		return spec, o.err
	}
	if o.key != nil {
		if err := checkTag[K](o.key[0]); err != nil {
			return spec, err
		}
		spec.From, spec.To = o.key, append(o.key[:len(o.key):len(o.key)], 0)
		spec.Partitions = []protocol.PartitionID{m.handle.Partition(o.key)}
		return spec, nil
	}
	a, _, err := m.scanRange([]ScanOption{o.scan})
	if err != nil {
		return spec, err
	}
	spec.From, spec.To = a.from, a.to
	if o.tagged || hasTag(m.handle.Name()) {
		spec.Partitions = []protocol.PartitionID{m.handle.Partition(a.from)}
	} else {
		for p := range m.handle.Partitions() {
			spec.Partitions = append(spec.Partitions, protocol.PartitionID(p))
		}
	}
	if spec.AfterVersion != 0 && len(spec.Partitions) > 1 {
		return spec, fmt.Errorf("%w: a version is of one partition: use it with Key, or with keys that share a {tag}", quorate.ErrInvalid)
	}
	return spec, nil
}

// checkTag refuses a key of another type than the map's.
func checkTag[K comparable](tag byte) error {
	if _, every := any(*new(K)).(structures.EncodedKey); every {
		return nil
	}
	own, err := structures.AppendKey(nil, *new(K))
	if err == nil && own[0] != tag {
		err = fmt.Errorf("%w: a key of another type than the map's", quorate.ErrInvalid)
	}
	return err
}
