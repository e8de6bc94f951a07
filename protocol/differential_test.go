package protocol

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The mirrors are the hot messages as fxamacker/cbor sees them: a second
// implementation that shares no code with the first.

type requestMirror struct {
	_         struct{} `cbor:",toarray"`
	Type      uint8
	ID        uint64
	Partition uint32
	Epoch     uint64
	TimeLeft  uint32
	Flags     uint8
	Kind      uint8
	Op        uint8
	Name      string
	Session   uint64
	Slot      uint16
	Sequence  uint64
	Highest   uint16
	Body      []byte
}

type replyMirror struct {
	_       struct{} `cbor:",toarray"`
	Type    uint8
	ID      uint64
	Code    uint16
	Epoch   uint64
	Version uint64
	Body    []byte
}

type problemMirror struct {
	_      struct{} `cbor:",toarray"`
	Detail string
	Wait   uint32
	Leader uint64
}

type batchMirror struct {
	_        struct{} `cbor:",toarray"`
	Type     uint8
	Requests []requestMirror
}

func mirrorRequest(q Request) requestMirror {
	return requestMirror{
		Type: uint8(TypeRequest), ID: q.ID, Partition: uint32(q.Partition), Epoch: uint64(q.Epoch),
		TimeLeft: q.TimeLeft, Flags: uint8(q.Flags), Kind: uint8(q.Kind), Op: uint8(q.Op), Name: q.Name,
		Session: uint64(q.Caller.Session), Slot: q.Caller.Slot, Sequence: q.Caller.Sequence,
		Highest: q.Highest, Body: q.Body,
	}
}

func mirrorReply(p Reply) replyMirror {
	return replyMirror{
		Type: uint8(TypeReply), ID: p.ID, Code: uint16(p.Code), Epoch: uint64(p.Epoch),
		Version: uint64(p.Version), Body: p.Body,
	}
}

func mirrorProblem(p Problem) problemMirror {
	return problemMirror{Detail: p.Detail, Wait: p.Wait, Leader: uint64(p.Leader)}
}

var mirrorEnc, mirrorDec = mirrorModes()

func mirrorModes() (cbor.EncMode, cbor.DecMode) {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	enc, err := options.EncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden}.DecMode()
	if err != nil {
		panic(err)
	}
	return enc, dec
}

func mirrorEncode(t interface{ Fatal(...any) }, v any) []byte {
	b, err := mirrorEnc.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// known returns b, an array, without what it has behind its first n elements, and
// how many well-formed ones that were.
func known(b []byte, n int) (first []byte, later int) {
	for size := n + 1; size < n+100; size++ {
		head := AppendArray(nil, size)
		if !bytes.HasPrefix(b, head) {
			continue
		}
		rest := b[len(head):]
		var end int
		for i := range size {
			if i == n {
				end = len(b) - len(rest)
			}
			var ok bool
			if rest, ok = firstItem(rest); !ok {
				return b, 0
			}
		}
		if len(rest) > 0 {
			return b, 0
		}
		return append(AppendArray(nil, n), b[len(head):end]...), size - n
	}
	return b, 0
}

// mirrorDecode reports whether b is what the mirror m would be encoded to.
func mirrorDecode(b []byte, m any) bool {
	if mirrorDec.Unmarshal(b, m) != nil {
		return false
	}
	again, err := mirrorEnc.Marshal(m)
	return err == nil && bytes.Equal(again, b)
}

// edge draws integers near the sizes at which the encoding changes.
func edge[T ~uint8 | ~uint16 | ~uint32 | ~uint64](max uint64) *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T {
		if rapid.Bool().Draw(t, "any") {
			return T(rapid.Uint64Max(max).Draw(t, "n"))
		}
		at := rapid.SampledFrom([]uint64{0, 24, 1 << 8, 1 << 16, 1 << 32, max}).Draw(t, "edge")
		return T(min(max, at+rapid.Uint64Max(2).Draw(t, "off")-min(at, 1)))
	})
}

func drawBody(t *rapid.T) []byte {
	n := edge[uint32](70_000).Draw(t, "size")
	return bytes.Repeat([]byte{byte(n)}, int(n))
}

func drawRequest(t *rapid.T) Request {
	return Request{
		ID:        edge[uint64](1<<64-1).Draw(t, "id"),
		Partition: edge[PartitionID](1<<32-1).Draw(t, "partition"),
		Epoch:     edge[Epoch](1<<64-1).Draw(t, "epoch"),
		TimeLeft:  edge[uint32](1<<32-1).Draw(t, "time left"),
		Flags:     edge[Flags](255).Draw(t, "flags"),
		Kind:      edge[KindID](255).Draw(t, "kind"),
		Op:        edge[Op](255).Draw(t, "op"),
		Name:      rapid.String().Draw(t, "name"),
		Caller: Caller{
			Session:  edge[SessionID](1<<64-1).Draw(t, "session"),
			Slot:     edge[uint16](1<<16-1).Draw(t, "slot"),
			Sequence: edge[uint64](1<<64-1).Draw(t, "sequence"),
		},
		Highest: edge[uint16](1<<16-1).Draw(t, "highest"),
		Body:    drawBody(t),
	}
}

func drawReply(t *rapid.T) Reply {
	return Reply{
		ID:      edge[uint64](1<<64-1).Draw(t, "id"),
		Code:    edge[Code](1<<16-1).Draw(t, "code"),
		Epoch:   edge[Epoch](1<<64-1).Draw(t, "epoch"),
		Version: edge[Version](1<<64-1).Draw(t, "version"),
		Body:    drawBody(t),
	}
}

func drawProblem(t *rapid.T) Problem {
	return Problem{
		Detail: rapid.String().Draw(t, "detail"),
		Wait:   edge[uint32](1<<32-1).Draw(t, "wait"),
		Leader: edge[MemberID](1<<64-1).Draw(t, "leader"),
	}
}

