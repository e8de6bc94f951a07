package groupstate

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Check validates a request completely, against nothing but itself and the
// limits. The leader calls it before the request is logged or read; it may run
// beside anything.
func Check(kinds *[256]*structures.Kind, limits protocol.Limits, q *protocol.Request) structures.Result {
	read := q.Flags&protocol.FlagRead != 0
	switch {
	case read && q.Caller != (protocol.Caller{}):
		return structures.Refuse(protocol.CodeInvalid, "a read has no caller")
	case !read && (q.Caller.Session == 0 || q.Caller.Session >= 1<<(64-slotBits) || q.Caller.Sequence == 0):
		return structures.Refuse(protocol.CodeInvalid, "a mutation needs a session and a sequence")
	case !read && (uint32(q.Caller.Slot) >= limits.Slots || q.Caller.Slot >= MaxSlots):
		return structures.Refuse(protocol.CodeInvalid, "no such slot")
	case q.Kind == protocol.KindControl:
		if read || (q.Op != protocol.OpCancel && q.Op != protocol.OpConfirm) || len(q.Body) != 0 {
			return structures.Refuse(protocol.CodeInvalid, "unknown control operation")
		}
		return structures.Result{}
	}
	k := kinds[q.Kind]
	if k == nil {
		return structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("unknown kind of structure %d", q.Kind))
	}
	if err := structures.CheckName(q.Name, limits); err != nil {
		return refuseError(err)
	}
	return checkBody(k, q)
}

// refuseError keeps the condition of an error that a check returned.
func refuseError(err error) structures.Result {
	code := protocol.CodeInvalid
	switch {
	case errors.Is(err, quorate.ErrTooLarge):
		code = protocol.CodeTooLarge
	case errors.Is(err, quorate.ErrUnsupported):
		code = protocol.CodeUnsupported
	}
	return structures.Refuse(code, err.Error())
}

// checkBody asks the structure. A body it panics on is malformed.
func checkBody(k *structures.Kind, q *protocol.Request) (r structures.Result) {
	defer func() {
		if e := recover(); e != nil {
			r = structures.Refuse(protocol.CodePanic, fmt.Sprint(e))
		}
	}()
	if err := k.Machine.Check(q.Op, q.Flags, q.Body); err != nil {
		return refuseError(err)
	}
	return structures.Result{}
}

// Kinds returns the kinds of structures by number.
func (s *State) Kinds() *[256]*structures.Kind { return &s.kinds }

// Reader reads a State; it holds scratch memory, so each goroutine has its own.
type Reader struct {
	view reader
}

// Read answers a checked read. It may run beside other reads.
func (r *Reader) Read(s *State, q *protocol.Request) (res structures.Result, rev protocol.Revision) {
	p := s.partition(q.Partition)
	if p == nil {
		return structures.Result{Code: protocol.CodeNotOwner}, 0
	}
	if s.load != nil {
		res, _ = s.HoldsBack(q.Kind)
		return res, p.revision
	}
	k := s.kinds[q.Kind]
	if k == nil {
		return structures.Refuse(protocol.CodeUnsupported, "unknown kind of structure"), p.revision
	}
	defer func() {
		if e := recover(); e != nil {
			res = structures.Refuse(protocol.CodePanic, fmt.Sprint(e))
		}
	}()
	r.view.open(s, p, q.Kind, q.Name)
	return k.Machine.Read(&r.view, q.Op, q.Body), p.revision
}

// Info describes one structure of a group, or its part in a group.
type Info struct {
	Kind protocol.KindID
	Name string
	Len  int64
}

// Structures returns the structures that have a life in the group's
// partitions; a map is in several.
func (s *State) Structures() []Info {
	at := map[string]int{}
	var infos []Info
	var v reader
	if s.load != nil {
		return nil // its counts are not right yet
	}
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		p.lives.Scan(func(id uint64, l life) bool {
			if s.kinds[l.kind] == nil || !v.openLife(s, p, id) {
				return true
			}
			n := s.kinds[l.kind].Machine.Len(&v)
			key := string([]byte{byte(l.kind)}) + l.name
			i, ok := at[key]
			if !ok {
				i = len(infos)
				at[key] = i
				infos = append(infos, Info{Kind: l.kind, Name: l.name})
			}
			infos[i].Len += n
			return true
		})
	}
	return infos
}

// Sizes calls f with the bytes of each partition that the group owns: of rows
// and of kept replies.
func (s *State) Sizes(f func(id protocol.PartitionID, bytes int)) {
	for _, p := range s.partitions {
		if p != nil {
			f(p.id, p.rowBytes+p.replyBytes)
		}
	}
}

// Totals are counts of a group's state, for people.
type Totals struct {
	Partitions int
	Structures int
	Rows       int
	Bytes      int // of rows: keys and values
	Records    int
	Events     int
	Sessions   int
}

// Totals counts the group's state.
func (s *State) Totals() Totals {
	t := Totals{Partitions: s.owned, Sessions: s.sessions.Len()}
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		t.Structures += p.lives.Len()
		t.Rows += p.rows.Len()
		t.Bytes += p.rowBytes
		t.Records += p.records.Len()
		t.Events += p.ring.len()
	}
	return t
}
