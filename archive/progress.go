package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/quorate/quorate/protocol"
)

// Visitor is given what an archive holds, in its order. What it is given is valid
// until it returns. An error ends the reading.
type Visitor interface {
	Header(h Header) error
	Section(s Section) error
	Structure(s Structure) error
	// Row is given a row; if Rest is not 0, Value follows until all of it is there.
	Row(r Row) error
	// Value is given more of the value of the last row.
	Value(b []byte) error
	// State is given a piece of the system group's state.
	State(b []byte) error
}

// Progress is how far an archive has been taken: it knows what must hold of the
// next frame. The zero Progress is before the first. It is deterministic.
type Progress struct {
	stage      stage
	sum        Sum
	counts     Counts
	partitions uint32 // of the cluster
	section    Section
	instance   uint64 // of the last structure or row
	key        []byte // of the last row
	rest       uint64 // bytes that the value of the last row lacks
}

// stage is what the last frame was.
//
//	start -> header -+-> section -> structures* -> rows* --+-> footer
//	                 |      ^                              |
//	                 |      '------------------------------'
//	                 '-> state* ------------------------------> footer
type stage uint8

const (
	stageStart stage = iota
	stageHeader
	stageSection
	stageStructures
	stageRows
	stageState
	stageFooter
)

// Frames returns how many frames have been taken.
func (p *Progress) Frames() uint64 { return p.counts.Frames }

// Sum returns the sum of the frames that have been taken, without the footer.
func (p *Progress) Sum() Sum { return p.sum }

// Counts returns what the frames that have been taken hold.
func (p *Progress) Counts() Counts { return p.counts }

// Partition returns the partition that is being taken, and false before the first.
func (p *Progress) Partition() (protocol.PartitionID, bool) {
	return p.section.Partition, p.counts.Partitions > 0
}

// Done reports whether the footer has been taken: the archive is whole.
func (p *Progress) Done() bool { return p.stage == stageFooter }

// Take takes the next frame and gives v, unless it is nil, what the frame holds. An
// error is ErrDamaged or ErrVersion with a reason, or the Visitor's; after it the
// Progress is of no use.
func (p *Progress) Take(f Frame, v Visitor) error {
	if v == nil {
		v = nobody{}
	}
	if f.Type == FrameFooter {
		return p.footer(f.Content)
	}
	if err := p.follow(f.Type); err != nil {
		return err
	}
	r := protocol.NewReader(f.Content)
	for first := true; first || r.Len() > 0; first = false {
		if err := p.item(f, &r, v); err != nil {
			return err
		}
		if r.Err() != nil {
			return fmt.Errorf("%w (an item of another form)", ErrVersion) // these bytes were written
		}
	}
	p.sum = p.sum.next(f)
	p.counts.Frames++
	return nil
}

// follow checks that a frame of a type may come now.
func (p *Progress) follow(t FrameType) error {
	next, ok := p.stage, false
	switch t {
	case FrameHeader:
		next, ok = stageHeader, p.stage == stageStart
	case FrameSection:
		next, ok = stageSection, p.stage >= stageHeader && p.stage <= stageRows
	case FrameStructures:
		next, ok = stageStructures, p.stage == stageSection || p.stage == stageStructures
	case FrameRows:
		next, ok = stageRows, p.stage == stageStructures || p.stage == stageRows
	case FrameValue:
		ok = p.rest > 0
	case FrameState:
		next, ok = stageState, p.stage == stageHeader || p.stage == stageState
	default:
		return fmt.Errorf("%w (a frame of type %d)", ErrVersion, t)
	}
	if !ok || p.rest > 0 && t != FrameValue {
		return damaged("a frame out of its order")
	}
	if t == FrameRows && p.stage == stageStructures {
		p.instance, p.key = 0, p.key[:0]
	}
	p.stage = next
	return nil
}

// item takes one item of a frame, and checks that it follows the one before.
func (p *Progress) item(f Frame, r *protocol.Reader, v Visitor) error {
	switch f.Type {
	case FrameHeader:
		var h Header
		if h.read(r); r.Done() != nil {
			return nil
		}
		p.partitions = h.Partitions
		return v.Header(h)
	case FrameSection:
		var s Section
		s.read(r)
		switch {
		case r.Done() != nil:
			return nil
		case s.Partition >= protocol.PartitionID(p.partitions), p.counts.Partitions > 0 && s.Partition <= p.section.Partition:
			return damaged("a partition out of its order")
		case s.Revision != s.Version().Revision():
			return damaged("a revision out of bounds")
		}
		p.section, p.instance = s, 0
		p.counts.Partitions++
		return v.Section(s)
	case FrameStructures:
		var s Structure
		s.read(r)
		switch {
		case r.Err() != nil:
			return nil
		case s.Instance <= p.instance || s.Instance > uint64(p.section.Revision):
			return damaged("a structure out of its order")
		}
		p.instance = s.Instance
		p.counts.Structures++
		return v.Structure(s)
	case FrameRows:
		return p.row(r, v)
	case FrameValue:
		n := uint64(len(f.Content))
		*r = protocol.Reader{}
		if n == 0 || n > p.rest {
			return damaged("more of a value than was said")
		}
		p.rest -= n
		p.counts.Bytes += n
		return v.Value(f.Content)
	default: // FrameState
		*r = protocol.Reader{}
		p.counts.Bytes += uint64(len(f.Content))
		return v.State(f.Content)
	}
}

