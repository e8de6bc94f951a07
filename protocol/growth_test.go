package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quorate/quorate/internal/otherversion"
)

// TestLaterVersions decodes what a later version would write: each message with
// elements behind those that are known, and so each struct in it.
func TestLaterVersions(t *testing.T) {
	items := otherversion.Items()
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			want := s.extended()
			for i, more := range append([][][]byte{items, append(items, items...)}, each(items)...) {
				b := s.other(otherversion.Later(more...))
				got, err := s.decode(b)
				if err != nil {
					t.Fatalf("elements %d: %v: %x", i, err, b)
				}
				if diff := cmp.Diff(want, got, ignoreMarkers, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("elements %d:\n%s", i, diff)
				}
				if s.typed && PeekType(b) != PeekType(s.encode()) {
					t.Errorf("elements %d: the type became %d", i, PeekType(b))
				}
			}
		})
	}
}

func each(items [][]byte) (all [][][]byte) {
	for _, item := range items {
		all = append(all, [][]byte{item})
	}
	return all
}

// TestEarlierVersions decodes what an earlier version would write: elements that
// are missing are zero. The hot messages had all of theirs from the first.
func TestEarlierVersions(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			for without := 1; without < 16; without++ {
				b := s.other(otherversion.Earlier(without))
				got, err := s.decode(b)
				if s.hot {
					if !errors.Is(err, ErrMalformed) {
						t.Fatalf("without %d: error %v, want ErrMalformed", without, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("without %d: %v: %x", without, err, b)
				}
				want := reflect.New(reflect.TypeOf(s.value).Elem())
				if err := Decode(s.encode(), want.Interface()); err != nil {
					t.Fatal(err)
				}
				otherversion.Encode(want.Interface(), otherversion.Earlier(without))
				if diff := cmp.Diff(want.Interface(), got, ignoreMarkers, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("without %d:\n%s", without, diff)
				}
			}
		})
	}
}

