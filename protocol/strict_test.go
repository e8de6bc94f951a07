package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReaderIsStrict has what CBOR allows and the protocol does not, and what
// neither does.
func TestReaderIsStrict(t *testing.T) {
	num := func(r *Reader) { r.Uint() }
	tests := []struct {
		name string
		read func(r *Reader)
		in   string
		ok   bool
	}{
		{"uint 0", num, "00", true},
		{"uint 23", num, "17", true},
		{"uint 24", num, "1818", true},
		{"uint 23 in two bytes", num, "1817", false},
		{"uint 255 in three bytes", num, "1900ff", false},
		{"uint 256", num, "190100", true},
		{"uint 65535 in five bytes", num, "1a0000ffff", false},
		{"uint 65536", num, "1a00010000", true},
		{"uint 2^32-1 in nine bytes", num, "1b00000000ffffffff", false},
		{"uint 2^32", num, "1b0000000100000000", true},
		{"uint 2^64-1", num, "1bffffffffffffffff", true},
		{"uint reserved 28", num, "1c", false},
		{"uint reserved 30", num, "1e", false},
		{"uint indefinite", num, "1f", false},
		{"uint truncated", num, "19ff", false},
		{"uint missing", num, "", false},
		{"uint trailing", num, "0000", false},
		{"uint as float", num, "f93c00", false},
		{"uint as bignum", num, "c24101", false},
		{"uint as null", num, "f6", false},
		{"uint negative", num, "20", false},
		{"uint tagged", num, "c100", false},

		{"uint32 of 2^32", func(r *Reader) { r.Uint32() }, "1b0000000100000000", false},
		{"uint32 of 2^32-1", func(r *Reader) { r.Uint32() }, "1affffffff", true},
		{"uint16 of 65536", func(r *Reader) { r.Uint16() }, "1a00010000", false},
		{"uint16 of 65535", func(r *Reader) { r.Uint16() }, "19ffff", true},
		{"uint8 of 256", func(r *Reader) { r.small() }, "190100", false},
		{"uint8 of 255", func(r *Reader) { r.small() }, "18ff", true},

		{"int -1", func(r *Reader) { r.Int() }, "20", true},
		{"int -2^63", func(r *Reader) { r.Int() }, "3b7fffffffffffffff", true},
		{"int -2^63-1", func(r *Reader) { r.Int() }, "3b8000000000000000", false},
		{"int 2^63", func(r *Reader) { r.Int() }, "1b8000000000000000", false},
		{"int 2^63-1", func(r *Reader) { r.Int() }, "1b7fffffffffffffff", true},
		{"int -1 in two bytes", func(r *Reader) { r.Int() }, "3800", false},

		{"bool", func(r *Reader) { r.Bool() }, "f4", true},
		{"bool as null", func(r *Reader) { r.Bool() }, "f6", false},
		{"bool as 1", func(r *Reader) { r.Bool() }, "01", false},
		{"bool in two bytes", func(r *Reader) { r.Bool() }, "f815", false},
		{"bool missing", func(r *Reader) { r.Bool() }, "", false},

		{"bytes", func(r *Reader) { r.Bytes() }, "42 ffff", true},
		{"bytes empty", func(r *Reader) { r.Bytes() }, "40", true},
		{"bytes truncated", func(r *Reader) { r.Bytes() }, "42 ff", false},
		{"bytes indefinite", func(r *Reader) { r.Bytes() }, "5f 41ff ff", false},
		{"bytes as text", func(r *Reader) { r.Bytes() }, "6161", false},
		{"bytes as null", func(r *Reader) { r.Bytes() }, "f6", false},
		{"bytes longer than memory", func(r *Reader) { r.Bytes() }, "5bffffffffffffffff", false},
		{"bytes with a long length", func(r *Reader) { r.Bytes() }, "5801 ff", false},

		{"text", func(r *Reader) { _ = r.String() }, "62 c3bc", true},
		{"text not UTF-8", func(r *Reader) { _ = r.String() }, "61 ff", false},
		{"text half a rune", func(r *Reader) { _ = r.String() }, "61 c3", false},
		{"text a surrogate", func(r *Reader) { _ = r.String() }, "63 eda080", false},
		{"text as bytes", func(r *Reader) { _ = r.String() }, "4161", false},
		{"text indefinite", func(r *Reader) { _ = r.String() }, "7f 6161 ff", false},

		{"array", func(r *Reader) { r.Array(2); r.Uint(); r.Uint() }, "82 00 00", true},
		{"array too short", func(r *Reader) { r.Array(2) }, "81 00", false},
		{"array too long", func(r *Reader) { r.Array(2) }, "83 00 00 00", false},
		{"array indefinite", func(r *Reader) { r.Array(1); r.Uint() }, "9f 00 ff", false},
		{"array as map", func(r *Reader) { r.Array(1) }, "a1 00 00", false},
		{"array length", func(r *Reader) { r.ArrayLen(); r.Uint() }, "81 00", true},
		{"array longer than the message", func(r *Reader) { r.ArrayLen() }, "9a00ffffff 00", false},
		{"array longer than memory", func(r *Reader) { r.ArrayLen() }, "9bffffffffffffffff", false},
		{"array longer than memory, exact", func(r *Reader) { r.Array(-1) }, "9bfffffffffffffffe", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(unhex(t, tt.in))
			tt.read(&r)
			err := r.Done()
			if (err == nil) != tt.ok {
				t.Fatalf("error %v, want ok %v", err, tt.ok)
			}
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
		})
	}
}

