package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestPreface(t *testing.T) {
	for _, p := range []Purpose{PurposeClient, PurposeMember, PurposeRaft, PurposeGossip} {
		b := AppendPreface([]byte("x"), p)[1:]
		if len(b) != PrefaceSize {
			t.Errorf("preface %q has %d bytes, want %d", b, len(b), PrefaceSize)
		}
		r := bytes.NewReader(append(b, "rest"...))
		got, err := ReadPreface(iotest.OneByteReader(r))
		if err != nil || got != p {
			t.Errorf("preface %q: purpose %q, error %v", b, got, err)
		}
		if r.Len() != len("rest") {
			t.Errorf("preface %q: %d bytes left, want %d", b, r.Len(), len("rest"))
		}
	}
	for in, want := range map[string]error{
		"":                                 io.EOF,
		"QUORAT":                           io.ErrUnexpectedEOF,
		"QUORATE":                          io.ErrUnexpectedEOF,
		"quorateC":                         ErrMalformed,
		"GET / HTTP/1.1\r\n":               ErrMalformed,
		"\x16\x03\x01\x02\x00\x01\x00\x01": ErrMalformed,
	} {
		if _, err := ReadPreface(strings.NewReader(in)); !errors.Is(err, want) {
			t.Errorf("preface %q: error %v, want %v", in, err, want)
		}
	}
}

func frame(body []byte) []byte {
	b := BeginFrame([]byte("before"))
	return EndFrame(append(b, body...), len("before"))[len("before"):]
}

func TestFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(
			rapid.IntRange(1, 100),
			rapid.SampledFrom([]int{1, 8 << 10, 8<<10 + 1, 32 << 10, 64 << 10, 256 << 10, 256<<10 + 1, 1 << 20}),
		), 0, 12).Draw(t, "sizes")
		var stream []byte
		var want [][]byte
		for i, n := range sizes {
			body := bytes.Repeat([]byte{byte(i + 1)}, n)
			want = append(want, body)
			stream = append(stream, frame(body)...)
		}
		var src io.Reader = bytes.NewReader(stream)
		if rapid.Bool().Draw(t, "halves") {
			src = iotest.HalfReader(src)
		}
		r := NewFrameReader(src, MaxFrame)
		var got [][]byte
		for range want {
			b, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if cap(b) != len(b) && len(b) <= 8<<10 {
				t.Fatal("appending to a frame would write over the next")
			}
			got = append(got, b)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("error %v, want EOF", err)
		}
		// A frame is still what it was after others were read.
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("frame %d differs", i)
			}
		}
	})
}

func TestFramesOutOfBounds(t *testing.T) {
	head := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"half a length", []byte{0, 0}, io.ErrUnexpectedEOF},
		{"empty", head(0), ErrFrame},
		{"one over the limit", append(head(101), make([]byte, 101)...), ErrFrame},
		{"at the limit", append(head(100), make([]byte, 100)...), nil},
		{"2^31", head(1 << 31), ErrFrame},
		{"2^32-1", head(1<<32 - 1), ErrFrame},
		{"no body", head(5), io.ErrUnexpectedEOF},
		{"half a body", append(head(5), 1, 2), io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewFrameReader(bytes.NewReader(tt.in), 100).Next(); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := NewFrameReader(bytes.NewReader(append(head(1<<20), make([]byte, 1000)...)), MaxFrame).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a large body: error %v", err)
	}
}

func TestFrameLimitChanges(t *testing.T) {
	stream := append(frame(make([]byte, 100)), frame(make([]byte, 100))...)
	r := NewFrameReader(bytes.NewReader(stream), 99)
	if _, err := r.Next(); !errors.Is(err, ErrFrame) || err.Error() != "the frame of 100 bytes is larger than the limit of 99 bytes" {
		t.Fatalf("error %v", err)
	}
	r.SetMax(100)
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFrameClaimsAreCheap opens many connections that claim a large frame and
// send next to nothing of it, or half a megabyte.
func TestFrameClaimsAreCheap(t *testing.T) {
	const connections = 100
	for sent, most := range map[int]uint64{3: 512 << 10, 512 << 10: 1 << 20} {
		claim := append(binary.BigEndian.AppendUint32(nil, MaxFrame), make([]byte, sent)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range connections {
			if _, err := NewFrameReader(bytes.NewReader(claim), MaxFrame).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / connections; each > most {
			t.Errorf("a claim of %d bytes, of which %d come, allocates %d", MaxFrame, sent, each)
		}
	}
}

func TestFrameBuffered(t *testing.T) {
	whole := frame([]byte("abc"))
	stream := append(bytes.Clone(whole), whole...)
	stream = append(stream, whole[:5]...)
	r := NewFrameReader(bytes.NewReader(stream), MaxFrame)
	if r.Buffered() {
		t.Error("buffered before anything was read")
	}
	for i, want := range []bool{true, false} {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if got := r.Buffered(); got != want {
			t.Errorf("buffered after frame %d: %v, want %v", i+1, got, want)
		}
	}
}

func FuzzPreface(f *testing.F) {
	f.Add(AppendPreface(nil, PurposeClient))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadPreface(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, AppendPreface(nil, p)) {
			t.Fatalf("%q has the purpose %q", b, p)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(frame([]byte("abc")))
	f.Add(append(frame([]byte("abc")), 0, 0, 0, 0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		const max = 1 << 10
		r := NewFrameReader(bytes.NewReader(b), max)
		var again []byte
		for {
			body, err := r.Next()
			if err != nil {
				if !errors.Is(err, ErrFrame) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				break
			}
			if len(body) == 0 || len(body) > max {
				t.Fatalf("a frame of %d bytes", len(body))
			}
			again = append(again, frame(body)...)
			r.Buffered()
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%x was read as %x", b, again)
		}
	})
}
