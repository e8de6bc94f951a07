package dlatch

import (
	"time"

	"github.com/quorate/quorate/structures"
)

// Version numbers the states of the partition of the latch.
type Version = structures.Version

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is [structures.Stale]: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// Seen is [structures.Seen]: v gets the version of the state that was read.
func Seen(v *Version) ReadOption { return structures.Seen(v) }

// DownOption changes how [Latch.CountDown] counts: [By], [In] or [IfHeld]. Of several of a
// kind the last one counts, and nil changes nothing.
type DownOption interface{ down(*downing) }

// AwaitOption changes how [Latch.Await] waits: [Wait] or [In].
type AwaitOption interface{ await(*awaiting) }

// HoldOption changes how [Latch.Hold] holds: [In] or [Note].
type HoldOption interface{ hold(*holding) }

// downing, awaiting and holding are what the options of an operation ask for together.
type downing struct {
	by    int64
	round Round
	guard structures.Guard
}

type awaiting struct {
	wait    structures.WaitOption
	bounded bool
	round   Round
}

type holding struct {
	round Round
	note  string
}

// ByOption is what [By] returns.
type ByOption struct{ n int64 }

func (o ByOption) down(d *downing) { d.by = o.n }

// By takes n off the count, 1 to [MaxCount].
func By(n int64) ByOption { return ByOption{n} }

// RoundOption is what [In] returns. The zero RoundOption changes nothing.
type RoundOption struct{ round Round }

func (o RoundOption) down(d *downing)   { d.round = o.round }
func (o RoundOption) await(a *awaiting) { a.round = o.round }
func (o RoundOption) hold(h *holding)   { h.round = o.round }

// In names the round that the operation is about: it does nothing in another one.
func In(round Round) RoundOption { return RoundOption{round} }

// WaitOption bounds how long an operation waits.
type WaitOption struct{ option structures.WaitOption }

func (o WaitOption) await(a *awaiting) { a.wait, a.bounded = o.option, true }

// Wait is [structures.Wait]: the operation waits for d at most, with 0 not at all; without
// it until the context ends.
func Wait(d time.Duration) WaitOption { return WaitOption{structures.Wait(d)} }

// NoteOption is what [Note] returns.
type NoteOption struct{ text string }

func (o NoteOption) hold(h *holding) { h.note = o.text }

// Note says who holds, human-readable, in at most 255 bytes of UTF-8. [Latch.Inspect] shows
// it.
func Note(text string) NoteOption { return NoteOption{text} }

// WriteOption changes how the latch is set or counted down. The zero WriteOption changes
// nothing.
type WriteOption struct{ option structures.WriteOption }

func (o WriteOption) down(d *downing) { d.guard = d.guard.With(o.option) }

// IfHeld is [structures.IfHeld]: the latch is changed only if h is held.
func IfHeld(h *structures.Held) WriteOption { return WriteOption{structures.IfHeld(h)} }
