package protocol

import (
	"bytes"
	"errors"
	"testing"
)

// fuzzControl holds Decode to one form of what is known: Encode writes it again,
// and what another decoder takes for the message of exactly this version, it takes,
// too.
func fuzzControl[T any](f *testing.F) {
	f.Helper()
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var v, exact T
		err := Decode(b, &v)
		isExact := DecodeExact(b, &exact) == nil
		if err != nil {
			if !errors.Is(err, ErrMalformed) || isExact {
				t.Fatalf("error %v; it is exact: %v", err, isExact)
			}
			return
		}
		again := Encode(&v)
		if bytes.Equal(again, b) != isExact {
			t.Fatalf("%x became %x; it is exact: %v", b, again, isExact)
		}
		var w T
		if err := DecodeExact(again, &w); err != nil || !bytes.Equal(Encode(&w), again) {
			t.Fatalf("%x became %x, which is not read again: %v", b, again, err)
		}
	})
}

func FuzzHello(f *testing.F)        { fuzzControl[Hello](f) }
func FuzzWelcome(f *testing.F)      { fuzzControl[Welcome](f) }
func FuzzTable(f *testing.F)        { fuzzControl[Table](f) }
func FuzzTableRequest(f *testing.F) { fuzzControl[TableRequest](f) }
func FuzzGoodbye(f *testing.F)      { fuzzControl[Goodbye](f) }
func FuzzSession(f *testing.F)      { fuzzControl[SessionRequest](f) }
func FuzzSessionState(f *testing.F) { fuzzControl[SessionState](f) }
func FuzzAdmin(f *testing.F)        { fuzzControl[AdminRequest](f) }
func FuzzPeer(f *testing.F)         { fuzzControl[PeerRequest](f) }

// FuzzReader reads any items, as the bodies of operations are read.
func FuzzReader(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(b)
		var again []byte
		for r.Len() > 0 && r.Err() == nil {
			before := r
			switch r.b[0] & 0xe0 {
			case majorUint:
				again = AppendUint(again, r.Uint())
			case majorNegInt:
				again = AppendInt(again, r.Int())
			case majorBytes:
				again = AppendBytes(again, r.Bytes())
			case majorText:
				again = AppendString(again, r.String())
			case majorArray:
				again = AppendArray(again, r.ArrayLen())
			default:
				again = AppendBool(again, r.Bool())
			}
			if r.Err() == nil && r.Len() >= before.Len() {
				t.Fatal("nothing was read")
			}
		}
		if r.Done() == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func TestUUID(t *testing.T) {
	const text = "01234567-89ab-cdef-0123-456789abcdef"
	u, err := ParseUUID(text)
	if err != nil || u.String() != text {
		t.Errorf("%s became %s, error %v", text, u, err)
	}
	for _, bad := range []string{
		"", "01234567", text + "0", text[:35], "g1234567-89ab-cdef-0123-456789abcdef",
		"01234567+89ab-cdef-0123-456789abcdef", "0123456789abcdef0123456789abcdef0000",
		"{1234567-89ab-cdef-0123-456789abcde}",
	} {
		if u, err := ParseUUID(bad); err == nil {
			t.Errorf("%q became %s", bad, u)
		}
	}
}

func TestLogTime(t *testing.T) {
	const at LogTime = 5_000_000_000
	if got := at.Add(1500).Sub(at); got != 1500 {
		t.Errorf("difference %d, want 1500", got)
	}
}
