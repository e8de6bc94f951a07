package conform

import (
	"bytes"

	"github.com/quorate/quorate/protocol"
)

// later are elements that a later version may append: all that may stand there.
var later = [][]byte{
	protocol.AppendString(nil, "later"),
	{0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x01}, // nested 8 deep
	{0xa2, 0x01, 0xf6, 0x61, 0x61, 0xf7},             // {1: null, "a": undefined}
	{0xc1, 0xf9, 0x3c, 0x00},                         // 1(1.0)
	{0x9f, 0x01, 0x7f, 0x61, 0x61, 0xff, 0xff},       // [_ 1, (_ "a")]
}

// grown appends elements to an array, if the case is about that.
func (r *run) grown(b []byte) []byte {
	if !r.c.more {
		return b
	}
	if b[0]&^0x1f != 0x80 || int(b[0]&0x1f)+len(later) >= 24 {
		panic("conform: bug: no array, or one with more elements than expected")
	}
	b = bytes.Clone(b)
	b[0] += byte(len(later))
	return append(b, bytes.Join(later, nil)...)
}

// problem is the body of an answer that was not carried out.
func (r *run) problem(p protocol.Problem) []byte { return r.grown(p.Append(nil)) }

// shapeTable encodes a table in the shape of the version that the case plays.
func (r *run) shapeTable(t *protocol.Table) []byte {
	b := protocol.AppendArray(nil, 7)
	b = protocol.AppendUint(b, uint64(t.Type))
	b = protocol.AppendUint(b, uint64(t.Epoch))
	b = protocol.AppendArray(b, len(t.Partitions))
	for _, g := range t.Partitions {
		b = protocol.AppendUint(b, uint64(g))
	}
	b = protocol.AppendArray(b, len(t.Groups))
	for _, g := range t.Groups {
		b = append(b, r.grown(protocol.Encode(g))...)
	}
	b = protocol.AppendArray(b, len(t.Members))
	for _, m := range t.Members {
		b = append(b, r.grown(protocol.Encode(m))...)
	}
	b = protocol.AppendBytes(b, t.Cluster[:])
	if r.c.fewer && t.ID == 0 {
		b[0]--
		return b
	}
	return r.grown(protocol.AppendUint(b, t.ID))
}

// shape encodes a welcome in the shape of the version that the case plays.
func (r *run) shape(w protocol.Welcome) []byte {
	if r.c.more {
		w.Newest, w.Features = protocol.WireVersion+1, 1<<40
	}
	b := protocol.Encode(w)
	replace := func(old, by []byte) {
		if bytes.Count(b, old) != 1 {
			panic("conform: bug: a part of a welcome is not there once")
		}
		b = bytes.Replace(b, old, by, 1)
	}
	replace(protocol.Encode(w.Limits), r.grown(protocol.Encode(w.Limits)))
	replace(protocol.Encode(w.Table), r.shapeTable(&w.Table))
	if r.c.fewer && w.Session == 0 { // neither session nor its time to live
		b[0] -= 2
		return b[:len(b)-2]
	}
	return r.grown(b)
}
