package structures

import "github.com/quorate/quorate/protocol"

// Route says which partition an operation belongs to, so that a member refuses one that
// names another: a client that routes otherwise would split the structure in two, and
// nobody would notice. The zero Route is by the name of the structure, as for structures
// without keys.
type Route struct {
	by    routing
	first int
	every int
}

type routing uint8

const (
	byName routing = iota
	byKeys
	byPart
)

// RouteKey is the Route of an operation on one key: item i of the array that is
// its body.
func RouteKey(i int) Route { return Route{by: byKeys, first: i} }

// RouteKeys is the Route of an operation on many keys: item first of the array that is
// its body, and every that many items after it.
func RouteKeys(first, every int) Route { return Route{by: byKeys, first: first, every: every} }

// RoutePart is the Route of an operation on that part of a structure which lies in
// the partition that the request names, whichever it is.
func RoutePart() Route { return Route{by: byPart} }

// Describe returns what determines the partition: "name", "key", "keys" or "part"; for
// keys also the index of the first in the body, and the distance to the next.
func (r Route) Describe() (by string, first, every int) {
	switch {
	case r.by == byPart:
		return "part", 0, 0
	case r.by == byName:
		return "name", 0, 0
	case r.every == 0:
		return "key", r.first, 0
	}
	return "keys", r.first, r.every
}

// Partition returns the partition that a request which names p belongs to: that of the
// structure, or of the first key in the body; p itself if the operation is on a part, or
// if the body has no key or is malformed. Of is as for Fits.
func (r Route) Partition(p protocol.PartitionID, body []byte, of func(key []byte) protocol.PartitionID) protocol.PartitionID {
	switch r.by {
	case byName:
		return of(nil)
	case byPart:
		return p
	}
	b := protocol.NewReader(body)
	if b.ArrayLen() <= r.first {
		return p
	}
	for range r.first {
		b.Skip()
	}
	if key := b.Bytes(); b.Err() == nil {
		return of(key)
	}
	return p
}

// Fits reports whether a request with a well-formed body names the partition that it
// belongs to. Of returns the partition of a key, as AppendKey encodes it, and of the
// structure itself for nil.
func (r Route) Fits(p protocol.PartitionID, body []byte, of func(key []byte) protocol.PartitionID) bool {
	switch r.by {
	case byName:
		return of(nil) == p
	case byPart:
		return true
	}
	b := protocol.NewReader(body)
	next := r.first
	for i := range b.ArrayLen() {
		if i != next {
			b.Skip()
			continue
		}
		if key := b.Bytes(); b.Err() == nil && of(key) != p {
			return false
		}
		if r.every == 0 {
			break
		}
		next += r.every
	}
	return true
}
