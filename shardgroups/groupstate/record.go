package groupstate

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// record is what a partition keeps of the last call in a client's slot (rules
// 10 to 12). There is at most one waiting call and one reply a slot, and
// nobody's record is evicted by others.
//
//	                 apply                     grant                confirm
//	(none, lower) ---------> done          waiting -----> done     reserved -----> done
//	              \-- Wait -> waiting       |      \--> reserved    |
//	              \- cancel -> cancelled <--' cancel     cancel, ---'
//	                                                     session's end
//
// A reply that would not fit in the partition's budget, or that the client no
// longer asks for, becomes dropped: its sequence stays.
type record struct {
	seq      uint64
	state    recordState
	code     protocol.Code
	revision protocol.Revision
	reply    []byte
	row      string // of the waiter, or of what is reserved
}

type recordState uint8

const (
	stateDone recordState = iota + 1
	stateDropped
	stateWaiting
	stateReserved
	stateCancelled
)

// SlotBits is the width of a slot's number in a record's key.
const slotBits = 10

// MaxSlots is how many slots a client may have in a partition.
const MaxSlots = 1 << slotBits

// maxReplyBytes bounds the replies that a partition keeps.
const maxReplyBytes = 4 << 20

func recordKey(s protocol.SessionID, slot uint16) uint64 {
	return uint64(s)<<slotBits | uint64(slot)
}

// tinyReply is the size up to which replies are neither counted nor dropped:
// they cost no more than the record, and most mutations have no other.
const tinyReply = 16

// counted returns what a reply counts for.
func (r *record) counted() int {
	if len(r.reply) <= tinyReply {
		return 0
	}
	return len(r.reply)
}

// setRecord replaces a record and counts the reply's bytes.
func (p *partition) setRecord(key uint64, r record) {
	if p.replyBytes+r.counted() > maxReplyBytes && r.state == stateDone && r.counted() > 0 {
		r.state, r.reply = stateDropped, nil
	}
	old, _ := p.records.Set(key, r)
	p.replyBytes += r.counted() - old.counted()
}

func (p *partition) deleteRecord(key uint64) {
	old, _ := p.records.Delete(key)
	p.replyBytes -= old.counted()
}

// trimAbove drops the replies of a session's slots above highest: the client
// has them (rule 11).
func (p *partition) trimAbove(s protocol.SessionID, highest uint16) {
	if p.replyBytes == 0 || highest >= MaxSlots-1 {
		return
	}
	var drop []uint64
	p.records.Ascend(recordKey(s, highest+1), func(k uint64, r record) bool {
		if k>>slotBits != uint64(s) {
			return false
		}
		if r.state == stateDone && r.counted() > 0 {
			drop = append(drop, k)
		}
		return true
	})
	for _, k := range drop {
		r, _ := p.records.Get(k)
		r.state, r.reply = stateDropped, nil
		p.setRecord(k, r)
	}
}

// answer is what a repeat of the recorded call gets.
func (r *record) answer() structures.Result {
	switch r.state {
	case stateDropped:
		return structures.Refuse(protocol.CodeReplyDropped, "it was applied; its reply is no longer kept")
	case stateWaiting:
		return structures.Waiting()
	case stateCancelled:
		return structures.Result{Code: protocol.CodeCancelled}
	default:
		return structures.Result{Code: r.code, Body: r.reply}
	}
}

// Seen reports whether the partition has a record of this very call: a repeat
// of it is answered and changes nothing.
func (s *State) Seen(id protocol.PartitionID, c protocol.Caller) bool {
	p := s.partition(id)
	if p == nil {
		return false
	}
	r, ok := p.records.Get(recordKey(c.Session, c.Slot))
	return ok && r.seq >= c.Sequence
}
