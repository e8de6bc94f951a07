package verify

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// WatchEntry is an entry of the map at the end.
type WatchEntry struct {
	Value   string
	Version protocol.Version
}

// WatchViolation is a rule that a watch has broken.
type WatchViolation struct {
	Rule    string // one of the rules of CheckWatch
	Watcher string
	What    string
	Before  []string // the last steps that concern the partition
}

func (v *WatchViolation) Error() string {
	s := fmt.Sprintf("%s: watch %s: %s", v.Rule, v.Watcher, v.What)
	if len(v.Before) > 0 {
		s += "; it was told: " + strings.Join(v.Before, ", ")
	}
	return s
}

// The rules of CheckWatch, after those of etcd's robustness tests.
const (
	WatchOrdered  = "ordered"  // versions of a partition grow, and a mutation is in one piece
	WatchUnique   = "unique"   // an event comes once, and an entry is listed once
	WatchComplete = "complete" // each event names the one before it, and what was acknowledged has come
	WatchReal     = "real"     // somebody wrote it, before it came
	WatchAgree    = "agree"    // all watches are told the same of a version
	WatchFresh    = "fresh"    // what the events add up to at Synced and Progress is not older than they say
	WatchFinal    = "final"    // what they add up to at the end is what a read returns
)

const (
	maxViolations = 3 // of a watcher that are reported
	maxReported   = 6 // of a map
)

// CheckWatch reports whether the watches of a map have kept their promises. No mutation
// and no watch may be under way. The error joins [*WatchViolation].
func CheckWatch(h *Watched) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	facts := newWatchFacts(h)
	var errs []error
	for _, w := range h.watchers {
		w.mu.Lock()
		for i := range w.steps {
			facts.learn(w, &w.steps[i])
		}
		w.mu.Unlock()
	}
	for _, w := range h.watchers {
		w.mu.Lock()
		r := replay{facts: facts, w: w, seen: map[string]bool{}}
		r.run()
		w.mu.Unlock()
		errs = append(errs, r.errs...)
	}
	errs = append(facts.errs, errs...)
	return errors.Join(errs[:min(len(errs), maxReported)]...)
}

// CheckFinal reports whether what the watches were told adds up to what a read of the whole
// map has returned, when nothing was written any more, after what they are complete up to.
func CheckFinal(h *Watched, entries map[string]WatchEntry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	facts := newWatchFacts(h)
	var errs []error
	for _, w := range h.watchers {
		w.mu.Lock()
		r := replay{facts: facts, w: w, quiet: true}
		r.run()
		r.quiet = false
		for _, key := range slices.Sorted(maps.Keys(h.keys)) {
			e, there := entries[key]
			switch got, ok := r.keys[key]; {
			case !w.matches(key) || !ok:
			case got.version != e.Version, there && !w.keysOnly && got.value != e.Value:
				r.violates(WatchFinal, len(w.steps), h.keys[key], "entry %s is %q of version %d at the end, and %q of version %d as told", key, e.Value, e.Version, got.value, got.version)
			}
		}
		w.mu.Unlock()
		errs = append(errs, r.errs...)
	}
	return errors.Join(errs...)
}

// told names an event of which all watches are told the same.
type told struct {
	key     string
	version protocol.Version
	event   structures.EventType
}

// watchFacts are what is known of all watches together.
type watchFacts struct {
	h       *Watched
	byKey   map[string][]*watchWrite // also those of every key
	byValue map[string]*watchWrite
	ended   []*watchWrite // acknowledged puts, by their end
	told    map[told]*watchStep
	errs    []error
}

func newWatchFacts(h *Watched) *watchFacts {
	f := &watchFacts{h: h, byKey: map[string][]*watchWrite{}, byValue: map[string]*watchWrite{}, told: map[told]*watchStep{}}
	for i := range h.writes {
		w := &h.writes[i]
		switch {
		case w.refused:
			continue
		case w.end == 0: // nobody waited for it
			w.end = Pending
		}
		if w.Value != "" {
			f.byValue[w.Value] = w
			if w.acknowledged() {
				f.ended = append(f.ended, w)
			}
		}
		if w.Key != "" {
			f.byKey[w.Key] = append(f.byKey[w.Key], w)
			continue
		}
		for k := range h.keys {
			f.byKey[k] = append(f.byKey[k], w)
		}
	}
	slices.SortFunc(f.ended, func(a, b *watchWrite) int { return cmp.Compare(a.end, b.end) })
	return f
}