// same fails if got, decoded from b, is not want, or b is not the mirror's.
func same[T any](t *rapid.T, want, got T, b, mirror []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if !reflect.DeepEqual(want, got) { // cmp is slow on large bodies
		t.Fatalf("round trip:\n%s", cmp.Diff(want, got))
	}
	if !bytes.Equal(b, mirror) {
		t.Fatalf("encoded %x\n  mirror %x", b, mirror)
	}
}

func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawRequest(t)
		b := q.Append(nil)
		var got Request
		err := got.Decode(b)
		same(t, q, got, b, mirrorEncode(t, mirrorRequest(q)), err)
	})
}

func TestReplyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawReply(t)
		b := p.Append(nil)
		var got Reply
		err := got.Decode(b)
		same(t, p, got, b, mirrorEncode(t, mirrorReply(p)), err)
	})
}

func TestProblemRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		b := p.Append(nil)
		got := Problem{Detail: "left from before", Wait: 1, Leader: 1}
		err := got.Decode(b)
		same(t, p, got, b, mirrorEncode(t, mirrorProblem(p)), err)
	})
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Batch{Requests: rapid.SliceOfN(rapid.Custom(drawRequest), 1, 10).Draw(t, "requests")}
		mirror := batchMirror{Type: uint8(TypeBatch)}
		for _, q := range m.Requests {
			mirror.Requests = append(mirror.Requests, mirrorRequest(q))
		}
		b := m.Append(nil)
		var got Batch
		err := EachRequest(b, func(raw []byte, q *Request) {
			if want := q.Append(nil); !bytes.Equal(raw, want) {
				t.Fatalf("raw %x, want %x", raw, want)
			}
			if cap(raw) != len(raw) {
				t.Fatalf("appending to a raw request would write over the next")
			}
			got.Requests = append(got.Requests, *q)
		})
		same(t, m, got, b, mirrorEncode(t, mirror), err)
	})
}

func TestProblemDetailBecomesUTF8(t *testing.T) {
	in := Problem{Detail: "no map \xff\xfe here"}
	var got Problem
	if err := got.Decode(in.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if want := "no map \ufffd here"; got.Detail != want {
		t.Errorf("detail %q, want %q", got.Detail, want)
	}
}

// The fuzz targets hold the decoders to: what the mirror takes, no more and no
// less, with the same fields.

func FuzzRequest(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var q Request
		err := q.Decode(b)
		b, later := known(b, requestFields)
		var m requestMirror
		ok := mirrorDecode(b, &m) && m.Type == uint8(TypeRequest)
		if ok != (err == nil) {
			t.Fatalf("%x: %v, mirror %v", b, err, ok)
		}
		if !ok {
			return
		}
		if diff := cmp.Diff(m, mirrorRequest(q)); diff != "" || q.Extended != (later > 0) {
			t.Fatal(diff, q.Extended, later)
		}
		if again := q.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzReply(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Reply
		err := p.Decode(b)
		b, _ = known(b, replyFields)
		var m replyMirror
		ok := mirrorDecode(b, &m) && m.Type == uint8(TypeReply)
		if ok != (err == nil) {
			t.Fatalf("%x: %v, mirror %v", b, err, ok)
		}
		if !ok {
			return
		}
		if diff := cmp.Diff(m, mirrorReply(p)); diff != "" {
			t.Fatal(diff)
		}
		if again := p.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzProblem(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Problem
		err := p.Decode(b)
		b, _ = known(b, problemFields)
		var m problemMirror
		ok := len(b) == 0 || mirrorDecode(b, &m)
		if ok != (err == nil) {
			t.Fatalf("%x: %v, mirror %v", b, err, ok)
		}
		if !ok || len(b) == 0 {
			return
		}
		if again := p.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzBatch(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var got batchMirror
		calls := 0
		err := EachRequest(b, func(raw []byte, q *Request) {
			calls++
			got.Requests = append(got.Requests, mirrorRequest(*q))
			one, later := known(raw, requestFields)
			if again := q.Append(nil); !bytes.Equal(again, one) || q.Extended != (later > 0) {
				t.Fatalf("%x became %x", raw, again)
			}
		})
		b = knownBatch(b)
		if err != nil && calls != 0 {
			t.Fatalf("%d calls before %v", calls, err)
		}
		var m batchMirror
		ok := mirrorDecode(b, &m) && m.Type == uint8(TypeBatch)
		for _, q := range m.Requests {
			ok = ok && q.Type == uint8(TypeRequest)
		}
		if ok != (err == nil) {
			t.Fatalf("%x: %v, mirror %v", b, err, ok)
		}
		if ok && calls != len(m.Requests) {
			t.Fatalf("%d calls for %d requests", calls, len(m.Requests))
		}
		for i := range got.Requests {
			if diff := cmp.Diff(m.Requests[i], got.Requests[i]); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// knownBatch returns a batch without what it, or a request in it, has behind the
// elements that are known; or b, if it is none.
func knownBatch(b []byte) []byte {
	short, _ := known(b, batchFields)
	head := append(AppendArray(nil, batchFields), byte(TypeBatch))
	rest, ok := bytes.CutPrefix(short, head)
	if !ok {
		return b
	}
	r := NewReader(rest)
	n := r.ArrayLen()
	if r.Err() != nil {
		return b
	}
	again := AppendArray(head, n)
	rest = rest[len(rest)-r.Len():]
	for range n {
		after, ok := firstItem(rest)
		if !ok {
			return b
		}
		one, _ := known(rest[:len(rest)-len(after)], requestFields)
		again, rest = append(again, one...), after
	}
	return append(again, rest...)
}
