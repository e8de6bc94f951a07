package groupstate

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/tidwall/btree"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// snapshotVersion is the first number of every snapshot.
const snapshotVersion = 1

// maxSnapshotItem bounds one key, value or reply that Restore reads, so that a
// damaged snapshot is an error and not an allocation.
const maxSnapshotItem = 64 << 20

// Snapshot is a copy of a State at one entry. Writing it may run beside
// further entries.
type Snapshot struct {
	s State
}

// Prepare copies the state in O(partitions). It writes to the trees, so
// nothing may read the state meanwhile.
func (s *State) Prepare() *Snapshot {
	c := &Snapshot{s: State{
		level: s.level, limits: s.limits, clock: s.clock, total: s.total, owned: s.owned, ends: s.ends,
		holdUntil: s.holdUntil,
		sessions:  s.sessions.Copy(), recent: s.recent.Copy(),
		partitions: make([]*partition, len(s.partitions)),
	}}
	if s.load != nil {
		l := *s.load // its tail is replaced, never changed
		c.s.load = &l
	}
	for i, p := range s.partitions {
		if p != nil {
			c.s.partitions[i] = p.copy()
			if mutants.On(mutants.RecordsLost) {
				c.s.partitions[i].records = new(btree.Map[uint64, record])
			}
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
	e := encoder{w: bufio.NewWriterSize(w, 256<<10), stop: stop}
	e.uint(snapshotVersion)
	e.uint(uint64(s.level))
	e.bytes(protocol.Encode(s.limits))
	e.uint(uint64(s.clock.Now))
	e.uint(s.clock.Epoch)
	e.uint(s.clock.Holder)
	e.uint(uint64(s.clock.Base))
	e.uint(uint64(s.total))
	e.uint(s.ends)
	e.uint(uint64(s.holdUntil))
	e.bytes(s.load.encode())
	e.uint(uint64(s.sessions.Len()))
	s.sessions.Scan(func(id protocol.SessionID, v session) bool {
		e.uint(uint64(id))
		e.bool(v.ended)
		return e.ok()
	})
	e.uint(uint64(s.recent.Len()))
	s.recent.Scan(func(n uint64, id protocol.SessionID) bool {
		e.uint(n)
		e.uint(uint64(id))
		return e.ok()
	})
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
	e.uint(p.ring.first)
	e.uint(uint64(p.lives.Len()))
	p.lives.Scan(func(id uint64, l life) bool {
		e.uint(id)
		e.uint(uint64(l.kind))
		e.string(l.name)
		e.bool(l.settings != nil)
		e.bytes(l.settings)
		e.uint(uint64(l.waiters))
		e.uint(uint64(l.waiterBytes))
		return e.ok()
	})
	e.uint(uint64(p.garbage.Len()))
	p.garbage.Scan(func(id uint64, k protocol.KindID) bool {
		e.uint(id)
		e.uint(uint64(k))
		return e.ok()
	})
	e.uint(uint64(p.rows.Len()))
	p.rows.Scan(func(key string, row structures.Row) bool {
		e.string(key)
		e.bytes(row.Value)
		e.uint(uint64(row.Version))
		e.uint(uint64(row.Deadline))
		e.uint(uint64(row.Owner))
		return e.ok()
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
		return e.ok()
	})
	e.uint(uint64(p.ring.len()))
	p.ring.each(func(_ uint64, v event) bool {
		e.uint(uint64(v.revision))
		e.uint(v.life)
		e.uint(uint64(v.Type))
		e.bytes(v.Key)
		e.bytes(v.Value)
		return e.ok()
	})
}

// Restore replaces the state by a snapshot. After an error the state is
// unusable.
func (s *State) Restore(r io.Reader, stop <-chan struct{}) error {
	d := decoder{r: bufio.NewReaderSize(r, 256<<10), stop: stop}
	if v := d.uint(); d.err == nil && v != snapshotVersion {
		return fmt.Errorf("a snapshot of version %d; this version reads %d: install a newer version", v, snapshotVersion)
	}
	n := &State{
		kinds: s.kinds, maxLevel: s.maxLevel,
		sessions: new(btree.Map[protocol.SessionID, session]),
		recent:   new(btree.Map[uint64, protocol.SessionID]),
		ended:    new(btree.Map[protocol.SessionID, uint64]),
		ending:   new(btree.Map[protocol.SessionID, struct{}]),
		nextDue:  never,
	}
	n.level = uint32(d.uint())
	if n.level > s.maxLevel && d.err == nil {
		return fmt.Errorf("the group's state has level %d, this version knows %d: install a newer version", n.level, s.maxLevel)
	}
	if b := d.bytes(); d.err == nil {
		if err := protocol.Decode(b, &n.limits); err != nil {
			return fmt.Errorf("snapshot: limits: %w", err)
		}
	}
	n.clock.Now = protocol.LogTime(d.uint())
	n.clock.Epoch = d.uint()
	n.clock.Holder = d.uint()
	n.clock.Base = protocol.LogTime(d.uint())
	n.total = int(d.count(maxPartitions))
	n.partitions = make([]*partition, n.total)
	n.ends = d.uint()
	n.holdUntil = protocol.LogTime(d.uint())
	if b := d.bytes(); d.err == nil {
		if n.load, d.err = decodeLoad(b, n.total); d.err != nil {
			return fmt.Errorf("read snapshot: %w", d.err)
		}
	}
	for range d.count(1 << 32) {
		id := protocol.SessionID(d.uint())
		v := session{ended: d.bool()}
		n.sessions.Load(id, v)
		if v.ended {
			n.ending.Load(id, struct{}{})
		}
		if !d.ok() {
			break
		}
	}
	for range d.count(maxRecentEnds) {
		num, id := d.uint(), protocol.SessionID(d.uint())
		n.recent.Load(num, id)
		n.ended.Set(id, num)
	}
	for range d.count(1 << 20) {
		if !d.ok() {
			break
		}
		p := newPartition(protocol.PartitionID(d.uint()))
		if int(p.id) >= n.total {
			d.fail("a partition out of range")
			break
		}
		d.partition(p)
		n.partitions[p.id] = p
		n.owned++
		n.garbage += p.garbage.Len()
		if !mutants.On(mutants.DueForgotten) {
			n.nextDue = min(n.nextDue, p.nextDue)
		}
	}
	if v := d.uint(); d.err == nil && v != snapshotVersion {
		d.fail("its end is missing")
	}
	if l := n.load; d.err == nil && l != nil {
		if l.phase >= phaseLives && l.phase <= phaseEvents && n.partition(l.part) == nil {
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

func (d *decoder) partition(p *partition) {
	p.generation = uint16(d.uint())
	p.revision = protocol.Revision(d.uint())
	p.ring.first = max(d.uint(), 1)
	p.ring.next = p.ring.first
	for range d.count(1 << 40) {
		id := d.uint()
		l := life{kind: protocol.KindID(d.uint()), name: d.string()}
		has, settings := d.bool(), d.bytes()
		if has {
			l.settings = append([]byte{}, settings...)
		}
		l.waiters, l.waiterBytes = int(d.uint()), int(d.uint())
		p.lives.Load(id, l)
		p.names.Set(string([]byte{byte(l.kind)})+l.name, id)
		if !d.ok() {
			return
		}
	}
	for range d.count(1 << 40) {
		id, k := d.uint(), protocol.KindID(d.uint())
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
		if d.ok() && (len(key) < lifeSize || key[lifeSize-1] == rowWaiter && (len(key) != lifeSize+8 || len(row.Value) < waiterHead)) {
			d.fail("a row of the wrong form")
		}
		if !d.ok() {
			return
		}
		p.rows.Load(key, row)
		p.rowBytes += len(key) + len(row.Value)
		if row.Deadline != 0 {
			p.due.Set(indexKey(uint64(row.Deadline), key), struct{}{})
			p.nextDue = min(p.nextDue, row.Deadline)
		}
		if row.Owner != 0 {
			p.owned.Set(indexKey(uint64(row.Owner), key), struct{}{})
		}
	}
	for range d.count(1 << 40) {
		key := d.uint()
		r := record{seq: d.uint(), state: recordState(d.uint()), code: protocol.Code(d.uint())}
		r.revision = protocol.Revision(d.uint())
		r.reply = d.bytes()
		r.row = d.string()
		p.records.Load(key, r)
		p.replyBytes += r.counted()
		if !d.ok() {
			return
		}
	}
	for range d.count(1 << 40) {
		v := event{revision: protocol.Revision(d.uint()), life: d.uint()}
		v.Type = structures.EventType(d.uint())
		v.Key, v.Value = d.bytes(), d.bytes()
		p.ring.append(v, math.MaxInt)
		if !d.ok() {
			return
		}
	}
}

// encoder writes varints and byte strings; the first error sticks.
type encoder struct {
	w    *bufio.Writer
	stop <-chan struct{}
	err  error
	n    int
	buf  [binary.MaxVarintLen64]byte
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
	r    *bufio.Reader
	stop <-chan struct{}
	err  error
	n    int
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
	var u uint64
	u, d.err = binary.ReadUvarint(d.r)
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
