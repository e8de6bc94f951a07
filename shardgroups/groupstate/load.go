package groupstate

import (
	"encoding/binary"
	"errors"
	"hash/crc64"
	"time"

	"github.com/tidwall/btree"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// MaxLoadChunk bounds the bytes of one Load command.
const MaxLoadChunk = 1 << 20

// load is how far a group has come in taking over a state that another wrote as
// a snapshot (rule 27). The snapshot comes through the log in chunks of any
// size, so that every replica builds the same state whether it applies them all
// or begins with a snapshot in the middle. Until the last chunk is in, and its
// length and sum are right, the group refuses requests; then its partitions
// have the data, under the generation they were given.
//
// What is not taken over: records, waiting calls and events. All sessions of
// the snapshot count as ended; what they held is released after the load, a
// bounded piece an entry. Log time goes on from the snapshot's, so that
// deadlines stay as far ahead as they were.
type load struct {
	generation uint16
	revision   protocol.Revision
	holdOff    time.Duration

	offset   uint64 // bytes taken so far
	sum      uint64 // CRC-64 of them
	failures uint64 // how often the snapshot was found to be damaged

	phase phase
	left  uint64               // items left in the phase
	parts uint64               // partitions left
	part  protocol.PartitionID // being loaded
	tail  []byte               // the beginning of an item whose end has not come
}

// phase is the part of a snapshot that a load has come to.
type phase uint8

const (
	phaseHead phase = iota
	phaseSessions
	phaseRecent
	phasePartition
	phaseLives
	phaseGarbage
	phaseRows
	phaseRecords
	phaseEvents
	phaseEnd
	phaseDone
)

// LoadSum is the sum over a snapshot that the last command of a load carries;
// sum is that of what came before b, 0 at first.
func LoadSum(sum uint64, b []byte) uint64 { return crc64.Update(sum, loadTable, b) }

var loadTable = crc64.MakeTable(crc64.ECMA)

// Loading reports whether the group takes over a state, at which byte of the
// snapshot it stands, and how often the snapshot was found to be damaged.
func (s *State) Loading() (offset, failures uint64, loading bool) {
	if s.load == nil {
		return 0, 0, false
	}
	return s.load.offset, s.load.failures, true
}

// take applies one chunk. One that does not follow what was taken is a repeat,
// or of a leader that has not seen what another has logged: it is left alone.
func (s *State) take(offset uint64, chunk []byte) {
	l := s.load
	if l == nil || offset != l.offset || len(chunk) == 0 {
		return
	}
	l.offset += uint64(len(chunk))
	l.sum = LoadSum(l.sum, chunk)
	c := cursor{b: append(l.tail, chunk...)}
	for {
		start := c.b
		if l.phase == phaseDone && len(c.b) > 0 {
			c.fail()
		}
		if len(c.b) == 0 || c.bad {
			break
		}
		if s.takeItem(l, &c); c.short {
			c.b = start
			break
		}
	}
	if c.bad {
		s.loadFailed()
		return
	}
	l.tail = append([]byte(nil), c.b...)
}

// finishLoad ends a load whose snapshot had so many bytes and that sum.
func (s *State) finishLoad(length, sum uint64) {
	l := s.load
	if l == nil {
		return
	}
	if l.phase != phaseDone || l.offset != length || l.sum != sum {
		s.loadFailed()
		return
	}
	s.load = nil
	s.holdUntil = s.clock.Now.Add(l.holdOff)
	for _, p := range s.partitions {
		if p != nil {
			s.garbage += p.garbage.Len()
			s.nextDue = min(s.nextDue, p.nextDue)
		}
	}
}

// loadFailed forgets what was taken: the load begins anew.
func (s *State) loadFailed() {
	l := s.load
	s.load = &load{generation: l.generation, revision: l.revision, holdOff: l.holdOff, failures: l.failures + 1}
	s.sessions = new(btree.Map[protocol.SessionID, session])
	s.ending = new(btree.Map[protocol.SessionID, struct{}])
	s.lastKnown = 0
	for i, p := range s.partitions {
		if p != nil {
			s.partitions[i] = s.load.empty(protocol.PartitionID(i))
		}
	}
}

func (l *load) empty(id protocol.PartitionID) *partition {
	p := newPartition(id)
	p.generation, p.revision = l.generation, l.revision
	return p
}

// takeItem reads one item, or the head of the next phase. Where the item is
// not complete it has changed nothing.
func (s *State) takeItem(l *load, c *cursor) {
	if l.phase != phaseHead && l.phase != phasePartition && l.phase != phaseEnd && l.left == 0 {
		s.nextPhase(l, c)
		return
	}
	var p *partition
	if l.phase >= phaseLives && l.phase <= phaseEvents {
		p = s.partitions[l.part]
	}
	switch l.phase {
	case phaseHead:
		s.takeHead(l, c)
		return
	case phasePartition:
		s.takePartition(l, c)
		return
	case phaseEnd:
		if v := c.uint(); c.ok() && v != snapshotVersion {
			c.fail()
		} else if c.ok() {
			l.phase = phaseDone
		}
		return
	case phaseSessions:
		id := protocol.SessionID(c.uint())
		c.uint()
		if c.ok() {
			s.sessions.Set(id, session{ended: true})
			s.ending.Set(id, struct{}{})
			s.lastKnown = 0
		}
	case phaseRecent:
		c.uint()
		c.uint()
	case phaseLives:
		id := c.uint()
		v := life{kind: protocol.KindID(c.uint()), name: string(c.bytes())}
		has, settings := c.uint() == 1, c.bytes()
		v.waiters, v.waiterBytes = int(c.uint()), int(c.uint())
		if has {
			v.settings = append([]byte{}, settings...)
		}
		v.waiters, v.waiterBytes = 0, 0 // none is taken over
		if c.ok() {
			p.lives.Load(id, v)
			p.names.Set(string([]byte{byte(v.kind)})+v.name, id)
		}
	case phaseGarbage:
		id, k := c.uint(), protocol.KindID(c.uint())
		if c.ok() {
			p.garbage.Load(id, k)
		}
	case phaseRows:
		s.takeRow(p, c)
	case phaseRecords:
		c.uint()
		c.uint()
		c.uint()
		c.uint()
		c.uint()
		c.bytes()
		c.bytes()
	case phaseEvents:
		c.uint()
		c.uint()
		c.uint()
		c.bytes()
		c.bytes()
	default:
		c.fail()
	}
	if c.ok() {
		l.left--
	}
}

func (s *State) takeHead(l *load, c *cursor) {
	version, level := c.uint(), c.uint()
	c.bytes() // the limits: those of the cluster count
	now := c.uint()
	c.uint()
	c.uint()
	c.uint()
	total := c.uint()
	c.uint() // ended sessions: where the list stood when this group was made counts
	c.uint() // a hold-off: this load has its own
	loading := len(c.bytes()) > 0
	n := c.uint()
	if !c.ok() {
		return
	}
	if version != snapshotVersion || level > uint64(s.maxLevel) || total != uint64(s.total) || loading {
		c.fail()
		return
	}
	s.level = max(s.level, uint32(level))
	if d := protocol.LogTime(now) - s.clock.Now; d > 0 {
		s.clock.Now += d
		s.clock.Base += d
	}
	l.phase, l.left = phaseSessions, n
}

// takePartition reads the head of a partition, or finds that there is none
// left.
func (s *State) takePartition(l *load, c *cursor) {
	if l.parts == 0 {
		l.phase = phaseEnd
		return
	}
	id := c.uint()
	c.uint()
	revision := protocol.Revision(c.uint())
	first := c.uint()
	n := c.uint()
	if !c.ok() {
		return
	}
	if id >= uint64(len(s.partitions)) || s.partitions[id] == nil || first == 0 {
		c.fail()
		return
	}
	p := s.partitions[id]
	p.revision = max(p.revision, revision)
	// Events that others have seen are not repeated under their numbers.
	p.ring.first, p.ring.next = first, first
	l.parts--
	l.part = protocol.PartitionID(id)
	l.phase, l.left = phaseLives, n
}

func (s *State) nextPhase(l *load, c *cursor) {
	switch l.phase {
	case phaseRecent:
		if n := c.uint(); c.ok() {
			l.phase, l.parts = phasePartition, n
		}
	case phaseEvents:
		l.phase = phasePartition
	default:
		if n := c.uint(); c.ok() {
			l.phase++
			l.left = n
			if p := s.partition(l.part); l.phase == phaseEvents && p != nil {
				p.ring.first += n
				p.ring.next = p.ring.first
			}
		}
	}
}

func (s *State) takeRow(p *partition, c *cursor) {
	key, value := c.bytes(), c.bytes()
	row := structures.Row{Version: protocol.Version(c.uint())}
	row.Deadline = protocol.LogTime(c.uint())
	row.Owner = protocol.SessionID(c.uint())
	switch {
	case !c.ok():
		return
	case len(key) < lifeSize || row.Deadline < 0:
		c.fail()
		return
	case key[lifeSize-1] == rowWaiter:
		return // its caller has given up, or will
	}
	b := append(append(make([]byte, 0, len(key)+len(value)), key...), value...)
	row.Value = b[len(key):len(b):len(b)]
	k := view(b[:len(key)])
	if _, twice := p.rows.Get(k); twice {
		c.fail()
		return
	}
	p.setRow(k, row)
}

// cursor reads what encoder wrote from the bytes at hand. short means that
// they end within an item.
type cursor struct {
	b          []byte
	short, bad bool
}

func (c *cursor) ok() bool { return !c.short && !c.bad }

func (c *cursor) fail() { c.bad = true }

func (c *cursor) uint() uint64 {
	if !c.ok() {
		return 0
	}
	u, n := binary.Uvarint(c.b)
	switch {
	case n > 0:
		c.b = c.b[n:]
	case n == 0 && len(c.b) < binary.MaxVarintLen64:
		c.short = true
	default:
		c.bad = true
	}
	return u
}

// bytes returns a slice of the bytes at hand.
func (c *cursor) bytes() []byte {
	n := c.uint()
	switch {
	case !c.ok():
		return nil
	case n > maxSnapshotItem:
		c.bad = true
		return nil
	case n > uint64(len(c.b)):
		c.short = true
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

// encode writes how far the load has come for a snapshot; a nil load is empty.
func (l *load) encode() []byte {
	if l == nil {
		return nil
	}
	b := protocol.AppendArray(nil, loadFields)
	for _, u := range []uint64{
		uint64(l.generation), uint64(l.revision), uint64(l.holdOff), l.offset, l.sum, l.failures,
		uint64(l.phase), l.left, l.parts, uint64(l.part),
	} {
		b = protocol.AppendUint(b, u)
	}
	return protocol.AppendBytes(b, l.tail)
}

const loadFields = 11

var errLoad = errors.New("a state that was being loaded is damaged")

func decodeLoad(b []byte, partitions int) (*load, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r := protocol.NewReader(b)
	r.Array(loadFields)
	l := &load{generation: r.Uint16(), revision: protocol.Revision(r.Uint()), holdOff: time.Duration(r.Uint())}
	l.offset, l.sum, l.failures = r.Uint(), r.Uint(), r.Uint()
	l.phase, l.left, l.parts, l.part = phase(r.Uint16()), r.Uint(), r.Uint(), protocol.PartitionID(r.Uint32())
	l.tail = append([]byte(nil), r.Bytes()...)
	if r.Done() != nil || l.phase > phaseDone || l.holdOff < 0 || int(l.part) >= max(partitions, 1) {
		return nil, errLoad
	}
	return l, nil
}
