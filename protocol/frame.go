package protocol

import (
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

// ErrFrame is the error of a frame that is empty or larger than the limit. The
// error of a FrameReader that Is it names size and limit.
var ErrFrame = errors.New("a frame of a size that is not allowed")

// frameError is ErrFrame with the size.
type frameError struct {
	size  uint32
	limit int
}

func (e *frameError) Error() string {
	if e.size == 0 {
		return "the frame is empty: it must have at least 1 byte"
	}
	return fmt.Sprintf("the frame of %d bytes is larger than the limit of %d bytes", e.size, e.limit)
}

func (e *frameError) Unwrap() error { return ErrFrame }

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

// BeginFrame reserves space for a frame's length; EndFrame fills it in.
func BeginFrame(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

// EndFrame writes the length of the frame that was begun at dst[start:].
func EndFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
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
