package archive_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/protocol"
)

var rewrite = flag.Bool("rewrite", false, "write the golden archives in testdata")

// listing writes down what an archive holds; of a large value its length.
type listing struct{ b strings.Builder }

func (l *listing) add(format string, args ...any) error {
	fmt.Fprintf(&l.b, format+"\n", args...)
	return nil
}

func (l *listing) Header(h archive.Header) error   { return l.add("%+v", h) }
func (l *listing) Section(s archive.Section) error { return l.add("%+v", s) }
func (l *listing) Structure(s archive.Structure) error {
	return l.add("%+v, has settings: %t", s, s.Settings != nil)
}

func (l *listing) Value(b []byte) error { return l.add("and %d bytes %x", len(b), b[:1]) }
func (l *listing) State(b []byte) error { return l.add("state %x", b) }

func (l *listing) Row(r archive.Row) error {
	if n := len(r.Value); n > 100 {
		r.Value = fmt.Appendf(nil, "%d bytes", n)
	}
	return l.add("%d %q = %q version %d deadline %d owner %d, and %d more", r.Instance, r.Key, r.Value, r.Version, r.Deadline, r.Owner, r.Rest)
}

var header = archive.Header{
	Cluster: protocol.UUID{1, 2, 3}, Name: "prod", Partitions: 8, Group: 2, Index: 77, Time: 5e9, Level: 1,
}

// writeGroup writes an archive of a data group with everything that one can have;
// large is the length of its largest value.
func writeGroup(t testing.TB, large int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, header)
	must(t, err)
	must(t, w.Section(archive.Section{Partition: 1, Generation: 3, Revision: 900, Time: 4e9}))
	must(t, w.Structure(archive.Structure{Instance: 7, Kind: 1, Name: "users", Settings: []byte{1, 2}}))
	must(t, w.Structure(archive.Structure{Instance: 9, Kind: 3, Name: "b\u00fccher", Settings: []byte{}}))
	must(t, w.Structure(archive.Structure{Instance: 12, Kind: 1, Name: "empty"}))
	must(t, w.Row(archive.Row{Instance: 7, Key: []byte{}, Value: []byte("the empty key"), Version: 3<<48 | 1}))
	for i := range 20 {
		must(t, w.Row(archive.Row{
			Instance: 7, Key: fmt.Appendf(nil, "k%02d", i), Value: bytes.Repeat([]byte("v"), i),
			Version: protocol.Version(2<<48 | i), Deadline: protocol.LogTime(i) * 1e9,
		}))
	}
	must(t, w.Row(archive.Row{Instance: 7, Key: []byte("large"), Value: bytes.Repeat([]byte{0xab}, large), Version: 4}))
	must(t, w.Row(archive.Row{Instance: 9, Key: []byte("held"), Owner: 12, Deadline: 1, Version: 3<<48 | 900}))
	must(t, w.Section(archive.Section{Partition: 2}))
	must(t, w.Section(archive.Section{Partition: 7, Generation: 1<<16 - 1, Revision: 1<<48 - 1, Time: 1<<63 - 1}))
	must(t, w.Structure(archive.Structure{Instance: 1, Kind: 255, Name: "last"}))
	f, err := w.Close()
	must(t, err)
	if f.Counts.Rows != 23 || f.Counts.Structures != 4 || f.Counts.Partitions != 3 || w.Bytes() != uint64(b.Len()) {
		t.Fatalf("%+v, %d bytes of %d", f, w.Bytes(), b.Len())
	}
	return b.Bytes()
}

func writeSystem(t testing.TB, state []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	h := header
	h.Group = protocol.SystemGroup
	w, err := archive.NewWriter(&b, h)
	must(t, err)
	must(t, w.State(state))
	_, err = w.Close()
	must(t, err)
	return b.Bytes()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, b []byte) string {
	t.Helper()
	var l listing
	counts, err := archive.Read(bytes.NewReader(b), &l)
	must(t, err)
	must(t, l.add("%+v", counts))
	return l.b.String()
}

