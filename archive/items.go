package archive

import (
	"math"

	"github.com/quorate/quorate/protocol"
)

// Header says what an archive was made of.
type Header struct {
	Cluster    protocol.UUID
	Name       string // of the cluster
	Partitions uint32 // of the cluster
	Group      protocol.GroupID
	Index      uint64           // log index of the last entry in it
	Time       protocol.LogTime // of the group
	Level      uint32           // of the group's state
}

// Section begins a partition.
type Section struct {
	Partition  protocol.PartitionID
	Generation uint16
	Revision   protocol.Revision
	// Time is the partition's: deadlines, and times inside values, are of the same
	// clock.
	Time protocol.LogTime
}

// Version is the version of the last mutation of the partition. No structure and no
// row has a higher one.
func (s *Section) Version() protocol.Version {
	return protocol.Version(uint64(s.Generation)<<48 | uint64(s.Revision))
}

// Structure is the part of a structure that lies in a partition.
type Structure struct {
	Instance uint64 // the revision that made it: names it among those of the partition
	Kind     protocol.KindID
	Name     string
	Settings []byte // nil: it has none
}

// Row is a row of a structure.
type Row struct {
	Instance uint64 // of the structure
	Key      []byte
	Value    []byte
	Version  protocol.Version
	Deadline protocol.LogTime   // in partition time; 0: never
	Owner    protocol.SessionID // with whose session it ends; 0: nobody's
	// Rest is how many bytes of the value follow in frames of their own.
	Rest uint64
}

// Counts are what an archive holds.
type Counts struct {
	Frames     uint64 // before the footer
	Partitions uint64
	Structures uint64 // parts of structures, one in each partition where it is
	Rows       uint64
	Bytes      uint64 // of rows, keys and values; of the system group's state
}

// Footer closes an archive.
type Footer struct {
	Counts Counts
	Sum    Sum // of the frames before it
}

// An array may become longer by what a reader can do without: the header's and the
// footer's. What cannot be left out is a frame or an item of a new type, or a new
// version.
const (
	headerFields    = 7
	footerFields    = 6
	sectionFields   = 4
	structureFields = 4
	rowFields       = 7
)

func (h *Header) append(b []byte) []byte {
	b = protocol.AppendArray(b, headerFields)
	b = protocol.AppendBytes(b, h.Cluster[:])
	b = protocol.AppendString(b, h.Name)
	b = protocol.AppendUint(b, uint64(h.Partitions))
	b = protocol.AppendUint(b, uint64(h.Group))
	b = protocol.AppendUint(b, h.Index)
	b = protocol.AppendUint(b, uint64(h.Time))
	return protocol.AppendUint(b, uint64(h.Level))
}

func (h *Header) read(r *protocol.Reader) {
	rest := grown(r, headerFields)
	readFull(r, h.Cluster[:])
	h.Name = string(append([]byte(nil), r.String()...))
	h.Partitions = r.Uint32()
	h.Group = protocol.GroupID(r.Uint())
	h.Index = r.Uint()
	h.Time = readTime(r)
	h.Level = r.Uint32()
	skip(r, rest)
}

func (s *Section) append(b []byte) []byte {
	b = protocol.AppendArray(b, sectionFields)
	b = protocol.AppendUint(b, uint64(s.Partition))
	b = protocol.AppendUint(b, uint64(s.Generation))
	b = protocol.AppendUint(b, uint64(s.Revision))
	return protocol.AppendUint(b, uint64(s.Time))
}

func (s *Section) read(r *protocol.Reader) {
	r.Array(sectionFields)
	s.Partition = protocol.PartitionID(r.Uint32())
	s.Generation = r.Uint16()
	s.Revision = protocol.Revision(r.Uint())
	s.Time = readTime(r)
}

func (s *Structure) append(b []byte) []byte {
	b = protocol.AppendArray(b, structureFields)
	b = protocol.AppendUint(b, s.Instance)
	b = protocol.AppendUint(b, uint64(s.Kind))
	b = protocol.AppendString(b, s.Name)
	if s.Settings == nil {
		return protocol.AppendArray(b, 0)
	}
	return protocol.AppendBytes(protocol.AppendArray(b, 1), s.Settings)
}

func (s *Structure) read(r *protocol.Reader) {
	r.Array(structureFields)
	s.Instance = r.Uint()
	s.Kind = readKind(r)
	s.Name = r.String()
	s.Settings = nil
	switch r.ArrayLen() {
	case 0:
	case 1:
		s.Settings = r.Bytes()
	default:
		r.Fail()
	}
}

func (r *Row) append(b []byte) []byte {
	b = protocol.AppendArray(b, rowFields)
	b = protocol.AppendUint(b, r.Instance)
	b = protocol.AppendBytes(b, r.Key)
	b = protocol.AppendUint(b, uint64(r.Version))
	b = protocol.AppendUint(b, uint64(r.Deadline))
	b = protocol.AppendUint(b, uint64(r.Owner))
	b = protocol.AppendBytes(b, r.Value)
	return protocol.AppendUint(b, r.Rest)
}

func (r *Row) read(in *protocol.Reader) {
	in.Array(rowFields)
	r.Instance = in.Uint()
	r.Key = in.Bytes()
	r.Version = protocol.Version(in.Uint())
	r.Deadline = readTime(in)
	r.Owner = protocol.SessionID(in.Uint())
	r.Value = in.Bytes()
	r.Rest = in.Uint()
}

func (f *Footer) append(b []byte) []byte {
	b = protocol.AppendArray(b, footerFields)
	for _, n := range []uint64{f.Counts.Frames, f.Counts.Partitions, f.Counts.Structures, f.Counts.Rows, f.Counts.Bytes} {
		b = protocol.AppendUint(b, n)
	}
	return protocol.AppendBytes(b, f.Sum[:])
}

func (f *Footer) read(r *protocol.Reader) {
	rest := grown(r, footerFields)
	for _, n := range []*uint64{&f.Counts.Frames, &f.Counts.Partitions, &f.Counts.Structures, &f.Counts.Rows, &f.Counts.Bytes} {
		*n = r.Uint()
	}
	readFull(r, f.Sum[:])
	skip(r, rest)
}

// grown reads the head of an array of at least n items, and returns how many more
// there are.
func grown(r *protocol.Reader, n int) (more int) {
	more = r.ArrayLen() - n
	if more < 0 {
		r.Fail()
	}
	return more
}

func skip(r *protocol.Reader, items int) {
	for range items {
		r.Skip()
	}
}

// readFull reads a byte string of the length of b.
func readFull(r *protocol.Reader, b []byte) {
	if s := r.Bytes(); len(s) == len(b) {
		copy(b, s)
	} else {
		r.Fail()
	}
}

func readTime(r *protocol.Reader) protocol.LogTime {
	u := r.Uint()
	if u > math.MaxInt64 {
		r.Fail()
		return 0
	}
	return protocol.LogTime(u)
}

func readKind(r *protocol.Reader) protocol.KindID {
	u := r.Uint()
	if u > math.MaxUint8 {
		r.Fail()
	}
	return protocol.KindID(u)
}
