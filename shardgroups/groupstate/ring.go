package groupstate

import "slices"

// ring is the last events of a partition, numbered from 1. It is a queue of
// chunks rather than a tree, which took a third of the time of applying a
// write. A copy shares the chunks: an element is written once, when it is
// appended, at a place that no copy made before looks at. So an event that is
// dropped stays in its chunk, and holds its memory, until all of the chunk is
// dropped: a chunk takes no more events when it has chunkBytes of them.
type ring struct {
	chunks []*chunk
	first  uint64 // number of the oldest event
	next   uint64 // number of the next event
	bytes  int
	tail   int // bytes of the last chunk
}

// chunk holds up to chunkEvents events with consecutive numbers.
type chunk struct {
	first  uint64 // number of events[0]
	events [chunkEvents]event
}

const (
	chunkEvents = 64
	chunkBytes  = 8 << 10
)

func newRing() ring { return ring{first: 1, next: 1} }

// copy returns a ring that later appends and drops do not change.
func (r *ring) copy() ring {
	c := *r
	c.chunks = slices.Clip(r.chunks)
	return c
}

// len returns how many events there are.
func (r *ring) len() int { return int(r.next - r.first) }

// append adds an event and drops the oldest beyond budget bytes.
func (r *ring) append(e event, budget int) {
	if n := len(r.chunks); n == 0 || r.tail >= chunkBytes || r.next-r.chunks[n-1].first == chunkEvents {
		r.chunks = append(r.chunks, &chunk{first: r.next})
		r.tail = 0
	}
	last := r.chunks[len(r.chunks)-1]
	last.events[r.next-last.first] = e
	r.next++
	size := eventBytes(e)
	r.bytes += size
	r.tail += size
	for r.bytes > budget && r.first < r.next {
		oldest := r.chunks[0]
		r.bytes -= eventBytes(oldest.events[r.first-oldest.first])
		r.first++
		if r.first == r.next || len(r.chunks) > 1 && r.first == r.chunks[1].first {
			// A new slice: the old one's array would go on holding the chunk.
			r.chunks = slices.Clone(r.chunks[1:])
		}
	}
}

// each calls f for the events, oldest first, until it returns false.
func (r *ring) each(f func(number uint64, e event) bool) {
	n := r.first
	for i, c := range r.chunks {
		end := r.next
		if i+1 < len(r.chunks) {
			end = r.chunks[i+1].first
		}
		for ; n < end; n++ {
			if !f(n, c.events[n-c.first]) {
				return
			}
		}
	}
}

func eventBytes(e event) int { return 64 + len(e.Key) + len(e.Value) }
