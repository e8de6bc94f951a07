package hub

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// structure names a structure.
type structure struct {
	kind protocol.KindID
	name string
}

// feedKey is a filter, and what watches with it are sent.
type feedKey struct {
	structure
	from, to string
	options  protocol.WatchOptions
	types    uint32
}

// exact returns the one key that the filter lets through; false: it is a range.
func (k *feedKey) exact() (string, bool) {
	n := len(k.from)
	return k.from, n > 0 && len(k.to) == n+1 && k.to[n] == 0 && k.to[:n] == k.from
}

// matches reports whether watches with the filter get a change of the structure. That it
// was destroyed they are always told.
func (k *feedKey) matches(c *groupstate.Change) bool {
	if c.Type == structures.EventDestroyed {
		return true
	}
	return (k.types == 0 || k.types&(1<<c.Type) != 0) &&
		string(c.Key) >= k.from && (k.to == "" || string(c.Key) < k.to)
}

// event returns a change as watches with the filter are sent it.
func (k *feedKey) event(c *groupstate.Change) protocol.WatchEvent {
	e := protocol.WatchEvent{Type: uint8(c.Type), Version: c.Version, Previous: c.Previous, Key: c.Key}
	if k.options&protocol.WatchKeysOnly == 0 {
		e.Value = c.Value
	}
	if k.options&protocol.WatchOldValues != 0 {
		e.Old = c.Old
	}
	return e
}

// named has the feeds of a structure.
type named struct {
	exact  map[string][]*feed // by the one key
	ranges []*feed
}

// watches are watches of a sink, by ID.
type watches map[uint64]*watch

// connected are watches by their sink.
type connected map[Sink]watches

func (c connected) add(w *watch) {
	if c[w.sink] == nil {
		c[w.sink] = watches{}
	}
	c[w.sink][w.id] = w
}

func (c connected) drop(w *watch) {
	if delete(c[w.sink], w.id); len(c[w.sink]) == 0 {
		delete(c, w.sink)
	}
}

// feed is what all watches with one filter share.
type feed struct {
	key     feedKey
	watches connected
	live    connected // of watches: those that are live in a partition

	// Of the partition that is looked at.
	events []protocol.WatchEvent
	end    protocol.Version // of the mutation of the last event

	sections []section // not sent yet
	cost     int       // of them

	// Of a watched row, as it was last looked at.
	row    groupstate.Listing
	exists bool
	seen   protocol.Version // of the partition then
}

// section is an encoded part of a frame.
type section struct {
	partition protocol.PartitionID
	from      groupstate.Position // where watches are without it
	encoded   []byte
	cost      int
	events    int
}

// add adds a change to what the watches get of the partition.
func (f *feed) add(c *groupstate.Change) {
	if n := len(f.events); n > 0 && f.end == c.End {
		f.events[n-1].Flags |= protocol.WatchMore
	}
	f.events, f.end = append(f.events, f.key.event(c)), c.End
}

// join adds a watch to the feed of its filter.
func (h *loop) join(w *watch, key feedKey) {
	f := h.feeds[key]
	if f == nil {
		f = &feed{key: key, watches: connected{}, live: connected{}}
		h.feeds[key] = f
		if key.options&protocol.WatchRow == 0 {
			of := h.names[key.structure]
			if of == nil {
				of = &named{exact: map[string][]*feed{}}
				h.names[key.structure] = of
			}
			if k, ok := key.exact(); ok {
				of.exact[k] = append(of.exact[k], f)
			} else {
				of.ranges = append(of.ranges, f)
			}
		}
	}
	f.watches.add(w)
	w.feed = f
}

// leave removes a watch from its feed.
func (h *loop) leave(w *watch) {
	f := w.feed
	if f.watches.drop(w); len(f.watches) > 0 {
		return
	}
	delete(h.feeds, f.key)
	of := h.names[f.key.structure]
	if of == nil {
		return
	}
	if k, ok := f.key.exact(); ok {
		if of.exact[k] = without(of.exact[k], f); len(of.exact[k]) == 0 {
			delete(of.exact, k)
		}
	} else {
		of.ranges = without(of.ranges, f)
	}
	if len(of.exact) == 0 && len(of.ranges) == 0 {
		delete(h.names, f.key.structure)
	}
}

func without(all []*feed, f *feed) []*feed {
	for i := range all {
		if all[i] == f {
			all[i] = all[len(all)-1]
			return all[:len(all)-1]
		}
	}
	return all
}