// TestReaderErrorSticks looks that nothing is read after an error, so that a
// decoder may check once, at the end.
func TestReaderErrorSticks(t *testing.T) {
	r := NewReader([]byte{0xf6, 0x01, 0x41, 0xff, 0x61, 'a', 0x81, 0xf5, 0x01})
	r.Uint()
	if r.Uint() != 0 || r.Uint32() != 0 || r.Uint16() != 0 || r.Int() != 0 || r.Bytes() != nil ||
		r.String() != "" || r.ArrayLen() != 0 || r.Bool() || r.Len() != 0 {
		t.Error("something was read after the error")
	}
	r.Fail()
	if !errors.Is(r.Err(), ErrMalformed) || r.Done() != r.Err() {
		t.Errorf("error %v", r.Err())
	}
}

// TestMessagesAreStrict takes every message and breaks it: cut anywhere, with
// something behind it, with another length, and nested.
func TestMessagesAreStrict(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			b := s.encode()
			refuse := func(what string, b []byte) {
				t.Helper()
				if _, err := s.decode(b); !errors.Is(err, ErrMalformed) {
					t.Errorf("%s: error %v, want ErrMalformed: %x", what, err, b)
				}
			}
			for n := range b {
				// An empty problem is one that was left out.
				if n > 0 || s.name != "problem" {
					refuse(fmt.Sprintf("cut after %d bytes", n), b[:n:n])
				}
			}
			refuse("a byte behind", append(bytes.Clone(b), 0))
			refuse("twice", append(bytes.Clone(b), b...))
			refuse("indefinite length", append(append([]byte{0x9f}, b[1:]...), 0xff))
			refuse("tagged", append([]byte{0xd9, 0xd9, 0xf7}, b...))
			refuse("a long length", append([]byte{0x98, b[0] & 0x1f}, b[1:]...))
			refuse("in an array", append([]byte{0x81}, b...))
			refuse("null", []byte{0xf6})
			refuse("deep", append(bytes.Repeat([]byte{0x81}, 10_000), 0))
			refuse("a deep item", append(append([]byte{b[0]}, bytes.Repeat([]byte{0x81}, 100_000)...), 0))
			refuse("longer than memory", []byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		})
	}
}

// TestControlHasOneForm has what fxamacker/cbor takes for a control message
// although Encode does not write it.
func TestControlHasOneForm(t *testing.T) {
	id := "50" + strings.Repeat("00", 16)
	hello := func(before, id, after string) string { return "89" + before + "00 60" + id + after }
	tests := []struct{ name, in string }{
		{"a UUID too short", hello("01 01 01", "43 616263", "60 00 00")},
		{"a UUID too long", hello("01 01 01", "5820"+strings.Repeat("61", 32), "60 00 00")},
		{"a UUID as an array", hello("01 01 01", "83 010203", "60 00 00")},
		{"a UUID as text", hello("01 01 01", "70"+strings.Repeat("61", 16), "60 00 00")},
		{"a UUID as null", hello("01 01 01", "f6", "60 00 00")},
		{"text as null", hello("01 01 01", id, "f6 00 00")},
		{"text as undefined", hello("01 01 01", id, "f7 00 00")},
		{"a number as null", hello("01 01 f6", id, "60 00 00")},
		{"a number in two bytes", hello("1801 01 01", id, "60 00 00")},
		{"a number as a float", hello("01 f93c00 01", id, "60 00 00")},
		{"a number as a boolean", hello("01 01 01", id, "60 f4 00")},
		{"a number over 32 bits", hello("01 01 1b0000000100000000", id, "60 00 00")},
		{"text not UTF-8", hello("01 01 01", id, "61ff 00 00")},
		{"a type over 8 bits", hello("190100 01 01", id, "60 00 00")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h Hello
			if err := Decode(unhex(t, tt.in), &h); !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed; %+v", err, h)
			}
		})
	}
	var h Hello
	if err := Decode(unhex(t, hello("01 01 01", id, "60 00 00")), &h); err != nil {
		t.Error(err)
	}
}

func TestEncodeHasNoNull(t *testing.T) {
	for _, s := range samples() {
		var items any
		if err := cbor.Unmarshal(s.encode(), &items); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprint(items), "<nil>") {
			t.Errorf("%s has a null: %v", s.name, items)
		}
	}
}

func TestPeekType(t *testing.T) {
	for _, s := range samples() {
		b := s.encode()
		want := MessageType(0)
		if s.typed {
			want = MessageType(b[1])
		}
		if got := PeekType(b); want != 0 && got != want {
			t.Errorf("%s has the type %d, want %d", s.name, got, want)
		}
	}
	many := strings.Repeat("00", 23)
	for in, want := range map[string]MessageType{
		"": 0, "82": 0, "80": 0, "40": 0, "a1 01": 0, "01 01": 0, "9801 01": 0, "81 1803": 0, "81 190100": 0, "81 18": 0,
		"81 1818": 24, "82 18ff 00": 255, "9818 03" + many: 3, "9818 1820" + many: 32, "9818 03": 0,
	} {
		if got := PeekType(unhex(t, in)); got != want {
			t.Errorf("%s has the type %d, want %d", in, got, want)
		}
	}
}
