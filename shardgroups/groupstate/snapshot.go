package groupstate

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/levels"
	"github.com/quorate/quorate/structures"
)

// snapshotVersion is the first number of every snapshot.
const snapshotVersion = 1

// maxSnapshotItem bounds one key, value or reply that Restore reads, so that a
// damaged snapshot is an error and not an allocation.
const maxSnapshotItem = 64 << 20

// Snapshot is a copy of a State at one entry. It may be written while further entries
// are applied.
type Snapshot struct {
	s State
}

// Prepare copies the state in O(partitions). It writes to the trees, so the state must
// not be read meanwhile.
func (s *State) Prepare() *Snapshot {
	c := &Snapshot{s: State{
		level: s.level, limits: s.limits, clock: s.clock, total: s.total, owned: s.owned,
		holdUntil: s.holdUntil, turns: s.turns, history: histories{budget: s.history.budget},
		sessions:   s.sessions.copy(),
		partitions: make([]*partition, len(s.partitions)),
	}}
	if s.load != nil {
		l := *s.load
		l.progress = s.load.progress.Clone()
		c.s.load = &l
	}
	for i, p := range s.partitions {
		if p != nil {
			c.s.partitions[i] = p.copy()
			plantRecordsLost(c.s.partitions[i])
		}
	}
	return c
}

// Hash returns a hash of everything replicated. Replicas that have applied the
// same entries have the same hash.
func (c *Snapshot) Hash() uint64 {
	d := xxhash.New()
	if err := c.WriteTo(d, nil); err != nil {
		panic("groupstate: bug: " + err.Error())
	}
	return d.Sum64()
}

// WriteTo writes the snapshot. It stops early, with io.ErrClosedPipe, when
// stop is closed.
func (c *Snapshot) WriteTo(w io.Writer, stop <-chan struct{}) error {
	s := &c.s
	e := encoder{w: bufio.NewWriterSize(w, 256<<10), stop: stop, level: s.level}
	e.uint(snapshotVersion)
	e.uint(uint64(s.level))
	e.bytes(levels.Append(nil, s.limits, s.level))
	e.uint(uint64(s.clock.Now))
	e.uint(s.clock.Epoch)
	e.uint(s.clock.Holder)
	e.uint(uint64(s.clock.Base))
	e.uint(uint64(s.total))
	e.uint(s.sessions.ends)
	e.uint(uint64(s.holdUntil))
	e.uint(s.sessions.check.end)
	e.uint(uint64(s.sessions.check.at))
	e.uint(uint64(s.sessions.check.below))
	e.uint(uint64(s.turns.session))
	e.uint(uint64(s.turns.timeouts))
	e.uint(uint64(s.turns.expiry))
	e.uint(uint64(s.turns.garbage))
	e.uint(uint64(s.history.budget))
	e.bytes(s.load.encode())
	e.end()
	e.sessions(&s.sessions)
	e.uint(uint64(s.owned))
	for _, p := range s.partitions {
		if p != nil && e.ok() {
			e.partition(p)
		}
	}
	e.uint(snapshotVersion)
	if e.err == nil {
		e.err = e.w.Flush()
	}
	return e.err
}

func (e *encoder) partition(p *partition) {
	e.uint(uint64(p.id))
	e.uint(uint64(p.generation))
	e.uint(uint64(p.revision))
	e.uint(uint64(p.offset))
	e.uint(uint64(p.history.floor))
	e.end()
	e.uint(uint64(p.instances.Len()))
	p.instances.Scan(func(id uint64, l instance) bool {
		e.uint(id)
		e.uint(uint64(l.kind))
		e.string(l.name)
		e.bool(l.settings != nil)
		e.bytes(l.settings.Encoded())
		e.uint(uint64(l.waiters))
		e.uint(uint64(l.waiterBytes))
		return e.end()
	})
	e.uint(uint64(p.garbage.Len()))
	p.garbage.Scan(func(id uint64, k protocol.KindID) bool {
		e.uint(id)
		e.uint(uint64(k))
		return e.end()
	})
	e.uint(uint64(p.rows.Len()))
	p.rows.Scan(func(key string, row structures.Row) bool {
		e.string(key)
		e.bytes(row.Value)
		e.uint(uint64(row.Version))
		e.uint(uint64(row.Deadline))
		e.uint(uint64(row.Owner))
		return e.end()
	})
	e.uint(uint64(p.records.Len()))
	p.records.Scan(func(key uint64, r record) bool {
		e.uint(key)
		e.uint(r.seq)
		e.uint(uint64(r.state))
		e.uint(uint64(r.code))
		e.uint(uint64(r.revision))
		e.bytes(r.reply)
		e.string(r.row)
		return e.end()
	})
	e.history(&p.history)
}

