package delection

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of an election. Numbers are never used again.
const (
	opCampaign   protocol.Op = 1 // [priority, value, note, milliseconds or 0: for ever] -> [hold, token]; waits
	opProclaim   protocol.Op = 2 // [hold, value] -> []
	opResign     protocol.Op = 3 // [hold] -> []
	opLeader     protocol.Op = 4 // [] -> leader
	opCandidates protocol.Op = 5 // [from, most] -> [next, named, [* candidate]]
	opTransfer   protocol.Op = 6 // [hold, candidate, grace, reason] -> [existed]
	opTry        protocol.Op = 7 // [priority, value, note] -> [hold, token]
)

// ops describes the operations.
//
// A campaign does not grow: candidates are few, end with their sessions, and keep the
// applications of the grid going while memory is short.
var ops = []structures.OpInfo{
	{Op: opCampaign, Name: "campaign", Body: "[priority, value, note: tstr, wait]", Result: "[hold, token]", Codes: []protocol.Code{protocol.CodeTimedOut}, Waits: true, Holds: true, Right: structures.RightHold},
	{Op: opProclaim, Name: "proclaim", Body: "[hold, value]", Result: "[]", Codes: []protocol.Code{codeNotHeld}, Grows: true, Txn: true, Right: structures.RightHold},
	{Op: opResign, Name: "resign", Body: "[hold]", Result: "[]", Codes: []protocol.Code{codeNotHeld}, Txn: true, Right: structures.RightHold},
	{Op: opLeader, Name: "leader", Body: "[]", Result: "[hold, token, session: uint, note: tstr, for: uint, value]", Codes: []protocol.Code{codeNone}, Read: true, Txn: true, Right: structures.RightRead},
	{Op: opCandidates, Name: "candidates", Body: "[from: hold, most: uint]", Result: "[next: hold, named: hold, [* candidate]]", Read: true, Right: structures.RightRead},
	{Op: opTransfer, Name: "transfer", Body: "[hold, candidate: hold, grace: int, reason: tstr]", Result: "[existed: bool]", Codes: []protocol.Code{codeNoCandidate}, Admin: true, Right: structures.RightManage},
	{Op: opTry, Name: "try_campaign", Body: "[priority, value, note: tstr]", Result: "[hold, token]", Codes: []protocol.Code{codeLed}, Holds: true, Right: structures.RightHold},
}

// rules are what names in the operations are.
var rules = []structures.Rule{
	{Name: "candidate", Type: "[hold, session: uint, priority, note: tstr, for: uint, left: uint, value]", Help: "who waits to be elected, since how many milliseconds, and how many it still waits, 0: for ever"},
	{Name: "priority", Type: "int", Help: "of 32 bits. Of those who wait the highest is elected"},
}

// The codes of an election's own.
const (
	codeNone        = protocol.CodeKindBase + 0
	codeNotHeld     = protocol.CodeKindBase + 1
	codeLed         = protocol.CodeKindBase + 2
	codeNoCandidate = protocol.CodeKindBase + 3
)

var codes = []structures.CodeInfo{
	{Code: codeNone, Name: "none", Err: errNone, Help: "nobody leads", Answer: true},
	{Code: codeNotHeld, Name: "not_held", Err: structures.ErrNotHeld, Help: "the session has no such leadership"},
	{Code: codeLed, Name: "led", Err: quorate.ErrNotInTime, Help: "another leads, or others wait"},
	{Code: codeNoCandidate, Name: "no_candidate", Err: ErrNoCandidate, Help: "no such candidate waits"},
}

// errNone is the error of codeNone, which the handle turns into false.
var errNone = errors.New("nobody leads")

const (
	// MaxCandidates is how many may wait to be elected.
	MaxCandidates = 1000
	// MaxValue is how many bytes the encoded value of a leader or a candidate may have.
	MaxValue = 64 << 10
)

// campaign is the body of opCampaign and, without the wait, of opTry.
type campaign struct {
	priority int64
	value    []byte
	note     string
	wait     time.Duration
}

func (c *campaign) append(dst []byte, op protocol.Op) []byte {
	n := 3
	if op == opCampaign {
		n = 4
	}
	dst = protocol.AppendInt(protocol.AppendArray(dst, n), c.priority)
	dst = protocol.AppendString(protocol.AppendBytes(dst, c.value), c.note)
	if op == opCampaign {
		dst = protocol.AppendInt(dst, structures.WaitMilliseconds(c.wait))
	}
	return dst
}

// read reads the body and checks it.
func (c *campaign) read(op protocol.Op, body []byte) error {
	r := protocol.NewReader(body)
	ms := int64(0)
	if op == opCampaign {
		r.Array(4)
	} else {
		r.Array(3)
	}
	c.priority, c.value, c.note = r.Int(), r.Bytes(), r.String()
	if op == opCampaign {
		ms = r.Int()
	}
	if err := r.Done(); err != nil {
		return err
	}
	if err := structures.CheckWait(ms); err != nil {
		return err
	}
	c.wait = time.Duration(ms) * time.Millisecond
	return c.check()
}

func (c *campaign) check() error {
	if c.priority < math.MinInt32 || c.priority > math.MaxInt32 {
		return fmt.Errorf("%w: priority %d does not fit into 32 bits", quorate.ErrInvalid, c.priority)
	}
	if err := structures.CheckNote(c.note); err != nil {
		return err
	}
	return checkValue(c.value)
}

