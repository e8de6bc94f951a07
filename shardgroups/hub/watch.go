package hub

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// maxCredit bounds the credit of a watch, in bytes.
const maxCredit = 64 << 20

// watch is a watch of a sink.
type watch struct {
	sink   Sink
	id     uint64
	filter feedKey
	feed   *feed
	parts  []protocol.PartitionID // that do not rest
	live   set                    // of parts: those in which it is sent everything as it happens
	lives  int                    // of live
	behind map[protocol.PartitionID]*part
	credit int64

	stalled bool   // something waits for credit, or until its sink is writable
	told    uint64 // the pass in which it was last told its positions
	removed bool

	cancelled atomic.Bool // before it was registered

	// Of the probe under way.
	probing bool
	probe   uint64
	targets map[protocol.PartitionID]protocol.Version // nil: not confirmed yet
	next    uint64                                    // the probe that waits
	hasNext bool

	// Of a watch of a row: what was last sent.
	hasRow, gone bool
	row          protocol.Version
}

// part is a partition in which a watch is behind. Position, and while it lists the key,
// are all there is to know of it: any replica can go on with them (WATCH-8).
type part struct {
	w  *watch
	id protocol.PartitionID
	at groupstate.Position // all that was sent; not known before the first page

	listing bool
	listed  []byte // the last key that was listed; nil: none, there is no position yet

	queued, over bool
}

// set is a set of partitions.
type set []uint64

func (s set) has(id protocol.PartitionID) bool {
	return int(id/64) < len(s) && s[id/64]&(1<<(id%64)) != 0
}

func (s *set) put(id protocol.PartitionID) {
	for int(id/64) >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[id/64] |= 1 << (id % 64)
}

func (s set) drop(id protocol.PartitionID) {
	if s.has(id) {
		s[id/64] &^= 1 << (id % 64)
	}
}

func newWatch(sink Sink, q *protocol.Request, spec *protocol.Watch) *watch {
	return &watch{
		sink: sink, id: q.ID, credit: int64(spec.Credit), behind: map[protocol.PartitionID]*part{},
		filter: feedKey{
			structure: structure{spec.Kind, string([]byte(q.Name))}, from: string(spec.From), to: string(spec.To),
			options: spec.Options, types: spec.Types,
		},
	}
}

// liveIn reports whether the watch is live in the partitions of all sections.
func (w *watch) liveIn(sections []section) bool {
	for i := range sections {
		if !w.live.has(sections[i].partition) {
			return false
		}
	}
	return true
}

// beginLive and endLive keep the feed's list of those that are live somewhere: the others
// cost nothing when something happens.
func (w *watch) beginLive(id protocol.PartitionID) {
	if w.live.put(id); w.lives == 0 {
		w.feed.live.add(w)
	}
	w.lives++
}

func (w *watch) endLive(id protocol.PartitionID) {
	if !w.live.has(id) {
		return
	}
	w.live.drop(id)
	if w.lives--; w.lives == 0 {
		w.feed.live.drop(w)
	}
}

// refuse answers the registration.
func (w *watch) refuse(code protocol.Code, leader protocol.MemberID) {
	p := protocol.Problem{Leader: leader}
	w.sink.Reply(protocol.Reply{ID: w.id, Code: code, Body: p.Append(nil)})
	w.sink.Forgotten(w.id)
}

func (h *loop) note(w *watch, what protocol.WatchNotice, n uint64, parts ...protocol.WatchPosition) {
	m := protocol.WatchNote{ID: w.id, What: what, N: n, Parts: parts}
	w.sink.Send(m.Append(nil))
}

