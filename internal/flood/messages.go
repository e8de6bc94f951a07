package flood

import (
	"fmt"

	"github.com/quorate/quorate/protocol"
)

const burstMessages = 64

// burst returns frames to send after what dst has, and whether one of them is
// malformed, which ends the connection.
func (h *hostile) burst(dst []byte, p protocol.Purpose, session protocol.SessionID) (b []byte, broken bool) {
	for range burstMessages {
		switch {
		case h.cfg.Heartbeats:
			dst = appendFrame(dst, h.heartbeat(0))
		case p == protocol.PurposeMember:
			dst = appendFrame(dst, h.question())
		case p != protocol.PurposeClient:
			return append(dst, h.noise(512)...), true
		default:
			dst = appendFrame(dst, h.message(session))
		}
	}
	if !h.cfg.Heartbeats && h.rng.IntN(4) == 0 {
		return h.malformed(dst), true
	}
	return dst, false
}

// message returns a message of a client that its decoder takes, most of the
// time.
func (h *hostile) message(session protocol.SessionID) []byte {
	switch h.rng.IntN(16) {
	case 0, 1, 2, 3:
		return h.heartbeat(session)
	case 4:
		return h.session(session)
	case 5:
		m := protocol.Batch{Requests: make([]protocol.Request, h.rng.IntN(40))}
		for i := range m.Requests {
			m.Requests[i] = h.request(session)
		}
		return m.Append(nil)
	case 6:
		return protocol.Encode(protocol.TableRequest{Type: protocol.TypeTableRequest, Have: protocol.Epoch(h.rng.Uint64())})
	case 7:
		what := []string{protocol.AdminStatus, protocol.AdminHash, protocol.AdminKinds, "", "flood"}
		return protocol.Encode(protocol.AdminRequest{Type: protocol.TypeAdmin, ID: h.rng.Uint64(), What: what[h.rng.IntN(len(what))], Args: h.noise(20)})
	default:
		q := h.request(session)
		return q.Append(nil)
	}
}

// stranger returns the id of a session that was never opened.
func (h *hostile) stranger() protocol.SessionID {
	return protocol.SessionID(1<<40 + h.rng.Uint64N(1<<50))
}

// heartbeat keeps its own session now and then, otherwise one that was never
// opened.
func (h *hostile) heartbeat(own protocol.SessionID) []byte {
	q := protocol.SessionRequest{Type: protocol.TypeSession, ID: h.rng.Uint64(), Action: protocol.SessionHeartbeat, Session: h.stranger()}
	if own != 0 && h.rng.IntN(8) == 0 {
		q.Session = own
	}
	return protocol.Encode(q)
}

// session opens and closes sessions, and asks for what there is not.
func (h *hostile) session(own protocol.SessionID) []byte {
	q := protocol.SessionRequest{
		Type: protocol.TypeSession, ID: h.rng.Uint64(), Action: protocol.SessionAction(h.rng.IntN(6)),
		Client: h.uuid(), Session: h.stranger(), TTL: h.rng.Uint32() >> h.rng.IntN(32),
	}
	switch {
	case q.Action == protocol.SessionOpen:
		q.TTL %= 4000 // what it opens ends soon
	case own != 0 && h.rng.IntN(4) == 0:
		q.Session = own
	}
	return protocol.Encode(q)
}

// request returns a request of any kind and operation.
func (h *hostile) request(own protocol.SessionID) protocol.Request {
	q := protocol.Request{
		ID: h.rng.Uint64(), Partition: protocol.PartitionID(h.rng.IntN(300)), Epoch: protocol.Epoch(h.rng.IntN(100)),
		TimeLeft: uint32(h.rng.IntN(2000)), Flags: protocol.Flags(h.rng.IntN(16)),
		Kind: protocol.KindID(h.rng.IntN(8)), Op: protocol.Op(h.rng.IntN(32)),
		Name: fmt.Sprint(NamePrefix, h.rng.IntN(16)), Body: h.body(),
	}
	switch h.rng.IntN(32) {
	case 0:
		q.Kind, q.Op = protocol.KindID(h.rng.IntN(256)), protocol.Op(h.rng.IntN(256))
	case 1:
		q.Partition = protocol.PartitionID(h.rng.Uint32())
	case 2:
		q.Name = NamePrefix + string(make([]byte, h.rng.IntN(1000)))
	case 3:
		q.Body = h.noise(32 << 10)
	case 4:
		q.Body = nil
	}
	if q.Flags&protocol.FlagRead == 0 || h.rng.IntN(16) == 0 {
		q.Caller = protocol.Caller{Session: own, Slot: uint16(h.rng.IntN(32)), Sequence: uint64(h.rng.IntN(1 << 16))}
		q.Highest = uint16(h.rng.IntN(64))
		switch h.rng.IntN(16) {
		case 0:
			q.Caller.Session = h.stranger()
		case 1:
			q.Caller.Slot, q.Highest = uint16(h.rng.Uint32()), uint16(h.rng.Uint32())
		case 2:
			q.Caller.Sequence = h.rng.Uint64()
		}
	}
	return q
}

// body returns an array of some integers, texts and bytes: what operations take.
func (h *hostile) body() []byte {
	n := h.rng.IntN(5)
	b := protocol.AppendArray(nil, n)
	for range n {
		switch h.rng.IntN(5) {
		case 0:
			b = protocol.AppendInt(b, int64(h.rng.Uint64())>>h.rng.IntN(64))
		case 1:
			b = protocol.AppendBytes(b, append([]byte{byte(h.rng.IntN(6))}, h.noise(24)...))
		case 2:
			b = protocol.AppendString(b, fmt.Sprint("text", h.rng.IntN(100)))
		case 3:
			b = protocol.AppendUint(b, uint64(h.rng.IntN(4)))
		default:
			b = protocol.AppendBytes(b, []byte{1, byte(h.rng.IntN(24))}) // a small number, in CBOR
		}
	}
	return b
}

func (h *hostile) noise(most int) []byte {
	b := make([]byte, h.rng.IntN(most+1))
	for i := range b {
		b[i] = byte(h.rng.Uint32())
	}
	return b
}

// question is one of a member, with arguments that nobody asks with.
func (h *hostile) question() []byte {
	what := []string{"state", "enlist", "release", "start", "join", "address", "transfer", "applied", "leave", "change", "size", "headroom", "", "flood"}
	return protocol.Encode(protocol.PeerRequest{Type: protocol.TypePeer, ID: h.rng.Uint64(), What: what[h.rng.IntN(len(what))], Args: h.noise(64)})
}

// malformed appends a frame that ends the connection, or is read as something
// else. It comes of a message that names no session that others may have: a bit
// may make another of it.
func (h *hostile) malformed(dst []byte) []byte {
	m := h.message(0)
	switch h.rng.IntN(6) {
	case 0:
		m = m[:h.rng.IntN(len(m))]
	case 1:
		m = append(m, h.noise(8)...)
	case 2:
		m = h.noise(4 << 10)
	case 3: // an array that says it is large
		m = append([]byte{0x82, byte(protocol.TypeBatch), 0x9a, 0x7f, 0xff, 0xff, 0xff}, h.noise(64)...)
	case 4: // a frame that is never finished, or as large as a frame cannot be
		return append(append(dst, byte(h.rng.Uint32()), 0xff, 0xff, 0xff), h.noise(64)...)
	default:
		m[h.rng.IntN(len(m))] ^= 1 << h.rng.IntN(8)
	}
	return appendFrame(dst, m)
}
