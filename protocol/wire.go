package protocol

import (
	"errors"
	"math"
	"unicode/utf8"
	"unsafe"
)

// ErrMalformed is the error of every decoder: the bytes are not what the
// message's definition asks for.
var ErrMalformed = errors.New("malformed message")

// CBOR major types, in the upper three bits of an item's first byte.
const (
	majorUint   = 0 << 5
	majorNegInt = 1 << 5
	majorBytes  = 2 << 5
	majorText   = 3 << 5
	majorArray  = 4 << 5
	majorMap    = 5 << 5
	majorTag    = 6 << 5
	majorSimple = 7 << 5 // and floats
	simpleFalse = 0xf4
	simpleTrue  = 0xf5
)

func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n <= math.MaxUint8:
		return append(dst, major|24, byte(n))
	case n <= math.MaxUint16:
		return append(dst, major|25, byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return append(dst, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	default:
		return append(dst, major|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32),
			byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}

// AppendArray appends the head of an array of n items; the items follow.
func AppendArray(dst []byte, n int) []byte { return appendHead(dst, majorArray, uint64(n)) }

// AppendUint appends an unsigned integer in its shortest form.
func AppendUint(dst []byte, u uint64) []byte { return appendHead(dst, majorUint, u) }

// AppendInt appends a signed integer in its shortest form.
func AppendInt(dst []byte, i int64) []byte {
	if i >= 0 {
		return appendHead(dst, majorUint, uint64(i))
	}
	return appendHead(dst, majorNegInt, uint64(-1-i))
}

// AppendInts appends an array of signed integers.
func AppendInts(dst []byte, ints ...int64) []byte {
	dst = AppendArray(dst, len(ints))
	for _, n := range ints {
		dst = AppendInt(dst, n)
	}
	return dst
}

// ReadInts reads an array of exactly as many integers as there are places, and
// nothing after it.
func ReadInts(b []byte, into ...*int64) error {
	r := NewReader(b)
	r.Array(len(into))
	for _, n := range into {
		*n = r.Int()
	}
	return r.Done()
}

// AppendBytes appends a byte string. A nil slice is an empty string.
func AppendBytes(dst, b []byte) []byte {
	return append(appendHead(dst, majorBytes, uint64(len(b))), b...)
}

// AppendString appends a text string; s must be UTF-8.
func AppendString(dst []byte, s string) []byte {
	return append(appendHead(dst, majorText, uint64(len(s))), s...)
}

// AppendBool appends a boolean.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, simpleTrue)
	}
	return append(dst, simpleFalse)
}

// Reader decodes what the Append functions wrote, and nothing else but for Skip:
// no indefinite lengths, tags or floats, and integers only in their shortest form.
// The first error sticks; after it every method returns a zero value. Slices
// and strings alias the input. The zero Reader is empty.
type Reader struct {
	b   []byte
	err error
}

// NewReader returns a Reader over b.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// Len returns how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

// Done returns the first error, or ErrMalformed where bytes are left.
func (r *Reader) Done() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail()
	}
	return r.err
}

// Fail makes the message malformed, for a check of the caller's own.
func (r *Reader) Fail() { r.fail() }

func (r *Reader) fail() {
	if r.err == nil {
		r.err = ErrMalformed
	}
	r.b = nil
}

// head reads an item's head, which must be of the given major type.
func (r *Reader) head(major byte) uint64 {
	b := r.b
	if len(b) == 0 || b[0]&0xe0 != major {
		r.fail()
		return 0
	}
	switch low := b[0] & 0x1f; {
	case low < 24:
		r.b = b[1:]
		return uint64(low)
	case low == 24 && len(b) >= 2 && b[1] >= 24:
		r.b = b[2:]
		return uint64(b[1])
	case low == 25 && len(b) >= 3:
		if n := uint64(b[1])<<8 | uint64(b[2]); n > math.MaxUint8 {
			r.b = b[3:]
			return n
		}
	case low == 26 && len(b) >= 5:
		if n := uint64(b[1])<<24 | uint64(b[2])<<16 | uint64(b[3])<<8 | uint64(b[4]); n > math.MaxUint16 {
			r.b = b[5:]
			return n
		}
	case low == 27 && len(b) >= 9:
		n := uint64(b[1])<<56 | uint64(b[2])<<48 | uint64(b[3])<<40 | uint64(b[4])<<32 |
			uint64(b[5])<<24 | uint64(b[6])<<16 | uint64(b[7])<<8 | uint64(b[8])
		if n > math.MaxUint32 {
			r.b = b[9:]
			return n
		}
	}
	r.fail()
	return 0
}

// Array reads the head of an array of exactly n items.
func (r *Reader) Array(n int) {
	if r.head(majorArray) != uint64(n) {
		r.fail()
	}
}

// ArrayLen reads the head of an array and returns its length. An item takes at
// least one byte, so a length beyond what is left is malformed: a caller may
// allocate by it.
func (r *Reader) ArrayLen() int {
	n := r.head(majorArray)
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// atLeast reads the head of an array of at least n items and returns how many
// more there are, which the caller skips after those that it knows.
func (r *Reader) atLeast(n int) int {
	more := r.head(majorArray) - uint64(n)
	if more > uint64(len(r.b)) { // also if there are fewer
		r.fail()
		return 0
	}
	return int(more)
}

// Uint reads an unsigned integer.
func (r *Reader) Uint() uint64 { return r.head(majorUint) }

// Uint32 reads an unsigned integer of at most 32 bits.
func (r *Reader) Uint32() uint32 {
	n := r.head(majorUint)
	if n > math.MaxUint32 {
		r.fail()
		return 0
	}
	return uint32(n)
}

// Uint16 reads an unsigned integer of at most 16 bits.
func (r *Reader) Uint16() uint16 {
	n := r.head(majorUint)
	if n > math.MaxUint16 {
		r.fail()
		return 0
	}
	return uint16(n)
}

// Int reads a signed integer of 64 bits.
func (r *Reader) Int() int64 {
	if len(r.b) > 0 && r.b[0]&0xe0 == majorNegInt {
		n := r.head(majorNegInt)
		if n > math.MaxInt64 {
			r.fail()
			return 0
		}
		return -1 - int64(n)
	}
	n := r.head(majorUint)
	if n > math.MaxInt64 {
		r.fail()
		return 0
	}
	return int64(n)
}

// Bool reads a boolean.
func (r *Reader) Bool() bool {
	if len(r.b) == 0 || (r.b[0] != simpleFalse && r.b[0] != simpleTrue) {
		r.fail()
		return false
	}
	v := r.b[0] == simpleTrue
	r.b = r.b[1:]
	return v
}

// Bytes reads a byte string; it aliases the input.
func (r *Reader) Bytes() []byte { return r.take(majorBytes) }

// String reads a text string, which must be UTF-8; it aliases the input.
func (r *Reader) String() string {
	b := r.take(majorText)
	if !utf8.Valid(b) {
		r.fail()
		return ""
	}
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// AtString reports whether a text string comes next.
func (r *Reader) AtString() bool { return r.err == nil && len(r.b) > 0 && r.b[0]&0xe0 == majorText }

func (r *Reader) take(major byte) []byte {
	n := r.head(major)
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}
