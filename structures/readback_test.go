package structures

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate"
)

// deep returns a list in a list, so many levels deep.
func deep(levels int) any {
	var v any = []any{}
	for range levels - 1 {
		v = []any{v}
	}
	return v
}

// readBack encodes a value and decodes it. It reports false where it was refused.
func readBack(t interface{ Fatalf(string, ...any) }, codec Codec, v, into any) bool {
	b, err := AppendValue(nil, codec, v)
	if errors.Is(err, quorate.ErrInvalid) {
		return false
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := DecodeValue(codec, b, into); err != nil {
		t.Fatalf("%s stored what cannot be read: %v", codecName(codec.ID()), err)
	}
	return true
}

// TestDepthIsRefused: what is nested too deep to be read is not stored.
func TestDepthIsRefused(t *testing.T) {
	for _, c := range []struct {
		codec Codec
		most  int
	}{{CBOR, maxNested}, {JSON, maxNestedJSON}} {
		for _, levels := range []int{1, c.most - 1, c.most, c.most + 1, c.most + 2, c.most * 3 / 2} {
			var back any
			if stored := readBack(t, c.codec, deep(levels), &back); stored != (levels <= c.most) {
				t.Errorf("%s, %d levels: stored %v", codecName(c.codec.ID()), levels, stored)
			}
		}
	}
}

// TestTimesAreKept: a time comes back as the same moment, or is refused.
func TestTimesAreKept(t *testing.T) {
	amsterdam := time.FixedZone("AMT", 19*60+32)
	for _, c := range []struct {
		when   time.Time
		stored bool
	}{
		{time.Date(1930, 1, 2, 3, 4, 5, 6, amsterdam), true},
		{time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", -25*3600)), true},
		{time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), true},
		{time.Date(0, 1, 1, 0, 0, 0, 0, amsterdam), false}, // the year before in UTC
		{time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), false},
		{time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), true},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), false},
		{time.Date(-40000, 1, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		type holder struct {
			When time.Time
			Many map[string][]any
		}
		in := holder{c.when, map[string][]any{"a": {c.when, &c.when}}}
		var back holder
		stored := readBack(t, CBOR, in, &back)
		if stored != c.stored {
			t.Errorf("%v: stored %v", c.when, stored)
		}
		if stored && (!back.When.Equal(c.when) || !back.Many["a"][1].(time.Time).Equal(c.when)) {
			t.Errorf("%v came back as %v", c.when, back)
		}
		var when time.Time
		if readBack(t, JSON, c.when, &when) && !when.Equal(c.when) {
			t.Errorf("JSON: %v came back as %v", c.when, when)
		}
	}
}

// TestWhatIsStoredIsRead: whatever is encoded is decoded to the same.
func TestWhatIsStoredIsRead(t *testing.T) {
	when := rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(-1e12, 1e12).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).
			In(time.FixedZone("", rapid.IntRange(-30*3600, 30*3600).Draw(t, "offset")))
	})
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Float64().AsAny(),
		rapid.String().AsAny(), rapid.SliceOf(rapid.Byte()).AsAny(), when.AsAny(),
	)
	value := scalar
	for range 3 {
		value = rapid.OneOf(scalar, rapid.SliceOfN(value, 0, 4).AsAny(), rapid.MapOfN(rapid.String(), value, 0, 4).AsAny())
	}
	rapid.Check(t, func(t *rapid.T) {
		v := value.Draw(t, "value")
		if rapid.Float64Range(0, 1).Draw(t, "deep") < 0.1 {
			for range rapid.IntRange(980, 1020).Draw(t, "levels") {
				v = []any{v}
			}
		}
		var back any
		if readBack(t, CBOR, v, &back) {
			if a, b := canonical(v), canonical(back); a != b {
				t.Fatalf("%s came back as %s", a, b)
			}
		}
	})
}

// canonical writes a value so that equal ones are equal text.
func canonical(v any) string {
	switch v := v.(type) {
	case time.Time:
		if v.IsZero() {
			return "nil"
		}
		return v.UTC().String()
	case []any:
		var all []string
		for _, e := range v {
			all = append(all, canonical(e))
		}
		return "[" + strings.Join(all, ",") + "]"
	case map[string]any:
		keys := map[string]string{}
		for k, e := range v {
			keys[k] = canonical(e)
		}
		return fmt.Sprintf("%q", keys)
	case nil:
		return "nil"
	}
	if r := reflect.ValueOf(v); r.Kind() == reflect.Slice && r.IsNil() {
		return "nil"
	}
	return fmt.Sprintf("%T %v", v, v)
}

// TestEncoded: a value of any codec is read and stored as it is.
func TestEncoded(t *testing.T) {
	for _, c := range []struct {
		codec Codec
		value any
		want  any
	}{
		{CBOR, map[string]any{"a": []any{1}}, map[string]any{"a": []any{int64(1)}}},
		{JSON, "text", "text"},
		{Raw, "text", "text"},
		{Raw, "\xff", []byte("\xff")},
	} {
		b, err := AppendValue(nil, c.codec, c.value)
		if err != nil {
			t.Fatal(err)
		}
		var e Encoded
		if err := DecodeValue(CBOR, b, &e); err != nil {
			t.Fatal(err)
		}
		if v, err := e.Value(); err != nil || !reflect.DeepEqual(v, c.want) {
			t.Errorf("%s %v: %v, %v", e.Codec(), c.value, v, err)
		}
		if again, err := AppendValue(nil, CBOR, e); err != nil || string(again) != string(b) {
			t.Errorf("%x, then %x, %v", b, again, err)
		}
	}
	for _, e := range []Encoded{nil, {200, 1}, {codecCBOR, 0xff}, {codecJSON, '{'}} {
		if _, err := e.Value(); !errors.Is(err, quorate.ErrCodec) {
			t.Errorf("%x: %v", []byte(e), err)
		}
	}
	b, _ := AppendValue(nil, CBOR, map[int]string{1: "x"})
	if s, err := Encoded(b).Diagnose(); err != nil || s != `{1: "x"}` {
		t.Errorf("%q, %v", s, err)
	}
	if _, err := AppendValue(nil, CBOR, Encoded(nil)); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("nothing: %v", err)
	}
}

func TestEncodedKey(t *testing.T) {
	check := func(b []byte, err error, want any, text string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		k, err := DecodeKey[EncodedKey](b)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := AppendKey(nil, k); err != nil || string(again) != string(b) {
			t.Errorf("%x, then %x, %v", b, again, err)
		}
		if v, _ := k.Value(); !reflect.DeepEqual(v, want) || want == nil && k.Diagnose() != text {
			t.Errorf("%x: %v, %s", b, v, k.Diagnose())
		}
	}
	b, err := AppendKey(nil, "k")
	check(b, err, "k", "")
	b, err = AppendKey(nil, -5)
	check(b, err, int64(-5), "")
	b, err = AppendKey(nil, uint8(5))
	check(b, err, uint64(5), "")
	b, err = AppendKey(nil, [2]byte{1, 2})
	check(b, err, []byte{1, 2}, "")
	b, err = AppendKey(nil, inner{1, 2})
	check(b, err, nil, `{"X": 1, "Y": 2}`)
	if _, err := AppendKey(nil, EncodedKey{}); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("an empty key: %v", err)
	}
}