// Restore replaces the state by a snapshot. After an error the state is
// unusable.
func (s *State) Restore(r io.Reader, stop <-chan struct{}) error {
	d := decoder{r: bufio.NewReaderSize(r, 256<<10), stop: stop}
	if v := d.uint(); d.err == nil && v != snapshotVersion {
		return fmt.Errorf("a snapshot of version %d; this version reads %d: install a newer version", v, snapshotVersion)
	}
	n := &State{
		kinds: s.kinds, maxLevel: s.maxLevel, onPanic: s.onPanic,
		counts:   newCounts(s.kinds),
		sessions: newSessions(),
		nextDue:  never,
	}
	level := d.uint()
	if d.err == nil {
		if err := levels.Known("the group's state", level, s.maxLevel); err != nil {
			return err
		}
	}
	n.level, d.level = uint32(level), uint32(level)
	if b := d.bytes(); d.err == nil {
		if err := levels.Decode(b, &n.limits, n.level); err != nil {
			return fmt.Errorf("snapshot: limits: %w", err)
		}
	}
	n.clock.Now = protocol.LogTime(d.uint())
	n.clock.Epoch = d.uint()
	n.clock.Holder = d.uint()
	n.clock.Base = protocol.LogTime(d.uint())
	n.total = int(d.count(maxPartitions))
	n.partitions = make([]*partition, n.total)
	n.sessions.ends = d.uint()
	n.holdUntil = protocol.LogTime(d.uint())
	n.sessions.check = check{d.uint(), protocol.SessionID(d.uint()), protocol.SessionID(d.uint())}
	n.turns.session = protocol.SessionID(d.uint())
	for _, turn := range []*protocol.PartitionID{&n.turns.timeouts, &n.turns.expiry, &n.turns.garbage} {
		*turn = protocol.PartitionID(d.count(maxPartitions))
	}
	plantTurnForgotten(n)
	n.history.budget = int(d.count(maxHistory))
	if b := d.bytes(); d.err == nil {
		if n.load, d.err = decodeLoad(b); d.err != nil {
			return fmt.Errorf("read snapshot: %w", d.err)
		}
	}
	d.end()
	d.sessions(&n.sessions)
	d.partitions(n)
	if v := d.uint(); d.err == nil && v != snapshotVersion {
		d.fail("its end is missing")
	}
	if l := n.load; d.err == nil && l != nil {
		if id, ok := l.progress.Partition(); ok && n.partition(id) == nil {
			d.fail("the partition that was being loaded is missing")
		}
		n.garbage, n.nextDue = 0, never // counted when it is loaded
	}
	if d.err != nil {
		return fmt.Errorf("read snapshot: %w", d.err)
	}
	*s = *n
	return nil
}

// partitions reads the partitions that the group owns.
func (d *decoder) partitions(n *State) {
	for range d.count(1 << 20) {
		if !d.ok() {
			break
		}
		p := newPartition(protocol.PartitionID(d.uint()), n.counts)
		if int(p.id) >= n.total {
			d.fail("a partition out of range")
			break
		}
		d.partition(n, p)
		n.partitions[p.id] = p
		n.owned++
		plantWatchRingLost(p)
		n.history.restored(p)
		n.garbage += p.garbage.Len()
		n.nextDue = min(n.nextDue, mutantNextDue(p.next()))
	}
}

