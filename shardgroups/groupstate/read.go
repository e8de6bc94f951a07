package groupstate

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate"
	routing "github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Gate is what a leader needs to know of its group's state to decide whether a request
// may be logged or read.
type Gate struct {
	Kinds  *Kinds
	Limits protocol.Limits
	Level  uint32 // of the group's state
	// Partitions is how many the cluster has. With 0 the group does not know that yet,
	// and owns none: then the partition of a request is not checked.
	Partitions int
	// Panicked, if not nil, is called when a structure has panicked.
	Panicked func(Panic)
}

// Panic describes the panic of a structure. It is for this member's log only, because
// the panic's value may differ from one replica to another.
type Panic struct {
	Kind  protocol.KindID
	Name  string
	Op    protocol.Op // 0: outside an operation, for example when a row was due
	Value any
}

// panicked returns the reply for any panic.
func panicked() structures.Result {
	return structures.Refuse(protocol.CodePanic, "the operation has failed, and has changed nothing: the log of the member that leads the group says why")
}

// Check validates a request completely, from the request and the Gate alone. The leader
// calls it before the request is logged or read. It is safe for concurrent use.
func (g *Gate) Check(q *protocol.Request) structures.Result {
	limits := &g.Limits
	read := q.Flags&protocol.FlagRead != 0
	switch {
	case read && q.Caller != (protocol.Caller{}):
		return structures.Refuse(protocol.CodeInvalid, "a read has no caller")
	case !read && (q.Caller.Session == 0 || q.Caller.Session >= 1<<(64-slotBits) || q.Caller.Sequence == 0):
		return structures.Refuse(protocol.CodeInvalid, "a mutation needs a session and a sequence")
	case !read && (uint32(q.Caller.Slot) >= limits.Slots || q.Caller.Slot >= MaxSlots):
		return structures.Refuse(protocol.CodeInvalid, "no such slot")
	case q.Kind == protocol.KindControl && read:
		if _, _, _, err := readNames(q.Body); q.Op != protocol.OpNames || q.Name != "" || err != nil {
			return structures.Refuse(protocol.CodeInvalid, "unknown control operation")
		}
		return structures.Result{}
	case q.Kind == protocol.KindControl:
		if (q.Op != protocol.OpCancel && q.Op != protocol.OpConfirm) || len(q.Body) != 0 {
			return structures.Refuse(protocol.CodeInvalid, "unknown control operation")
		}
		if q.Name != "" { // nobody reads it, and yet it would be logged
			if err := structures.CheckName(q.Name, *limits); err != nil {
				return refuseError(err)
			}
		}
		return structures.Result{}
	}
	k := g.Kinds[q.Kind]
	if k == nil {
		return structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("unknown kind of structure %d", q.Kind))
	}
	op := k.Op(q.Op)
	switch {
	case op == nil:
		return structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("unknown operation %d of a %s", q.Op, k.Name))
	case k.Level > g.Level:
		return structures.Refuse(protocol.CodeUnsupported, "not every member knows this kind of structure yet")
	case op.Level > g.Level:
		return structures.Refuse(protocol.CodeUnsupported, "not every member knows this operation yet")
	}
	if err := structures.CheckName(q.Name, *limits); err != nil {
		return refuseError(err)
	}
	if !op.Fits(q.Flags) {
		return structures.Refuse(protocol.CodeInvalid, fmt.Sprintf("the flags %#x of %s", uint8(q.Flags), op.Name))
	}
	if q.Kind == protocol.KindTxn {
		return g.checkTransaction(q)
	}
	if r := g.checkBody(k, q); r.Code != protocol.CodeOK {
		return r
	}
	return g.checkPartition(op.Route, q)
}

// checkPartition refuses a request with a partition to which its structure or key does
// not belong.
func (g *Gate) checkPartition(route structures.Route, q *protocol.Request) structures.Result {
	if g.Partitions == 0 {
		return structures.Result{}
	}
	belongs := q.Partition
	if route.Fits(q.Partition, q.Body, func(key []byte) protocol.PartitionID {
		belongs = routing.Of(g.Partitions, q.Name, key)
		return belongs
	}) {
		return structures.Result{}
	}
	return structures.Refuse(protocol.CodeInvalid,
		fmt.Sprintf("the request came with partition %d, and what it names belongs to partition %d of %d", q.Partition, belongs, g.Partitions))
}

// PartitionOf returns the partition that a request belongs to, whatever partition it
// names. A control operation belongs to the partition of its name, because only
// structures without keys have waiting calls.
func (k *Kinds) PartitionOf(q *protocol.Request, partitions int) protocol.PartitionID {
	of := routeIn(partitions, q.Name)
	kind := k[q.Kind]
	switch {
	case q.Kind == protocol.KindTxn:
		return k.partitionOf(q, partitions)
	case q.Kind == protocol.KindControl && q.Name != "" && (q.Op == protocol.OpCancel || q.Op == protocol.OpConfirm):
		return of(nil)
	case kind == nil:
		return q.Partition
	}
	op := kind.Op(q.Op)
	if op == nil {
		return q.Partition
	}
	return op.Route.Partition(q.Partition, q.Body, of)
}