// add begins to serve a watch, after the confirmation that it waited for.
func (h *loop) add(w *watch, spec *protocol.Watch, code protocol.Code) {
	h.hub.mu.Lock()
	delete(h.hub.coming, w)
	h.hub.mu.Unlock()
	if w.cancelled.Load() || w.sink.Closed() { // Drop has been or is about to be called
		w.refuse(protocol.CodeCancelled, 0)
		return
	}
	if code == protocol.CodeOK && (h.term == 0 || h.term != h.hub.source.Term()) {
		code = protocol.CodeNotLeader
	}
	if code == protocol.CodeOK && h.sinks[w.sink][w.id] != nil {
		code = protocol.CodeInvalid
	}
	if code != protocol.CodeOK {
		w.refuse(code, h.hub.source.Leader())
		return
	}
	begins := make([]protocol.WatchPosition, len(spec.Parts))
	currents := make([]protocol.Version, len(spec.Parts))
	h.hub.source.View(func(s groupstate.Watched) {
		for i := range spec.Parts {
			id := spec.Parts[i].Partition
			if c := s.Watchable(id); c != protocol.CodeOK {
				code = c
				return
			}
			currents[i], _ = s.Current(id)
			begins[i] = protocol.WatchPosition{Partition: id, Version: currents[i]}
			p := &spec.Parts[i]
			if p.Start == protocol.WatchAfter {
				begins[i].Version = p.Version
			}
			// The version of an event, or of an entry, may lie inside of a transaction, of which
			// only what is behind it is missing (WATCH-1).
			if p.Start != protocol.WatchNow && p.Skip == 0 {
				p.Skip = uint32(s.Within(id, p.Version))
			}
		}
	})
	if code != protocol.CodeOK {
		w.refuse(code, 0)
		return
	}
	if h.sinks[w.sink] == nil {
		h.sinks[w.sink] = watches{}
	}
	h.sinks[w.sink][w.id] = w
	h.hub.stats.watches.Add(1)
	if w.filter.options&protocol.WatchRow != 0 {
		h.hub.stats.rows.Add(1)
	}
	h.join(w, w.filter)
	w.told = h.pass
	w.sink.Reply(protocol.Reply{ID: w.id, Body: protocol.AppendPositions(nil, begins)})
	began := h.hub.source.Began()
	for i := range spec.Parts {
		h.begin(w, &spec.Parts[i], began, currents[i])
	}
}

// begin begins to serve a partition of a watch. The version at which it began, and its
// present one, are given.
func (h *loop) begin(w *watch, p *protocol.WatchPart, began, current protocol.Version) {
	id := p.Partition
	for int(id) >= len(h.tracked) {
		h.tracked = append(h.tracked, tracked{})
	}
	t := &h.tracked[id]
	if t.watches == 0 {
		t.at = groupstate.Position{Version: current}
	}
	t.watches++
	w.parts = append(w.parts, id)
	if w.filter.options&protocol.WatchRow != 0 {
		if t.rows == nil {
			t.rows = map[*feed]struct{}{}
		}
		t.rows[w.feed] = struct{}{}
		h.lookAtRow(w)
		return
	}
	part := &part{w: w, id: id, at: groupstate.Position{Version: current}}
	switch p.Start {
	case protocol.WatchAfter:
		part.at = groupstate.Position{Version: p.Version, Skip: int(p.Skip)}
	case protocol.WatchCurrent:
		part.listing = true
		if len(p.Listed) > 0 {
			part.listed, part.at = bytes.Clone(p.Listed), groupstate.Position{Version: p.Version, Skip: int(p.Skip)}
		}
	}
	w.behind[id] = part
	h.hub.stats.behind.Add(1)
	switch positioned := !part.listing || part.listed != nil; { // WATCH-5
	case positioned && (part.at.Version < began || generation(part.at.Version) < generation(current)) && !mutants.On(mutants.LostUnnoticed):
		h.gap(part, protocol.GapDataLost, current)
	case positioned && part.at.Version > current: // WATCH-4
		h.gap(part, protocol.GapOtherHistory, current)
	default:
		h.queue(part)
	}
}

// lookAtRow sends a watch of a row the state of now.
func (h *loop) lookAtRow(w *watch) {
	f := w.feed
	h.hub.source.View(func(s groupstate.Watched) {
		f.row, f.exists = s.WatchedRow(w.parts[0], f.key.kind, f.key.name, []byte(f.key.from))
		f.seen, _ = s.Current(w.parts[0])
	})
	h.sendRow(w)
}