// TestGolden reads what the first version has written, and writes the same: the
// same frames, whatever the compressor makes of them.
func TestGolden(t *testing.T) {
	for name, b := range map[string][]byte{"group": writeGroup(t, 3<<20), "system": writeSystem(t, []byte("a state"))} {
		file := "testdata/" + name
		if *rewrite {
			must(t, os.WriteFile(file+".archive", b, 0o644))
			must(t, os.WriteFile(file+".txt", []byte(list(t, b)), 0o644))
		}
		golden, err := os.ReadFile(file + ".archive")
		must(t, err)
		want, err := os.ReadFile(file + ".txt")
		must(t, err)
		if diff := cmp.Diff(string(want), list(t, golden)); diff != "" {
			t.Errorf("%s: the golden archive is read differently (-want +got):\n%s", name, diff)
		}
		if !reflect.DeepEqual(frames(t, golden), frames(t, b)) {
			t.Errorf("%s: other frames are written", name)
		}
	}
}

// frames returns the frames of an archive.
func frames(t *testing.T, b []byte) (all []archive.Frame) {
	t.Helper()
	r, err := archive.NewReader(bytes.NewReader(b))
	must(t, err)
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		f.Content = bytes.Clone(f.Content)
		all = append(all, f)
	}
}

// TestLargeValue: a value that is larger than a frame is in several, and frames
// are never larger than they may be.
func TestLargeValue(t *testing.T) {
	for _, n := range []int{archive.MaxContent - 100, archive.MaxContent - 69, archive.MaxContent, archive.MaxContent + 1, 3<<20 + 5} {
		var got listing
		var size collector
		if _, err := archive.Read(bytes.NewReader(writeGroup(t, n)), both{&got, &size}); err != nil {
			t.Fatal(err)
		}
		if size.n != n {
			t.Errorf("%d bytes of %d", size.n, n)
		}
	}
}

// collector adds up the value of the row "large".
type collector struct {
	listing
	n    int
	here bool
}

func (c *collector) Row(r archive.Row) error {
	if c.here = string(r.Key) == "large"; c.here {
		c.n += len(r.Value)
	}
	return nil
}

func (c *collector) Value(b []byte) error {
	if c.here {
		c.n += len(b)
	}
	return nil
}

// both is two visitors of rows, the first of everything.
type both struct {
	archive.Visitor
	rows *collector
}

func (v both) Row(r archive.Row) error { return errors.Join(v.Visitor.Row(r), v.rows.Row(r)) }
func (v both) Value(b []byte) error    { return errors.Join(v.Visitor.Value(b), v.rows.Value(b)) }

// TestTruncated: an archive that ends anywhere before its end is incomplete, and
// the error says where.
func TestTruncated(t *testing.T) {
	for _, whole := range [][]byte{writeGroup(t, 10), writeSystem(t, []byte("a state"))} {
		for n := range len(whole) {
			_, err := archive.Read(bytes.NewReader(whole[:n]), nil)
			var at *archive.Error
			if !errors.Is(err, archive.ErrIncomplete) || !errors.As(err, &at) || at.Offset > int64(n) || at.Frame > 20 {
				t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
			}
		}
		_, err := archive.Read(bytes.NewReader(append(bytes.Clone(whole), 0)), nil)
		if !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("a byte too many: %v", err)
		}
	}
}

// TestBitFlipped: each bit counts.
func TestBitFlipped(t *testing.T) {
	for _, whole := range [][]byte{writeGroup(t, 10), writeSystem(t, []byte("a state"))} {
		for i := range len(whole) * 8 {
			bad := bytes.Clone(whole)
			bad[i/8] ^= 1 << (i % 8)
			var at *archive.Error
			if _, err := archive.Read(bytes.NewReader(bad), nil); !errors.As(err, &at) || at.Offset > int64(i/8) {
				t.Fatalf("bit %d of byte %d: %v", i%8, i/8, err)
			}
		}
	}
}

