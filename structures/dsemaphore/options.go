package dsemaphore

import (
	"time"

	"github.com/quorate/quorate/structures"
)

// Version numbers the states of the partition of the semaphore.
type Version = structures.Version

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is [structures.Stale]: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// Seen is [structures.Seen]: v gets the version of the state that was read.
func Seen(v *Version) ReadOption { return structures.Seen(v) }

// AcquireOption changes how permits are acquired.
type AcquireOption = structures.LockOption

// Wait is [structures.LockWait]: the call waits for d at most, with 0 not at all; without it
// until the context ends.
func Wait(d time.Duration) AcquireOption { return structures.LockWait(d) }

// Note is [structures.Note]: who holds the permits and what for, human-readable.
func Note(text string) AcquireOption { return structures.Note(text) }

// WriteOption changes how an operation that never waits is done.
type WriteOption = structures.WriteOption

// IfHeld is [structures.IfHeld]: permits are added only if h is held.
func IfHeld(h *structures.Held) WriteOption { return structures.IfHeld(h) }