// dispatch gives the feeds what is new in a partition, encoded once for each. Watches
// match by the structure's name in the event, never by the instance that has it now: it
// may be another one (WATCH-6).
func (h *loop) dispatch(id protocol.PartitionID, from groupstate.Position, changes []groupstate.Change) {
	give := func(f *feed, c *groupstate.Change) {
		if f.key.matches(c) {
			if len(f.events) == 0 {
				h.touched = append(h.touched, f)
			}
			f.add(c)
		}
	}
	for i := range changes {
		c := &changes[i]
		h.told += len(c.Key) + len(c.Value) + len(c.Old) + 96 // as the history counts it
		of := h.names[structure{c.Kind, c.Name}]
		if of == nil {
			continue
		}
		for _, f := range of.ranges {
			give(f, c)
		}
		if c.Type != structures.EventDestroyed {
			for _, f := range of.exact[string(c.Key)] {
				give(f, c)
			}
			continue
		}
		for _, fs := range of.exact {
			for _, f := range fs {
				give(f, c)
			}
		}
	}
	for _, f := range h.touched {
		s := section{partition: id, from: from, events: len(f.events)}
		for i := range f.events {
			s.cost += f.events[i].Cost()
		}
		if s.cost <= maxLive {
			s.encoded = (&protocol.WatchSection{Partition: id, Version: h.tracked[id].at.Version, Events: f.events}).Append(nil)
		}
		if len(f.sections) == 0 {
			h.filled = append(h.filled, f)
		}
		f.sections, f.cost, h.bytes = append(f.sections, s), f.cost+s.cost, h.bytes+len(s.encoded)
		clear(f.events)
		f.events = f.events[:0]
	}
	clear(h.touched)
	h.touched = h.touched[:0]
}

// flush sends what the feeds have.
func (h *loop) flush() {
	for _, f := range h.filled {
		for sink, of := range f.live {
			h.deliver(f, sink, of)
		}
		f.sections, f.cost = nil, 0
	}
	clear(h.filled)
	h.filled, h.bytes = h.filled[:0], 0
}

// deliver sends the sections of a feed to the watches of a sink. Those that can take all
// share a frame.
func (h *loop) deliver(f *feed, sink Sink, of watches) {
	writable := sink.Writable(h.hub)
	for mutants.On(mutants.SlowWatchBlocks) && !writable && !h.hub.stopped() {
		writable = sink.Writable(h.hub)
	}
	ids := h.ids[:0]
	events := 0
	for i := range f.sections {
		events += f.sections[i].events
	}
	for _, w := range of {
		if !writable || f.cost > maxLive || w.credit < int64(f.cost) || !w.liveIn(f.sections) {
			h.deliverSome(w, f.sections, writable)
			continue
		}
		w.credit -= int64(f.cost)
		ids = append(ids, w.id)
	}
	h.ids = ids
	for len(ids) > 0 {
		n := min(len(ids), maxIDs)
		h.send(sink, ids[:n], f.sections, events)
		ids = ids[n:]
	}
}

// deliverSome sends a watch what it can take of the sections. Of the other partitions it
// is behind then.
func (h *loop) deliverSome(w *watch, sections []section, writable bool) {
	var take []section
	events := 0
	for i := range sections {
		s := &sections[i]
		switch {
		case !w.live.has(s.partition):
		case writable && s.encoded != nil && w.credit >= int64(s.cost):
			w.credit -= int64(s.cost)
			take = append(take, *s)
			events += s.events
		default:
			h.fallBehind(w, s.partition, s.from)
		}
	}
	if len(take) > 0 {
		h.send(w.sink, []uint64{w.id}, take, events)
	}
}

func (h *loop) send(sink Sink, ids []uint64, sections []section, events int) {
	b := protocol.AppendWatchEvents(h.frame[:0], ids, len(sections))
	for i := range sections {
		b = append(b, sections[i].encoded...)
	}
	h.frame = b
	if cap(b) > 2*maxLive {
		h.frame = nil
	}
	h.hub.stats.Frames.Add(1)
	h.hub.stats.Events.Add(uint64(events * len(ids)))
	h.hub.stats.Bytes.Add(uint64(len(b)))
	sink.Send(b)
}

// sendRow sends a watch of a row its state, if the watch has another (WATCH-20).
func (h *loop) sendRow(w *watch) {
	f := w.feed
	e := protocol.WatchEvent{Type: uint8(structures.EventPut), Version: f.row.Version, Key: []byte(f.key.from), Value: f.row.Value}
	if !f.exists {
		e = protocol.WatchEvent{Type: uint8(structures.EventRemoved), Version: f.seen, Key: []byte(f.key.from)}
	}
	if len(w.parts) == 0 || w.hasRow && w.gone == !f.exists && (w.gone || w.row == e.Version) {
		return // it rests, or has this state
	}
	if !f.exists && w.hasRow && mutants.On(mutants.RowGoneUntold) {
		return
	}
	if w.credit <= 0 || !w.sink.Writable(h.hub) {
		w.stalled = true
		return
	}
	w.hasRow, w.row, w.gone = true, e.Version, !f.exists
	w.credit -= int64(e.Cost())
	id := w.parts[0]
	s := protocol.WatchSection{Partition: id, Version: f.seen, Events: []protocol.WatchEvent{e}}
	h.send(w.sink, []uint64{w.id}, []section{{encoded: s.Append(nil)}}, 1)
}
