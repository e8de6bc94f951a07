package groupstate

import (
	"bytes"
	"fmt"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// CheckWatch validates the registration of a watch, as Check does other requests. It
// returns the watch.
func (g *Gate) CheckWatch(q *protocol.Request) (*protocol.Watch, structures.Result) {
	w := new(protocol.Watch)
	if len(q.Body) > protocol.MaxWatchBody {
		return w, structures.Refuse(protocol.CodeTooLarge, fmt.Sprintf("the registration of a watch has %d bytes, at most %d", len(q.Body), protocol.MaxWatchBody))
	}
	if err := w.Decode(q.Body); err != nil || q.Caller != (protocol.Caller{}) || w.Parts[0].Partition != q.Partition {
		return w, structures.Refuse(protocol.CodeInvalid, "a malformed registration of a watch")
	}
	if q.Flags&^protocol.FlagRepeat != protocol.FlagRead {
		return w, structures.Refuse(protocol.CodeUnsupported, "only the leader serves watches")
	}
	if err := structures.CheckName(q.Name, g.Limits); err != nil {
		return w, refuseError(err)
	}
	k := g.Kinds[w.Kind]
	row := w.Options&protocol.WatchRow != 0
	switch {
	case k == nil:
		return w, structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("unknown kind of structure %d", w.Kind))
	case k.Level > g.Level:
		return w, structures.Refuse(protocol.CodeUnsupported, "not every member knows this kind of structure yet")
	case k.Watch == structures.WatchNone, k.Watch == structures.WatchRow && !row:
		return w, structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("the changes of a %s cannot be watched", k.Name))
	case row && (len(w.From) == 0 || len(w.Parts) != 1 || w.Parts[0].Start != protocol.WatchCurrent):
		return w, structures.Refuse(protocol.CodeInvalid, "the newest state is that of one row")
	}
	seen := make(map[protocol.PartitionID]bool, len(w.Parts))
	for i := range w.Parts {
		if id := w.Parts[i].Partition; seen[id] {
			return w, structures.Refuse(protocol.CodeInvalid, fmt.Sprintf("partition %d is named twice", id))
		}
		seen[w.Parts[i].Partition] = true
	}
	return w, structures.Result{}
}

// Watched is the state of a group as those who serve its watches look at it.
type Watched struct{ s *State }

// Watched returns the state for those who serve watches.
func (s *State) Watched() Watched { return Watched{s} }

// Watchable returns nil if a partition can be watched in this state, and else the code
// that says why not: nothing is read of a partition that the group does not own, or is
// loading.
func (w Watched) Watchable(id protocol.PartitionID) protocol.Code {
	s := w.s
	switch {
	case s.partition(id) == nil:
		return protocol.CodeNotOwner
	case s.load != nil:
		return protocol.CodeFrozen
	}
	return protocol.CodeOK
}

// Current returns the version of a partition, and where its history begins. Both are 0
// for a partition that the group does not own.
func (w Watched) Current(id protocol.PartitionID) (current, floor protocol.Version) {
	s := w.s
	p := s.partition(id)
	if p == nil {
		return 0, 0
	}
	return p.current(), p.history.floor
}

// Within returns how many events of a transaction are there up to a version, if that lies
// inside of one: its end is later.
func (w Watched) Within(id protocol.PartitionID, v protocol.Version) (events int) {
	p := w.s.partition(id)
	if p == nil {
		return 0
	}
	p.history.after(v, func(e *event) bool {
		if e.version > v {
			return false
		}
		events++
		return true
	})
	return events
}

// HistoryBudget returns how many bytes the group's histories may have.
func (w Watched) HistoryBudget() int { return w.s.history.budget }

// Mutations is Changes, but for the last mutation, which comes as a whole.
func (w Watched) Mutations(id protocol.PartitionID, at Position, most int) (changes []Change, next Position, ok bool) {
	s := w.s
	for ; ; most *= 2 {
		changes, next, ok = s.Changes(id, at, most)
		if next.Skip == 0 || len(changes) < most {
			return changes, next, ok
		}
	}
}

// Listing is an entry of a structure, as those who list it see it. Its slices must not
// be changed, and may be kept.
type Listing struct {
	Key   []byte
	Value []byte
	// Version is that of the mutation that wrote it.
	Version protocol.Version
	Left    uint64 // milliseconds, rounded up; 0: it has no end
}

// Page returns the entries of a structure in a partition with keys behind one key, from
// another on, and below a third (empty: none): at most so many, and of at most so many
// bytes beyond the first. next is the key up to which all of them have been looked at,
// empty if there are no more.
func (w Watched) Page(id protocol.PartitionID, kind protocol.KindID, name string, behind, from, below []byte, most, maxBytes int) (entries []Listing, next []byte) {
	s := w.s
	p, k := s.partition(id), s.kinds[kind]
	if p == nil || k == nil {
		return nil, nil
	}
	var v reader
	v.open(s, p, kind, name)
	start := from
	if bytes.Compare(start, k.FirstEntry) < 0 {
		start = k.FirstEntry
	}
	if len(behind) > 0 && bytes.Compare(behind, start) >= 0 {
		start = append(bytes.Clone(behind), 0)
	}
	size := 0
	rest := v.Ascend(start, func(key []byte, row structures.Row) bool {
		if len(below) > 0 && bytes.Compare(key, below) >= 0 {
			return false
		}
		if len(entries) == most || len(entries) > 0 && size+len(key)+len(row.Value) > maxBytes {
			next = entries[len(entries)-1].Key
			return false
		}
		size += len(key) + len(row.Value)
		entries = append(entries, Listing{Key: key, Value: row.Value, Version: row.Version, Left: left(row.Deadline, v.now)})
		return true
	})
	if rest != nil && (len(below) == 0 || bytes.Compare(rest, below) < 0) {
		next = rest // it is due, so it is no entry
	}
	return entries, next
}

func left(deadline, now protocol.LogTime) uint64 {
	if deadline == 0 {
		return 0
	}
	return uint64(max((deadline.Sub(now)+999_999)/1_000_000, 1))
}

// WatchedRow returns a row of a structure, if it is there.
func (w Watched) WatchedRow(id protocol.PartitionID, kind protocol.KindID, name string, key []byte) (Listing, bool) {
	s := w.s
	p := s.partition(id)
	if p == nil {
		return Listing{}, false
	}
	var v reader
	v.open(s, p, kind, name)
	row, ok := v.Get(key)
	return Listing{Key: key, Value: row.Value, Version: row.Version, Left: left(row.Deadline, v.now)}, ok
}

// Untouched reports whether nothing can have happened to a key since a version: its
// row is there, due or not, and is not newer.
func (w Watched) Untouched(id protocol.PartitionID, kind protocol.KindID, name string, key []byte, since protocol.Version) bool {
	s := w.s
	p := s.partition(id)
	if p == nil {
		return false
	}
	var v reader
	if v.open(s, p, kind, name); v.id == 0 {
		return false
	}
	row, ok := p.rows.Get(v.rowKey(rowMachine, key))
	return ok && row.Version <= since
}
