package structures

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

type (
	textKey  string
	smallKey int8
	uuidKey  [16]byte
	tenant   struct {
		Name   string `json:"n"`
		Number int32
		Test   bool
	}
	nested struct {
		Tenant tenant
		IDs    [3]uint16
		UUID   uuidKey
	}
	hidden   struct{ a, B int }
	Left     struct{ A int }
	Middle   struct{ A int }
	shadowed struct { // CBOR leaves out both fields A
		Left
		Middle
	}
)

// UnmarshalText and MarshalText must not be used for keys: they lose the upper
// half.
func (k smallKey) MarshalText() ([]byte, error)  { return []byte{'0' + byte(k)&15}, nil }
func (k *smallKey) UnmarshalText(b []byte) error { *k = smallKey(b[0] - '0'); return nil }

func TestKeyRoundTrip(t *testing.T) {
	testKey(t, "", "01")
	testKey(t, "ada", "01616461")
	testKey(t, "not \xff UTF-8", "")
	testKey(t, textKey("ada"), "01616461")
	testKey(t, int(0), "028000000000000000")
	testKey(t, int(-1), "027fffffffffffffff")
	testKey(t, int8(-128), "027fffffffffffff80")
	testKey(t, smallKey(100), "028000000000000064")
	testKey(t, int16(math.MinInt16), "")
	testKey(t, int32(math.MaxInt32), "02800000007fffffff")
	testKey(t, int64(math.MinInt64), "020000000000000000")
	testKey(t, int64(math.MaxInt64), "02ffffffffffffffff")
	testKey(t, time.Second, "02800000003b9aca00")
	testKey(t, uint(7), "030000000000000007")
	testKey(t, uint8(255), "0300000000000000ff")
	testKey(t, uint16(1), "")
	testKey(t, uint32(1), "")
	testKey(t, uint64(math.MaxUint64), "03ffffffffffffffff")
	testKey(t, [2]byte{1, 2}, "040102")
	testKey(t, [0]byte{}, "04")
	testKey(t, [16]byte{15: 1}, "")
	testKey(t, uuidKey{1}, "")
	testKey(t, true, "05f5")
	testKey(t, [2]int{1, -1}, "05820120")
	testKey(t, tenant{"a", 1, true}, "05a3616e61616454657374f5664e756d62657201")
	testKey(t, nested{tenant{Name: "\xff"}, [3]uint16{1, 2, 3}, uuidKey{9}}, "")
	testKey(t, [1]smallKey{-3}, "058122")
	testKey(t, struct{}{}, "05a0")
}