// TestResume: who has taken some frames, and kept only what Progress says, goes on
// with the next one.
func TestResume(t *testing.T) {
	whole := writeGroup(t, 2<<20)
	want := list(t, whole)
	for stop := range frames(t, whole) {
		var l listing
		var p archive.Progress
		r, err := archive.NewReader(bytes.NewReader(whole))
		must(t, err)
		take := func(frames int) {
			for range frames {
				f, err := r.Next()
				if errors.Is(err, io.EOF) {
					return
				}
				must(t, err)
				must(t, p.Take(f, &l))
			}
		}
		take(stop)
		old := p.Clone()
		kept := p.Append(nil)
		for _, f := range frames(t, whole)[stop:] {
			must(t, p.Take(f, nil))
		}
		if !bytes.Equal(kept, old.Append(nil)) {
			t.Error("a copy has changed with what it was copied from")
		}
		in := protocol.NewReader(kept)
		p = archive.ReadProgress(&in)
		must(t, in.Done())
		if p.Frames() != uint64(stop) || !bytes.Equal(kept, p.Append(nil)) {
			t.Fatalf("%d frames taken, %d are kept", stop, p.Frames())
		}
		r = archive.ResumeReader(bytes.NewReader(whole[r.Offset():]), r.Frame(), r.Offset())
		take(1 << 20)
		must(t, l.add("%+v", p.Counts()))
		if diff := cmp.Diff(want, l.b.String()); diff != "" || !p.Done() {
			t.Errorf("resumed after %d frames, done %t (-want +got):\n%s", stop, p.Done(), diff)
		}
	}
}

