package dqueue

import (
	"time"

	"github.com/quorate/quorate/structures"
)

// Version numbers the states of the partition of the queue.
type Version = structures.Version

// Option changes what [New] returns.
type Option = structures.HandleOption

// Codec is [structures.WithCodec]: how elements become bytes; the default is
// [structures.CBOR].
func Codec(c structures.Codec) Option { return structures.WithCodec(c) }

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is [structures.Stale]: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// Seen is [structures.Seen]: v gets the version of the state that was read.
func Seen(v *Version) ReadOption { return structures.Seen(v) }

// WaitOption bounds how long an operation waits.
type WaitOption = structures.WaitOption

// Wait is [structures.Wait]: the operation waits for d at most, with 0 not at all; without
// it until the context ends.
func Wait(d time.Duration) WaitOption { return structures.Wait(d) }

// WriteOption changes how an operation that never waits is done.
type WriteOption = structures.WriteOption

// IfHeld is [structures.IfHeld]: the queue is changed only if h is held. Operations that
// wait do not take it: what they wait for could be lost by then.
func IfHeld(h *structures.Held) WriteOption { return structures.IfHeld(h) }