func testKey[K comparable](t *testing.T, key K, want string) {
	t.Helper()
	b, err := AppendKey([]byte("x"), key)
	if err != nil {
		t.Errorf("AppendKey(%T %v): %v", key, key, err)
		return
	}
	if b = b[1:]; want != "" && hexOf(b) != want {
		t.Errorf("AppendKey(%T %v) = %x, want %s", key, key, b, want)
	}
	got, err := DecodeKey[K](b)
	if err != nil || got != key {
		t.Errorf("DecodeKey[%T](%x) = %v, %v, want %v", key, b, got, err, key)
	}
	for _, bad := range [][]byte{nil, {9}, append([]byte{99}, b...), b[:0]} {
		if _, err := DecodeKey[K](bad); !errors.Is(err, quorate.ErrCodec) {
			t.Errorf("DecodeKey[%T](%x) = %v, want ErrCodec", key, bad, err)
		}
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

func TestKeyRefused(t *testing.T) {
	refuseKey(t, 1.5)
	refuseKey(t, float32(1))
	refuseKey(t, complex(1, 1))
	refuseKey(t, new(int))
	refuseKey(t, make(chan int))
	refuseKey[any](t, "a")
	refuseKey[error](t, nil)
	refuseKey(t, uintptr(1))
	refuseKey(t, [1]any{1})
	refuseKey(t, [1]float64{})
	refuseKey(t, struct{ P *int }{})
	refuseKey(t, struct{ N struct{ F float64 } }{})
	refuseKey(t, time.Now())
	refuseKey(t, hidden{a: 1})
	refuseKey(t, shadowed{Left{1}, Middle{2}})
	refuseKey(t, struct {
		A int `json:"-"`
	}{1})
}

func refuseKey[K comparable](t *testing.T, key K) {
	t.Helper()
	if b, err := AppendKey(nil, key); !errors.Is(err, quorate.ErrInvalid) || b != nil {
		t.Errorf("AppendKey(%T %v) = %x, %v, want ErrInvalid", key, key, b, err)
	}
}

func TestKeyOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ints := []int64{math.MinInt64, -256, -1, 0, 1, 255, math.MaxInt64}
	uints := []uint64{0, 1, math.MaxInt64, math.MaxUint64}
	texts := []string{"", "a", "a\x00", "aa", "b", "\xff"}
	for range 200 {
		ints = append(ints, int64(r.Uint64()))
		uints = append(uints, r.Uint64())
	}
	testOrder(t, ints)
	testOrder(t, uints)
	testOrder(t, texts)
}

func testOrder[K cmp.Ordered](t *testing.T, keys []K) {
	t.Helper()
	for _, a := range keys {
		for _, b := range keys {
			x, _ := AppendKey(nil, a)
			y, _ := AppendKey(nil, b)
			if bytes.Compare(x, y) != cmp.Compare(a, b) {
				t.Fatalf("%v and %v are not in the order of %x and %x", a, b, x, y)
			}
		}
	}
}

func TestDecodeKeyOfAnother(t *testing.T) {
	if _, err := DecodeKey[int8](appendIntKey(nil, 128)); !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("128 as an int8: %v", err)
	}
	if _, err := DecodeKey[uint8](appendUintKey(nil, 256)); !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("256 as a uint8: %v", err)
	}
	// A key written by a struct with one field more is not silently another key.
	b, err := AppendKey(nil, struct{ A, B int }{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeKey[struct{ A int }](b); !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("a larger struct: %v", err)
	}
}

func TestKeyAllocations(t *testing.T) {
	dst := make([]byte, 0, 64)
	uuid := [16]byte{1}
	for name, f := range map[string]func(){
		"string": func() { dst, _ = AppendKey(dst[:0], "user:42") },
		"int":    func() { dst, _ = AppendKey(dst[:0], 1<<40) },
		"uint64": func() { dst, _ = AppendKey(dst[:0], uint64(1<<40)) },
		"uuid":   func() { dst, _ = AppendKey(dst[:0], uuid) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s key: %v allocations", name, n)
		}
	}
}

func FuzzDecodeKey(f *testing.F) {
	b, _ := AppendKey(nil, nested{Tenant: tenant{Name: "a"}})
	f.Add(b)
	f.Add([]byte{protocol.KeyText, 'a'})
	f.Add([]byte{protocol.KeyInt, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzKey[string](t, b)
		fuzzKey[int8](t, b)
		fuzzKey[int64](t, b)
		fuzzKey[uint32](t, b)
		fuzzKey[[4]byte](t, b)
		fuzzKey[[2]string](t, b)
		fuzzKey[tenant](t, b)
		fuzzKey[nested](t, b)
	})
}

// fuzzKey checks that bytes which are a key are the only bytes of that key.
func fuzzKey[K comparable](t *testing.T, b []byte) {
	key, err := DecodeKey[K](b)
	if err != nil {
		return
	}
	if again, err := AppendKey(nil, key); err != nil || !bytes.Equal(again, b) {
		t.Errorf("%x is the %T %v, which is %x, %v", b, key, key, again, err)
	}
}

func BenchmarkAppendKey(b *testing.B) {
	dst := make([]byte, 0, 64)
	b.Run("string", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst, _ = AppendKey(dst[:0], "user:42")
		}
	})
	b.Run("named", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst, _ = AppendKey(dst[:0], textKey("user:42"))
		}
	})
	b.Run("struct", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst, _ = AppendKey(dst[:0], tenant{Name: "ada", Number: 42})
		}
	})
}
