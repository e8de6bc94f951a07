package protocol

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Purpose is the last byte of a connection's preface.
type Purpose byte

// The purposes of a connection to a member's one port.
const (
	PurposeClient Purpose = 'C' // frames of this package
	PurposeMember Purpose = 'M' // frames of this package, between members
	PurposeRaft   Purpose = 'R' // Raft messages
	PurposeGossip Purpose = 'G' // membership gossip
)

// prefaceMagic opens every connection; the purpose follows.
const prefaceMagic = "QUORATE"

// PrefaceSize is the length of a connection's preface.
const PrefaceSize = len(prefaceMagic) + 1

// Sizes a frame may have, without its length.
const (
	MaxHandshakeFrame = 64 << 10 // before the handshake is done
	MaxFrame          = 4 << 20  // after it
)

// ErrFrame is the error of a frame whose length is out of bounds.
var ErrFrame = errors.New("frame out of bounds")

// AppendPreface appends the preface of a connection for purpose p.
func AppendPreface(dst []byte, p Purpose) []byte {
	return append(append(dst, prefaceMagic...), byte(p))
}

// ReadPreface reads a preface and returns its purpose.
func ReadPreface(r io.Reader) (Purpose, error) {
	var b [PrefaceSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, fmt.Errorf("read preface: %w", err)
	}
	if string(b[:len(prefaceMagic)]) != prefaceMagic {
		return 0, fmt.Errorf("preface: %w: not a connection of Quorate", ErrMalformed)
	}
	return Purpose(b[len(prefaceMagic)]), nil
}

// BeginFrame reserves room for a frame's length; EndFrame fills it in.
func BeginFrame(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

// EndFrame writes the length of the frame that was begun at dst[start:].
func EndFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// FrameReader reads frames from a buffered connection. It carves the frames
// from chunks, so that small frames do not cost an allocation each; a frame
// stays valid for as long as anything refers to it.
type FrameReader struct {
	r     *bufio.Reader
	max   int
	chunk []byte
}

// NewFrameReader returns a FrameReader that refuses frames over max bytes.
func NewFrameReader(r io.Reader, max int) *FrameReader {
	return &FrameReader{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

// SetMax changes the largest frame that is read.
func (f *FrameReader) SetMax(max int) { f.max = max }

// Buffered reports whether the next frame can be read without waiting for the
// connection.
func (f *FrameReader) Buffered() bool {
	if f.r.Buffered() < 4 {
		return false
	}
	head, _ := f.r.Peek(4)
	return int64(f.r.Buffered()-4) >= int64(binary.BigEndian.Uint32(head))
}

// Next reads a frame. It allocates only after the length has been checked, and
// for a large frame only as the bytes arrive.
func (f *FrameReader) Next() ([]byte, error) {
	head, err := f.r.Peek(4)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	size := binary.BigEndian.Uint32(head)
	if size == 0 || int64(size) > int64(f.max) {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrFrame, size, f.max)
	}
	n := int(size)
	if _, err := f.r.Discard(4); err != nil {
		return nil, err
	}
	const chunkSize, large = 32 << 10, 8 << 10
	if n > large {
		return ReadGrowing(f.r, nil, n)
	}
	if n > len(f.chunk) {
		f.chunk = make([]byte, chunkSize)
	}
	frame := f.chunk[:n:n]
	f.chunk = f.chunk[n:]
	if _, err := io.ReadFull(f.r, frame); err != nil {
		return nil, noEOF(err)
	}
	return frame, nil
}

// ReadGrowing reads n bytes into buf, or into memory that grows as they
// arrive, so that a peer or a file that only claims a length does not make the
// reader allocate it.
func ReadGrowing(r io.Reader, buf []byte, n int) ([]byte, error) {
	const step = 256 << 10
	buf = buf[:0]
	for len(buf) < n {
		have := len(buf)
		want := min(n-have, max(step, have))
		if cap(buf)-have < want {
			grown := make([]byte, have, have+want)
			copy(grown, buf)
			buf = grown
		}
		buf = buf[:have+want]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			return nil, noEOF(err)
		}
	}
	return buf, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