// learn compares an event with what other watches were told, and sees that somebody wrote
// it.
func (f *watchFacts) learn(w *Watcher, s *watchStep) {
	if s.begins || s.key == "" {
		return
	}
	fail := func(rule, format string, args ...any) {
		if len(f.errs) < maxViolations {
			f.errs = append(f.errs, &WatchViolation{Rule: rule, Watcher: w.name, What: fmt.Sprintf(format, args...)})
		}
	}
	event := s.event
	if event == structures.EventCurrent {
		event = structures.EventPut
	}
	id := told{s.key, s.version, event}
	value := f.told[id]
	switch {
	case value == nil:
		first := *s
		f.told[id] = &first
	case !w.keysOnly && value.value == "":
		value.value = s.value
	case !w.keysOnly && value.value != s.value:
		fail(WatchAgree, "%v, and another watch has %v", s, value)
	}
	switch event {
	case structures.EventPut:
		if w.keysOnly {
			break
		}
		if by := f.byValue[s.value]; by == nil || by.Key != s.key || by.call > s.at {
			fail(WatchReal, "%v: nobody had written that", s)
		}
	case structures.EventRemoved, structures.EventExpired:
		if !slices.ContainsFunc(f.byKey[s.key], func(by *watchWrite) bool {
			return by.call <= s.at && (event == structures.EventRemoved && by.Value == "" || event == structures.EventExpired && by.TTL)
		}) {
			fail(WatchReal, "%v: nobody had asked for that", s)
		}
	default:
		fail(WatchReal, "%v: there is no such event", s)
	}
}

// valueOf returns the value of an entry that a watch was told of without.
func (f *watchFacts) valueOf(key string, of *watchKey) string {
	if of.value != "" {
		return of.value
	}
	if s := f.told[told{key, of.version, structures.EventPut}]; s != nil {
		return s.value
	}
	return ""
}

// String describes the step for an error.
func (s *watchStep) String() string {
	if s.begins {
		return [...]string{"begins from now", "begins with the entries", fmt.Sprintf("goes on behind step %d", s.after)}[s.start]
	}
	text := s.event.String()
	if s.key != "" {
		text += fmt.Sprintf(" %s=%q of version %d after %d", s.key, s.value, s.version, s.previous)
	}
	if s.more {
		text += " and more"
	}
	return text
}

// watchKey is what a watch knows of a key.
type watchKey struct {
	value   string
	version protocol.Version // 0: it is not there
}

// watchPart is what a watch knows of a partition.
type watchPart struct {
	last     protocol.Version // of the last change
	open     bool             // more of that mutation follows
	listing  bool
	complete bool  // since from
	from     int64 // what was called later comes
}

// replay goes through what a watch was told.
type replay struct {
	facts *watchFacts
	w     *Watcher
	quiet bool // what is wrong was reported before

	keys    map[string]watchKey // absent: it is not known
	parts   map[protocol.PartitionID]*watchPart
	open    protocol.PartitionID // of a mutation of which more must come next; noKeys: none
	seen    map[string]bool      // values of puts, and of entries that were listed
	began   int64                // when the list that is not complete yet was called for; -1: none is
	checked int                  // of facts.ended
	errs    []error
}

func (r *replay) violates(rule string, step int, p protocol.PartitionID, format string, args ...any) {
	if r.quiet || len(r.errs) >= maxViolations {
		return
	}
	v := &WatchViolation{Rule: rule, Watcher: r.w.name, What: fmt.Sprintf(format, args...)}
	for i := min(step, len(r.w.steps)) - 1; i >= 0 && len(v.Before) < 12; i-- {
		s := &r.w.steps[i]
		if s.key == "" || s.partition == p {
			v.Before = append(v.Before, s.String())
		}
	}
	slices.Reverse(v.Before)
	r.errs = append(r.errs, v)
}

