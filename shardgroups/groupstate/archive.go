package groupstate

import (
	"bufio"
	"errors"
	"io"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/structures"
)

// WriteArchive writes the copied state as an archive, and returns its footer. The
// caller sets the cluster, the group and the index in h; WriteArchive fills in the
// rest. It stops early, with io.ErrClosedPipe, when stop is closed.
//
// It writes what a group needs that takes the data over: structures and their rows,
// including the rows that sessions own. It leaves out records, waiting calls and
// events, because they belong to sessions and watchers that are over, and the rows of
// destroyed structures, which would be removed anyway.
func (c *Snapshot) WriteArchive(w io.Writer, h archive.Header, stop <-chan struct{}) (archive.Footer, error) {
	s := &c.s
	if s.load != nil {
		return archive.Footer{}, errors.New("the group is being restored, and has no state of its own yet")
	}
	h.Partitions, h.Time, h.Level = uint32(s.total), s.clock.Now, s.level
	b := bufio.NewWriterSize(w, 256<<10)
	a, err := archive.NewWriter(b, h)
	if err != nil {
		return archive.Footer{}, err
	}
	x := archiver{w: a, stop: stop}
	for _, p := range s.partitions {
		if p != nil && x.err == nil {
			x.partition(s, p)
		}
	}
	if x.err != nil {
		return archive.Footer{}, x.err
	}
	f, err := a.Close()
	if err != nil {
		return f, err
	}
	return f, b.Flush()
}

// archiver writes partitions; the first error sticks.
type archiver struct {
	w    *archive.Writer
	stop <-chan struct{}
	err  error
	n    int
}

func (x *archiver) ok() bool {
	if x.n++; x.n%1024 == 1 {
		select {
		case <-x.stop:
			x.err = io.ErrClosedPipe
		default:
		}
	}
	return x.err == nil
}

func (x *archiver) partition(s *State, p *partition) {
	x.err = x.w.Section(archive.Section{Partition: p.id, Generation: p.generation, Revision: p.revision, Time: p.time(s.clock.Now)})
	p.instances.Scan(func(id uint64, l instance) bool {
		if x.ok() && (l.settings != nil || p.hasRows(id)) {
			x.err = x.w.Structure(archive.Structure{Instance: id, Kind: l.kind, Name: l.name, Settings: l.settings.Encoded()})
		}
		return x.err == nil
	})
	instance, there := uint64(0), false
	p.rows.Scan(func(key string, row structures.Row) bool {
		id, rowType, k := splitRowKey(key)
		if id != instance {
			instance = id
			_, there = p.instances.Get(id)
		}
		if x.ok() && there && rowType == rowMachine {
			x.err = x.w.Row(archive.Row{
				Instance: id, Key: viewBytes(k), Value: row.Value,
				Version: row.Version, Deadline: row.Deadline, Owner: row.Owner,
			})
		}
		return x.err == nil
	})
}

// hasRows reports whether a structure has rows of its own.
func (p *partition) hasRows(id uint64) (has bool) {
	p.rows.Ascend(view(appendInstance(nil, id, rowMachine)), func(key string, _ structures.Row) bool {
		of, _, _ := splitRowKey(key)
		has = of == id
		return false
	})
	return has
}
