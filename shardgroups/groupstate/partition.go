package groupstate

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/tidwall/btree"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// partition is the state of one partition. Everything of it is here, and moves
// with it. Values in the trees are replaced, never changed.
type partition struct {
	id protocol.PartitionID
	// generation rises when data was lost; revision counts mutations.
	// Together they are the Version of a mutation.
	generation uint16
	revision   protocol.Revision

	// offset is how far the partition's time is ahead of its group's log time (TIME-3,
	// decision 0016). All times in the partition are in its own time: deadlines, the
	// start of waiting calls, times that structures keep in values. They do not change
	// when the partition moves to another group, whose log time is unrelated; only
	// offset changes. While the group loads its state, the partition's time does not
	// move, and offset is that time.
	offset protocol.LogTime

	names     *btree.Map[string, uint64]         // kind byte and name -> instance
	instances *btree.Map[uint64, instance]       // the structures, by the revision that created them
	rows      *btree.Map[string, structures.Row] // instance, row type, key
	due       *btree.Map[string, struct{}]       // deadline, row key
	urgent    *btree.Map[string, struct{}]       // the same for waiting calls and for work that continues
	owned     *btree.Map[string, struct{}]       // session, row key
	records   *btree.Map[uint64, record]         // session and slot
	history   history
	garbage   *btree.Map[uint64, protocol.KindID] // destroyed instances with rows still to clear

	kept *btree.Map[uint64, int] // records whose reply may be dropped. Derived
	// shares are the bytes of the replies in kept by session, and largest is the
	// same by bytes. Derived, not replicated.
	shares  *btree.Map[uint64, int]
	largest *btree.Map[string, struct{}]

	replyBytes int
	rowBytes   int

	// lastID and last cache a structure that was looked up lately, because many
	// requests in a row are for the same one. Derived; changed under the lock of Apply
	// only.
	lastID uint64
	last   instance

	// nextDue and nextUrgent are lower bounds of the first deadlines in due and urgent,
	// in the partition's time. Derived, not replicated.
	nextDue, nextUrgent protocol.LogTime

	// overdue counts, by instance, the rows in due whose deadline is not after counted.
	// Derived; changed under the lock of Apply only.
	overdue map[uint64]int
	counted protocol.LogTime

	// lines holds, by instance, an order below which all waiting calls are hidden for
	// good, because their session has ended or their time has run out; they will be
	// withdrawn. Derived; changed under the lock of Apply only.
	lines map[uint64]uint64

	counts *counts // of the State

	// journal notes what is changed while a transaction is applied; nil: none is.
	journal *journal
}

// instance is one instance of a structure: from its first mutation to Destroy.
type instance struct {
	kind     protocol.KindID
	name     string
	settings *structures.Settings // nil: none were agreed
	waiters  int
	// waiterBytes is the size of the waiting calls' rows, which include the element of
	// a Put that waits.
	waiterBytes int
	// bytes is the size of the structure's rows in the partition, keys and values.
	// Derived, and shared by all copies of the instance; a snapshot must not read it.
	bytes *int
}

// Row types: the byte between instance and key. Waiting calls come first, so that those
// of an ended session are withdrawn before what it held is released: otherwise it could
// be granted to the same session.
const (
	rowWaiter  byte = 0 // a waiting call, keyed by its order
	rowMachine byte = 1 // a row of the structure's Machine
)

// instanceSize is the length of a row key's prefix: instance and row type.
const instanceSize = 9

const never = protocol.LogTime(math.MaxInt64)

func newPartition(id protocol.PartitionID, c *counts) *partition {
	return &partition{
		id:        id,
		names:     new(btree.Map[string, uint64]),
		instances: new(btree.Map[uint64, instance]),
		rows:      new(btree.Map[string, structures.Row]),
		due:       new(btree.Map[string, struct{}]),
		owned:     new(btree.Map[string, struct{}]),
		records:   new(btree.Map[uint64, record]),
		garbage:   new(btree.Map[uint64, protocol.KindID]),
		urgent:    new(btree.Map[string, struct{}]),
		kept:      new(btree.Map[uint64, int]),
		shares:    new(btree.Map[uint64, int]),
		largest:   new(btree.Map[string, struct{}]),
		nextDue:   never, nextUrgent: never,
		overdue: map[uint64]int{},
		lines:   map[uint64]uint64{}, counts: c,
	}
}

// copy returns a partition that shares its trees, copy on write (APPLY-6). It writes to
// the trees of p, so nothing may read or write them meanwhile.
func (p *partition) copy() *partition {
	c := *p
	c.names, c.instances, c.rows = p.names.Copy(), p.instances.Copy(), p.rows.Copy()
	plantSnapshotAliased(p, &c)
	c.records, c.garbage = p.records.Copy(), p.garbage.Copy()
	c.history = p.history.copy()
	// Derived fields are not written.
	c.due, c.urgent, c.owned, c.kept, c.overdue, c.lines, c.counts = nil, nil, nil, nil, nil, nil, nil
	c.shares, c.largest = nil, nil
	return &c
}

