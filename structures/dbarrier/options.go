package dbarrier

import (
	"time"

	"github.com/quorate/quorate/structures"
)

// EnterOption changes how [DoubleBarrier.Enter] enters: [Wait] or [Note]. Of several of a
// kind the last one counts, and nil changes nothing.
type EnterOption interface{ enter(*entering) }

// entering is what the options of an Enter ask for together.
type entering struct {
	wait []WaitOption
	note string
}

// WaitOption bounds how long an operation waits. The zero WaitOption changes nothing.
type WaitOption struct{ option structures.WaitOption }

func (o WaitOption) enter(e *entering) { e.wait = append(e.wait, o) }

// Wait is [structures.Wait]: the operation waits for d at most, with 0 not at all; without
// it until the context ends.
func Wait(d time.Duration) WaitOption { return WaitOption{structures.Wait(d)} }

// waitWith returns what options ask for.
func waitWith(opts []WaitOption) structures.WaitBound {
	list := make([]structures.WaitOption, len(opts))
	for i, o := range opts {
		list[i] = o.option
	}
	return structures.WaitWith(list)
}

// NoteOption is what [Note] returns.
type NoteOption struct{ text string }

func (o NoteOption) enter(e *entering) { e.note = o.text }

// Note says who enters, human-readable, in at most 255 bytes of UTF-8.
// [DoubleBarrier.Inspect] shows it.
func Note(text string) NoteOption { return NoteOption{text} }
