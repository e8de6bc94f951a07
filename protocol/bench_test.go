package protocol

import (
	"bytes"
	"testing"
)

func benchRequest() Request {
	return Request{
		ID: 123_456, Partition: 200, Epoch: 12, TimeLeft: 9_900, Kind: 1, Op: 2, Name: "users",
		Caller: Caller{Session: 1001, Slot: 17, Sequence: 54_321}, Highest: 63,
		Body: bytes.Repeat([]byte{7}, 120),
	}
}

func BenchmarkRequestAppend(b *testing.B) {
	b.ReportAllocs()
	q := benchRequest()
	dst := make([]byte, 0, 512)
	for b.Loop() {
		dst = q.Append(dst[:0])
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkRequestDecode(b *testing.B) {
	b.ReportAllocs()
	q := benchRequest()
	in := q.Append(nil)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if err := q.Decode(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplyAppend(b *testing.B) {
	b.ReportAllocs()
	p := Reply{ID: 123_456, Epoch: 12, Revision: 1_000_000, Body: bytes.Repeat([]byte{7}, 120)}
	dst := make([]byte, 0, 512)
	for b.Loop() {
		dst = p.Append(dst[:0])
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkReplyDecode(b *testing.B) {
	b.ReportAllocs()
	p := Reply{ID: 123_456, Epoch: 12, Revision: 1_000_000, Body: bytes.Repeat([]byte{7}, 120)}
	in := p.Append(nil)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if err := p.Decode(in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRequestReflective is what the encoders by hand save.
func BenchmarkRequestReflective(b *testing.B) {
	b.ReportAllocs()
	m := mirrorRequest(benchRequest())
	for b.Loop() {
		in, err := mirrorEnc.Marshal(&m)
		if err != nil {
			b.Fatal(err)
		}
		if err := mirrorDec.Unmarshal(in, &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	b.ReportAllocs()
	m := Batch{Requests: make([]Request, 64)}
	for i := range m.Requests {
		m.Requests[i] = benchRequest()
	}
	in := m.Append(nil)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if err := EachRequest(in, func([]byte, *Request) {}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrameReader(b *testing.B) {
	b.ReportAllocs()
	q := benchRequest()
	one := frame(q.Append(nil))
	stream := bytes.Repeat(one, 1000)
	src := bytes.NewReader(stream)
	r := NewFrameReader(src, MaxFrame)
	b.SetBytes(int64(len(one)))
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			src.Reset(stream)
			r = NewFrameReader(src, MaxFrame)
		}
	}
}