func (r *replay) run() {
	r.reset()
	for i := range r.w.steps {
		s := &r.w.steps[i]
		switch {
		case s.begins && s.start == WatchAfter:
			r.back(s.after)
		case s.begins:
			r.reset()
			if s.start == WatchCurrent {
				r.began = s.at
				for _, p := range r.parts {
					p.listing = true
				}
			}
		default:
			r.step(i, s)
		}
	}
}

// reset forgets what is known.
func (r *replay) reset() {
	r.keys, r.parts, r.open, r.began = map[string]watchKey{}, map[protocol.PartitionID]*watchPart{noKeys: {}}, noKeys, -1
	for _, p := range r.facts.h.keys {
		r.parts[p] = &watchPart{}
	}
}

// back returns to what was known behind a step.
func (r *replay) back(to int) {
	var path []int
	for i := to; i >= 0; {
		path = append(path, i)
		if s := &r.w.steps[i]; s.begins && s.start == WatchAfter {
			i = s.after
		} else if s.begins {
			break
		} else {
			i--
		}
	}
	quiet := r.quiet
	r.quiet = true
	r.reset()
	for _, i := range slices.Backward(path) {
		s := &r.w.steps[i]
		switch {
		case s.begins && s.start == WatchAfter: // what is behind it is on the path
		case s.begins:
			if s.start == WatchCurrent {
				r.began = s.at
				for _, p := range r.parts {
					p.listing = true
				}
			}
		default:
			r.step(i, s)
		}
	}
	// What comes next is of any partition: a mutation may have been left in the middle.
	r.quiet, r.began, r.open = quiet, -1, noKeys
}

// step goes on by one event.
func (r *replay) step(i int, s *watchStep) {
	p := r.parts[s.partition]
	switch s.event {
	case structures.EventSynced:
		r.synced(i, s)
		return
	case structures.EventProgress:
		r.progress(i, s)
		return
	}
	if s.event == structures.EventGap {
		p.listing, p.open, p.complete = true, false, false
		if s.otherHistory {
			p.last = 0
		}
		if r.open == s.partition {
			r.open = noKeys
		}
		r.each(s.partition, func(key string) { delete(r.keys, key) })
		return
	}
	if r.open != noKeys && r.open != s.partition {
		r.violates(WatchOrdered, i, s.partition, "%v: more of a mutation of another partition was to come first", s)
	}
	r.open = noKeys
	if s.event == structures.EventCurrent {
		r.listed(i, s, p)
		return
	}
	r.change(i, s, p)
}

// listed goes on by an entry of a list.
func (r *replay) listed(i int, s *watchStep, p *watchPart) {
	if !r.w.matches(s.key) {
		r.violates(WatchReal, i, s.partition, "%v: that is not of what it watches", s)
		return
	}
	switch _, known := r.keys[s.key]; {
	case !p.listing:
		r.violates(WatchReal, i, s.partition, "%v: there is no list", s)
	case known:
		r.violates(WatchUnique, i, s.partition, "%v: it was told of the entry before", s)
	}
	r.keys[s.key] = watchKey{s.value, s.version}
	r.see(s)
}

func (r *replay) see(s *watchStep) {
	if r.seen != nil && (s.event == structures.EventPut || s.event == structures.EventCurrent) {
		r.seen[r.facts.valueOf(s.key, &watchKey{s.value, s.version})] = true
	}
}