// setInstance writes an instance.
func (p *partition) setInstance(id uint64, l instance) {
	old, had := p.instances.Set(id, l)
	if p.journal != nil {
		p.journal.note(change{what: changedInstance, id: id, instance: old, had: had})
	}
	p.lastID, p.last = id, l
	if l.waiters == 0 {
		delete(p.lines, id)
	}
}

// setName sets the instance of a name.
func (p *partition) setName(name string, id uint64) {
	old, had := p.names.Set(name, id)
	if !had {
		p.counts.distinct[name]++
	}
	if p.journal != nil {
		p.journal.note(change{what: changedName, key: name, id: old, had: had})
	}
}

// deleteName forgets which instance has a name.
func (p *partition) deleteName(name string) {
	old, had := p.names.Delete(name)
	if !had {
		return
	}
	if p.counts.distinct[name]--; p.counts.distinct[name] == 0 {
		delete(p.counts.distinct, name)
	}
	if p.journal != nil {
		p.journal.note(change{what: changedName, key: name, id: old, had: true})
	}
}

// endInstance removes a structure's instance.
func (p *partition) endInstance(id uint64, l instance) {
	p.deleteName(string(append([]byte{byte(l.kind)}, l.name...)))
	old, had := p.instances.Delete(id)
	if had {
		p.counts.instance(p, id, l.kind, -1)
	}
	if p.journal != nil && had {
		p.journal.note(change{what: changedInstance, id: id, instance: old, had: true})
	}
	if p.lastID == id {
		p.lastID = 0
	}
	delete(p.lines, id)
	delete(p.overdue, id)
}

// vanish ends the instance of a structure of which nothing is left: no row, no
// settings, no waiting call. Hidden waiting calls count, too, because they are not
// answered yet. Nobody can tell the result from an empty structure.
func (p *partition) vanish(id uint64) {
	l, ok := p.instances.Get(id)
	if !ok || l.settings != nil || l.waiters > 0 && !mutants.On(mutants.VanishEarly) {
		return
	}
	if !p.hasRows(id) {
		p.endInstance(id, l)
	}
}

// current is the version of the last mutation (OWN-2).
func (p *partition) current() protocol.Version { return p.version(p.revision) }

// time returns the partition's time for a log time of its group.
func (p *partition) time(group protocol.LogTime) protocol.LogTime {
	return group + mutantOffset(p.offset)
}

// next returns a lower bound of the partition's first deadline, in its group's log
// time; never if there is none.
func (p *partition) next() protocol.LogTime {
	next := min(p.nextDue, p.nextUrgent)
	if next == never {
		return never
	}
	return next - p.offset
}

func (p *partition) version(r protocol.Revision) protocol.Version {
	return protocol.Version(uint64(p.generation)<<48 | uint64(r))
}

// setRow writes a row and updates the indexes.
func (p *partition) setRow(key string, row structures.Row) {
	old, had := p.rows.Set(key, row)
	if p.journal != nil {
		p.journal.note(change{what: changedRow, key: key, row: old, had: had})
	}
	if had {
		p.unindex(key, old, row)
		p.grow(key, len(row.Value)-len(old.Value), old.Value, row.Value)
	} else {
		p.grow(key, len(key)+len(row.Value), nil, row.Value)
	}
	if row.Deadline != 0 && (!had || old.Deadline != row.Deadline) {
		p.setDue(key, row.Deadline)
	}
	if row.Owner != 0 && (!had || old.Owner != row.Owner) {
		p.owned.Set(indexKey(uint64(row.Owner), key), struct{}{})
	}
}

// deleteRow removes a row and updates the indexes.
func (p *partition) deleteRow(key string) (structures.Row, bool) {
	old, had := p.rows.Delete(key)
	if had {
		if p.journal != nil {
			p.journal.note(change{what: changedRow, key: key, row: old, had: true})
		}
		p.unindex(key, old, structures.Row{})
		p.grow(key, -len(key)-len(old.Value), old.Value, nil)
	}
	return old, had
}

// grow counts n more bytes for the row under key, whose value changes. The rows of a
// destroyed structure are counted for the partition only.
func (p *partition) grow(key string, n int, old, value []byte) {
	p.rowBytes += n
	id, _, _ := splitRowKey(key)
	l := &p.last
	if id != p.lastID {
		of, ok := p.instances.Get(id)
		if !ok {
			return
		}
		l = &of
	}
	*l.bytes += n
	p.counts.row(l.kind, key, old, value)
}