// badItems are none that may be skipped.
var badItems = map[string][]byte{
	"nothing":                   {},
	"two":                       {0x00, 0x00},
	"a reserved length":         {0x1c},
	"a number cut off":          {0x19, 0x01},
	"a number without end":      {0x1f},
	"a string cut off":          {0x42, 0x01},
	"a string too long":         {0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	"a string of other strings": {0x5f, 0x61, 'a', 0xff},
	"a string of endless ones":  {0x5f, 0x5f, 0xff, 0xff},
	"an array cut off":          {0x82, 0x01},
	"an array too long":         {0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	"an array without an end":   {0x9f, 0x01},
	"a map cut off":             {0xa1, 0x01},
	"a map too long":            {0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0},
	"a map with half a pair":    {0xbf, 0x01, 0xff},
	"a tag of nothing":          {0xc1},
	"a tag without end":         {0xdf, 0x00},
	"an end":                    {0xff},
	"a simple value twice":      {0xf8, 0x1f},
	"too deep":                  append(bytes.Repeat([]byte{0x81}, maxSkipped+1), 0),
	"too deep without ends":     bytes.Repeat([]byte{0x9f}, 1000),
	"tags too deep":             append(bytes.Repeat([]byte{0xc1}, maxSkipped+2), 0),
}

// TestSkippedIsWellFormed: also what is not known must be an item, so that nothing
// can be hidden behind a message.
func TestSkippedIsWellFormed(t *testing.T) {
	for _, s := range samples() {
		for name, item := range badItems {
			more := [][]byte{item} // at the end: elsewhere what follows may complete it
			b := s.other(func(int) (int, [][]byte) {
				items := more
				more = nil
				return 0, items
			})
			if _, err := s.decode(b); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s with %s: error %v, want ErrMalformed", s.name, name, err)
			}
		}
	}
	deep := append(bytes.Repeat([]byte{0x81}, maxSkipped), 0)
	r := NewReader(deep)
	if r.Skip(); r.Done() != nil {
		t.Errorf("%d deep: %v", maxSkipped, r.Err())
	}
}

// TestDecodeExactRefusesOtherVersions: what is kept has one form.
func TestDecodeExactRefusesOtherVersions(t *testing.T) {
	v := DefaultLimits()
	if err := DecodeExact(Encode(v), &v); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"later":   otherversion.Encode(&v, otherversion.Later([]byte{0})),
		"earlier": otherversion.Encode(&v, otherversion.Earlier(1)),
	} {
		if err := DecodeExact(b, &v); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
}

// TestAnswersOfOtherVersions: of an answer to an operator's question what is not
// known is skipped, and what is missing is zero.
func TestAnswersOfOtherVersions(t *testing.T) {
	answer := map[string]any{
		"cluster_name": "prod", "epoch": 7, "more": []any{nil, 1.5, map[int]any{1: true}},
		"Epoch":   "another key",
		"members": []any{map[string]any{"id": 3, "rack": "r1"}},
	}
	var got Status
	if err := DecodeAnswer(Encode(answer), &got); err != nil {
		t.Fatal(err)
	}
	want := Status{ClusterName: "prod", Epoch: 7, Members: []StatusMember{{ID: 3}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, in := range map[string]string{
		"a key twice":  "a2 6565706f6368 01 6565706f6368 02",
		"another type": "a1 6565706f6368 6161",
		"cut off":      "a2 6565706f6368 01",
		"no map":       "01",
	} {
		if err := DecodeAnswer(unhex(t, in), &got); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
}

// FuzzAnswer has answers of any bytes, and keys of a later version in those that are
// read; an older answer has keys less.
func FuzzAnswer(f *testing.F) {
	s := Status{ClusterName: "prod", Epoch: 7, Members: []StatusMember{{ID: 3, Name: "n1"}}, Groups: []StatusGroup{{ID: 2, Leader: 3}}}
	for i, item := range otherversion.Items() {
		f.Add(Encode(s), fmt.Sprint("key", i), item, "epoch")
	}
	f.Fuzz(func(t *testing.T, b []byte, key string, item []byte, without string) {
		var s Status
		if err := DecodeAnswer(b, &s); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		var keys map[string]cbor.RawMessage
		if err := cbor.Unmarshal(Encode(s), &keys); err != nil {
			t.Fatal(err)
		}
		read := func() (got Status) {
			b := appendHead(nil, majorMap, uint64(len(keys)))
			for key, item := range keys {
				b = append(AppendString(b, key), item...)
			}
			if err := DecodeAnswer(b, &got); err != nil {
				t.Fatalf("%v: %x", err, b)
			}
			return got
		}
		if _, known := keys[key]; !known && utf8.ValidString(key) && anyAnswer.Wellformed(item) == nil {
			keys[key] = item
			if got := read(); !bytes.Equal(Encode(got), Encode(s)) {
				t.Fatalf("with %q: %+v became %+v", key, s, got)
			}
			delete(keys, key)
		}
		delete(keys, without)
		read()
	})
}

// anyAnswer takes what may stand behind a key that is not known.
var anyAnswer = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxNestedLevels: 8}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// anyCBOR takes what is well formed, by another implementation than ours.
var anyCBOR = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		MaxNestedLevels: maxSkipped, MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// firstItem returns what follows the first item of b, if that is well formed.
func firstItem(b []byte) (rest []byte, ok bool) {
	err := anyCBOR.Wellformed(b)
	var more *cbor.ExtraneousDataError
	if !errors.As(err, &more) {
		return nil, err == nil
	}
	var left, at int
	if _, err := fmt.Sscanf(more.Error(), "cbor: %d bytes of extraneous data starting at index %d", &left, &at); err != nil {
		panic(err)
	}
	return b[at:], true
}

func FuzzSkip(f *testing.F) {
	seed(f)
	for _, b := range otherversion.Items() {
		f.Add(b)
	}
	for _, b := range badItems {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rest, ok := firstItem(b)
		r := NewReader(b)
		r.Skip()
		if ok != (r.Err() == nil) {
			t.Fatalf("%x: %v, by the other %v", b, r.Err(), ok)
		}
		if ok && r.Len() != len(rest) {
			t.Fatalf("%x: %d bytes are left, by the other %d", b, r.Len(), len(rest))
		}
	})
}

// fuzzOther writes what v is as other versions would, and reads that.
func fuzzOther[T any](t *testing.T, b, item []byte, without int) {
	var v T
	if Decode(b, &v) != nil {
		return
	}
	read := func(what string, b []byte, want *T) {
		t.Helper()
		var got T
		if err := Decode(b, &got); err != nil {
			t.Fatalf("%s: %v: %x", what, err, b)
		}
		if a, b := Encode(want), Encode(&got); !bytes.Equal(a, b) {
			t.Fatalf("%s: %x became %x", what, a, b)
		}
	}
	read("later", otherversion.Encode(&v, otherversion.Later(otherversion.Items()...)), &v)
	if rest, ok := firstItem(item); ok && len(rest) == 0 {
		read("later", otherversion.Encode(&v, otherversion.Later(item)), &v)
		read("much later", otherversion.Encode(&v, otherversion.Later(item, item, item)), &v)
	}
	earlier := otherversion.Encode(&v, otherversion.Earlier(without))
	read("earlier", earlier, &v)
}

// FuzzOtherVersions has old bytes for new readers, and new bytes for old ones, of
// all control messages.
func FuzzOtherVersions(f *testing.F) {
	golden := readGolden(f)
	items := otherversion.Items()
	for _, b := range golden {
		for i := range 12 {
			f.Add(b, items[i%len(items)], byte(i))
		}
	}
	f.Fuzz(func(t *testing.T, b, item []byte, without byte) {
		switch n := int(without); PeekType(b) {
		case TypeHello:
			fuzzOther[Hello](t, b, item, n)
		case TypeWelcome:
			fuzzOther[Welcome](t, b, item, n)
		case TypeTable:
			fuzzOther[Table](t, b, item, n)
		case TypeTableRequest:
			fuzzOther[TableRequest](t, b, item, n)
		case TypeGoodbye:
			fuzzOther[Goodbye](t, b, item, n)
		case TypeSession:
			fuzzOther[SessionRequest](t, b, item, n)
		case TypeAdmin:
			fuzzOther[AdminRequest](t, b, item, n)
		case TypePeer:
			fuzzOther[PeerRequest](t, b, item, n)
		default:
			fuzzOther[SessionState](t, b, item, n)
		}
	})
}

// TestDecodeLeavesNothing of what was there before: what is missing is zero.
func TestDecodeLeavesNothing(t *testing.T) {
	q := TableRequest{Have: 5, ID: 6}
	if err := Decode(unhex(t, "82 07 09"), &q); err != nil {
		t.Fatal(err)
	}
	if want := (TableRequest{Type: TypeTableRequest, Have: 9}); q != want {
		t.Errorf("got %+v, want %+v", q, want)
	}
}
