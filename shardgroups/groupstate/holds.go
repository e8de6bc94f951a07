package groupstate

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Every kind with operations that hold keeps its holds in rows of the same form
// (structures.Hold). So the group can list and revoke them without the Machine, and
// calls the Machine's Ended when one ends.
//
// A hold that is revoked with a grace lasts until its holder releases it, or its
// session ends, or the grace is over and the holder's client has acknowledged that the
// hold's context has ended. These are the interleavings (decision 0018):
//
//   - The holder cannot reach the group, while its heartbeats reach the system group:
//     it does not learn of the revocation. If the grace alone counted, the next would
//     be granted what the holder believes to hold.
//   - The hold that an operator saw has gone, and another session was granted. A
//     revocation names a hold, by a number that no other has.
//   - An acknowledgement that comes late, or again, finds another hold, or none: it
//     names the hold, too, and its session must be the owner.
//   - The grace ends inside an entry: the hold's row is out of sight, but it is given
//     back by the clean-up after the entry, once. A release meanwhile finds nothing.

// revoke takes a hold away, or asks for it.
func (t *tx) revoke(k *structures.Kind, v *structures.Revocation) structures.Result {
	key := structures.HoldKey(mutantRevoked(t, v.Hold))
	row, ok := t.Get(key)
	var h structures.Hold
	if !ok || h.Read(row.Value) != nil {
		return truth(false)
	}
	if v.Grace == 0 || v.Grace > 0 && mutants.On(mutants.RevokedAtOnce) {
		t.endHold(k, key, row)
		return truth(true)
	}
	if h.Revoke(v, t.Now()) {
		t.putHold(key, row, &h)
	}
	return truth(true)
}

// acknowledge notes that a revoked hold's context has ended at its holder.
func (t *tx) acknowledge(k *structures.Kind, id protocol.HoldID) structures.Result {
	key := structures.HoldKey(id)
	row, h, ok := structures.OwnHold(t, id)
	switch {
	case !ok || h.Mark < structures.HoldRevoked:
		return truth(false)
	case h.Mark == structures.HoldAcknowledged:
	case h.Until <= t.Now():
		t.endHold(k, key, row)
	default:
		h.Mark = structures.HoldAcknowledged
		t.putHold(key, row, &h)
	}
	return truth(true)
}

// truth returns a result with a boolean.
func truth(v bool) structures.Result {
	return structures.OK(protocol.AppendBool(protocol.AppendArray(nil, 1), v))
}

// putHold writes a changed hold. It has a deadline only if its holder has acknowledged
// the revocation.
func (t *tx) putHold(key []byte, row structures.Row, h *structures.Hold) {
	row.Value, row.Deadline = h.Append(nil), 0
	if mutantHoldEnds(h.Mark, h.Mark == structures.HoldAcknowledged) {
		row.Deadline = h.Until
	}
	t.Put(key, row)
}

// endHold lets the Machine release a hold.
func (t *tx) endHold(k *structures.Kind, key []byte, row structures.Row) {
	t.caller = protocol.Caller{} // there is no caller when something ends by itself
	k.Machine.Ended(t, key, row)
}

// due lets the Machine handle a row that is due. A hold that is due ends as if its
// session had ended.
func (s applying) due(m structures.Machine, t *tx, key []byte, row structures.Row) {
	if _, ok := structures.HoldOf(key); ok && s.kinds[t.instance.kind].Holds() {
		m.Ended(t, key, row)
		return
	}
	m.Due(t, key, row)
}

// holdState returns the state of a hold.
func (v *reader) holdState(id protocol.HoldID) structures.Result {
	state := structures.HoldState{Mark: structures.HoldAbsent}
	var h structures.Hold
	if row, ok := v.Get(structures.HoldKey(id)); ok && h.Read(row.Value) == nil {
		state = structures.HoldState{Mark: h.Mark, Reason: h.Reason}
	}
	return structures.OK(state.Append(nil))
}

// inspect describes the structure in this partition.
func (v *reader) inspect(k *structures.Kind, q structures.InspectRequest) structures.Result {
	i := structures.Inspected{Length: k.Machine.Len(v), Waiting: uint64(v.instance.waiters)}
	if v.id != 0 {
		i.Bytes = uint64(*v.instance.bytes)
	}
	most := int(min(q.Most, uint64(v.s.limits.PageEntries)))
	now := v.Time()
	if k.Holds() {
		v.holders(&i, q.From, most, now)
	}
	if q.From != 0 {
		return structures.OK(i.Append(nil))
	}
	v.waiters(func(w structures.Waiter) bool {
		if len(i.Waiters) == most {
			return false
		}
		call := structures.WaitingCall{Session: w.Caller.Session, For: time.Duration(now - w.Since)}
		if w.Until != 0 {
			call.Left = max(time.Duration(w.Until-now), time.Millisecond)
		}
		if op := k.Op(w.Op); op != nil && op.Holds {
			call.Amount, call.Mode, call.Note, _ = structures.ReadWanted(w.Payload)
		}
		i.AddWaiter(call, w.Op)
		return true
	})
	return structures.OK(i.Append(nil))
}

