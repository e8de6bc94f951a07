package groupstate

import (
	"errors"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// load is how far a group has come in loading what another group has left, as an
// archive (LOSS-1). The archive comes through the log frame by frame, so that every
// replica builds the same state, whether it applies all frames or begins with a
// snapshot in between. The group refuses requests until the footer is applied, and
// matches what was loaded. Then its partitions have the data, under their new
// generation.
//
// All sessions that own something in the archive count as ended; what they own is
// released after the load, a bounded part in each entry. After the load each
// partition's time continues from its value in the archive, so that deadlines stay as
// far ahead as they were.
type load struct {
	generation  uint16
	revision    protocol.Revision
	gracePeriod time.Duration
	failures    uint64 // how often the archive was refused
	progress    archive.Progress
}

// Loading is how far a group has come in loading an archive.
type Loading struct {
	Frames   uint64 // taken
	Sum      archive.Sum
	Failures uint64 // how often an archive was refused, and the load began anew
}

// Loading reports whether the group is loading an archive, and how far it has come.
func (s *State) Loading() (Loading, bool) {
	if s.load == nil {
		return Loading{}, false
	}
	return Loading{s.load.progress.Frames(), s.load.progress.Sum(), s.load.failures}, true
}

// take applies the n-th frame of an archive. It ignores a frame that is not the next:
// that is a repeat, or comes from a leader that has not seen what another has logged.
// It also ignores a footer in an entry that does not move time, because the partitions'
// times would continue from a moment that has long passed. An invalid frame makes the
// load begin anew.
func (s *State) take(n uint64, f archive.Frame) {
	l := s.load
	if l == nil || n != l.progress.Frames() || f.Type == archive.FrameFooter && s.work.standing {
		return
	}
	switch err := l.progress.Take(f, (*loader)(s)); {
	case err != nil:
		s.loadFailed()
	case l.progress.Done():
		s.finishLoad()
	}
}

// finishLoad ends a load: the archive is whole.
func (s *State) finishLoad() {
	s.holdUntil = s.clock.Now.Add(s.load.gracePeriod)
	s.load = nil
	for _, p := range s.partitions {
		if p != nil {
			p.offset -= s.clock.Now
			p.history.floor = p.current() // earlier events are not known
			s.nextDue = min(s.nextDue, p.next())
		}
	}
}

// loadFailed discards what was loaded: the load begins anew.
func (s *State) loadFailed() {
	l := s.load
	s.load = &load{generation: l.generation, revision: l.revision, gracePeriod: l.gracePeriod, failures: l.failures + 1}
	s.sessions.clear()
	s.counts.clear()
	for i, p := range s.partitions {
		if p != nil {
			s.partitions[i] = s.load.empty(protocol.PartitionID(i), s.counts)
		}
	}
}

func (l *load) empty(id protocol.PartitionID, c *counts) *partition {
	p := newPartition(id, c)
	p.generation, p.revision = l.generation, l.revision
	p.history.floor = p.current()
	return p
}

// loader is the archive.Visitor that fills a State.
type loader State

// errRefused is the error of an archive that a State does not accept.
var errRefused = errors.New("not an archive for this group")

func (d *loader) partition() *partition {
	id, ok := d.load.progress.Partition()
	if !ok {
		return nil
	}
	return (*State)(d).partition(id)
}

// Header implements archive.Visitor.
func (d *loader) Header(h archive.Header) error {
	if h.Group == protocol.SystemGroup || int(h.Partitions) != d.total || h.Level > d.maxLevel {
		return errRefused
	}
	d.level = max(d.level, h.Level)
	return nil
}

// Section implements archive.Visitor.
func (d *loader) Section(sec archive.Section) error {
	p := d.partition()
	if p == nil {
		return errRefused
	}
	p.revision = max(p.revision, sec.Revision)
	p.offset = sec.Time
	return nil
}

// Structure implements archive.Visitor.
func (d *loader) Structure(v archive.Structure) error {
	p := d.partition()
	name := string([]byte{byte(v.Kind)}) + v.Name
	if _, twice := p.names.Get(name); twice {
		return errRefused
	}
	l := instance{kind: v.Kind, name: name[1:], bytes: new(int)}
	if v.Settings != nil {
		var err error
		if l.settings, err = structures.ReadSettings(v.Settings); err != nil {
			return errRefused
		}
	}
	p.instances.Load(v.Instance, l)
	p.setName(name, v.Instance)
	return nil
}

// Row implements archive.Visitor.
func (d *loader) Row(r archive.Row) error {
	p := d.partition()
	if _, ok := p.instances.Get(r.Instance); !ok {
		return errRefused
	}
	key, value := newRow(r.Instance, rowMachine, r.Key, r.Value)
	p.setRow(key, structures.Row{Value: value, Version: r.Version, Deadline: r.Deadline, Owner: r.Owner})
	if r.Owner != 0 {
		d.sessions.restoreEnded(r.Owner)
		d.sessions.touch(r.Owner, p.id)
	}
	return nil
}

// Value implements archive.Visitor: the last row is the last of its partition.
func (d *loader) Value(b []byte) error {
	p := d.partition()
	if p == nil {
		return errRefused
	}
	last, row, ok := p.rows.Max()
	if !ok {
		return errRefused
	}
	id, rowType, key := splitRowKey(last)
	key, row.Value = newRow(id, rowType, viewBytes(key), append(row.Value[:len(row.Value):len(row.Value)], b...))
	p.deleteRow(last)
	p.setRow(key, row)
	return nil
}

// State implements archive.Visitor.
func (d *loader) State([]byte) error { return errRefused }

// encode writes how far the load has come for a snapshot; a nil load is empty.
func (l *load) encode() []byte {
	if l == nil {
		return nil
	}
	b := protocol.AppendArray(nil, loadFields)
	b = protocol.AppendUint(b, uint64(l.generation))
	b = protocol.AppendUint(b, uint64(l.revision))
	b = protocol.AppendUint(b, uint64(l.gracePeriod))
	b = protocol.AppendUint(b, l.failures)
	return l.progress.Append(b)
}

const loadFields = 5

func decodeLoad(b []byte) (*load, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r := protocol.NewReader(b)
	r.Array(loadFields)
	l := &load{generation: r.Uint16(), revision: protocol.Revision(r.Uint()), gracePeriod: time.Duration(r.Uint()), failures: r.Uint()}
	l.progress = archive.ReadProgress(&r)
	if err := r.Done(); err != nil || l.gracePeriod < 0 || l.progress.Done() {
		return nil, errors.New("damaged: a state that was being loaded")
	}
	return l, nil
}
