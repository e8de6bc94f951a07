package verify

import (
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
)

// Watched is what was done to one map, and what its watches have yielded. Each value is
// written once. It is safe for concurrent use.
type Watched struct {
	start time.Time
	keys  map[string]protocol.PartitionID

	mu       sync.Mutex // guards what follows
	writes   []watchWrite
	watchers []*Watcher
}

// NewWatched returns an empty history that begins now, of a map that has no other keys than
// these, in the partitions that are given.
func NewWatched(keys map[string]protocol.PartitionID) *Watched {
	return &Watched{start: time.Now(), keys: keys}
}

// WatchWrite says what a mutation does to a key.
type WatchWrite struct {
	Key   string // "": to every key
	Value string // of a put; "": it removes
	TTL   bool   // it may expire
}

// watchWrite is a mutation with its time, in nanoseconds since the history began.
type watchWrite struct {
	WatchWrite
	call, end int64 // end is Pending if the outcome is unknown, and 0 while it is under way
	refused   bool  // it was not carried out
}

func (w *watchWrite) acknowledged() bool { return w.end > 0 && w.end != Pending && !w.refused }

// Write notes mutations before they are called, and returns what notes their outcome.
func (h *Watched) Write(writes ...WatchWrite) (done func(err error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, call := len(h.writes), h.at(time.Now())
	for _, w := range writes {
		h.writes = append(h.writes, watchWrite{WatchWrite: w, call: call})
	}
	return func(err error) {
		end := h.at(time.Now())
		h.mu.Lock()
		defer h.mu.Unlock()
		for i := range writes {
			w := &h.writes[first+i]
			if w.end = end; unknown(err) {
				w.end = Pending
			} else {
				w.refused = err != nil
			}
		}
	}
}

func (h *Watched) at(t time.Time) int64 { return int64(t.Sub(h.start)) }

// Watcher is one watch of the map, which may have been left and begun again.
type Watcher struct {
	history  *Watched
	name     string
	matches  func(key string) bool
	keysOnly bool

	mu    sync.Mutex // guards steps
	steps []watchStep
}

// Watcher returns the recorder of a watch of the keys that match. With keysOnly its events
// have no values.
func (h *Watched) Watcher(name string, matches func(key string) bool, keysOnly bool) *Watcher {
	w := &Watcher{history: h, name: name, matches: matches, keysOnly: keysOnly}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers = append(h.watchers, w)
	return w
}

// WatchStart says where a watch begins.
type WatchStart uint8

// Where a watch begins.
const (
	WatchFromNow WatchStart = iota
	WatchCurrent            // with the entries
	WatchAfter              // behind a cursor
)

// watchStep is an event, or a beginning.
type watchStep struct {
	begins    bool
	start     WatchStart // of a beginning
	after     int        // of WatchAfter: the step whose cursor it was
	at        int64      // when it was yielded; of a beginning when it was called
	event     structures.EventType
	partition protocol.PartitionID
	key       string
	value     string
	version   protocol.Version
	previous  protocol.Version
	more      bool
	asOf      int64 // of Progress
	// otherHistory says that versions of before a Gap do not compare with those behind it.
	otherHistory bool
}

// noKeys is a partition that has none of the keys.
const noKeys = protocol.PartitionID(1<<32 - 1)

// Begin notes that the watch begins, before it is called. Of WatchAfter, after is what
// Event has returned for the event whose cursor it is.
func (w *Watcher) Begin(start WatchStart, after int) {
	w.add(watchStep{begins: true, start: start, after: after, at: w.history.at(time.Now())})
}

// Event notes an event and returns its number.
func (w *Watcher) Event(e dmap.Event[string, string]) int {
	s := watchStep{
		at: w.history.at(time.Now()), event: e.Type, partition: w.history.keys[e.Key], key: e.Key, value: e.Value,
		version: e.Version, previous: e.Previous, more: e.More,
	}
	switch e.Type {
	case dmap.Progress:
		s.asOf = w.history.at(e.AsOf)
	case dmap.Gap, dmap.Destroyed:
		s.partition, s.otherHistory = noKeys, e.Reason > structures.GapDataLost
		for k, p := range w.history.keys {
			if e.Covers(k) {
				s.partition = p
			}
		}
	}
	return w.add(s)
}

func (w *Watcher) add(s watchStep) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, s)
	return len(w.steps) - 1
}

// AsOf returns up to when the watch is known to be complete now; zero: it is not known.
func (w *Watcher) AsOf() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.steps) - 1; i >= 0; i-- {
		switch s := &w.steps[i]; {
		case s.begins, s.event == structures.EventGap:
			return time.Time{}
		case s.event == structures.EventProgress:
			return w.history.start.Add(time.Duration(s.asOf))
		}
	}
	return time.Time{}
}

// Counts returns how many events have come, how often the watch went on behind a cursor,
// and how many gaps it was told of.
func (w *Watcher) Counts() (events, resumed, gaps int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.steps {
		switch s := &w.steps[i]; {
		case s.begins && s.start == WatchAfter:
			resumed++
		case s.begins:
		case s.event == structures.EventGap:
			gaps++
		default:
			events++
		}
	}
	return events, resumed, gaps
}
