package structures

import (
	"time"

	"github.com/quorate/quorate/protocol"
)

// The options that structures share. Each package hands them on under the same
// names, so dqueue.Wait(d) is structures.Wait(d). They are plain values: an option
// that an operation does not know does not compile, and none costs an allocation.

// Version is a state of a partition, or of an entry in it. Of one partition a later
// state has a larger one; those of different partitions do not compare.
type Version = protocol.Version

// ReadOption changes how a read is done. The zero ReadOption changes nothing.
type ReadOption struct {
	stale bool
	seen  *Version
}

// Stale lets any replica answer from what it has: an older state, sooner, and also
// where the group has lost its majority. Seen tells which state it was.
func Stale() ReadOption { return ReadOption{stale: true} }

// Seen stores in v the version of the state that the read saw: that of the
// structure's partition. Of two reads the one with the larger version saw the later
// state, stale or not, by whichever member and client it was answered. Where the
// read fails v stays as it is. A read of a structure in all partitions, such as the
// length of a map, sees as many states; with Seen it is quorate.ErrInvalid.
func Seen(v *Version) ReadOption { return ReadOption{seen: v} }

// Reading is what the options of a read ask for together.
type Reading struct {
	Flags protocol.Flags // of the call
	Seen  *Version       // where the version goes; nil: nowhere
}

// ReadWith returns what options ask for; of two Seen the later one holds.
func ReadWith(opts []ReadOption) Reading {
	r := Reading{Flags: protocol.FlagRead}
	for _, o := range opts {
		if o.stale {
			r.Flags |= protocol.FlagStale
		}
		if o.seen != nil {
			r.Seen = o.seen
		}
	}
	return r
}

// Saw stores the version of a reply where it was asked for.
func (r Reading) Saw(reply Reply) {
	if r.Seen != nil {
		*r.Seen = reply.Version
	}
}

// WaitOption bounds how long an operation waits. Without one it waits until its
// context ends. The zero WaitOption changes nothing.
type WaitOption struct {
	most  time.Duration
	bound bool
}

// Wait lets an operation wait for d at most; with 0 or less it never waits. Where it
// has not got by then what it waits for, the error is quorate.ErrNotInTime, and
// nothing has changed. The time is the grid's: it stands still while the structure's
// group has no leader, so a context should bound it as well.
func Wait(d time.Duration) WaitOption { return WaitOption{most: max(d, 0), bound: true} }

// WaitBound is what the options of an operation that may wait ask for together.
type WaitBound struct{ most time.Duration } // negative: no bound

// WaitWith returns what options ask for; of two Wait the later one holds.
func WaitWith(opts []WaitOption) WaitBound {
	w := WaitBound{most: -1}
	for _, o := range opts {
		if o.bound {
			w.most = o.most
		}
	}
	return w
}

// Never reports whether the operation must not wait.
func (w WaitBound) Never() bool { return w.most == 0 }

// Time returns how long the operation may wait, as Call.Wait has it: 0 has no end.
func (w WaitBound) Time() time.Duration { return max(w.most, 0) }

// Less returns what is left of the bound after that much waiting.
func (w WaitBound) Less(waited time.Duration) WaitBound {
	if w.most > 0 {
		w.most = max(w.most-waited, 0)
	}
	return w
}

// HandleOption changes a handle whose structure keeps values. The zero HandleOption
// changes nothing.
type HandleOption struct {
	codec Codec
	set   bool
}

// WithCodec sets how values become bytes; without it CBOR. All handles of a
// structure must have the same: the value of another codec is quorate.ErrCodec.
// The packages of structures call it Codec.
func WithCodec(c Codec) HandleOption { return HandleOption{codec: c, set: true} }

// CodecWith returns the codec that options ask for, and ErrInvalid for one that
// cannot be: the handle's codec then is CBOR, and the error is every call's.
func CodecWith(opts []HandleOption) (Codec, error) {
	c := CBOR
	for _, o := range opts {
		if o.set {
			c = o.codec
		}
	}
	if err := CheckCodec(c); err != nil {
		return CBOR, err
	}
	return c, nil
}
