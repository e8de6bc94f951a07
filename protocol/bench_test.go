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
	p := Reply{ID: 123_456, Epoch: 12, Version: 1_000_000, Body: bytes.Repeat([]byte{7}, 120)}
	dst := make([]byte, 0, 512)
	for b.Loop() {
		dst = p.Append(dst[:0])
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkReplyDecode(b *testing.B) {
	b.ReportAllocs()
	p := Reply{ID: 123_456, Epoch: 12, Version: 1_000_000, Body: bytes.Repeat([]byte{7}, 120)}
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

func benchTable() Table {
	t := Table{Type: TypeTable, Epoch: 12, Partitions: make([]GroupID, 271)}
	for p := range t.Partitions {
		t.Partitions[p] = GroupID(2 + p%6)
	}
	for g := range GroupID(7) {
		t.Groups = append(t.Groups, TableGroup{ID: g + 1, Term: 300, Leader: 2, Replicas: []MemberID{1, 2, 3}})
	}
	for m := range MemberID(3) {
		t.Members = append(t.Members, TableMember{ID: m + 1, Name: "n1", Address: "10.0.0.1:7170"})
	}
	return t
}

func BenchmarkTableDecode(b *testing.B) {
	b.ReportAllocs()
	in := Encode(benchTable())
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		var t Table
		if err := Decode(in, &t); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTableDecodeExact is what decoding by type saves.
func BenchmarkTableDecodeExact(b *testing.B) {
	b.ReportAllocs()
	in := Encode(benchTable())
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		var t Table
		if err := DecodeExact(in, &t); err != nil {
			b.Fatal(err)
		}
	}
}