// routeIn returns the partition of a key of a structure, for Route.
func routeIn(partitions int, name string) func(key []byte) protocol.PartitionID {
	return func(key []byte) protocol.PartitionID { return routing.Of(partitions, name, key) }
}

// refuseError returns the refusal for an error that a check has returned.
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

// checkBody asks the structure's Machine. A body that makes it panic is malformed.
func (g *Gate) checkBody(k *structures.Kind, q *protocol.Request) (r structures.Result) {
	defer func() {
		if e := recover(); e != nil {
			if g.Panicked != nil {
				g.Panicked(Panic{q.Kind, q.Name, q.Op, e})
			}
			r = panicked()
		}
	}()
	var err error
	if q.Op >= structures.FirstGeneric {
		err = checkGeneric(k, q.Op, q.Body)
	} else {
		err = k.Machine.Check(q.Op, q.Body)
	}
	if err != nil {
		return refuseError(err)
	}
	return structures.Result{}
}

// Kinds returns the kinds of structures by number.
func (s *State) Kinds() *Kinds { return s.kinds }

// Reader reads a State. It holds scratch memory, so each goroutine needs its own.
type Reader struct {
	// Time is the log time that an entry proposed now would have, if the replica knows
	// it, else 0.
	Time protocol.LogTime

	view reader
}

// Cost returns the cost of the reads so far: how many rows were looked at.
func (r *Reader) Cost() int { return r.view.cost }

// Read answers a checked read. It may run at the same time as other reads.
func (r *Reader) Read(s *State, q *protocol.Request) (res structures.Result, v protocol.Version) {
	p := s.partition(q.Partition)
	if p == nil {
		return structures.Result{Code: protocol.CodeNotOwner}, 0
	}
	if s.load != nil {
		res, _ = s.Refuses(q.Kind, q.Op)
		return res, p.current()
	}
	k := s.kinds[q.Kind]
	if k == nil && q.Kind != protocol.KindControl {
		return structures.Refuse(protocol.CodeUnsupported, "unknown kind of structure"), p.current()
	}
	defer func() {
		if e := recover(); e != nil {
			s.report(Panic{q.Kind, q.Name, q.Op, e})
			res = panicked()
		}
	}()
	r.view.time = r.Time
	if q.Kind == protocol.KindControl {
		return r.view.names(s, p, q.Body), p.current()
	}
	r.view.open(s, p, q.Kind, q.Name)
	if q.Op >= structures.FirstGeneric {
		return r.view.readGeneric(k, q.Op, q.Body), p.current()
	}
	return k.Machine.Read(&r.view, q.Op, q.Body), p.current()
}

// Info describes a structure of a group, or the part of it that is in the group.
type Info struct {
	Kind protocol.KindID
	Name string
	Len  int64
}

// Structures returns the structures that have an instance in the group's
// partitions; a map is in several.
func (s *State) Structures() []Info {
	at := map[string]int{}
	var infos []Info
	var v reader
	if s.load != nil {
		return nil // its counts are not complete yet
	}
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		p.instances.Scan(func(id uint64, l instance) bool {
			if s.kinds[l.kind] == nil || !v.openInstance(s, p, id) {
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

// Sizes calls f with the bytes of each partition that the group owns: of rows, of
// kept replies and of its history.
func (s *State) Sizes(f func(id protocol.PartitionID, bytes int)) {
	for _, p := range s.partitions {
		if p != nil {
			f(p.id, p.rowBytes+p.replyBytes+p.history.bytes)
		}
	}
}

// Totals are counts of a group's state, for operators.
type Totals struct {
	Partitions int
	Structures int // parts of structures: a map has one in each partition with an entry
	Distinct   int // structures, by kind and name
	Rows       int
	Bytes      int // of rows: keys and values
	Records    int
	Events     int
	History    int // bytes of the events
	MaxHistory int // bytes above which the oldest events are dropped
	Sessions   int
	// States has, by kind, what the rows that count by state add up to, in the order of
	// structures.Counted.
	States map[protocol.KindID][]int64
}

// Totals counts the group's state.
func (s *State) Totals() Totals {
	t := Totals{Partitions: s.owned, History: s.history.bytes, MaxHistory: s.history.budget, Sessions: s.sessions.Len(), Distinct: len(s.counts.distinct), States: s.counts.ofStates()}
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		t.Structures += p.instances.Len()
		t.Rows += p.rows.Len()
		t.Bytes += p.rowBytes
		t.Records += p.records.Len()
		t.Events += p.history.events
	}
	return t
}