// change goes on by a change.
func (r *replay) change(i int, s *watchStep, p *watchPart) {
	switch {
	case s.version < p.last:
		r.violates(WatchOrdered, i, s.partition, "%v: it comes behind version %d", s, p.last)
	case s.version == p.last && !p.open:
		r.violates(WatchUnique, i, s.partition, "%v: its mutation was complete", s)
	}
	p.last, p.open = s.version, s.more
	if s.more {
		r.open = s.partition
	}
	if s.event == structures.EventDestroyed {
		r.each(s.partition, func(key string) {
			if _, known := r.keys[key]; known || !p.listing {
				r.keys[key] = watchKey{}
			}
		})
		return
	}
	if !r.w.matches(s.key) {
		r.violates(WatchReal, i, s.partition, "%v: that is not of what it watches", s)
		return
	}
	switch before, known := r.keys[s.key]; {
	case known && before.version != s.previous:
		r.violates(WatchComplete, i, s.partition, "%v: it was told that the version before was %d", s, before.version)
	case !known && p.listing && s.previous != 0:
		r.violates(WatchComplete, i, s.partition, "%v: the entry before was not listed", s)
	}
	now := watchKey{}
	if s.event == structures.EventPut {
		now = watchKey{s.value, s.version}
	}
	r.keys[s.key] = now
	r.see(s)
}

// each calls f with the keys of a partition.
func (r *replay) each(p protocol.PartitionID, f func(key string)) {
	for k, of := range r.facts.h.keys {
		if of == p && r.w.matches(k) {
			f(k)
		}
	}
}

// synced ends the lists.
func (r *replay) synced(i int, s *watchStep) {
	for id, p := range r.parts {
		if p.listing {
			r.each(id, func(key string) {
				if _, known := r.keys[key]; !known {
					r.keys[key] = watchKey{}
				}
			})
		}
		if p.listing = false; !p.complete {
			p.complete, p.from = true, s.at
		}
	}
	if r.began >= 0 {
		r.fresh(i, r.began)
		r.began = -1
	}
}

// progress sees that all that was acknowledged by then has come.
func (r *replay) progress(i int, s *watchStep) {
	for r.checked < len(r.facts.ended) && r.facts.ended[r.checked].end < s.asOf && r.seen != nil && !r.quiet {
		by := r.facts.ended[r.checked]
		r.checked++
		id := r.facts.h.keys[by.Key]
		p := r.parts[id]
		if !r.w.matches(by.Key) || p == nil || !p.complete || by.call <= p.from || r.seen[by.Value] {
			continue
		}
		if r.w.keysOnly && !r.facts.valueTold(by) {
			continue // its version is not known
		}
		r.violates(WatchComplete, i, id, "a put of %s=%q was acknowledged %v before a Progress was asked for, and has not come", by.Key, by.Value, time.Duration(s.asOf-by.end))
	}
	r.fresh(i, s.asOf)
}

// valueTold reports whether any watch was told the value of a put.
func (f *watchFacts) valueTold(by *watchWrite) bool {
	for _, s := range f.told {
		if s.key == by.Key && s.value == by.Value {
			return true
		}
	}
	return false
}

// fresh sees that what is known of each key is not older than what was acknowledged before
// a time.
func (r *replay) fresh(i int, asOf int64) {
	if r.quiet {
		return
	}
	for key, now := range r.keys {
		writes := r.facts.byKey[key]
		if now.version != 0 {
			by := r.facts.byValue[r.facts.valueOf(key, &now)]
			if by == nil || !by.acknowledged() {
				continue
			}
			for _, later := range writes {
				if later.call > by.end && later.acknowledged() && later.end < asOf {
					r.violates(WatchFresh, i, r.facts.h.keys[key], "%s is %q, which %s had replaced %v before", key, by.Value, later.WatchWrite, time.Duration(asOf-later.end))
					break
				}
			}
			continue
		}
		for _, put := range writes {
			if put.Value != "" && !put.TTL && put.acknowledged() && put.end < asOf && !mayBeGone(writes, put, r.w.steps[i].at) {
				r.violates(WatchFresh, i, r.facts.h.keys[key], "%s is not there, and %s was acknowledged %v before", key, put.WatchWrite, time.Duration(asOf-put.end))
				break
			}
		}
	}
}

// mayBeGone reports whether something may have removed what was put, before a time.
func mayBeGone(writes []*watchWrite, put *watchWrite, at int64) bool {
	return slices.ContainsFunc(writes, func(w *watchWrite) bool {
		return (w.Value == "" || w.TTL) && w.end > put.call && w.call < at
	})
}

func (w WatchWrite) String() string {
	if w.Value == "" {
		return "a removal"
	}
	return fmt.Sprintf("a put of %q", w.Value)
}