func generation(v protocol.Version) uint64 { return uint64(v) >> 48 }

// remove ends a watch; its sink is not told.
func (h *loop) remove(w *watch) {
	if w.removed {
		return
	}
	w.removed = true
	h.hub.stats.watches.Add(-1)
	if w.filter.options&protocol.WatchRow != 0 {
		h.hub.stats.rows.Add(-1)
	}
	h.leave(w)
	for _, id := range slices.Clone(w.parts) {
		h.rest(w, id)
	}
	delete(h.syncing, w)
	if delete(h.sinks[w.sink], w.id); len(h.sinks[w.sink]) == 0 {
		delete(h.sinks, w.sink)
	}
	w.sink.Forgotten(w.id)
}

// rest ends the serving of a partition of a watch.
func (h *loop) rest(w *watch, id protocol.PartitionID) {
	i := slices.Index(w.parts, id)
	if i < 0 {
		return
	}
	w.parts = slices.Delete(w.parts, i, i+1)
	t := &h.tracked[id]
	if t.watches--; t.watches == 0 { // nobody follows it: those that wait there are over, too
		h.waiting -= len(t.waiting)
		t.waiting = nil
	}
	w.endLive(id)
	if p := w.behind[id]; p != nil {
		p.over = true
		delete(w.behind, id)
		h.hub.stats.behind.Add(-1)
	}
	if w.targets != nil {
		delete(w.targets, id)
	}
	if len(w.feed.watches) == 0 {
		delete(t.rows, w.feed)
	}
}

// endAll ends all watches, and says why.
func (h *loop) endAll(code protocol.Code) {
	if len(h.sinks) == 0 {
		return
	}
	leader := h.hub.source.Leader()
	for _, of := range h.sinks {
		for _, w := range of {
			m := protocol.WatchNote{ID: w.id, What: protocol.WatchEnded, N: uint64(code)}
			m.Detail = (&protocol.Problem{Leader: leader}).Append(nil)
			w.sink.Send(m.Append(nil))
			h.remove(w)
		}
	}
}

// notHere ends the serving of a partition that the group does not own any more.
func (h *loop) notHere(id protocol.PartitionID, code protocol.Code) {
	for _, of := range h.sinks {
		for _, w := range of {
			if slices.Contains(w.parts, id) {
				h.note(w, protocol.WatchNotHere, uint64(code), protocol.WatchPosition{Partition: id})
				h.rest(w, id)
			}
		}
	}
}

// gap tells a watch that events are missing in a partition, which then rests until it is
// registered anew (WATCH-3).
func (h *loop) gap(p *part, reason int, floor protocol.Version) {
	if reason < len(h.hub.stats.Gaps) {
		h.hub.stats.Gaps[reason].Add(1)
	}
	h.note(p.w, protocol.WatchGap, uint64(reason), protocol.WatchPosition{Partition: p.id, Version: floor})
	h.rest(p.w, p.id)
}

// leaveBehind makes all live watches of a partition those that are behind.
func (h *loop) leaveBehind(id protocol.PartitionID, at groupstate.Position) {
	for _, of := range h.sinks {
		for _, w := range of {
			if w.live.has(id) {
				h.fallBehind(w, id, at)
			}
		}
	}
}

// fallBehind makes a live watch one that is behind, in a partition, at a position.
func (h *loop) fallBehind(w *watch, id protocol.PartitionID, at groupstate.Position) {
	w.endLive(id)
	p := &part{w: w, id: id, at: at}
	w.behind[id] = p
	h.hub.stats.behind.Add(1)
	h.queue(p)
}

// queue gives a part a turn, unless it has one already.
func (h *loop) queue(p *part) {
	if !p.queued && !p.over {
		p.queued = true
		h.ready = append(h.ready, p)
	}
}

