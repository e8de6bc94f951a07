package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/quorate/quorate/protocol"
)

// Version is the version of archives that this package writes and reads.
const Version = 1

// MaxContent is how many bytes of content a frame has at most, as it is and as it
// is stored.
const MaxContent = 1 << 20

// Magic opens every archive; the version follows, 4 bytes big-endian.
const Magic = "quorate-archive\n"

const openingSize = len(Magic) + 4

// FrameType says what a frame holds. Numbers are never used again. 16 to 31 are
// kept for encryption and increments.
type FrameType uint8

// The types of frames.
const (
	FrameHeader     FrameType = 1 // a Header: the first frame
	FrameSection    FrameType = 2 // a Section: a partition begins
	FrameStructures FrameType = 3 // Structures of the partition
	FrameRows       FrameType = 4 // Rows of the partition
	FrameValue      FrameType = 5 // more of the value of the last Row: bytes as they are
	FrameState      FrameType = 6 // of the system group's state: bytes as they are
	FrameFooter     FrameType = 7 // a Footer: the last frame
)

// flagZstd says that the content is compressed.
const flagZstd = 1

// Frame is one frame of an archive.
type Frame struct {
	Type    FrameType
	Content []byte // not compressed
}

// Sum is a sum over frames: of none it is zero, and each frame makes it the
// SHA-256 of the sum before, the frame's type as a byte, and its content.
type Sum [sha256.Size]byte

// next returns the sum that has one more frame in it.
func (s Sum) next(f Frame) Sum {
	h := sha256.New()
	h.Write(s[:])
	h.Write([]byte{byte(f.Type)})
	h.Write(f.Content)
	h.Sum(s[:0])
	return s
}

// What an Error is.
var (
	// ErrNotArchive is the error of a file that is something else.
	ErrNotArchive = errors.New("not an archive: name another file, or save it again if an older version has written it")
	// ErrVersion is the error of an archive of another version, or with something in
	// it that only a later version of Quorate knows.
	ErrVersion = errors.New("an archive of another version: read it with the version of Quorate that has written it, or a later one")
	// ErrIncomplete is the error of an archive without its end.
	ErrIncomplete = errors.New("the archive is incomplete, its footer is missing: make it again")
	// ErrDamaged is the error of an archive whose bytes are not those that were written.
	ErrDamaged = errors.New("the archive is damaged: use another copy, or make it again")
)

// Error says what is wrong with an archive, and where. It wraps one of the errors
// above, or that of the file or of the Visitor.
type Error struct {
	Frame  uint64 // counted from 0
	Offset int64  // of the frame, in bytes from the beginning of the archive
	Reason string // may be empty
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	s := fmt.Sprintf("frame %d at offset %d: %v", e.Frame, e.Offset, e.Err)
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// The head of a frame: type, flags, two zero bytes, the length of what is stored,
// the length of the content, and the CRC-32C of all that and of what is stored.
const headSize = 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHead(dst []byte, t FrameType, flags byte, stored []byte, content int) []byte {
	start := len(dst)
	dst = append(dst, byte(t), flags, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(stored)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(content))
	return binary.BigEndian.AppendUint32(dst, frameSum(dst[start:], stored))
}

// frameSum is the CRC-32C of a head without its sum, and of what is stored.
func frameSum(head, stored []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, stored)
}

// frameWriter writes frames.
type frameWriter struct {
	w      io.Writer
	zstd   *zstd.Encoder
	stored []byte
	head   []byte
	frames uint64
	bytes  uint64
	sum    Sum
}

func newFrameWriter(w io.Writer) (*frameWriter, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(MaxContent), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	f := &frameWriter{w: w, zstd: enc}
	return f, f.write(binary.BigEndian.AppendUint32([]byte(Magic), Version))
}

func (f *frameWriter) write(b []byte) error {
	n, err := f.w.Write(b)
	f.bytes += uint64(n)
	return err
}

// frame writes a frame.
func (f *frameWriter) frame(t FrameType, content []byte) error {
	f.stored = f.zstd.EncodeAll(content, f.stored[:0])
	stored, flags := f.stored, byte(flagZstd)
	if len(stored) >= len(content) {
		stored, flags = content, 0
	}
	f.head = appendHead(f.head[:0], t, flags, stored, len(content))
	if err := f.write(f.head); err != nil {
		return err
	}
	f.sum = f.sum.next(Frame{t, content})
	f.frames++
	return f.write(stored)
}

// Reader reads the frames of an archive. It finds what is damaged inside a frame
// and what is cut off; that the frames belong together Progress finds. It is for
// one goroutine.
type Reader struct {
	r       io.Reader
	zstd    *zstd.Decoder // nil before the first frame that is compressed
	frame   uint64
	offset  int64
	last    int64 // offset of the frame that Next returned last
	head    [headSize]byte
	stored  []byte
	content []byte
	ended   bool // the footer has been read
	err     error
}

