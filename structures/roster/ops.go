package roster

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a roster. Numbers are never used again. Every body and every result
// is an array; times are milliseconds.
const (
	opRegister   protocol.Op = 1 // [id, nonce, data, ttl, remove, flags, state, note] -> []
	opReport     protocol.Op = 2 // [id, nonce, state, note] -> []
	opUpdate     protocol.Op = 3 // [id, nonce, data] -> []
	opDeregister protocol.Op = 4 // [id, nonce] -> []
	opDrain      protocol.Op = 5 // [id, on, reason] -> [changed]
	opRemove     protocol.Op = 6 // [id] -> [existed]
	opList       protocol.Op = 7 // [from, max bytes] -> [changed, now, next, * (id, session, version, entry)]
)

// ops describes the operations.
//
// None of them holds in the sense of OpInfo.Holds, although an entry ends with its
// session. Nobody relies on being the only one that is registered, since the last
// registration of an ID wins. So after a group has lost its data, entries come back at
// once, and not only after the grace period.
var ops = []structures.OpInfo{
	{Op: opRegister, Name: "register", Body: "[id, nonce, data: bstr, ttl: uint, remove: uint, flags: 0..3, health, note: tstr]", Result: "[]", Codes: []protocol.Code{codeReplaced}, Grows: true, Right: structures.RightHold},
	{Op: opReport, Name: "report", Body: "[id, nonce, health, note: tstr]", Result: "[]", Codes: named, Right: structures.RightHold},
	{Op: opUpdate, Name: "update", Body: "[id, nonce, data: bstr]", Result: "[]", Codes: named, Grows: true, Right: structures.RightHold},
	{Op: opDeregister, Name: "deregister", Body: "[id, nonce]", Result: "[]", Codes: named, Right: structures.RightHold},
	{Op: opDrain, Name: "drain", Body: "[id, on: bool, reason: tstr]", Result: "[changed: bool]", Admin: true, Right: structures.RightManage},
	{Op: opRemove, Name: "remove", Body: "[id]", Result: "[existed: bool]", Admin: true, Right: structures.RightManage},
	{Op: opList, Name: "list", Body: "[from: tstr, max: uint]", Result: "[changed: version, now: uint, next: tstr, * (id, session: uint, version, entry: bstr)]", Read: true, Right: structures.RightRead},
}

// rules are what names in the operations are.
var rules = []structures.Rule{
	{Name: "health", Type: "0..2", Help: "0 passing, 1 warning, 2 critical"},
	{Name: "id", Type: "tstr", Help: "of an entry: 1 to 255 bytes without control characters"},
	{Name: "nonce", Type: "uint", Help: "a random number, not 0, that names one registration of an ID"},
}

// The codes of a roster's own.
const (
	codeReplaced = protocol.CodeKindBase + 0
	codeUnknown  = protocol.CodeKindBase + 1
)

// named are the codes of operations that name a registration.
var named = []protocol.Code{codeReplaced, codeUnknown}

var codes = []structures.CodeInfo{
	{Code: codeReplaced, Name: "replaced", Err: ErrReplaced, Help: "another registration has taken the ID over"},
	{Code: codeUnknown, Name: "not_registered", Err: ErrNotRegistered, Help: "nothing is registered under the ID"},
}

var (
	// ErrReplaced is the error of a registration whose ID was registered again, by another
	// process or by this one. The last one wins.
	ErrReplaced = errors.New("replaced by another registration")
	// ErrNotRegistered is the error of an operation on an ID under which nothing is
	// registered.
	ErrNotRegistered = errors.New("not registered")
)

// Limits of a roster.
const (
	MaxEntries = 10_000   // registrations of one name, and as many drained IDs
	MaxData    = 64 << 10 // bytes of what one registration says
	MaxID      = 255      // bytes
	MaxNote    = structures.MaxNote

	MinTTL = time.Second
	MaxTTL = 30 * 24 * time.Hour
)

// Flags of a registration, on the wire and in its row.
const (
	flagPermanent = 1 << 0 // it does not end with the session
	flagAgain     = 1 << 1 // in a request: it was registered before, under the same nonce
	flagDrained   = 1 << 1 // in a row
)

// Health is what a registration says of itself.
type Health uint8

// The states of health.
const (
	Passing Health = iota
	Warning
	Critical
)

// String names the health: "passing".
func (h Health) String() string {
	switch h {
	case Passing:
		return "passing"
	case Warning:
		return "warning"
	case Critical:
		return "critical"
	}
	return fmt.Sprintf("health %d", uint8(h))
}