// resume goes on with a watch that has credit, or whose sink is writable, again.
func (h *loop) resume(w *watch) {
	if !w.stalled || w.credit <= 0 {
		return
	}
	w.stalled = false
	for _, p := range w.behind {
		h.queue(p)
	}
	if w.filter.options&protocol.WatchRow != 0 && len(w.parts) > 0 {
		h.lookAtRow(w)
	}
}

// serve gives those that are behind a turn each, at most maxTurns of them. It reports
// whether others wait for theirs.
func (h *loop) serve() bool {
	for turns := 0; len(h.ready) > 0 && (turns < maxTurns || mutants.On(mutants.LaggingStarves)); turns++ { // WATCH-13
		p := h.ready[0]
		h.ready[0] = nil
		if h.ready = h.ready[1:]; len(h.ready) == 0 {
			h.ready = nil
		}
		if p.queued = false; !p.over {
			h.turn(p)
		}
	}
	return len(h.ready) > 0
}

// turned is what a turn has found.
type turned struct {
	code    protocol.Code
	gap     int
	current protocol.Version // of the partition
	floor   protocol.Version

	at     groupstate.Position // behind the events
	events []protocol.WatchEvent
	cost   int
	all    bool // the position is that of the state

	paged bool
	page  []protocol.WatchEvent
	next  []byte // where the list goes on; nil: it is done
}

// turn serves a partition of a watch that is behind.
func (h *loop) turn(p *part) {
	w := p.w
	if w.credit <= 0 || !w.sink.Writable(h.hub) { // WATCH-12: it keeps its position, and nothing else
		w.stalled = true
		return
	}
	t := &h.tracked[p.id]
	if !p.listing && !before(p.at, t.at) {
		h.caughtUp(p)
		return
	}
	var r turned
	h.hub.source.View(func(s groupstate.Watched) { r = p.look(s, t.at) }) // WATCH-2: events, page and position in one hold
	switch {
	case r.code != protocol.CodeOK:
		h.note(w, protocol.WatchNotHere, uint64(r.code), protocol.WatchPosition{Partition: p.id})
		h.rest(w, p.id)
		return
	case r.gap != 0:
		h.gap(p, r.gap, r.floor)
		return
	}
	p.at = r.at
	var out []section
	if len(r.events) > 0 {
		out = append(out, encoded(p, r.events))
	}
	if r.paged {
		p.listed = r.next
		out = append(out, encoded(p, r.page))
	}
	for _, s := range out {
		w.credit -= int64(s.cost)
		h.send(w.sink, []uint64{w.id}, []section{s}, s.events)
	}
	if r.paged && r.next == nil {
		p.listing = false
		h.note(w, protocol.WatchAllListed, 0, protocol.WatchPosition{Partition: p.id, Version: p.at.Version})
	}
	h.queue(p)
}

func encoded(p *part, events []protocol.WatchEvent) section {
	s := section{partition: p.id, events: len(events)}
	for i := range events {
		s.cost += events[i].Cost()
	}
	s.encoded = (&protocol.WatchSection{Partition: p.id, Version: p.at.Version, Skip: uint32(p.at.Skip), Events: events}).Append(nil)
	return s
}

// caughtUp makes a part live that has come to where the hub is, or has it wait until the
// hub has come to where the part is.
func (h *loop) caughtUp(p *part) {
	t := &h.tracked[p.id]
	if p.at != t.at {
		t.waiting = append(t.waiting, p)
		h.waiting++
		return
	}
	p.over = true
	delete(p.w.behind, p.id)
	h.hub.stats.behind.Add(-1)
	p.w.beginLive(p.id)
}

func before(a, b groupstate.Position) bool {
	return a.Version < b.Version || a.Version == b.Version && a.Skip < b.Skip
}

