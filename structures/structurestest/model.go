package structurestest

import (
	"bytes"
	"fmt"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
)

// Op is an operation as it goes over the wire. One with protocol.FlagRead is a
// read.
type Op struct {
	Op    protocol.Op
	Flags protocol.Flags
	Body  []byte
	Text  string // human-readable: "acquire 3"
}

// CallID numbers the mutations of a run, from 1.
type CallID int

// Call is a mutation.
type Call struct {
	ID      CallID
	Session protocol.SessionID
	Op
}

// Answer is what a call gets. Of a refusal only the code is compared.
type Answer struct {
	Call CallID
	Code protocol.Code
	Body []byte
	// Match, if not nil, is asked instead of comparing Body. The version is that
	// of the mutation that answered. It is called later than the model answers,
	// in the order of the answers of an entry.
	Match func(body []byte, at protocol.Version) error
}

// OK is the answer of a call that was carried out.
func OK(id CallID, body []byte) Answer { return Answer{Call: id, Body: body} }

// Refused is the answer of a call that was refused.
func Refused(id CallID, code protocol.Code) Answer { return Answer{Call: id, Code: code} }

// Model is one structure, in a plain and slow way. A call without an answer
// waits.
type Model interface {
	// Generate draws an operation; it may look at the model's state.
	Generate(t *rapid.T) Op
	// Read answers a read.
	Read(op Op, now protocol.LogTime) Answer
	// Apply carries out a mutation and returns its answer, unless it waits, and
	// those of calls that waited.
	Apply(call Call, now protocol.LogTime) []Answer
	// Destroy empties it, and no settings are agreed. It may remember what a later instance
	// must not repeat.
	Destroy()
	// Withdraw takes back a call that waits or was answered with CodeReserved,
	// and returns the answers of others.
	Withdraw(id CallID) []Answer
	// Confirm takes what was reserved for a call.
	Confirm(id CallID)
	// End ends a session; its own calls need no answers.
	End(session protocol.SessionID) []Answer
	// Advance lets time come to now: what is due goes, waiting calls whose time
	// has run out are answered with CodeTimedOut.
	Advance(now protocol.LogTime) []Answer
	// Len is the Machine's Len.
	Len(now protocol.LogTime) int64
}

// Plain is embedded by a Model whose calls never wait, that knows no sessions
// and no time.
type Plain struct{}

// Withdraw panics: no call waits.
func (Plain) Withdraw(CallID) []Answer { panic("structurestest: bug: no call waits") }

// Confirm panics: nothing is reserved.
func (Plain) Confirm(CallID) { panic("structurestest: bug: nothing is reserved") }

// End returns nothing.
func (Plain) End(protocol.SessionID) []Answer { return nil }

// Advance returns nothing.
func (Plain) Advance(protocol.LogTime) []Answer { return nil }

// compare reports how a reply differs from the answer.
func (a *Answer) compare(code protocol.Code, body []byte, at protocol.Version) error {
	switch {
	case code != a.Code:
		var p protocol.Problem
		_ = p.Decode(body)
		return fmt.Errorf("code %d %q, the model says %d", code, p.Detail, a.Code)
	case code.Class() != protocol.ClassDone:
		return nil
	case a.Match != nil:
		return a.Match(body, at)
	case !bytes.Equal(body, a.Body):
		return fmt.Errorf("body %x, the model says %x", body, a.Body)
	}
	return nil
}
