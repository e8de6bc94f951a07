package groupstate

import (
	"encoding/binary"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// record is what a partition keeps of the last call in a client's slot (ONCE-1 to
// ONCE-3). A slot has at most one waiting call or reply, and no client's record is
// evicted because of others.
//
//	                 apply                     grant                confirm
//	(none, lower) ---------> done          waiting -----> done     reserved -----> done
//	              \-- Wait -> waiting       |      \--> reserved    |
//	              \- cancel -> cancelled <--' cancel     cancel, ---'
//	                                                     session's end
//
// Replies have a budget in each partition. If it is exceeded, the session with the most
// bytes loses its largest reply. Such a record, and one whose reply the client no
// longer needs, becomes "dropped": its sequence stays.
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
	// stateHolds is stateDone for an operation that holds: its reply is neither counted
	// nor dropped.
	stateHolds
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

// tinyReply is the size up to which replies are neither counted nor dropped: they cost
// no more than the record, and most replies are that small.
const tinyReply = 16

// counted returns how many bytes a reply counts.
func (r *record) counted() int {
	if len(r.reply) <= tinyReply || r.state == stateHolds {
		return 0
	}
	return len(r.reply)
}

// setRecord replaces a record and counts the reply's bytes. It reports whether
// there was one.
func (p *partition) setRecord(key uint64, r record) bool {
	counted, had := p.putRecord(key, r)
	if counted {
		p.fitReplies()
	}
	return had
}

// putRecord replaces a record, and reports whether its reply or that of the one before
// counts, and whether there was one.
func (p *partition) putRecord(key uint64, r record) (counted, had bool) {
	old, had := p.records.Set(key, r)
	if p.journal != nil {
		p.journal.note(change{what: changedRecord, id: key, record: old, had: had})
	}
	n, was := r.counted(), old.counted()
	if n == 0 && was == 0 {
		return false, had
	}
	p.replyBytes += n - was
	p.setKept(key, old.droppable(), r.droppable())
	return true, had
}

// droppable returns the size of a reply that may be dropped; 0: it may not.
func (r *record) droppable() int {
	if r.state != stateDone {
		return 0
	}
	return r.counted()
}

// setKept updates the index of the replies that may be dropped, and how many bytes each
// session has.
func (p *partition) setKept(key uint64, was, is int) {
	if was == is {
		return
	}
	if is == 0 {
		p.kept.Delete(key)
	} else {
		p.kept.Set(key, is)
	}
	session := key >> slotBits
	before, _ := p.shares.Get(session)
	after := before + is - was
	if before != 0 {
		p.largest.Delete(indexKey(uint64(before), shareKey(session)))
	}
	if after == 0 {
		p.shares.Delete(session)
		return
	}
	p.shares.Set(session, after)
	p.largest.Set(indexKey(uint64(after), shareKey(session)), struct{}{})
}

func shareKey(session uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, session))
}

// fitReplies drops replies until the partition's budget holds: each time the largest
// reply of the session with the most bytes; of several, the one in the lowest slot.
// That session has more than its fair share of the budget, so a session with less loses
// nothing because of others.
func (p *partition) fitReplies() {
	for p.replyBytes > maxReplyBytes {
		share, _, ok := p.largest.Max()
		if !ok {
			return
		}
		session := binary.BigEndian.Uint64(viewBytes(share[8:]))
		drop, most := uint64(0), 0
		p.kept.Ascend(session<<slotBits, func(k uint64, size int) bool {
			if k>>slotBits != session {
				return false
			}
			if size > most {
				drop, most = k, size
			}
			return true
		})
		r, _ := p.records.Get(drop)
		r.state, r.reply = stateDropped, nil
		p.setRecord(drop, r)
	}
}

func (p *partition) deleteRecord(key uint64) {
	old, _ := p.records.Delete(key)
	p.replyBytes -= old.counted()
	p.setKept(key, old.droppable(), 0)
}

// trimAbove drops the replies of a session's slots above highest: the client
// has them (ONCE-2).
func (p *partition) trimAbove(s protocol.SessionID, highest uint16) {
	if p.replyBytes == 0 || highest >= MaxSlots-1 {
		return
	}
	var drop []uint64
	p.kept.Ascend(recordKey(s, highest+1), func(k uint64, _ int) bool {
		if k>>slotBits != uint64(s) {
			return false
		}
		drop = append(drop, k)
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

// Recorded returns what Apply would answer to a repeat of a call that the partition has
// a record of, and the record's revision. It is false if Apply would do anything other
// than answer from that record.
func (s *State) Recorded(q *protocol.Request) (structures.Result, protocol.Version, bool) {
	p := s.partition(q.Partition)
	if p == nil || q.Kind == protocol.KindControl || !s.sessions.Knows(q.Caller.Session) || mutants.On(mutants.RepeatsApplied) {
		return structures.Result{}, 0, false
	}
	if _, held := s.Refuses(q.Kind, q.Op); held {
		return structures.Result{}, 0, false
	}
	r, ok := p.records.Get(recordKey(q.Caller.Session, q.Caller.Slot))
	if !ok || r.seq != q.Caller.Sequence {
		return structures.Result{}, 0, false
	}
	return r.answer(), p.version(r.revision), true
}