func (d *decoder) partition(s *State, p *partition) {
	p.generation = uint16(d.uint())
	p.revision = protocol.Revision(d.uint())
	p.offset = protocol.LogTime(d.uint())
	p.history.floor = protocol.Version(d.uint())
	d.end()
	for range d.count(1 << 40) {
		id := d.uint()
		l := instance{kind: protocol.KindID(d.uint()), name: d.string(), bytes: new(int)}
		has, settings := d.bool(), d.bytes()
		if has {
			var err error
			if l.settings, err = structures.ReadSettings(settings); err != nil {
				d.fail("settings of the wrong form")
			}
		}
		l.waiters, l.waiterBytes = int(d.uint()), int(d.uint())
		d.end()
		p.instances.Load(id, l)
		p.setName(string([]byte{byte(l.kind)})+l.name, id)
		if !d.ok() {
			return
		}
	}
	for range d.count(1 << 40) {
		id, k := d.uint(), protocol.KindID(d.uint())
		d.end()
		p.garbage.Load(id, k)
		if !d.ok() {
			return
		}
	}
	for range d.count(1 << 40) {
		key := d.string()
		row := structures.Row{Value: d.bytes(), Version: protocol.Version(d.uint())}
		row.Deadline = protocol.LogTime(d.uint())
		row.Owner = protocol.SessionID(d.uint())
		d.end()
		if d.ok() && (len(key) < instanceSize || key[instanceSize-1] == rowWaiter && (len(key) != instanceSize+8 || len(row.Value) < waiterHead)) {
			d.fail("a row of the wrong form")
		}
		if !d.ok() {
			return
		}
		p.rows.Load(key, row)
		p.grow(key, len(key)+len(row.Value), nil, mutantCounted(row.Value))
		if row.Deadline != 0 {
			p.setDue(key, row.Deadline)
		}
		if row.Owner != 0 {
			p.owned.Set(indexKey(uint64(row.Owner), key), struct{}{})
			s.sessions.touch(row.Owner, p.id)
		}
	}
	last := protocol.SessionID(0)
	for range d.count(1 << 40) {
		key := d.uint()
		r := record{seq: d.uint(), state: recordState(d.uint()), code: protocol.Code(d.uint())}
		r.revision = protocol.Revision(d.uint())
		r.reply = d.bytes()
		r.row = d.string()
		d.end()
		p.records.Load(key, r)
		p.replyBytes += r.counted()
		p.setKept(key, 0, r.droppable())
		if id := protocol.SessionID(key >> slotBits); id != last {
			last = id
			s.sessions.touch(id, p.id)
		}
		if !d.ok() {
			return
		}
	}
	d.history(p)
}

// encoder writes varints and byte strings; the first error sticks.
type encoder struct {
	w     *bufio.Writer
	stop  <-chan struct{}
	level uint32 // of the state; fields of a later level are not written
	err   error
	n     int
	buf   [binary.MaxVarintLen64]byte
}

// end ends an item. A field that is new in a level is written before it, unless e.level
// is below that level.
func (e *encoder) end() bool {
	for range levels.MadeUp(e.level) {
		e.uint(uint64(e.level))
	}
	return e.ok()
}

func (e *encoder) ok() bool {
	if e.n++; e.n%1024 == 0 {
		select {
		case <-e.stop:
			e.err = io.ErrClosedPipe
		default:
		}
	}
	return e.err == nil
}

func (e *encoder) write(b []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
}

func (e *encoder) uint(u uint64) { e.write(binary.AppendUvarint(e.buf[:0], u)) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) bytes(b []byte) {
	e.uint(uint64(len(b)))
	e.write(b)
}

func (e *encoder) string(s string) { e.bytes(viewBytes(s)) }

// decoder reads what encoder wrote; the first error sticks.
type decoder struct {
	r     *bufio.Reader
	stop  <-chan struct{}
	level uint32 // at which it was written
	err   error
	n     int
}

// end reads what encoder.end wrote.
func (d *decoder) end() {
	for range levels.MadeUp(d.level) {
		if d.uint() != uint64(d.level) {
			d.fail("an item that does not end where it should")
		}
	}
}

func (d *decoder) ok() bool {
	if d.n++; d.n%1024 == 0 {
		select {
		case <-d.stop:
			d.err = io.ErrClosedPipe
		default:
		}
	}
	return d.err == nil
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = fmt.Errorf("damaged: %s", why)
	}
}

func (d *decoder) uint() uint64 {
	if d.err != nil {
		return 0
	}
	u, err := binary.ReadUvarint(d.r)
	if err != nil { // u is the bytes before it
		d.err = err
		return 0
	}
	return u
}

// count reads how many items follow, none after an error.
func (d *decoder) count(limit uint64) uint64 {
	n := d.uint()
	if n > limit {
		d.fail("a count out of range")
		return 0
	}
	return n
}

func (d *decoder) bool() bool { return d.uint() == 1 }

func (d *decoder) bytes() []byte {
	n := d.count(maxSnapshotItem)
	if d.err != nil || n == 0 {
		return nil
	}
	var b []byte
	b, d.err = protocol.ReadGrowing(d.r, nil, int(n))
	return b
}

func (d *decoder) string() string { return string(d.bytes()) }
