package structures

import "github.com/quorate/quorate/protocol"

// Base is embedded by a Machine whose rows have no deadlines and no owners and
// whose calls never wait. The methods that such a Machine never meets panic.
type Base struct{}

// Due panics: no row has a deadline.
func (Base) Due(Env, []byte, Row) { panic("structures: bug: a row is due, none has a deadline") }

// Ended panics: no row has an owner.
func (Base) Ended(Env, []byte, Row) { panic("structures: bug: an owner has ended, no row has one") }

// Confirmed panics: no row is reserved.
func (Base) Confirmed(Env, []byte, Row) { panic("structures: bug: confirmed, no row is reserved") }

// Withdrawn panics: no call waits.
func (Base) Withdrawn(Env) { panic("structures: bug: withdrawn, no call waits") }

// Len returns 0.
func (Base) Len(View) int64 { return 0 }

// DecodeProblem returns what a reply that is not OK says for people.
func DecodeProblem(body []byte) string {
	var p protocol.Problem
	if p.Decode(body) != nil {
		return ""
	}
	return p.Detail
}
