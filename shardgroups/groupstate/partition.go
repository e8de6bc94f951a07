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

	names   *btree.Map[string, uint64]         // kind byte and name -> life
	lives   *btree.Map[uint64, life]           // the structures, by the revision that created them
	rows    *btree.Map[string, structures.Row] // life, row type, key
	due     *btree.Map[string, struct{}]       // deadline, row key
	owned   *btree.Map[string, struct{}]       // session, row key
	records *btree.Map[uint64, record]         // session and slot
	ring    ring
	garbage *btree.Map[uint64, protocol.KindID] // destroyed lives with rows still to clear

	replyBytes int
	rowBytes   int

	// lastID and last are a structure that was looked up lately: most requests in
	// a row are for the same. Derived; changed under the lock of Apply only.
	lastID uint64
	last   life

	// nextDue is not after the first deadline in due. Derived, not replicated.
	nextDue protocol.LogTime
}

// life is one life of a structure: from its first mutation to Destroy.
type life struct {
	kind     protocol.KindID
	name     string
	settings []byte
	waiters  int
	// waiterBytes is the size of the waiting calls' rows: a Put that waits brings
	// its element along.
	waiterBytes int
}

// event is an element of the ring.
type event struct {
	revision protocol.Revision
	life     uint64
	structures.Event
}

// Row types: the byte between life and key. Waiting calls come first, so that
// of an ended session they are withdrawn before what it held is given back:
// else it could be granted to itself.
const (
	rowWaiter  byte = 0 // a waiting call, keyed by its order
	rowMachine byte = 1 // a row of the structure's Machine
)

// lifeSize is the length of a row key's head: life and row type.
const lifeSize = 9

const never = protocol.LogTime(math.MaxInt64)

func newPartition(id protocol.PartitionID) *partition {
	return &partition{
		id:      id,
		names:   new(btree.Map[string, uint64]),
		lives:   new(btree.Map[uint64, life]),
		rows:    new(btree.Map[string, structures.Row]),
		due:     new(btree.Map[string, struct{}]),
		owned:   new(btree.Map[string, struct{}]),
		records: new(btree.Map[uint64, record]),
		ring:    newRing(),
		garbage: new(btree.Map[uint64, protocol.KindID]),
		nextDue: never,
	}
}

// copy returns a partition that shares its trees, copy on write. It writes to
// the trees of p, so nothing may read or write them meanwhile.
func (p *partition) copy() *partition {
	c := *p
	c.names, c.lives, c.rows = p.names.Copy(), p.lives.Copy(), p.rows.Copy()
	if mutants.On(mutants.SnapshotAliased) {
		c.rows = p.rows
	}
	c.due, c.owned, c.records = p.due.Copy(), p.owned.Copy(), p.records.Copy()
	c.ring, c.garbage = p.ring.copy(), p.garbage.Copy()
	return &c
}

// setLife writes a life.
func (p *partition) setLife(id uint64, l life) {
	p.lives.Set(id, l)
	p.lastID, p.last = id, l
}

func (p *partition) version(r protocol.Revision) protocol.Version {
	return protocol.Version(uint64(p.generation)<<48 | uint64(r))
}

// setRow writes a row and keeps the indexes.
func (p *partition) setRow(key string, row structures.Row) {
	old, had := p.rows.Set(key, row)
	if had {
		p.unindex(key, old, row)
		p.rowBytes -= len(old.Value)
	} else {
		p.rowBytes += len(key)
	}
	p.rowBytes += len(row.Value)
	if row.Deadline != 0 && (!had || old.Deadline != row.Deadline) {
		p.due.Set(indexKey(uint64(row.Deadline), key), struct{}{})
		p.nextDue = min(p.nextDue, row.Deadline)
	}
	if row.Owner != 0 && (!had || old.Owner != row.Owner) {
		p.owned.Set(indexKey(uint64(row.Owner), key), struct{}{})
	}
}

// deleteRow removes a row and keeps the indexes.
func (p *partition) deleteRow(key string) (structures.Row, bool) {
	old, had := p.rows.Delete(key)
	if had {
		p.unindex(key, old, structures.Row{})
		p.rowBytes -= len(key) + len(old.Value)
	}
	return old, had
}

// unindex removes old's index entries that row does not have.
func (p *partition) unindex(key string, old, row structures.Row) {
	if old.Deadline != 0 && old.Deadline != row.Deadline {
		p.due.Delete(indexKey(uint64(old.Deadline), key))
	}
	if old.Owner != 0 && old.Owner != row.Owner {
		p.owned.Delete(indexKey(uint64(old.Owner), key))
	}
}

// indexKey is a number and a row key, in the order of the number.
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

// appendLife appends the head of a row key.
func appendLife(dst []byte, life uint64, rowType byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, life), rowType)
}

// splitRowKey reads a row key.
func splitRowKey(s string) (life uint64, rowType byte, key string) {
	return binary.BigEndian.Uint64([]byte(s[:8])), s[8], s[lifeSize:]
}

// newRow copies a row key and a value into one piece of memory.
func newRow(life uint64, rowType byte, key, value []byte) (string, []byte) {
	b := make([]byte, 0, lifeSize+len(key)+len(value))
	b = appendLife(b, life, rowType)
	b = append(b, key...)
	n := len(b)
	b = append(b, value...)
	return unsafe.String(unsafe.SliceData(b), n), b[n:len(b):len(b)]
}

// view returns b as a string that is only looked at while b lives.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// viewBytes returns s as bytes that must not be changed.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
