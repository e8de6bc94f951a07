package structures

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// Hold is what a row says of something that a session holds: permits of a
// semaphore, later a lock. The row of hold H has the key HoldKey(H), the session
// as its owner and a Hold as its value, in every structure alike; so the group can
// list and revoke holds without the structure. A structure that has operations
// that hold keeps nothing else under such keys (HOLD-1).
type Hold struct {
	Token  protocol.Token   // version of the mutation that granted
	Amount int64            // how much is held, for example permits; 1 if it has no amount
	Mode   string           // how it is held, for example "read"; may be empty
	Note   string           // of the caller, human-readable; may be empty
	Since  protocol.LogTime // when it was granted

	// Mark says whether somebody has asked for it or revoked it, and why.
	Mark   HoldMark
	Reason string
	// Until is when a revoked hold ends, once its holder has acknowledged that (HOLD-2); it
	// lasts as long as the session otherwise.
	Until protocol.LogTime
}

// HoldMark says whether a hold was asked for or revoked.
type HoldMark uint8

// The marks of holds.
const (
	HoldUnmarked HoldMark = iota
	HoldAsked             // its holder is asked to release it
	HoldRevoked           // its holder must release it
	// HoldAcknowledged: it is revoked, and its holder's client has acknowledged that the
	// hold's context has ended. It ends at Until.
	HoldAcknowledged
	// HoldAbsent is the mark of a hold that is not there, in answers only.
	HoldAbsent
)

// String names the mark: "revoked".
func (m HoldMark) String() string {
	switch m {
	case HoldUnmarked:
		return "held"
	case HoldAsked:
		return "asked for"
	case HoldRevoked:
		return "revoked"
	case HoldAcknowledged:
		return "revoked, acknowledged"
	case HoldAbsent:
		return "absent"
	}
	return "unknown"
}

// MaxNote bounds the bytes of a note and of the reason of a revocation.
const MaxNote = 255

// holdPrefix begins the keys of holds' rows.
const holdPrefix = 'h'

// HoldKey is the key of a hold's row.
func HoldKey(id protocol.HoldID) []byte {
	return binary.BigEndian.AppendUint64([]byte{holdPrefix}, uint64(id))
}

// HoldOf returns the hold whose row has the key, and false if it is the key of another
// row.
func HoldOf(key []byte) (protocol.HoldID, bool) {
	if len(key) != 9 || key[0] != holdPrefix {
		return 0, false
	}
	return protocol.HoldID(binary.BigEndian.Uint64(key[1:])), true
}

// Append appends the value of a hold's row.
func (h *Hold) Append(dst []byte) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 8), uint64(h.Token))
	dst = protocol.AppendInt(dst, h.Amount)
	dst = protocol.AppendString(protocol.AppendString(dst, h.Mode), h.Note)
	dst = protocol.AppendUint(dst, uint64(h.Since))
	dst = protocol.AppendUint(dst, uint64(h.Mark))
	dst = protocol.AppendUint(dst, uint64(h.Until))
	return protocol.AppendString(dst, h.Reason)
}

// Read reads the value of a hold's row.
func (h *Hold) Read(value []byte) error {
	r := protocol.NewReader(value)
	r.Array(8)
	h.Token, h.Amount = protocol.Token(r.Uint()), r.Int()
	h.Mode, h.Note = r.String(), r.String()
	h.Since, h.Mark = protocol.LogTime(r.Uint()), HoldMark(r.Uint())
	h.Until, h.Reason = protocol.LogTime(r.Uint()), r.String()
	return r.Done()
}

// PutHold puts the row of a hold that this mutation grants to a session.
func PutHold(env Env, id protocol.HoldID, to protocol.SessionID, h Hold) {
	h.Token, h.Since = protocol.Token(env.Version()), env.Now()
	env.Put(HoldKey(id), Row{Value: h.Append(nil), Owner: to})
}

// OwnHold returns a hold of the calling session, and false if that session has no such
// hold: it has ended, or belongs to another session.
func OwnHold(env Env, id protocol.HoldID) (Row, Hold, bool) {
	var h Hold
	row, ok := env.Get(HoldKey(id))
	if !ok || row.Owner != env.Caller().Session || h.Read(row.Value) != nil {
		return Row{}, Hold{}, false
	}
	return row, h, true
}

// Revoke notes a revocation that does not end the hold at once: one with a grace, or one
// that only asks. It reports whether that changes anything.
func (h *Hold) Revoke(v *Revocation, now protocol.LogTime) (changed bool) {
	switch {
	case v.Grace < 0 && h.Mark > HoldAsked:
		return false
	case v.Grace < 0:
		h.Mark = HoldAsked
	default:
		until := now.Add(time.Duration(v.Grace) * time.Millisecond)
		if h.Mark >= HoldRevoked {
			until = min(until, h.Until)
		}
		h.Mark, h.Until = max(h.Mark, HoldRevoked), until
	}
	h.Reason = v.Reason
	return true
}

// Deadline is that of the hold's row: it has one only if its holder has acknowledged a
// revocation (HOLD-2).
func (h *Hold) Deadline() protocol.LogTime {
	if h.Mark == HoldAcknowledged {
		return h.Until
	}
	return 0
}

// AppendWanted appends what a waiting call that holds asks for; the payload of the waiting
// call begins with it, in all structures alike. What a structure needs besides follows.
func AppendWanted(dst []byte, amount int64, mode, note string) []byte {
	dst = protocol.AppendInt(protocol.AppendArray(dst, 3), amount)
	return protocol.AppendString(protocol.AppendString(dst, mode), note)
}

// ReadWanted reads what AppendWanted wrote, at the beginning of a payload.
func ReadWanted(payload []byte) (amount int64, mode, note string, err error) {
	r := protocol.NewReader(payload)
	r.Array(3)
	amount, mode, note = r.Int(), r.String(), r.String()
	return amount, mode, note, r.Err()
}

// Granted is the result of an operation that holds: [hold, token].
func Granted(id protocol.HoldID, token protocol.Token) Result {
	b := protocol.AppendUint(protocol.AppendArray(nil, 2), uint64(id))
	return OK(protocol.AppendUint(b, uint64(token)))
}

// readGranted reads the result of an operation that holds.
func readGranted(body []byte) (id protocol.HoldID, token protocol.Token, err error) {
	r := protocol.NewReader(body)
	r.Array(2)
	id, token = protocol.HoldID(r.Uint()), protocol.Token(r.Uint())
	return id, token, r.Done()
}

// AppendHold appends the body of an operation on one hold: [hold].
func AppendHold(dst []byte, id protocol.HoldID) []byte {
	return protocol.AppendUint(protocol.AppendArray(dst, 1), uint64(id))
}

// ReadHold reads the body of an operation on one hold.
func ReadHold(body []byte) (protocol.HoldID, error) {
	r := protocol.NewReader(body)
	r.Array(1)
	id := protocol.HoldID(r.Uint())
	if err := r.Done(); err != nil {
		return 0, err
	}
	if id == 0 {
		return 0, fmt.Errorf("%w: hold 0", quorate.ErrInvalid)
	}
	return id, nil
}
