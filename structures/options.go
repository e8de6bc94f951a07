package structures

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// The options that structures share. Each structure package has them under the same
// names, so dqueue.Wait(d) is structures.Wait(d). They are plain values: an option that
// an operation does not know does not compile, and none costs an allocation.

// Version numbers the states of a partition, or of an entry in it. In one partition a
// later state has a larger version; versions of different partitions do not compare.
type Version = protocol.Version

// ReadOption changes how a read is done. The zero ReadOption changes nothing.
type ReadOption struct {
	stale, fresh bool
	seen         *Version
}

// Stale lets any replica answer from what it has: an older state, sooner, and even if
// the group has lost its majority. [Seen] returns which state it was.
func Stale() ReadOption { return ReadOption{stale: true} }

// Fresh has the grid answer a read that a near cache could answer. Without a near cache it
// changes nothing.
func Fresh() ReadOption { return ReadOption{fresh: true} }

// Seen stores in v the version of the state that the read saw: that of the structure's
// partition. Of two reads the one with the larger version saw the later state, stale or
// not, whichever member and client it used. A read that fails leaves v as it is. A read
// of all partitions, such as the length of a map, sees as many states: with Seen it is
// [quorate.ErrInvalid].
func Seen(v *Version) ReadOption { return ReadOption{seen: v} }

// Reading is what the options of a read ask for together: see [ReadWith].
type Reading struct {
	Flags protocol.Flags // of the call
	Fresh bool           // no near cache may answer
	Seen  *Version       // the variable for the version; nil: none
}

// ReadWith returns what options ask for; of two Seen the later one holds.
func ReadWith(opts []ReadOption) Reading {
	r := Reading{Flags: protocol.FlagRead}
	for _, o := range opts {
		if o.stale {
			r.Flags |= protocol.FlagStale
		}
		r.Fresh = r.Fresh || o.fresh
		if o.seen != nil {
			r.Seen = o.seen
		}
	}
	return r
}

// Saw stores the version of a reply if Seen asked for it.
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

// Wait lets an operation wait for d at most; with 0 or less it never waits. If it did not
// get by then what it waits for, the error is [quorate.ErrNotInTime], and nothing has
// changed. The time is that of the grid, which stops while the structure's group has no
// leader: bound the context as well.
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

// LockOption changes how something is acquired that is held as a whole, such as a lock. The
// zero LockOption changes nothing.
type LockOption struct {
	wait  WaitOption
	note  string
	noted bool
}

// LockWait is [Wait] as a LockOption.
func LockWait(d time.Duration) LockOption { return LockOption{wait: Wait(d)} }

// Note says who holds it and what for, human-readable, in at most [MaxNote] bytes of UTF-8.
// [Handle.Inspect] shows it, also of a call that waits.
func Note(text string) LockOption { return LockOption{note: text, noted: true} }

// Locking is what the options of an acquisition ask for together: see [LockWith].
type Locking struct {
	WaitBound
	Note string
}

// LockWith returns what options ask for; of two alike the later one holds.
func LockWith(opts []LockOption) Locking {
	l := Locking{WaitBound: WaitWith(nil)}
	for _, o := range opts {
		if o.wait.bound {
			l.WaitBound = WaitWith([]WaitOption{o.wait})
		}
		if o.noted {
			l.Note = o.note
		}
	}
	return l
}

// CheckNote returns [quorate.ErrTooLarge] or [quorate.ErrInvalid] for a note that no hold
// may have.
func CheckNote(note string) error { return checkText("note", note) }

func checkText(what, text string) error {
	switch {
	case len(text) > MaxNote:
		return fmt.Errorf("%w: a %s of %d bytes, at most %d", quorate.ErrTooLarge, what, len(text), MaxNote)
	case !utf8.ValidString(text):
		return fmt.Errorf("%w: a %s that is not UTF-8", quorate.ErrInvalid, what)
	}
	return nil
}

// HandleOption changes a handle whose structure keeps values. The zero HandleOption
// changes nothing.
type HandleOption struct {
	codec Codec
	set   bool
}

// WithCodec sets how values become bytes; the default is [CBOR]. All handles of a
// structure must have the same codec: the value of another one is [quorate.ErrCodec].
// The structure packages call this option Codec.
func WithCodec(c Codec) HandleOption { return HandleOption{codec: c, set: true} }

// CodecWith returns the codec that options ask for. If [CheckCodec] refuses that, it
// returns CBOR and the error, which every call of the handle then returns.
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