func (p *Progress) row(r *protocol.Reader, v Visitor) error {
	var row Row
	row.read(r)
	switch {
	case r.Err() != nil:
		return nil
	case row.Instance == 0, row.Instance < p.instance, row.Instance == p.instance && bytes.Compare(row.Key, p.key) <= 0:
		return damaged("a row out of its order")
	case row.Version > p.section.Version():
		return damaged("a row of a later version than its partition")
	case row.Rest > 0 && r.Len() > 0:
		return damaged("a row behind one that is not whole")
	}
	p.instance, p.rest = row.Instance, row.Rest
	p.key = append(p.key[:0], row.Key...)
	p.counts.Rows++
	p.counts.Bytes += uint64(len(row.Key) + len(row.Value))
	return v.Row(row)
}

func (p *Progress) footer(content []byte) error {
	r := protocol.NewReader(content)
	var f Footer
	f.read(&r)
	switch {
	case p.stage == stageStart || p.stage == stageFooter || p.rest > 0:
		return damaged("a footer out of its order")
	case r.Done() != nil:
		return damaged("the footer is of another form")
	case f.Counts != p.counts || f.Sum != p.sum:
		return damaged("the frames are not those that its footer counts")
	}
	p.stage = stageFooter
	return nil
}

// Clone returns a Progress that later frames do not change.
func (p *Progress) Clone() Progress {
	c := *p
	c.key = bytes.Clone(p.key)
	return c
}

// progressFields is how many fields a Progress is kept with.
const progressFields = 15

// Append appends the encoding of p to b, from which ReadProgress goes on.
func (p *Progress) Append(b []byte) []byte {
	b = protocol.AppendArray(b, progressFields)
	for _, u := range []uint64{
		uint64(p.stage), p.counts.Frames, p.counts.Partitions, p.counts.Structures, p.counts.Rows, p.counts.Bytes,
		uint64(p.partitions), uint64(p.section.Partition), uint64(p.section.Generation), uint64(p.section.Revision),
		uint64(p.section.Time), p.instance, p.rest,
	} {
		b = protocol.AppendUint(b, u)
	}
	return protocol.AppendBytes(protocol.AppendBytes(b, p.key), p.sum[:])
}

// ReadProgress reads what Append wrote; r has the error of what is malformed.
func ReadProgress(r *protocol.Reader) Progress {
	var p Progress
	r.Array(progressFields)
	p.stage = stage(r.Uint16())
	p.counts = Counts{r.Uint(), r.Uint(), r.Uint(), r.Uint(), r.Uint()}
	p.partitions = r.Uint32()
	p.section = Section{protocol.PartitionID(r.Uint32()), r.Uint16(), protocol.Revision(r.Uint()), readTime(r)}
	p.instance, p.rest = r.Uint(), r.Uint()
	p.key = bytes.Clone(r.Bytes())
	readFull(r, p.sum[:])
	if p.stage > stageFooter || p.section.Revision != p.section.Version().Revision() {
		r.Fail()
	}
	return p
}

func damaged(reason string) error { return fmt.Errorf("%w (%s)", ErrDamaged, reason) }

// Read reads an archive to its end and gives v, unless it is nil, what it holds. If
// it returns no error the archive is whole: its frames, their order, their sum and
// their counts. Its errors are *Error.
func Read(r io.Reader, v Visitor) (Counts, error) {
	a, err := NewReader(r)
	if err != nil {
		return Counts{}, err
	}
	var p Progress
	for {
		f, err := a.Next()
		if errors.Is(err, io.EOF) && p.Done() {
			return p.counts, nil
		}
		if err != nil {
			return p.counts, err
		}
		if err := p.Take(f, v); err != nil {
			return p.counts, a.Fault(err)
		}
	}
}

// nobody is a Visitor that wants nothing.
type nobody struct{}

func (nobody) Header(Header) error       { return nil }
func (nobody) Section(Section) error     { return nil }
func (nobody) Structure(Structure) error { return nil }
func (nobody) Row(Row) error             { return nil }
func (nobody) Value([]byte) error        { return nil }
func (nobody) State([]byte) error        { return nil }
