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