func checkValue(value []byte) error {
	switch {
	case len(value) == 0:
		return fmt.Errorf("%w: an empty value", quorate.ErrInvalid)
	case len(value) > MaxValue:
		return fmt.Errorf("%w: a value of %d bytes, at most %d", quorate.ErrTooLarge, len(value), MaxValue)
	}
	return nil
}

// proclamation is the body of opProclaim.
type proclamation struct {
	hold  protocol.HoldID
	value []byte
}

func (p *proclamation) append(dst []byte) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 2), uint64(p.hold))
	return protocol.AppendBytes(dst, p.value)
}

// read reads the body and checks it.
func (p *proclamation) read(body []byte) error {
	r := protocol.NewReader(body)
	r.Array(2)
	p.hold, p.value = protocol.HoldID(r.Uint()), r.Bytes()
	if p.hold == 0 {
		r.Fail()
	}
	if err := r.Done(); err != nil {
		return err
	}
	return checkValue(p.value)
}

// transfer is the body of opTransfer.
type transfer struct {
	structures.Revocation
	candidate protocol.HoldID
}

func (t *transfer) append(dst []byte) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 4), uint64(t.Hold))
	dst = protocol.AppendInt(protocol.AppendUint(dst, uint64(t.candidate)), t.Grace)
	return protocol.AppendString(dst, t.Reason)
}

// read reads the body and checks it.
func (t *transfer) read(body []byte) error {
	r := protocol.NewReader(body)
	r.Array(4)
	t.Hold, t.candidate = protocol.HoldID(r.Uint()), protocol.HoldID(r.Uint())
	t.Grace, t.Reason = r.Int(), r.String()
	if err := r.Done(); err != nil {
		return err
	}
	return t.check()
}

func (t *transfer) check() error {
	if t.candidate == 0 {
		return fmt.Errorf("%w: candidate 0", quorate.ErrInvalid)
	}
	return t.Revocation.Check()
}

// leader is who leads: the "l" row and, with the time since when, the result of opLeader.
type leader struct {
	hold    protocol.HoldID
	token   protocol.Token
	session protocol.SessionID
	note    string
	since   time.Duration // of opLeader only
	value   []byte
}

// append appends the row, or the result.
func (l *leader) append(dst []byte, result bool) []byte {
	n := 5
	if result {
		n = 6
	}
	dst = protocol.AppendUint(protocol.AppendArray(dst, n), uint64(l.hold))
	dst = protocol.AppendUint(protocol.AppendUint(dst, uint64(l.token)), uint64(l.session))
	dst = protocol.AppendString(dst, l.note)
	if result {
		dst = protocol.AppendUint(dst, milliseconds(l.since))
	}
	return protocol.AppendBytes(dst, l.value)
}

// read reads the row, or the result. The value aliases it.
func (l *leader) read(b []byte, result bool) error {
	r := protocol.NewReader(b)
	if result {
		r.Array(6)
	} else {
		r.Array(5)
	}
	l.hold, l.token, l.session = protocol.HoldID(r.Uint()), protocol.Token(r.Uint()), protocol.SessionID(r.Uint())
	l.note = strings.Clone(r.String())
	if result {
		l.since = readMilliseconds(&r)
	}
	l.value = r.Bytes()
	return r.Done()
}

// page is the result of opCandidates.
type page struct {
	next  protocol.HoldID // to go on with; 0: this was all
	named protocol.HoldID // who is the next leader by a Transfer; 0: nobody
	list  []candidate
}

// candidate is who waits to be elected.
type candidate struct {
	hold     protocol.HoldID // that it will have
	session  protocol.SessionID
	priority int64
	note     string
	waits    time.Duration
	left     time.Duration // of the wait; 0: it has no end
	value    []byte
	waiter   structures.Waiter
}

func (c *candidate) append(dst []byte) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 7), uint64(c.hold))
	dst = protocol.AppendInt(protocol.AppendUint(dst, uint64(c.session)), c.priority)
	dst = protocol.AppendUint(protocol.AppendString(dst, c.note), milliseconds(c.waits))
	return protocol.AppendBytes(protocol.AppendUint(dst, milliseconds(c.left)), c.value)
}

func (p *page) append(dst []byte) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 3), uint64(p.next))
	dst = protocol.AppendArray(protocol.AppendUint(dst, uint64(p.named)), len(p.list))
	for i := range p.list {
		dst = p.list[i].append(dst)
	}
	return dst
}

// read reads what append wrote. The values alias it.
func (p *page) read(body []byte) error {
	r := protocol.NewReader(body)
	r.Array(3)
	p.next, p.named = protocol.HoldID(r.Uint()), protocol.HoldID(r.Uint())
	for range r.ArrayLen() {
		var c candidate
		r.Array(7)
		c.hold, c.session, c.priority = protocol.HoldID(r.Uint()), protocol.SessionID(r.Uint()), r.Int()
		c.note = strings.Clone(r.String())
		c.waits, c.left = readMilliseconds(&r), readMilliseconds(&r)
		if c.value = r.Bytes(); r.Err() != nil {
			break
		}
		p.list = append(p.list, c)
	}
	return r.Done()
}

// milliseconds is a duration on the wire, rounded up.
func milliseconds(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d-1)/time.Millisecond) + 1
}

func readMilliseconds(r *protocol.Reader) time.Duration {
	return time.Duration(min(r.Uint(), math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
}
