package verify

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// story is a history under construction: each step takes one unit of time.
type story struct {
	*Watched
	now int64
}

// newStory has the keys a and b in partition 1, and x in partition 2.
func newStory() *story {
	return &story{Watched: NewWatched(map[string]protocol.PartitionID{"a": 1, "b": 1, "x": 2})}
}

func (s *story) tick() int64 { s.now++; return s.now }

// wrote is a mutation that takes two units of time; an empty value removes.
func (s *story) wrote(key, value string, err error) {
	w := watchWrite{WatchWrite: WatchWrite{Key: key, Value: value}, call: s.tick(), end: s.tick()}
	if errors.Is(err, quorate.ErrOutcomeUnknown) {
		w.end = Pending
	} else {
		w.refused = err != nil
	}
	s.writes = append(s.writes, w)
}

// tape is a watcher under construction.
type tape struct {
	*Watcher
	s *story
}

func (s *story) watch(start WatchStart) *tape {
	w := &tape{s.Watcher(string(rune('A'+len(s.watchers))), func(string) bool { return true }, false), s}
	w.begins(start, 0)
	return w
}

func (w *tape) begins(start WatchStart, after int) {
	w.add(watchStep{begins: true, start: start, after: after, at: w.s.tick()})
}

// gets adds an event of a key: "put a=1 v3 p2 +".
func (w *tape) gets(event structures.EventType, key, value string, version, previous protocol.Version, more ...bool) int {
	return w.add(watchStep{
		at: w.s.tick(), event: event, partition: w.s.keys[key], key: key, value: value,
		version: version, previous: previous, more: len(more) > 0,
	})
}

func (w *tape) whole(event structures.EventType, of protocol.PartitionID) {
	s := watchStep{at: w.s.tick(), event: event, partition: of}
	s.asOf = s.at // of Progress
	w.add(s)
}

const (
	put     = structures.EventPut
	removed = structures.EventRemoved
	current = structures.EventCurrent
)

func (w *tape) synced()                     { w.whole(structures.EventSynced, 0) }
func (w *tape) progress()                   { w.whole(structures.EventProgress, 0) }
func (w *tape) gap(of protocol.PartitionID) { w.whole(structures.EventGap, of) }
func (w *tape) dies(of protocol.PartitionID) {
	w.add(watchStep{at: w.s.tick(), event: structures.EventDestroyed, partition: of, version: 1 << 20})
}

// good is a history in which all rules are kept; each break of it breaks one.
func good(breakAt string) *story {
	s := newStory()
	s.wrote("a", "a1", nil)
	if breakAt != "listed late" {
		s.wrote("b", "b1", nil)
	}
	w := s.watch(WatchCurrent)
	if breakAt == "listed late" {
		s.wrote("b", "b1", nil)
	}
	w.gets(current, "a", "a1", 1, 0)
	switch breakAt {
	case "list lacks an entry":
	case "list is old":
		s.wrote("b", "b2", nil)
		w.gets(current, "b", "b1", 2, 0)
		w.synced()
		w.progress()
		return s
	case "entry comes twice":
		w.gets(current, "b", "b1", 2, 0)
		w.gets(current, "b", "b1", 2, 0)
	default:
		w.gets(current, "b", "b1", 2, 0)
	}
	w.synced()
	s.wrote("a", "a2", nil)
	s.wrote("x", "x1", nil)
	s.wrote("b", "", nil)
	switch breakAt {
	case "event is lost":
	case "event is another's":
		w.gets(put, "a", "nobody's", 3, 1)
	case "event comes too early":
		s.now = 2
		w.gets(put, "a", "a2", 3, 1)
		s.now = 100
	default:
		w.gets(put, "a", "a2", 3, 1)
	}
	first := w.gets(put, "x", "x1", 1, 0)
	switch breakAt {
	case "removal is lost":
	case "removal is early":
		w.gets(removed, "b", "", 2, 2)
	case "removal has another version before":
		w.gets(removed, "b", "", 4, 1)
	default:
		w.gets(removed, "b", "", 4, 2)
	}
	if breakAt == "event comes twice" {
		w.gets(removed, "b", "", 4, 0)
	}
	w.progress()
	// One mutation of two keys, in one piece.
	s.wrote("a", "a3", nil)
	s.wrote("b", "b3", nil)
	w.gets(put, "a", "a3", 5, 3, true)
	if breakAt == "mutation is torn" {
		s.wrote("x", "x2", nil)
		w.gets(put, "x", "x2", 2, 1)
	}
	w.gets(put, "b", "b3", 5, 0)
	w.begins(WatchAfter, first) // which is behind a3 and b3 again
	w.synced()
	if breakAt != "resumed behind it" {
		w.gets(removed, "b", "", 4, 2)
	}
	w.gets(put, "a", "a3", 5, 3, true)
	w.gets(put, "b", "b3", 5, 0)
	w.progress()
	// A second watch, from now.
	o := s.watch(WatchFromNow)
	o.synced()
	s.wrote("x", "x3", nil)
	s.wrote("x", "", nil)
	for _, t := range []*tape{w, o} {
		switch {
		case breakAt == "life is lost" && t == o:
		case breakAt == "watches disagree" && t == o:
			t.gets(put, "x", "x1", 3, 1)
			t.gets(removed, "x", "", 4, 3)
		default:
			t.gets(put, "x", "x3", 3, 1)
			t.gets(removed, "x", "", 4, 3)
		}
		t.progress()
	}
	// A gap, and what was written meanwhile.
	s.wrote("a", "a4", nil)
	s.wrote("a", "a5", nil)
	if breakAt == "gap is silent" {
		w.gets(put, "a", "a5", 7, 6)
	} else {
		w.gap(1)
		w.gets(current, "a", "a5", 7, 0)
	}
	w.gets(current, "b", "b3", 5, 0)
	w.synced()
	s.wrote("b", "b4", errors.New("refused"))
	s.wrote("b", "b5", quorate.ErrOutcomeUnknown)
	w.progress()
	return s
}

