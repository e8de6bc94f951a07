package groupstate

import "slices"

// ring is the last events of a partition, numbered from 1. It is a queue of
// chunks rather than a tree, which took a third of the time of applying a
// write. A copy shares the chunks: an element is written once, when it is
// appended, at a place that no copy made before looks at.
type ring struct {
	chunks []*chunk
	first  uint64 // number of the oldest event
	next   uint64 // number of the next event
	bytes  int
}

// chunk holds chunkEvents events; a ring's chunks have consecutive numbers,
// and the first begins with the number first - first%chunkEvents.
type chunk [chunkEvents]event

const chunkEvents = 64

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
	i := r.next % chunkEvents
	if i == 0 || len(r.chunks) == 0 {
		r.chunks = append(r.chunks, new(chunk))
	}
	r.chunks[len(r.chunks)-1][i] = e
	r.next++
	r.bytes += eventBytes(e)
	for r.bytes > budget && r.first < r.next {
		r.bytes -= eventBytes(r.chunks[0][r.first%chunkEvents])
		r.first++
		if r.first%chunkEvents == 0 || r.first == r.next {
			r.chunks = r.chunks[1:]
		}
	}
}

// each calls f for the events, oldest first, until it returns false.
func (r *ring) each(f func(number uint64, e event) bool) {
	for n := r.first; n < r.next; n++ {
		if !f(n, r.chunks[n/chunkEvents-r.first/chunkEvents][n%chunkEvents]) {
			return
		}
	}
}

func eventBytes(e event) int { return 64 + len(e.Key) + len(e.Value) }
