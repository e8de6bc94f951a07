package verify

import (
	"errors"
	"fmt"
	"time"
)

// Presence is what is known of an entry that nobody writes any more.
type Presence uint8

// What may be known of an entry.
const (
	Maybe   Presence = iota // the last write has an unknown outcome
	Present                 // its write was acknowledged
	Absent                  // its deletion was acknowledged
)

// Entries is what is known of the entries of a map.
type Entries map[string]Presence

// CheckEntries reports whether what was acknowledged is there: written entries
// present, deleted ones absent.
func CheckEntries(expected Entries, present func(key string) bool) error {
	var lost, back []string
	for k, p := range expected {
		switch there := present(k); {
		case p == Present && !there:
			lost = append(lost, k)
		case p == Absent && there:
			back = append(back, k)
		}
	}
	var errs []error
	if len(lost) > 0 {
		errs = append(errs, fmt.Errorf("%d of %d entries are lost although their writes were acknowledged: %.200q", len(lost), len(expected), lost))
	}
	if len(back) > 0 {
		errs = append(errs, fmt.Errorf("%d of %d entries are back although their deletion was acknowledged: %.200q", len(back), len(expected), back))
	}
	return errors.Join(errs...)
}

// Life is an entry with a time to live.
type Life struct {
	TTL              time.Duration
	Called, Returned time.Time // of the write, which was acknowledged
}

// LateBound is how much longer than its time to live an entry may be read
// while nothing disturbs the grid.
const LateBound = 2 * time.Second

// CheckLife reports whether an entry may have been there, or not, when it was
// read between asked and answered. Log time moves no more than real time, so it
// is never removed early; it stands still while a group has no leader, so that
// only undisturbed time counts against an entry that is still there.
func CheckLife(l Life, there bool, asked, answered time.Time, quiet func(from, to time.Time) time.Duration) error {
	if !there {
		if lived := answered.Sub(l.Called); lived < l.TTL {
			return fmt.Errorf("it was removed %v after its write was called, with a time to live of %v", lived, l.TTL)
		}
		return nil
	}
	if lived := quiet(l.Returned, asked); lived > l.TTL+LateBound {
		return fmt.Errorf("it was there %v after its write was acknowledged (%v without faults), with a time to live of %v",
			asked.Sub(l.Returned), lived, l.TTL)
	}
	return nil
}

// Ephemeral is the entries of a session.
type Ephemeral struct {
	TTL   time.Duration // how long the session may last after Ended; 0: it has ended then
	Ended time.Time     // since when nothing prolongs the session; zero: it lives
}

// CheckEphemeral reports whether an entry of a session may have been there, or not, when it
// was read from asked on. The argument lives says that after the answer the session's client
// still held by it. Only undisturbed time counts against an entry that is still there, as in
// [CheckLife].
func CheckEphemeral(e Ephemeral, there, lives bool, asked time.Time, quiet func(from, to time.Time) time.Duration) error {
	if !there {
		if lives {
			return errors.New("it has gone, and its session lives")
		}
		return nil
	}
	if e.Ended.IsZero() || !asked.After(e.Ended) {
		return nil
	}
	if left := quiet(e.Ended, asked); left > e.TTL+LateBound {
		return fmt.Errorf("it was there %v after its session was to end (%v without faults), within %v", asked.Sub(e.Ended), left, e.TTL)
	}
	return nil
}
