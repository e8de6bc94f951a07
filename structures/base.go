package structures

import "time"

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

// MaxWait is the longest wait that has an end.
const MaxWait = 10 * 365 * 24 * time.Hour

// WaitMilliseconds returns d as a wait on the wire, where 0 has no end.
func WaitMilliseconds(d time.Duration) int64 {
	return int64((min(d, MaxWait) + time.Millisecond - 1) / time.Millisecond)
}