// Owned is a row that a session owns: it ends with the session.
type Owned struct {
	Partition protocol.PartitionID
	Kind      *structures.Kind
	Name      string // of the structure
	// Waits is the operation that the session waits with; nil: it does not wait.
	Waits *structures.OpInfo
	// Hold is the number of what is held, as Holding says; 0: the row is no hold.
	Hold    protocol.HoldID
	Holding structures.Hold
	Key     []byte        // of the row, if it is neither a hold nor a waiting call
	For     time.Duration // since it is held, or waits
}

// OwnedBy returns rows of a session, in an order that does not change, and the cursor to
// continue with; empty: there is no more. It begins with the cursor of an earlier call, or
// an empty one. The keys must not be changed. Now is the log time, if that is known better
// than by the last entry; else 0.
func OwnedBy(s *State, id protocol.SessionID, cursor string, most int, now protocol.LogTime) (owned []Owned, next string, err error) {
	from, after := protocol.PartitionID(0), ""
	if cursor != "" {
		if len(cursor) < 4 {
			return nil, "", errors.New("an unknown cursor")
		}
		from, after = protocol.PartitionID(binary.BigEndian.Uint32([]byte(cursor))), cursor[4:]
	}
	touched := s.sessions.touched[id]
	first, _ := slices.BinarySearch(touched, from)
	for _, at := range touched[first:] {
		p := s.partitions[at]
		if p == nil {
			continue
		}
		begin := ""
		if at == from {
			begin = after
		}
		p.owned.Ascend(indexKey(uint64(id), begin), func(k string, _ struct{}) bool {
			n, key := splitIndexKey(k)
			switch {
			case n != uint64(id):
				return false
			case len(owned) == most:
				next = string(binary.BigEndian.AppendUint32(nil, uint32(at))) + key
				return false
			}
			if o, ok := ownedRow(s, p, key, max(now, s.clock.Now)); ok {
				owned = append(owned, o)
			}
			return true
		})
		if next != "" {
			break
		}
	}
	return owned, next, nil
}

// ownedRow describes an owned row; false: it is of a structure that was destroyed, or due.
func ownedRow(s *State, p *partition, key string, at protocol.LogTime) (o Owned, ok bool) {
	id, rowType, k := splitRowKey(key)
	l, exists := p.instances.Get(id)
	row, has := p.rows.Get(key)
	now := p.time(at)
	if !exists || !has || row.Deadline != 0 && row.Deadline <= p.time(s.clock.Now) || s.kinds[l.kind] == nil {
		return o, false
	}
	o = Owned{Partition: p.id, Kind: s.kinds[l.kind], Name: l.name}
	if rowType == rowWaiter {
		w := readWaiter(viewBytes(k), row)
		o.Waits, o.For = o.Kind.Op(w.Op), time.Duration(now-w.Since)
		return o, o.Waits != nil
	}
	if hold, is := structures.HoldOf(viewBytes(k)); is && o.Kind.Holds() && o.Holding.Read(row.Value) == nil {
		o.Hold, o.For = hold, time.Duration(now-o.Holding.Since)
		return o, true
	}
	o.Key = viewBytes(k)
	return o, true
}

// CountOwned returns how many rows a session owns, waiting calls included.
func CountOwned(s *State, id protocol.SessionID) (n int) {
	for _, at := range s.sessions.touched[id] {
		if p := s.partitions[at]; p != nil {
			p.owned.Ascend(indexKey(uint64(id), ""), func(k string, _ struct{}) bool {
				owner, _ := splitIndexKey(k)
				if owner == uint64(id) {
					n++
				}
				return owner == uint64(id)
			})
		}
	}
	return n
}

// holders adds holds from a number on, and where to continue.
func (v *reader) holders(i *structures.Inspected, from protocol.HoldID, most int, now protocol.LogTime) {
	rest := v.Ascend(structures.HoldKey(from), func(key []byte, row structures.Row) bool {
		id, ok := structures.HoldOf(key)
		if !ok {
			return false
		}
		if len(i.Holders) == most {
			i.Next = id
			return false
		}
		var h structures.Hold
		if h.Read(row.Value) != nil {
			return true
		}
		shown := structures.Holder{
			ID: id, Token: h.Token, Session: row.Owner, Amount: h.Amount, Mode: h.Mode, Note: h.Note,
			For: time.Duration(now - h.Since), Mark: h.Mark, Reason: h.Reason,
		}
		if h.Mark >= structures.HoldRevoked {
			shown.Left = max(time.Duration(h.Until-now), 0)
		}
		i.Holders = append(i.Holders, shown)
		return true
	})
	if id, ok := structures.HoldOf(rest); ok {
		i.Next = id
	}
}