// look reads the next events of a part, up to where the hub is, and of a list up to the
// state and then a page.
func (p *part) look(s groupstate.Watched, hub groupstate.Position) (r turned) {
	w := p.w
	if r.code = s.Watchable(p.id); r.code != protocol.CodeOK {
		return r
	}
	r.current, r.floor = s.Current(p.id)
	budget := int(min(w.credit, turnBytes))
	if !p.listing || p.listed != nil {
		changes, next, ok := s.Mutations(p.id, p.at, maxHold)
		if !ok && !mutants.On(mutants.WatchGapSilent) {
			// With one key there is no gap if its row has not changed since: what is missing is
			// of others.
			if key, exact := w.filter.exact(); exact && !p.listing && s.Untouched(p.id, w.filter.kind, w.filter.name, []byte(key), p.at.Version) {
				r.at = groupstate.Position{Version: r.current}
				return r
			}
			r.gap = protocol.GapCompacted
			return r
		}
		if !ok {
			next = groupstate.Position{Version: r.current}
		}
		limit := hub
		if p.listing {
			limit = groupstate.Position{Version: r.current}
		}
		p.choose(&r, changes, next, limit, budget)
	} else {
		r.at, r.all = groupstate.Position{Version: r.current}, true
	}
	if p.listing && r.all && w.credit-int64(r.cost) > 0 {
		p.list(&r, s, int(min(w.credit-int64(r.cost), pageBytes)))
	}
	return r
}

// gets reports whether the watch gets a change. While it lists, a change of a key that
// was not listed yet is left out: a later page has the key as it is then (WATCH-7).
func (p *part) gets(c *groupstate.Change) bool {
	f := &p.w.filter
	if c.Kind != f.kind || c.Name != f.name || !f.matches(c) {
		return false
	}
	if !p.listing || c.Type == structures.EventDestroyed || mutants.On(mutants.ListDuplicate) {
		return true
	}
	return bytes.Compare(c.Key, p.listed) <= 0 && !mutants.On(mutants.ListChangeLost)
}

// choose picks what the watch gets of changes behind its position, up to a limit that is
// the end of a mutation, and of about so many bytes. Changes ends with a whole mutation.
func (p *part) choose(r *turned, changes []groupstate.Change, next, limit groupstate.Position, budget int) {
	r.at = p.at
	first := len(r.events) // of the mutation
	end := protocol.Version(0)
	for i := range changes {
		c := &changes[i]
		if c.End > limit.Version {
			next = limit
			break
		}
		if c.End != end {
			if end != 0 {
				r.at = groupstate.Position{Version: end}
			}
			end, first = c.End, len(r.events)
		}
		if p.gets(c) {
			e := p.w.filter.event(c)
			if len(r.events) > first {
				r.events[len(r.events)-1].Flags |= protocol.WatchMore
			}
			if len(r.events) > 0 && r.cost+e.Cost() > budget {
				return
			}
			r.events, r.cost = append(r.events, e), r.cost+e.Cost()
		}
		if !mutants.On(mutants.WatchSplitLost) {
			r.at.Skip++
		}
	}
	if next.Version > limit.Version {
		next = limit
	}
	r.at, r.all = next, next.Version == r.current
}

// list adds a page to what was found: the entries behind the last one that was listed,
// as they are in the state.
func (p *part) list(r *turned, s groupstate.Watched, budget int) {
	f := &p.w.filter
	r.paged = true
	entries, next := s.Page(p.id, f.kind, f.name, p.listed, []byte(f.from), []byte(f.to), pageLength, budget)
	cost := 0
	for i := range entries {
		l := &entries[i]
		e := protocol.WatchEvent{
			Type: uint8(structures.EventPut), Flags: protocol.WatchListed, Version: l.Version, Previous: protocol.Version(l.Left), Key: l.Key, Value: l.Value,
		}
		if f.options&protocol.WatchKeysOnly != 0 {
			e.Value = nil
		}
		if i > 0 && cost+e.Cost() > budget {
			next = entries[i-1].Key
			break
		}
		cost += e.Cost()
		r.page = append(r.page, e)
	}
	r.next = next
	if len(r.page) == 0 && next != nil {
		r.page = append(r.page, protocol.WatchEvent{Flags: protocol.WatchListed, Version: r.current, Key: next})
	}
}
