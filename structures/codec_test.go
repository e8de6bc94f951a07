package structures

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate"
)

type (
	color int
	label string
	blob  []byte
	inner struct{ X, Y int }
	outer struct {
		inner
		ID      int64          `json:"id"`
		Name    string         `json:"name,omitempty"`
		Skip    string         `json:"-"`
		Tags    []string       `json:"tags"`
		Ptr     *inner         `json:"ptr"`
		When    time.Time      `json:"when"`
		Extra   map[string]any `json:"extra,omitempty"`
		private int            //lint:ignore U1000 is there to be passed over
	}
)

func TestCBORRoundTrip(t *testing.T) {
	when := time.Date(2026, 7, 14, 1, 2, 3, 987654321, time.FixedZone("", 2*3600))
	testValue(t, true)
	testValue(t, 0)
	testValue(t, -1)
	testValue(t, int8(math.MinInt8))
	testValue(t, int16(math.MinInt16))
	testValue(t, int32(math.MaxInt32))
	testValue(t, int64(math.MinInt64))
	testValue(t, int64(math.MaxInt64))
	testValue(t, uint(1))
	testValue(t, uint8(255))
	testValue(t, uint16(65535))
	testValue(t, uint32(math.MaxUint32))
	testValue(t, uint64(math.MaxUint64))
	testValue(t, float32(1.5))
	testValue(t, 0.1)
	testValue(t, math.Inf(-1))
	testValue(t, "")
	testValue(t, "any \x00\xff bytes")
	testValue(t, label("l"))
	testValue(t, color(3))
	testValue(t, []byte{})
	testValue(t, []byte(nil))
	testValue(t, []byte{0, 255})
	testValue(t, blob("b"))
	testValue(t, [3]byte{1, 2, 3})
	testValue(t, [2]string{"a", ""})
	testValue(t, []string(nil))
	testValue(t, []string{})
	testValue(t, []int{1, -2, 3})
	testValue(t, [][]float64{{1}, nil, {2.5}})
	testValue(t, map[string]int{"a": 1, "b\xff": 2})
	testValue(t, map[int]string{-1: "x", 5: "y"})
	testValue(t, map[[2]int8]bool{{1, 2}: true})
	testValue(t, map[string][]inner{"a": {{1, 2}}})
	testValue(t, &inner{1, 2})
	testValue(t, (*inner)(nil))
	testValue(t, struct{}{})
	testValue(t, inner{-1, 1})
	testValue(t, outer{inner: inner{1, 2}, ID: 9, Tags: []string{"t"}, Ptr: &inner{3, 4}, When: when})
	testValue(t, outer{Name: "n", Extra: map[string]any{"k": int64(1), "s": []any{"x", 1.5, nil, true}}})
	testValue(t, when)
	testValue(t, time.Time{})
	testValue(t, 90*time.Second)
	testValue(t, *big.NewInt(math.MaxInt64))
	testValue(t, new(big.Int).Lsh(big.NewInt(1), 200))
	testValue(t, netip.MustParseAddr("10.0.0.1"))
	testValue[any](t, nil)
	testValue[any](t, int64(1))
	testValue[any](t, "text")
	testValue[any](t, []byte("bytes"))
	testValue[any](t, when)
	testValue[any](t, map[string]any{"a": []any{int64(1), map[string]any{"b": false}}})
	testValue[any](t, new(big.Int).SetUint64(math.MaxUint64))
}