// unindex removes the index entries of old that row does not have.
func (p *partition) unindex(key string, old, row structures.Row) {
	if old.Deadline != 0 && old.Deadline != row.Deadline {
		p.unsetDue(key, old.Deadline)
	}
	if old.Owner != 0 && old.Owner != row.Owner {
		p.owned.Delete(indexKey(uint64(old.Owner), key))
	}
}

// isUrgent reports whether a due row is handled before rows that only expire.
func isUrgent(key string, deadline protocol.LogTime) bool {
	return deadline == structures.AtOnce || key[instanceSize-1] == rowWaiter
}

// setDue adds a row to those with a deadline.
func (p *partition) setDue(key string, deadline protocol.LogTime) {
	if isUrgent(key, deadline) {
		p.urgent.Set(indexKey(uint64(deadline), key), struct{}{})
		p.nextUrgent = min(p.nextUrgent, deadline)
		return
	}
	p.due.Set(indexKey(uint64(deadline), key), struct{}{})
	p.nextDue = min(p.nextDue, deadline)
	if deadline <= p.counted {
		id, _, _ := splitRowKey(key)
		p.overdue[id]++
	}
}

// unsetDue removes a row from those with a deadline.
func (p *partition) unsetDue(key string, deadline protocol.LogTime) {
	if isUrgent(key, deadline) {
		p.urgent.Delete(indexKey(uint64(deadline), key))
		return
	}
	p.due.Delete(indexKey(uint64(deadline), key))
	if deadline <= p.counted {
		id, _, _ := splitRowKey(key)
		if p.overdue[id]--; p.overdue[id] <= 0 {
			delete(p.overdue, id)
		}
	}
}

// firstDue returns the first row of an index whose deadline has come. If there is none
// it sets next to the first deadline.
func (p *partition) firstDue(index *btree.Map[string, struct{}], next *protocol.LogTime, now protocol.LogTime) (indexed, key string, ok bool) {
	if *next > now {
		return "", "", false
	}
	indexed, _, ok = index.Min()
	if !ok {
		*next = never
		return "", "", false
	}
	at, key := splitIndexKey(indexed)
	*next = protocol.LogTime(at)
	return indexed, key, *next <= now
}

// countOverdue continues to count the rows that are due and not cleaned up, and returns
// how many there are. It counts most rows at a time, and those with the same deadline
// as the last.
func (p *partition) countOverdue(now protocol.LogTime, most int) int {
	n := 0
	if p.counted >= now {
		return n
	}
	p.dueAfter(p.counted, now, func(at protocol.LogTime, id uint64) bool {
		if n >= most && at > p.counted {
			now = p.counted
			return false
		}
		n++
		p.counted = at
		p.overdue[id]++
		return true
	})
	p.counted = now
	return n
}

// dueAfter calls f for the rows in due whose deadline is after after and not after
// until, until f returns false.
func (p *partition) dueAfter(after, until protocol.LogTime, f func(at protocol.LogTime, instance uint64) bool) {
	p.due.Ascend(indexKey(uint64(after)+1, ""), func(indexed string, _ struct{}) bool {
		n, key := splitIndexKey(indexed)
		at := protocol.LogTime(n)
		if at > until {
			return false
		}
		id, _, _ := splitRowKey(key)
		return f(at, id)
	})
}

// indexKey encodes a number and a row key, in the order of the number.
func indexKey(n uint64, key string) string {
	b := make([]byte, 8+len(key))
	binary.BigEndian.PutUint64(b, n)
	copy(b[8:], key)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// splitIndexKey reads what indexKey wrote.
func splitIndexKey(s string) (n uint64, key string) {
	return binary.BigEndian.Uint64([]byte(s[:8])), s[8:]
}

// appendInstance appends the prefix of a row key.
func appendInstance(dst []byte, instance uint64, rowType byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, instance), rowType)
}

// splitRowKey reads a row key.
func splitRowKey(s string) (instance uint64, rowType byte, key string) {
	return binary.BigEndian.Uint64([]byte(s[:8])), s[8], s[instanceSize:]
}

// newRow copies a row key and a value into one piece of memory.
func newRow(instance uint64, rowType byte, key, value []byte) (string, []byte) {
	b := make([]byte, 0, instanceSize+len(key)+len(value))
	b = appendInstance(b, instance, rowType)
	b = append(b, key...)
	n := len(b)
	b = append(b, value...)
	return unsafe.String(unsafe.SliceData(b), n), b[n:len(b):len(b)]
}

// view returns b as a string without copying it. The string must not outlive b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// viewBytes returns s as bytes without copying it. They must not be changed.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