// TestOrder: what a Writer writes when it is used against its rules, and frames
// that are moved, lost or doubled, are found.
func TestOrder(t *testing.T) {
	section := archive.Section{Partition: 3, Generation: 1, Revision: 50}
	s := archive.Structure{Instance: 5, Kind: 1, Name: "a"}
	row := archive.Row{Instance: 5, Key: []byte("k"), Version: 9}
	for name, write := range map[string]func(w *archive.Writer){
		"no partition":             func(w *archive.Writer) { w.Structure(s) },
		"rows without a structure": func(w *archive.Writer) { w.Section(section); w.Row(row) },
		"a partition twice":        func(w *archive.Writer) { w.Section(section); w.Section(section) },
		"a partition out of range": func(w *archive.Writer) { w.Section(archive.Section{Partition: 8}) },
		"a revision out of range":  func(w *archive.Writer) { w.Section(archive.Section{Revision: 1 << 48}) },
		"a structure twice":        func(w *archive.Writer) { w.Section(section); w.Structure(s); w.Structure(s) },
		"a structure of later":     func(w *archive.Writer) { w.Section(section); w.Structure(archive.Structure{Instance: 51}) },
		"a structure after rows":   func(w *archive.Writer) { w.Section(section); w.Structure(s); w.Row(row); w.Structure(s) },
		"a row twice":              func(w *archive.Writer) { w.Section(section); w.Structure(s); w.Row(row); w.Row(row) },
		"a row of a later generation": func(w *archive.Writer) {
			w.Section(section)
			w.Structure(s)
			w.Row(archive.Row{Instance: 5, Version: 2 << 48})
		},
		"a row of no structure":     func(w *archive.Writer) { w.Section(section); w.Structure(s); w.Row(archive.Row{Key: []byte{1}}) },
		"a state among partitions":  func(w *archive.Writer) { w.Section(section); w.State([]byte{1}) },
		"a partition after a state": func(w *archive.Writer) { w.State([]byte{1}); w.Section(section) },
	} {
		var b bytes.Buffer
		w, err := archive.NewWriter(&b, header)
		must(t, err)
		write(w)
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Read(&b, nil); !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := frames(t, writeGroup(t, 2<<20))
	take := func(frames []archive.Frame) error {
		var p archive.Progress
		for _, f := range frames {
			if err := p.Take(f, nil); err != nil {
				return err
			}
		}
		return nil
	}
	must(t, take(whole))
	for i := range whole {
		lost := append(append([]archive.Frame(nil), whole[:i]...), whole[i+1:]...)
		doubled := append(append([]archive.Frame(nil), whole[:i+1]...), whole[i:]...)
		if i < len(whole)-1 && take(lost) == nil {
			t.Errorf("frame %d is lost, and nobody sees it", i)
		}
		if take(doubled) == nil {
			t.Errorf("frame %d comes twice, and nobody sees it", i)
		}
	}
}

// TestSum: of frames that fit each other in any order the sum tells the order.
func TestSum(t *testing.T) {
	all := frames(t, writeSystem(t, append(bytes.Repeat([]byte("a"), archive.MaxContent), bytes.Repeat([]byte("b"), archive.MaxContent)...)))
	all[1], all[2] = all[2], all[1]
	var p archive.Progress
	for i, f := range all {
		if err := p.Take(f, nil); (err != nil) != (i == len(all)-1) {
			t.Fatalf("frame %d of %d: %v", i, len(all), err)
		}
	}
}

// TestKeyTooLong: a key that no frame can hold is refused when it is written.
func TestKeyTooLong(t *testing.T) {
	w, err := archive.NewWriter(io.Discard, header)
	must(t, err)
	if err := w.Row(archive.Row{Key: make([]byte, archive.MaxContent)}); err == nil {
		t.Error("it is written")
	}
}

// frame writes a frame with a right sum.
func frame(t archive.FrameType, flags byte, content []byte) []byte {
	b := []byte{byte(t), flags, 0, 0}
	b = binary.BigEndian.AppendUint32(b, uint32(len(content)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(content)))
	table := crc32.MakeTable(crc32.Castagnoli)
	b = binary.BigEndian.AppendUint32(b, crc32.Update(crc32.Checksum(b, table), table, content))
	return append(b, content...)
}

// TestLaterVersion: what a later version adds at the end of a header or a footer is
// passed over; all else is refused, with an error that says to take a later version.
func TestLaterVersion(t *testing.T) {
	opening := []byte(archive.Magic + "\x00\x00\x00\x01")
	head := protocol.AppendArray(nil, 9)
	head = protocol.AppendBytes(head, make([]byte, 16))
	head = protocol.AppendString(head, "prod")
	for _, u := range []uint64{8, 2, 3, 4, 1} {
		head = protocol.AppendUint(head, u)
	}
	head = protocol.AppendString(protocol.AppendArray(head, 1), "more") // nested
	head = protocol.AppendUint(head, 12)
	sum := archive.Sum{}
	var p archive.Progress
	must(t, p.Take(archive.Frame{Type: archive.FrameHeader, Content: head}, nil))
	sum = p.Sum()
	foot := protocol.AppendArray(nil, 7)
	for _, u := range []uint64{1, 0, 0, 0, 0} {
		foot = protocol.AppendUint(foot, u)
	}
	foot = protocol.AppendBool(protocol.AppendBytes(foot, sum[:]), true)
	begin := append(bytes.Clone(opening), frame(archive.FrameHeader, 0, head)...)
	end := frame(archive.FrameFooter, 0, foot)
	later := append(bytes.Clone(begin), end...)
	if _, err := archive.Read(bytes.NewReader(later), nil); err != nil {
		t.Errorf("a longer header and footer: %v", err)
	}
	longer := protocol.AppendArray(nil, 5)
	for range 5 {
		longer = protocol.AppendUint(longer, 1)
	}
	for name, b := range map[string][]byte{
		"version 2":          []byte(archive.Magic + "\x00\x00\x00\x02"),
		"a new frame":        append(bytes.Clone(begin), frame(16, 0, []byte("x"))...),
		"a new flag":         append(bytes.Clone(begin), frame(archive.FrameSection, 2, []byte("x"))...),
		"a longer section":   append(bytes.Clone(begin), frame(archive.FrameSection, 0, longer)...),
		"no form of an item": append(bytes.Clone(begin), frame(archive.FrameSection, 0, []byte("x"))...),
	} {
		if _, err := archive.Read(bytes.NewReader(b), nil); !errors.Is(err, archive.ErrVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := archive.Read(strings.NewReader("quorate-seed-1\nsomething else"), nil); !errors.Is(err, archive.ErrNotArchive) {
		t.Errorf("another file: %v", err)
	}
}

// TestClaimedLength: a length that is only claimed is neither believed nor
// allocated.
func TestClaimedLength(t *testing.T) {
	b := []byte(archive.Magic + "\x00\x00\x00\x01\x01\x00\x00\x00\x00\x0f\xff\xff\x00\x0f\xff\xff\x00\x00\x00\x00short")
	if n := testing.AllocsPerRun(10, func() {
		if _, err := archive.Read(bytes.NewReader(b), nil); !errors.Is(err, archive.ErrIncomplete) {
			t.Fatal(err)
		}
	}); n > 200 {
		t.Errorf("%v allocations", n)
	}
	for _, length := range []string{"\x00\x10\x00\x01", "\xff\xff\xff\xff"} {
		b := []byte(archive.Magic + "\x00\x00\x00\x01\x01\x00\x00\x00" + length + "\x00\x00\x00\x01\x00\x00\x00\x00")
		if _, err := archive.Read(bytes.NewReader(b), nil); !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("length %x: %v", length, err)
		}
	}
}

// FuzzReader shows that an archive of any bytes is read or refused with an error
// that names a frame, in bounded memory, and that what is read once is read again
// from the middle.
func FuzzReader(f *testing.F) {
	f.Add(writeGroup(f, 10))
	f.Add(writeSystem(f, []byte("a state")))
	f.Add([]byte(archive.Magic + "\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		counts, err := archive.Read(bytes.NewReader(b), nil)
		var at *archive.Error
		if err != nil && !errors.As(err, &at) {
			t.Fatalf("%v names no frame", err)
		}
		if err != nil {
			return
		}
		var p archive.Progress
		r, err := archive.NewReader(bytes.NewReader(b))
		must(t, err)
		for !p.Done() {
			f, err := r.Next()
			must(t, err)
			must(t, p.Take(f, nil))
			in := protocol.NewReader(p.Append(nil))
			if p = archive.ReadProgress(&in); in.Done() != nil {
				t.Fatal("a progress cannot be read")
			}
		}
		if p.Counts() != counts {
			t.Fatalf("%+v, then %+v", counts, p.Counts())
		}
	})
}

// FuzzFrames takes frames of any content, whose sums are right: what is behind the
// sums is not trusted either.
func FuzzFrames(f *testing.F) {
	f.Add(uint8(2), []byte{0x84, 1, 0, 1, 1}, uint8(3), []byte{0x84, 1, 1, 0x61, 'a', 0x80}, uint8(4), []byte{0x87, 1, 0x41, 1, 0, 0, 0, 0x40, 5}, uint8(5), []byte{1, 2})
	f.Fuzz(func(t *testing.T, t1 uint8, c1 []byte, t2 uint8, c2 []byte, t3 uint8, c3 []byte, t4 uint8, c4 []byte) {
		var p archive.Progress
		var l listing
		must(t, p.Take(frames(t, writeSystem(t, nil))[0], &l))
		for _, f := range []archive.Frame{
			{Type: archive.FrameType(t1), Content: c1},
			{Type: archive.FrameType(t2), Content: c2},
			{Type: archive.FrameType(t3), Content: c3},
			{Type: archive.FrameType(t4), Content: c4},
		} {
			if err := p.Take(f, &l); err != nil {
				if !errors.Is(err, archive.ErrDamaged) && !errors.Is(err, archive.ErrVersion) {
					t.Fatal(err)
				}
				return
			}
		}
	})
}
