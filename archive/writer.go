package archive

import (
	"fmt"
	"io"
)

// Writer writes an archive. Partitions come in the order of their numbers; of each
// the Section, its Structures by Instance, and its Rows by Instance and Key. The
// system group has its state in place of partitions. What is passed is not kept.
// After an error the archive is not to be used. It is for one goroutine.
type Writer struct {
	frames  *frameWriter
	kind    FrameType // of what is in content
	content []byte
	counts  Counts
}

// maxKey bounds the key of a row, so that all of a row but its value fits into a
// frame.
const maxKey = MaxContent / 2

// rowOverhead is above what a row takes beside its key and value.
const rowOverhead = 64

// NewWriter begins an archive.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	frames, err := newFrameWriter(w)
	if err != nil {
		return nil, err
	}
	return &Writer{frames: frames}, frames.frame(FrameHeader, h.append(nil))
}

// Section begins a partition.
func (w *Writer) Section(s Section) error {
	if err := w.flush(); err != nil {
		return err
	}
	w.counts.Partitions++
	return w.frames.frame(FrameSection, s.append(nil))
}

// Structure adds a structure to the partition.
func (w *Writer) Structure(s Structure) error {
	if err := w.open(FrameStructures, len(s.Name)+len(s.Settings)+rowOverhead); err != nil {
		return err
	}
	w.content = s.append(w.content)
	w.counts.Structures++
	return nil
}

// Row adds a row to the partition. Rest is the Writer's own.
func (w *Writer) Row(r Row) error {
	if len(r.Key) > maxKey {
		return fmt.Errorf("archive: a key of %d bytes, at most %d", len(r.Key), maxKey)
	}
	need := len(r.Key) + len(r.Value) + rowOverhead
	if err := w.open(FrameRows, min(need, MaxContent)); err != nil {
		return err
	}
	var rest []byte
	if need > MaxContent {
		first := MaxContent - len(r.Key) - rowOverhead
		r.Value, rest = r.Value[:first], r.Value[first:]
	}
	r.Rest = uint64(len(rest))
	w.content = r.append(w.content)
	w.counts.Rows++
	w.counts.Bytes += uint64(len(r.Key) + len(r.Value) + len(rest))
	for len(rest) > 0 {
		if err := w.flush(); err != nil {
			return err
		}
		n := min(len(rest), MaxContent)
		if err := w.frames.frame(FrameValue, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// State adds a piece of the system group's state.
func (w *Writer) State(b []byte) error {
	w.counts.Bytes += uint64(len(b))
	for len(b) > 0 {
		n := min(len(b), MaxContent)
		if err := w.frames.frame(FrameState, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Close ends the archive with its footer. It does not close what is written to.
func (w *Writer) Close() (Footer, error) {
	if err := w.flush(); err != nil {
		return Footer{}, err
	}
	w.counts.Frames = w.frames.frames
	f := Footer{Counts: w.counts, Sum: w.frames.sum}
	return f, w.frames.frame(FrameFooter, f.append(nil))
}

// Bytes returns how many bytes have been written.
func (w *Writer) Bytes() uint64 { return w.frames.bytes }

// open makes sure that an item of that size fits in a frame of a type.
func (w *Writer) open(t FrameType, size int) error {
	if len(w.content) > 0 && (w.kind != t || len(w.content)+size > MaxContent) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.kind = t
	return nil
}

// flush writes the frame that is being filled.
func (w *Writer) flush() error {
	if len(w.content) == 0 {
		return nil
	}
	err := w.frames.frame(w.kind, w.content)
	w.content = w.content[:0]
	return err
}