// request is the body of an operation on one entry. Each operation has some of the
// fields.
type request struct {
	id          string
	nonce       uint64
	data        []byte
	ttl, remove int64 // milliseconds; 0: none
	flags       uint64
	health      Health
	note        string // or the reason of a drain
	on          bool
}

// append appends the body of an operation.
func (q *request) append(dst []byte, op protocol.Op) []byte {
	head := func(n int) { dst = protocol.AppendString(protocol.AppendArray(dst, n), q.id) }
	switch op {
	case opRegister:
		head(8)
		dst = protocol.AppendBytes(protocol.AppendUint(dst, q.nonce), q.data)
		dst = protocol.AppendUint(protocol.AppendUint(dst, uint64(q.ttl)), uint64(q.remove))
		dst = protocol.AppendUint(protocol.AppendUint(dst, q.flags), uint64(q.health))
		return protocol.AppendString(dst, q.note)
	case opReport:
		head(4)
		return protocol.AppendString(protocol.AppendUint(protocol.AppendUint(dst, q.nonce), uint64(q.health)), q.note)
	case opUpdate:
		head(3)
		return protocol.AppendBytes(protocol.AppendUint(dst, q.nonce), q.data)
	case opDeregister:
		head(2)
		return protocol.AppendUint(dst, q.nonce)
	case opDrain:
		head(3)
		return protocol.AppendString(protocol.AppendBool(dst, q.on), q.note)
	}
	head(1)
	return dst
}

// readRequest reads and checks the body of an operation on one entry.
func readRequest(op protocol.Op, body []byte) (q request, err error) {
	r := protocol.NewReader(body)
	read := func(n int) { r.Array(n); q.id = r.String() }
	health, nonce := uint64(0), true
	switch op {
	case opRegister:
		read(8)
		q.nonce, q.data = r.Uint(), r.Bytes()
		q.ttl, q.remove = int64(r.Uint()), int64(r.Uint())
		q.flags, health, q.note = r.Uint(), r.Uint(), r.String()
	case opReport:
		read(4)
		q.nonce, health, q.note = r.Uint(), r.Uint(), r.String()
	case opUpdate:
		read(3)
		q.nonce, q.data = r.Uint(), r.Bytes()
	case opDeregister:
		read(2)
		q.nonce = r.Uint()
	case opDrain:
		read(3)
		q.on, q.note, nonce = r.Bool(), r.String(), false
	case opRemove:
		read(1)
		nonce = false
	default:
		return q, fmt.Errorf("%w: operation %d of a roster", quorate.ErrUnsupported, op)
	}
	if err := r.Done(); err != nil {
		return q, err
	}
	q.health = Health(min(health, 255))
	switch {
	case nonce && q.nonce == 0:
		return q, fmt.Errorf("%w: the nonce is 0", quorate.ErrInvalid)
	case q.flags > flagPermanent|flagAgain:
		return q, fmt.Errorf("%w: flags %d", quorate.ErrInvalid, q.flags)
	}
	return q, q.check()
}

// check reports what is out of range.
func (q *request) check() error {
	if err := checkID(q.id); err != nil {
		return err
	}
	most := MaxTTL.Milliseconds()
	switch {
	case q.ttl != 0 && (q.ttl < MinTTL.Milliseconds() || q.ttl > most):
		return fmt.Errorf("%w: a TTL of %d ms is not within %v to %v", quorate.ErrInvalid, q.ttl, MinTTL, MaxTTL)
	case q.remove != 0 && (q.remove < MinTTL.Milliseconds() || q.remove > most):
		return fmt.Errorf("%w: removed after %d ms, not within %v to %v", quorate.ErrInvalid, q.remove, MinTTL, MaxTTL)
	case q.health > Critical:
		return fmt.Errorf("%w: %v", quorate.ErrInvalid, q.health)
	case len(q.note) > MaxNote:
		return fmt.Errorf("%w: the note has %d bytes, at most %d", quorate.ErrTooLarge, len(q.note), MaxNote)
	case len(q.data) > MaxData:
		return fmt.Errorf("%w: %d bytes of data, at most %d", quorate.ErrTooLarge, len(q.data), MaxData)
	}
	return nil
}

func checkID(id string) error { return structures.CheckIdentifier("ID", id, MaxID) }

// Named is the note of a health, cut to what a note may have.
func Named(note string) string {
	if len(note) > MaxNote {
		note = note[:MaxNote]
	}
	return toValid(note)
}

// toValid leaves out what is not UTF-8, such as half of a character at the end.
func toValid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r != utf8.RuneError {
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}

// milliseconds returns a time to live on the wire: 0 is none, less than a millisecond is
// one, so that it is refused and not forgotten.
func milliseconds(d time.Duration) int64 {
	if d <= 0 {
		return int64(min(d, 0))
	}
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