func TestCheckWatch(t *testing.T) {
	breaks := map[string]string{
		"":                                   "",
		"listed late":                        "", // either is right: it was written while the list was asked for
		"list lacks an entry":                WatchFresh,
		"list is old":                        WatchFresh,
		"entry comes twice":                  WatchUnique,
		"event is lost":                      WatchComplete,
		"event is another's":                 WatchReal,
		"event comes too early":              WatchReal,
		"removal is lost":                    WatchFresh,
		"removal is early":                   WatchOrdered,
		"removal has another version before": WatchComplete,
		"event comes twice":                  WatchUnique,
		"mutation is torn":                   WatchOrdered,
		"resumed behind it":                  WatchComplete,
		"life is lost":                       WatchComplete,
		"watches disagree":                   WatchAgree,
		"gap is silent":                      WatchComplete,
	}
	for _, name := range slices.Sorted(maps.Keys(breaks)) {
		err := CheckWatch(good(name).Watched)
		var first *WatchViolation
		switch rule := breaks[name]; {
		case rule == "" && err != nil:
			t.Errorf("%q: %v", name, err)
		case rule == "":
		case !errors.As(err, &first):
			t.Errorf("%q: it is not noticed", name)
		case !strings.Contains(err.Error(), rule+": "):
			t.Errorf("%q: want the rule %q, got %v", name, rule, err)
		}
	}
}

// A map that is destroyed has no entries in the partition, and its next ones follow none.
func TestCheckWatch_Destroyed(t *testing.T) {
	s := newStory()
	s.wrote("a", "a1", nil)
	w := s.watch(WatchCurrent)
	w.gets(current, "a", "a1", 1, 0)
	w.synced()
	s.wrote("", "", nil)
	w.dies(1)
	s.wrote("a", "a2", nil)
	w.gets(put, "a", "a2", 1<<21, 0)
	w.progress()
	if err := CheckWatch(s.Watched); err != nil {
		t.Error(err)
	}
	s.wrote("x", "x1", nil)
	w.gets(put, "x", "x1", 5, 0)
	s.wrote("", "", nil)
	w.progress() // x is still there
	if err := CheckWatch(s.Watched); err == nil || !strings.Contains(err.Error(), WatchFresh) {
		t.Error(err)
	}
}

func TestCheckFinal(t *testing.T) {
	s := good("")
	end := map[string]WatchEntry{"a": {"a5", 7}, "b": {"b3", 5}}
	if err := CheckFinal(s.Watched, end); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(){
		"an entry is lost":     func() { end["x"] = WatchEntry{"x9", 9} },
		"an entry is too many": func() { delete(end, "b") },
		"another version":      func() { end["a"] = WatchEntry{"a5", 8} },
		"another value":        func() { end["a"] = WatchEntry{"a4", 7} },
	} {
		end = map[string]WatchEntry{"a": {"a5", 7}, "b": {"b3", 5}}
		change()
		var v *WatchViolation
		if err := CheckFinal(s.Watched, end); !errors.As(err, &v) || v.Rule != WatchFinal {
			t.Errorf("%s: %v", name, err)
		}
	}
}
