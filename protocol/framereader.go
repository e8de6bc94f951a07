package protocol

import (
	"encoding/binary"
	"io"
	"sync/atomic"
)

// What a FrameReader keeps grows with what the connection carries, and shrinks
// when it falls idle: thousands of idle connections cost little.
const (
	minReadBuffer = 512
	maxReadBuffer = 64 << 10
	minChunk      = 128
	maxChunk      = 32 << 10
	largeFrame    = 8 << 10 // from here on a frame has memory of its own
	shrinkAfter   = 64      // reads in a row that needed little
)

// FrameReader reads frames from a connection. It carves small frames from
// chunks, so that they do not cost an allocation each; a frame stays valid for
// as long as anything refers to it. It belongs to one goroutine, except for
// Partial.
type FrameReader struct {
	// Grow, if it is set, is asked before a large frame takes so many bytes more of
	// memory; its error ends the reading. A negative number gives back what a frame
	// took, when it is handed out or given up.
	Grow func(bytes int) error

	src       io.Reader
	max       int
	buf       []byte
	r, w      int  // buf[r:w] was read and not handed out
	full      bool // the last read filled buf
	little    int  // reads in a row that needed little of it
	chunk     []byte
	chunkSize int

	waited  uint64        // frames whose rest had to be waited for
	partial atomic.Uint64 // the number of the frame that is waited for; 0: none
	arrived atomic.Int64  // bytes of it that had arrived when last looked at
}

// NewFrameReader returns a FrameReader that refuses frames over max bytes.
func NewFrameReader(r io.Reader, max int) *FrameReader {
	return &FrameReader{src: r, max: max, chunkSize: minChunk}
}

// SetMax changes the largest frame that is read.
func (f *FrameReader) SetMax(max int) { f.max = max }

// Buffered reports whether the next frame can be read without waiting for the
// connection.
func (f *FrameReader) Buffered() bool {
	if f.w-f.r < 4 {
		return false
	}
	return int64(f.w-f.r-4) >= int64(binary.BigEndian.Uint32(f.buf[f.r:]))
}

// Partial returns a number for the frame of which only a part has arrived, 0
// for none, and how much of it there is. A peer that begins a frame and does
// not go on keeps both as they are.
func (f *FrameReader) Partial() (frame uint64, bytes int64) {
	return f.partial.Load(), f.arrived.Load()
}

// Next reads a frame. It allocates only after the length has been checked, and
// for a large frame only as the bytes arrive.
func (f *FrameReader) Next() ([]byte, error) {
	if f.w-f.r < 4 || !f.Buffered() {
		defer f.partial.Store(0)
	}
	for f.w-f.r < 4 {
		if f.w > f.r {
			f.waiting(f.w - f.r)
		}
		if err := f.fill(); err != nil {
			if err == io.EOF && f.w > f.r {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	size := binary.BigEndian.Uint32(f.buf[f.r:])
	if size == 0 || int64(size) > int64(f.max) {
		return nil, &frameError{size, f.max}
	}
	n := int(size)
	f.r += 4
	if n > largeFrame {
		return f.large(n)
	}
	if n > len(f.chunk) {
		f.chunkSize = min(max(4*f.chunkSize, n), maxChunk)
		f.chunk = make([]byte, f.chunkSize)
	}
	frame := f.chunk[:n:n]
	f.chunk = f.chunk[n:]
	for have := 0; ; {
		got := copy(frame[have:], f.buf[f.r:f.w])
		have += got
		f.r += got
		if have == n {
			return frame, nil
		}
		f.waiting(have)
		if err := f.fill(); err != nil {
			return nil, noEOF(err)
		}
	}
}

// large reads a frame into memory of its own, which grows as the bytes arrive.
func (f *FrameReader) large(n int) (frame []byte, err error) {
	const step = 256 << 10
	taken := 0
	defer func() {
		if f.Grow != nil && taken > 0 {
			_ = f.Grow(-taken) // giving back is not refused
		}
	}()
	for len(frame) < n {
		have := len(frame)
		if have > 0 && f.r == f.w { // no memory for what may never come
			f.waiting(have)
			if err := f.fill(); err != nil {
				return nil, noEOF(err)
			}
		}
		want := min(n-have, max(step, have))
		if cap(frame)-have < want {
			if f.Grow != nil {
				if err := f.Grow(want); err != nil {
					return nil, err
				}
				taken += want
			}
			grown := make([]byte, have, have+want)
			copy(grown, frame)
			frame = grown
		}
		if err := f.readFull(frame[have:have+want], have); err != nil {
			return nil, noEOF(err)
		}
		frame = frame[:have+want]
	}
	return frame, nil
}

// readFull fills p, past the buffer where that is empty. Before is how much of
// the frame had arrived.
func (f *FrameReader) readFull(p []byte, before int) error {
	have := copy(p, f.buf[f.r:f.w])
	f.r += have
	for have < len(p) {
		f.waiting(before + have)
		n, err := f.src.Read(p[have:])
		have += n
		if err != nil && have < len(p) {
			return err
		}
	}
	return nil
}

// waiting notes that the rest of a frame is waited for.
func (f *FrameReader) waiting(arrived int) {
	if f.partial.Load() == 0 {
		f.waited++
		f.partial.Store(f.waited)
	}
	f.arrived.Store(int64(arrived))
}

// fill reads more into the buffer.
func (f *FrameReader) fill() error {
	if f.r == f.w {
		f.r, f.w = 0, 0
		f.resize()
	} else if f.r > 0 {
		f.r, f.w = 0, copy(f.buf, f.buf[f.r:f.w])
	}
	for range 100 {
		n, err := f.src.Read(f.buf[f.w:])
		f.w += n
		if n > 0 {
			f.full = f.w == len(f.buf)
			if n < len(f.buf)/8 {
				f.little++
			} else {
				f.little = 0
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// resize replaces the empty buffer: by a larger one after it was full, by a
// smaller one after it was of little use for long.
func (f *FrameReader) resize() {
	switch {
	case len(f.buf) == 0:
		f.buf = make([]byte, minReadBuffer)
	case f.full && len(f.buf) < maxReadBuffer:
		f.buf = make([]byte, min(4*len(f.buf), maxReadBuffer))
		f.little = 0
	case f.little > shrinkAfter && len(f.buf) > minReadBuffer:
		f.buf = make([]byte, len(f.buf)/4)
		f.little, f.chunk, f.chunkSize = 0, nil, max(f.chunkSize/4, minChunk)
	}
}