// NewReader returns a Reader of an archive, whose magic and version it reads.
func NewReader(r io.Reader) (*Reader, error) {
	var opening [openingSize]byte
	n, err := io.ReadFull(r, opening[:])
	a := &Reader{r: r}
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, a.fail(err, "")
	case string(opening[:min(n, len(Magic))]) != Magic[:min(n, len(Magic))]:
		return nil, a.fail(ErrNotArchive, "")
	case err != nil:
		return nil, a.fail(ErrIncomplete, "")
	case binary.BigEndian.Uint32(opening[len(Magic):]) != Version:
		return nil, a.fail(ErrVersion, fmt.Sprintf("version %d, this one reads %d", binary.BigEndian.Uint32(opening[len(Magic):]), Version))
	}
	return ResumeReader(r, 0, int64(openingSize)), nil
}

// ResumeReader returns a Reader that begins with a frame in the middle of an
// archive: its number, and its offset, at which r stands.
func ResumeReader(r io.Reader, frame uint64, offset int64) *Reader {
	return &Reader{r: r, frame: frame, offset: offset}
}

// Frame returns the number of the frame that Next reads.
func (a *Reader) Frame() uint64 { return a.frame }

// Offset returns the offset of the frame that Next reads, in bytes from the
// beginning of the archive.
func (a *Reader) Offset() int64 { return a.offset }

// Fault returns what is wrong with the frame that Next returned last as an *Error.
func (a *Reader) Fault(err error) error {
	return &Error{Frame: a.frame - 1, Offset: a.last, Err: err}
}

// fail is the error of the frame that is being read.
func (a *Reader) fail(err error, reason string) error {
	return &Error{Frame: a.frame, Offset: a.offset, Reason: reason, Err: err}
}

// Next reads the next frame, whose content is valid until the next call. After the
// footer it returns io.EOF. Its other errors are *Error, and repeat.
func (a *Reader) Next() (Frame, error) {
	if a.err != nil {
		return Frame{}, a.err
	}
	f, stored, err := a.next()
	if err != nil {
		a.err = err
		return Frame{}, err
	}
	a.frame++
	a.last = a.offset
	a.offset += int64(headSize + stored)
	a.ended = f.Type == FrameFooter
	return f, nil
}

func (a *Reader) next() (f Frame, stored int, err error) {
	n, err := io.ReadFull(a.r, a.head[:])
	switch {
	case a.ended && n > 0:
		return f, 0, a.fail(ErrDamaged, "there is something after the footer")
	case a.ended && errors.Is(err, io.EOF):
		return f, 0, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return f, 0, a.fail(ErrIncomplete, "")
	case err != nil:
		return f, 0, a.fail(err, "")
	}
	length, content := binary.BigEndian.Uint32(a.head[4:]), binary.BigEndian.Uint32(a.head[8:])
	if length > MaxContent || content > MaxContent {
		return f, 0, a.fail(ErrDamaged, "the length of the frame")
	}
	a.stored, err = protocol.ReadGrowing(a.r, a.stored, int(length))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return f, 0, a.fail(ErrIncomplete, "")
	case err != nil:
		return f, 0, a.fail(err, "")
	}
	if frameSum(a.head[:12], a.stored) != binary.BigEndian.Uint32(a.head[12:]) {
		return f, 0, a.fail(ErrDamaged, "the sum of the frame")
	}
	// From here on the bytes are those that were written.
	f.Type = FrameType(a.head[0])
	switch {
	case f.Type < FrameHeader || f.Type > FrameFooter:
		return f, 0, a.fail(ErrVersion, fmt.Sprintf("a frame of type %d", f.Type))
	case a.head[1]&^flagZstd != 0 || a.head[2] != 0 || a.head[3] != 0:
		return f, 0, a.fail(ErrVersion, "flags of a frame")
	case a.head[1] == 0:
		f.Content = a.stored
	default:
		if a.content, err = a.decompress(); err != nil {
			return f, 0, a.fail(ErrDamaged, err.Error())
		}
		f.Content = a.content
	}
	if len(f.Content) != int(content) {
		return f, 0, a.fail(ErrDamaged, "the length of the content")
	}
	return f, int(length), nil
}

// decompress returns the content of what is stored, of at most MaxContent bytes.
func (a *Reader) decompress() ([]byte, error) {
	if a.zstd == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxContent), zstd.WithDecoderMaxWindow(MaxContent))
		if err != nil {
			return nil, err
		}
		a.zstd = dec
	}
	return a.zstd.DecodeAll(a.stored, a.content[:0])
}
