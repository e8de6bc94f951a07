package dcounter

import "github.com/quorate/quorate/structures"

// Version numbers the states of the partition of the counter.
type Version = structures.Version

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is [structures.Stale]: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// Seen is [structures.Seen]: v gets the version of the state that was read.
func Seen(v *Version) ReadOption { return structures.Seen(v) }

// WriteOption changes how the counter is written.
type WriteOption = structures.WriteOption

// IfHeld is [structures.IfHeld]: the counter is written only if h is held.
func IfHeld(h *structures.Held) WriteOption { return structures.IfHeld(h) }
