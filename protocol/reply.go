package protocol

import "strings"

// Reply answers one request of a connection.
type Reply struct {
	ID      uint64
	Code    Code
	Epoch   Epoch   // of the member's table: a newer one is worth asking for
	Version Version // of the partition in the state that answered; 0: it is not known there
	Body    []byte  // of the operation; for a code that is not OK a Problem
}

const replyFields = 6

// Append appends the reply as one CBOR array.
func (p *Reply) Append(dst []byte) []byte {
	dst = append(dst, majorArray|replyFields, byte(TypeReply))
	dst = AppendUint(dst, p.ID)
	dst = AppendUint(dst, uint64(p.Code))
	dst = AppendUint(dst, uint64(p.Epoch))
	dst = AppendUint(dst, uint64(p.Version))
	return AppendBytes(dst, p.Body)
}

// Decode reads a reply; Body aliases b.
func (p *Reply) Decode(b []byte) error {
	r := NewReader(b)
	later := r.atLeast(replyFields)
	if MessageType(r.small()) != TypeReply {
		r.fail()
	}
	p.ID = r.Uint()
	p.Code = Code(r.Uint16())
	p.Epoch = Epoch(r.Uint())
	p.Version = Version(r.Uint())
	p.Body = r.Bytes()
	r.skipItems(later)
	return r.Done()
}

// Problem is the body of a reply whose code is not OK. It may be absent.
type Problem struct {
	Detail string   // human-readable
	Wait   uint32   // milliseconds after which another attempt is worth while
	Leader MemberID // with CodeNotLeader: who leads, 0 if unknown
}

const problemFields = 3

// Append appends the problem as one CBOR array. What is not UTF-8 in Detail,
// which may quote what somebody sent, is replaced.
func (p *Problem) Append(dst []byte) []byte {
	dst = AppendArray(dst, problemFields)
	dst = AppendString(dst, strings.ToValidUTF8(p.Detail, "\ufffd"))
	dst = AppendUint(dst, uint64(p.Wait))
	return AppendUint(dst, uint64(p.Leader))
}

// Decode reads a problem; an empty body is an empty problem.
func (p *Problem) Decode(b []byte) error {
	*p = Problem{}
	if len(b) == 0 {
		return nil
	}
	r := NewReader(b)
	later := r.atLeast(problemFields)
	p.Detail = r.String()
	p.Wait = r.Uint32()
	p.Leader = MemberID(r.Uint())
	r.skipItems(later)
	return r.Done()
}
