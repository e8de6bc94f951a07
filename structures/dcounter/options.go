package dcounter

import "github.com/quorate/quorate/structures"

// Version is a state of the partition that the counter lives in.
type Version = structures.Version

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is structures.Stale: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// Seen is structures.Seen: v gets the version of the state that was read.
func Seen(v *Version) ReadOption { return structures.Seen(v) }
