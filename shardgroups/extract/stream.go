package extract

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// Batch is what an entry of a group that is being restored carries: frames of the
// backup, from First on.
type Batch struct {
	First  uint64
	Frames []archive.Frame
}

// Add adds the frames to an entry.
func (r *Batch) Add(b *groupstate.Builder) {
	for i, f := range r.Frames {
		b.Load(r.First+uint64(i), f)
	}
}

// maxBatch bounds the bytes of the frames of one entry, beyond the first.
const maxBatch = archive.MaxContent

// Position is how far a load of a backup is, see [Backup.Find].
type Position struct {
	Same   bool   // what was loaded is of this backup
	Frames uint64 // of all of it
	Footer archive.Frame

	next   uint64 // the first frame that is not loaded
	first  uint64
	offset int64
}

// Find reads a backup to its end, since nothing is loaded from one that is not
// whole, and finds how far a load is.
func (b *Backup) Find(l groupstate.Loading) (Position, error) {
	r, err := archive.NewReader(b.reader())
	if err != nil {
		return Position{}, err
	}
	var p archive.Progress
	at := Position{next: l.Frames}
	for {
		if p.Frames() == l.Frames && !p.Done() {
			at.Same, at.first, at.offset = p.Sum() == l.Sum, r.Frame(), r.Offset()
		}
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			at.Frames = p.Frames()
			return at, nil
		}
		if err != nil {
			return at, err
		}
		if err := p.Take(f, nil); err != nil {
			return at, r.Fault(err)
		}
		if p.Done() {
			at.Footer = archive.Frame{Type: f.Type, Content: bytes.Clone(f.Content)}
		}
	}
}

// Stream reads on from a position.
func (b *Backup) Stream(at Position) *Stream {
	r := bufio.NewReaderSize(io.NewSectionReader(b.f, at.offset, 1<<62-at.offset), 256<<10)
	return &Stream{r: archive.ResumeReader(r, at.first, at.offset), next: at.next}
}

// Stream reads a backup, as many frames at a time as go into an entry.
type Stream struct {
	// Batch is what was read last.
	Batch Batch

	r     *archive.Reader
	next  uint64 // the frame after those of Batch
	ahead *archive.Frame
}

// Next returns the number of the frame after those of Batch.
func (s *Stream) Next() uint64 { return s.next }

// Read reads the frames of the next entry. Batch is of its own: what was read
// before stays as it is.
func (s *Stream) Read() error {
	s.Batch = Batch{First: s.next}
	for size := 0; ; {
		if s.ahead == nil {
			f, err := s.r.Next()
			if errors.Is(err, io.EOF) && len(s.Batch.Frames) > 0 {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read the backup on: %w", err)
			}
			s.ahead = &archive.Frame{Type: f.Type, Content: bytes.Clone(f.Content)}
		}
		size += len(s.ahead.Content)
		if len(s.Batch.Frames) > 0 && size > maxBatch {
			return nil
		}
		s.Batch.Frames = append(s.Batch.Frames, *s.ahead)
		s.next++
		s.ahead = nil
	}
}
