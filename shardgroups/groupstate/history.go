package groupstate

import (
	"slices"
	"sort"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// event is an element of a partition's history: a change of a structure whose kind has
// the Watch mode structures.WatchEntries.
type event struct {
	// version is that of the mutation. end is the last version of the transaction that it
	// is part of, else the same.
	version, end protocol.Version
	previous     protocol.Version // of the entry; 0: it was not there
	name         string           // of the structure, shared with its instance
	key          string           // shares the row's memory, as value does, if the row was just put
	value        string
	old          string
	kind         protocol.KindID
	typ          structures.EventType
}

// eventSize is what an event counts in addition to its key and values; that is roughly
// its size in memory. It decides what is dropped, so it must be the same in every
// version.
const eventSize = 96

func (e *event) bytes() int { return eventSize + len(e.key) + len(e.value) + len(e.old) }

// history holds the last events of a partition, of whole mutations, oldest first
// (decision 0015). It is a queue of chunks rather than a tree, because a tree took a
// third of the time of applying a write. Copies share the events: an event is written
// once, at an index that no earlier copy reads. A dropped event stays in its chunk, and
// keeps its memory, until the whole chunk is dropped; so a chunk takes no more events
// when it has chunkBytes of them. Where chunks begin is not replicated, and decides
// nothing.
type history struct {
	chunks []chunk
	head   int // how many events of the first chunk are dropped
	tail   int // bytes of the last chunk
	events int
	bytes  int
	oldest protocol.Version // the end of the oldest mutation that is there
	newest protocol.Version // the end of the newest mutation that is there

	// floor is the end of the last mutation that was dropped, or where the history
	// began. All events after it are there (HISTORY-2).
	floor protocol.Version
}

type chunk struct {
	*block
	n int // how many events there are
}

// block is the memory of a chunk. The ends and sizes of its events lie apart from them,
// because dropping an event asks for nothing else: the event itself has not been touched
// for long, and is in no cache.
type block struct {
	ends   [chunkEvents]protocol.Version
	sizes  [chunkEvents]uint32
	events [chunkEvents]event
}

const (
	chunkEvents = 64
	chunkBytes  = 8 << 10
)

// copy returns a history that later appends and drops do not change.
func (h *history) copy() history {
	c := *h
	c.chunks = slices.Clone(h.chunks)
	return c
}

func (h *history) append(e *event) {
	last := len(h.chunks) - 1
	if last < 0 || h.tail >= chunkBytes || h.chunks[last].n == chunkEvents {
		h.chunks = append(h.chunks, chunk{block: new(block)})
		h.tail = 0
		last++
	}
	c := &h.chunks[last]
	size := e.bytes()
	c.ends[c.n], c.sizes[c.n], c.events[c.n] = e.end, uint32(size), *e
	c.n++
	if h.events == 0 {
		h.oldest = e.end
	}
	h.events++
	h.bytes += size
	h.tail += size
	h.newest = e.end
}

// spare returns how many bytes may be dropped: none if there is only the newest
// mutation, whose values are those of the rows, else all bytes of the history.
func (h *history) spare() int {
	if h.events == 0 || h.oldest == h.newest {
		return 0
	}
	return h.bytes
}

// drop drops the oldest mutation and returns its bytes.
func (h *history) drop() int {
	before, end := h.bytes, h.oldest
	for h.events > 0 && h.firstEnd() == end {
		h.dropFirst()
	}
	end = plantHistoryByChunk(h, end)
	if h.events > 0 {
		h.oldest = h.firstEnd()
	}
	h.floor = mutantFloor(h.floor, end)
	return before - h.bytes
}

// firstEnd returns the end of the oldest event. The history must not be empty.
func (h *history) firstEnd() protocol.Version { return h.chunks[0].ends[h.head] }

// dropFirst drops the oldest event. The history must not be empty.
func (h *history) dropFirst() {
	h.events--
	c := &h.chunks[0]
	h.bytes -= int(c.sizes[h.head])
	if h.head++; h.head == c.n {
		*c = chunk{} // else the array keeps it alive
		h.chunks, h.head = h.chunks[1:], 0
	}
}

// each calls f for the events, oldest first, until it returns false.
func (h *history) each(f func(e *event) bool) { h.from(0, h.head, f) }

// from calls f for the events from an index of a chunk on, until it returns false.
func (h *history) from(chunk, at int, f func(e *event) bool) {
	for ; chunk < len(h.chunks); chunk, at = chunk+1, 0 {
		for c := h.chunks[chunk]; at < c.n; at++ {
			if !f(&c.events[at]) {
				return
			}
		}
	}
}

// after calls f for the events of the mutations whose end is after a version.
func (h *history) after(v protocol.Version, f func(e *event) bool) {
	i := sort.Search(len(h.chunks), func(i int) bool {
		c := &h.chunks[i]
		return c.ends[c.n-1] > v
	})
	if i == len(h.chunks) {
		return
	}
	start := 0
	if i == 0 {
		start = h.head
	}
	at := sort.Search(h.chunks[i].n-start, func(n int) bool { return h.chunks[i].ends[start+n] > v })
	h.from(i, start+at, f)
}

// Position is the position of a reader in a partition's history: it has read the events
// of all mutations whose end is at most Version, and Skip events after them (WATCH-1).
type Position struct {
	Version protocol.Version
	Skip    int
}

// Change is an event for a reader of the history. Its slices must not be changed, and
// may be kept.
type Change struct {
	structures.Event
	Kind    protocol.KindID
	Name    string           // of the structure
	Version protocol.Version // of the mutation
	// End is the last version of the mutations that were applied as one with it. Events
	// with the same End belong together.
	End protocol.Version
}

// Changes returns at most most events of a partition after a position, and the position
// after them, which is the state's own if there are no more. It is false if the history
// no longer reaches back to the position, if the group does not own the partition, or
// if it is loading. A position ahead of the state is returned unchanged.
func (s *State) Changes(id protocol.PartitionID, at Position, most int) (changes []Change, next Position, ok bool) {
	p := s.partition(id)
	if p == nil || s.load != nil || at.Version < p.history.floor {
		return nil, at, false
	}
	next = at
	skip, more := at.Skip, false
	var end protocol.Version // of what the last event belongs to
	p.history.after(at.Version, func(e *event) bool {
		if end != 0 && e.end != end {
			next, skip = Position{Version: end}, 0
		}
		if len(changes) == most {
			more = true
			return false
		}
		end = e.end
		next.Skip++
		if skip > 0 {
			skip--
			next.Skip--
			return true
		}
		changes = append(changes, e.change())
		return true
	})
	if !more && at.Version < p.current() {
		next = Position{Version: p.current()}
	}
	return changes, next, true
}

func (e *event) change() Change {
	return Change{
		Event: structures.Event{
			Type: e.typ, Key: viewBytes(e.key), Value: viewBytes(e.value), Previous: e.previous, Old: viewBytes(e.old),
		},
		Kind: e.kind, Name: e.name, Version: e.version, End: e.end,
	}
}

// DefaultHistory is the budget of a group's history, in bytes, if its Ownership has
// none.
const DefaultHistory = 16 << 20

// histories keeps the histories of a group's partitions within its budget.
//
// Above the budget the partition with the most bytes loses its oldest mutation, until
// the budget holds. A partition loses nothing while it has no more than its fair share,
// which is the budget divided by the partitions of the group; so a busy partition can
// use what the others leave. It never loses its newest mutation, however large that is.
// What is dropped depends only on the events and the budget, so a replica that was
// restored from a snapshot drops the same as all others (HISTORY-1).
type histories struct {
	budget int // replicated
	bytes  int // of all partitions

	// heap has the partition with the most bytes to spare at its top; of several, the
	// one with the lowest id. place is the index of each partition plus one; 0: it is
	// not in the heap.
	heap  []heaped
	place []int
}

type heaped struct {
	spare int
	id    protocol.PartitionID
}

func (a heaped) before(b heaped) bool {
	return a.spare > b.spare || a.spare == b.spare && a.id < b.id
}

// set sets how many bytes a partition may lose.
func (g *histories) set(id protocol.PartitionID, spare int) {
	for int(id) >= len(g.place) {
		g.place = append(g.place, 0)
	}
	at := g.place[id] - 1
	if at < 0 {
		at = len(g.heap)
		g.heap = append(g.heap, heaped{})
	}
	v := heaped{spare, id}
	for at > 0 && v.before(g.heap[(at-1)/2]) {
		at = g.put(at, (at-1)/2)
	}
	for {
		child := 2*at + 1
		if child+1 < len(g.heap) && g.heap[child+1].before(g.heap[child]) {
			child++
		}
		if child >= len(g.heap) || !g.heap[child].before(v) {
			break
		}
		at = g.put(at, child)
	}
	g.heap[at], g.place[id] = v, at+1
}

// put moves an element of the heap and returns its former index.
func (g *histories) put(to, from int) int {
	g.heap[to] = g.heap[from]
	g.place[g.heap[to].id] = to + 1
	return from
}

// appended records that a partition's history has grown, and drops events until the
// budget holds.
func (s *State) appended(p *partition, bytes int) {
	g := &s.history
	g.bytes += bytes
	g.set(p.id, p.history.spare())
	share := g.budget / max(s.owned, 1)
	for g.bytes > g.budget && g.heap[0].spare > share {
		p := s.partitions[g.heap[0].id]
		g.bytes -= p.history.drop()
		g.set(p.id, p.history.spare())
	}
}

// restored adds the history of a partition that was read from a snapshot.
func (g *histories) restored(p *partition) {
	g.bytes += p.history.bytes
	g.set(p.id, p.history.spare())
}

// history writes the events. Consecutive events of one structure share its name.
func (e *encoder) history(h *history) {
	e.uint(uint64(h.events))
	var last *event
	h.each(func(v *event) bool {
		named := last == nil || v.kind != last.kind || v.name != last.name
		last = v
		e.uint(uint64(v.typ))
		if e.bool(named); named {
			e.uint(uint64(v.kind))
			e.string(v.name)
		}
		e.uint(uint64(v.version))
		e.uint(uint64(v.end))
		e.uint(uint64(v.previous))
		e.string(v.key)
		e.string(v.value)
		e.string(v.old)
		return e.end()
	})
}

// history reads what encoder.history wrote.
func (d *decoder) history(p *partition) {
	var v event
	for range d.count(1 << 40) {
		v.typ = structures.EventType(d.uint())
		if d.bool() {
			v.kind = protocol.KindID(d.uint())
			v.name = p.sharedName(v.kind, d.string())
		}
		v.version, v.end, v.previous = protocol.Version(d.uint()), protocol.Version(d.uint()), protocol.Version(d.uint())
		v.key, v.value, v.old = view(d.bytes()), view(d.bytes()), view(d.bytes())
		d.end()
		if d.err == nil && (v.end < v.version || v.version <= p.history.floor || v.end < p.history.newest || v.end > p.current()) {
			d.fail("an event out of order")
		}
		if !d.ok() {
			return
		}
		p.history.append(&v)
	}
}

// sharedName returns the name of a structure. It shares the memory of its instance if
// there is one.
func (p *partition) sharedName(kind protocol.KindID, name string) string {
	if id, ok := p.names.Get(string(append([]byte{byte(kind)}, name...))); ok {
		if l, ok := p.instances.Get(id); ok {
			return l.name
		}
	}
	return name
}