var compare = cmp.Options{
	cmp.AllowUnexported(inner{}, outer{}),
	cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
	cmp.Comparer(func(a, b big.Int) bool { return a.Cmp(&b) == 0 }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

func testValue[V any](t *testing.T, v V) {
	t.Helper()
	b, err := AppendValue([]byte("x"), CBOR, v)
	if err != nil {
		t.Errorf("AppendValue(%T): %v", v, err)
		return
	}
	var got V
	if err := DecodeValue(CBOR, b[1:], &got); err != nil {
		t.Errorf("DecodeValue(%T, %x): %v", v, b[1:], err)
		return
	}
	if diff := cmp.Diff(v, got, compare); diff != "" {
		t.Errorf("%T: %x: -want +got\n%s", v, b[1:], diff)
	}
	again, err := AppendValue(nil, CBOR, got)
	if err != nil || !bytes.Equal(again, b[1:]) {
		t.Errorf("%T: again %x, %v, not %x", v, again, err, b[1:])
	}
}

// TestCBORShortWay holds the short way of Append to the library's bytes.
func TestCBORShortWay(t *testing.T) {
	for _, v := range []any{"", "a\xff", 0, -1, 23, 24, int64(math.MinInt64), int64(math.MaxInt64), []byte(nil), []byte{}, []byte("abc")} {
		short, err := CBOR.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		var long bytes.Buffer
		if err := valueEnc.MarshalToBuffer(v, &long); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(short, long.Bytes()) {
			t.Errorf("%T %v: %x, the library writes %x", v, v, short, long.Bytes())
		}
	}
}

func TestCBORBetweenTypes(t *testing.T) {
	encode := func(v any) []byte {
		b, err := AppendValue(nil, CBOR, v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var dst any
	if err := DecodeValue(CBOR, encode(inner{1, 2}), &dst); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(any(map[string]any{"X": int64(1), "Y": int64(2)}), dst); diff != "" {
		t.Error(diff)
	}
	var in inner
	if err := DecodeValue(CBOR, encode(map[string]any{"X": 5, "unknown": "field"}), &in); err != nil || in.X != 5 {
		t.Errorf("map into struct: %v, %v", in, err)
	}
	var n int
	if err := DecodeValue(CBOR, encode("text"), &n); !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("text into int: %v", err)
	}
	var small int8
	if err := DecodeValue(CBOR, encode(128), &small); !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("128 into int8: %v", err)
	}
	a, b := encode(map[string]int{"a": 1, "b": 2, "ccc": 3}), encode(map[string]int{"ccc": 3, "b": 2, "a": 1})
	if !bytes.Equal(a, b) {
		t.Errorf("not deterministic: %x, %x", a, b)
	}
	large := make([]int, 200_000)
	var back []int
	if err := DecodeValue(CBOR, encode(large), &back); err != nil || len(back) != len(large) {
		t.Errorf("a long array: %d, %v", len(back), err)
	}
	if _, err := AppendValue(nil, CBOR, func() {}); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("a function: %v", err)
	}
}

func TestOtherCodecs(t *testing.T) {
	for _, c := range []struct {
		codec Codec
		value any
		into  any
		want  string
	}{
		{JSON, inner{1, 2}, new(inner), "\x02{\"X\":1,\"Y\":2}"},
		{JSON, "text", new(string), "\x02\"text\""},
		{Raw, "text\xff", new(string), "\x03text\xff"},
		{Raw, []byte{1, 2}, new([]byte), "\x03\x01\x02"},
		{Raw, label("l"), new(label), "\x03l"},
		{Raw, blob("b"), new(blob), "\x03b"},
	} {
		b, err := AppendValue(nil, c.codec, c.value)
		if err != nil || string(b) != c.want {
			t.Errorf("%T %v: %q, %v, want %q", c.value, c.value, b, err, c.want)
			continue
		}
		if err := DecodeValue(c.codec, b, c.into); err != nil {
			t.Error(err)
		}
		for _, other := range []Codec{CBOR, JSON, Raw} {
			if err := DecodeValue(other, b, c.into); other != c.codec && !errors.Is(err, quorate.ErrCodec) {
				t.Errorf("%T reads %q: %v", other, b, err)
			}
		}
	}
	for _, v := range []any{1, nil, inner{}, []int{1}} {
		if _, err := AppendValue(nil, Raw, v); !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("raw %v: %v", v, err)
		}
	}
	for _, into := range []any{new(int), nil, "", new([]int)} {
		if err := DecodeValue(Raw, []byte{3, 'a'}, into); !errors.Is(err, quorate.ErrCodec) {
			t.Errorf("raw into %T: %v", into, err)
		}
	}
	if err := DecodeValue(CBOR, nil, new(int)); !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("empty: %v", err)
	}
}

type ownCodec struct {
	jsonCodec
	id byte
}

func (c ownCodec) ID() byte { return c.id }

func TestCheckCodec(t *testing.T) {
	for _, c := range []Codec{CBOR, JSON, Raw, ownCodec{id: 128}} {
		if err := CheckCodec(c); err != nil {
			t.Errorf("%T: %v", c, err)
		}
	}
	for _, c := range []Codec{nil, ownCodec{id: 1}, ownCodec{id: 127}} {
		if err := CheckCodec(c); !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("%T: %v", c, err)
		}
	}
}

// FuzzDecodeValue checks that no bytes make a decoder panic, and that what was
// read can be written and read again.
func FuzzDecodeValue(f *testing.F) {
	for _, v := range []any{nil, 1, "a", []byte("b"), time.Unix(0, 1), map[string]any{"a": []any{1.5, nil}}, outer{Name: "n"}} {
		for _, c := range []Codec{CBOR, JSON, Raw} {
			if b, err := AppendValue(nil, c, v); err == nil {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range []Codec{CBOR, JSON, Raw} {
			for _, into := range []any{new(any), new(string), new([]byte), new(int64), new(outer), new(map[string]any)} {
				_ = DecodeValue(c, b, into)
			}
		}
		var s string
		if DecodeValue(CBOR, b, &s) == nil {
			again, err := AppendValue(nil, CBOR, s)
			if err != nil {
				t.Fatalf("%x is %q: %v", b, s, err)
			}
			var back string
			if err := DecodeValue(CBOR, again, &back); err != nil || back != s {
				t.Fatalf("%x is %q, then %q, %v", b, s, back, err)
			}
		}
	})
}

func BenchmarkValue(b *testing.B) {
	text := string(bytes.Repeat([]byte("v"), 100))
	for name, v := range map[string]any{"string": text, "struct": outer{ID: 1, Name: "ada", When: time.Unix(1, 0)}} {
		b.Run("append/"+name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 512)
			for b.Loop() {
				dst, _ = AppendValue(dst[:0], CBOR, v)
			}
		})
	}
	encoded, _ := AppendValue(nil, CBOR, text)
	b.Run("decode/string", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var s string
			_ = DecodeValue(CBOR, encoded, &s)
		}
	})
}
