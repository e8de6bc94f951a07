package structures

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// WatchSpec says what is watched, for Invoker.Watch. The handles of structures make it.
type WatchSpec struct {
	Kind        protocol.KindID
	Verb, Label string // name the operation and the kind for errors
	Name        string // of the structure
	Partitions  []protocol.PartitionID

	From, To []byte // encoded keys from From on and before To; an empty To is no end
	Options  protocol.WatchOptions
	Types    uint32 // of events: a bit for each type; 0: all

	Current bool         // begin with the entries
	After   *WatchCursor // begin behind it; nil: not
	// AfterVersion is where the one partition begins that is watched; 0: not.
	AfterVersion Version
	// FromVersion says that AfterVersion counts even if it is 0: the state before the first
	// mutation of the partition.
	FromVersion bool

	Relist bool // where events are missing, go on with the entries
	// Restart, of a watch from now on, goes on from now where events are missing: with an
	// EventGap, and an EventSynced of the partition when it has begun anew. Nothing waits
	// for partitions that have not begun.
	Restart  bool
	Progress time.Duration // how often an EventProgress comes; 0: never
	Window   int           // bytes of events that may be on their way; 0: DefaultWindow
}

// Bounds of the window of a watch, in bytes, and of the time between two EventProgress.
const (
	DefaultWindow = 64 << 10
	MaxWindow     = 4 << 20
	MinProgress   = time.Second
)

// Object names what is watched for an error: "map users".
func (s *WatchSpec) Object() string { return s.Label + " " + s.Name }

// WatchEvent is an event as a watch yields it. Its slices must not be changed.
type WatchEvent struct {
	Event
	Partition protocol.PartitionID
	Version   Version
	More      bool          // another event of the same mutation follows
	Left      time.Duration // of EventCurrent: the time that the entry has left; 0: it has no end
	Reason    GapReason     // of EventGap
	AsOf      time.Time     // of EventProgress: what was acknowledged before then has come
	// State is, of a watched row, the version of the partition in the state that was read:
	// it never falls, while a row that was restored has the version that it had.
	State   Version
	Cluster protocol.UUID // the grid that sent the event

	// Of EventProgress of a watch with Restart: the number of the probe, and the partitions
	// of which all has come that was acknowledged when it was sent.
	Probe   uint64
	Covered []protocol.PartitionID
}

// WatchStream is a watch. Its methods are for one goroutine at a time.
type WatchStream interface {
	// Next returns the next event. Its error is the last thing that it returns.
	Next(ctx context.Context) (WatchEvent, error)
	// Cursor returns the position behind the last event that Next has returned.
	Cursor() WatchCursor
	// Close ends the watch. It may be called twice.
	Close()
}

// GapReason says why events are missing.
type GapReason uint8

// The reasons.
const (
	GapCompacted    GapReason = protocol.GapCompacted    // they are no longer kept
	GapDataLost     GapReason = protocol.GapDataLost     // the majority that had them has lost its data
	GapOtherHistory GapReason = protocol.GapOtherHistory // the position is not one of this grid's
	GapOtherGrid    GapReason = protocol.GapOtherGrid    // the grid was lost and formed anew
)

// String says the reason: "the events are no longer kept".
func (r GapReason) String() string {
	switch r {
	case GapCompacted:
		return "the events are no longer kept"
	case GapDataLost:
		return "the group has lost data"
	case GapOtherHistory:
		return "the position is in another history"
	case GapOtherGrid:
		return "the grid was lost and formed anew"
	}
	return "unknown"
}

// GapError is the error of a watch that cannot go on because events are missing. With
// GapCompacted it Is [quorate.ErrCompacted], with GapOtherGrid [quorate.ErrGridLost].
type GapError struct {
	Reason GapReason
	Cursor WatchCursor // of the watch; behind it events are missing
}

func (e *GapError) Error() string { return "events are missing: " + e.Reason.String() }

// Is reports whether the reason is that of a condition.
func (e *GapError) Is(target error) bool {
	switch e.Reason {
	case GapCompacted:
		return target == quorate.ErrCompacted
	case GapOtherGrid:
		return target == quorate.ErrGridLost || target == quorate.ErrSessionLost
	}
	return false
}

// WatchCursor is a position in a watch: what has come. The zero WatchCursor is none. It
// can be kept anywhere, as text or bytes, and a watch of the same keys, with the same
// filters, goes on from it, in this or another process.
type WatchCursor struct {
	Cluster protocol.UUID
	Kind    protocol.KindID
	Name    string // of the structure
	Parts   []CursorPart
}

// CursorPart is the position in a partition.
type CursorPart struct {
	Partition protocol.PartitionID
	Known     bool    // false: nothing has come, the list begins at its beginning
	Version   Version // all mutations up to it have come,
	Skip      uint32  // the first events of the next one,
	Passed    uint32  // and so many events of the watch behind those
	Listing   bool    // the entries up to Listed have come, the others are to come
	Listed    string
}

// IsZero reports whether the cursor is none.
func (c WatchCursor) IsZero() bool { return c.Name == "" }

// String returns the text of the cursor: letters, digits, - and _.
func (c WatchCursor) String() string {
	text, _ := c.MarshalText()
	return string(text)
}

// MarshalText implements [encoding.TextMarshaler]. Its error is always nil.
func (c WatchCursor) MarshalText() ([]byte, error) {
	b, err := c.MarshalBinary()
	return base64.RawURLEncoding.AppendEncode(nil, b), err
}

// UnmarshalText implements [encoding.TextUnmarshaler]. Text that is no cursor is
// [quorate.ErrInvalid].
func (c *WatchCursor) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("%w: a cursor: %w", quorate.ErrInvalid, err)
	}
	return c.UnmarshalBinary(b)
}

// cursorOfWatch is the first element of every cursor of this form. Another form gets
// another number.
const cursorOfWatch = 2

const (
	cursorKnown   = 1 << 0
	cursorListing = 1 << 1
)

// MarshalBinary implements [encoding.BinaryMarshaler]. Its error is always nil.
func (c WatchCursor) MarshalBinary() ([]byte, error) {
	if c.IsZero() {
		return nil, nil
	}
	b := protocol.AppendUint(protocol.AppendArray(nil, 5), cursorOfWatch)
	b = protocol.AppendBytes(b, c.Cluster[:])
	b = protocol.AppendUint(b, uint64(c.Kind))
	b = protocol.AppendString(b, c.Name)
	b = protocol.AppendArray(b, 6*len(c.Parts))
	for i := range c.Parts {
		p := &c.Parts[i]
		flags := uint64(0)
		if p.Known {
			flags |= cursorKnown
		}
		if p.Listing {
			flags |= cursorListing
		}
		b = protocol.AppendUint(b, uint64(p.Partition))
		b = protocol.AppendUint(b, flags)
		b = protocol.AppendUint(b, uint64(p.Version))
		b = protocol.AppendUint(b, uint64(p.Skip))
		b = protocol.AppendUint(b, uint64(p.Passed))
		b = protocol.AppendBytes(b, []byte(p.Listed))
	}
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]. Bytes that are no cursor are
// [quorate.ErrInvalid].
func (c *WatchCursor) UnmarshalBinary(b []byte) error {
	*c = WatchCursor{}
	if len(b) == 0 {
		return nil
	}
	r := protocol.NewReader(b)
	r.Array(5)
	form := r.Uint()
	cluster := r.Bytes()
	kind := r.Uint()
	got := WatchCursor{Kind: protocol.KindID(kind), Name: strings.Clone(r.String())}
	n := r.ArrayLen()
	if form != cursorOfWatch || len(cluster) != len(got.Cluster) || kind > 255 || got.Name == "" || n%6 != 0 {
		r.Fail()
	}
	copy(got.Cluster[:], cluster)
	for i := 0; i < n/6 && r.Err() == nil; i++ {
		p := CursorPart{Partition: protocol.PartitionID(r.Uint32())}
		flags := r.Uint()
		p.Known, p.Listing = flags&cursorKnown != 0, flags&cursorListing != 0
		p.Version, p.Skip, p.Passed = Version(r.Uint()), r.Uint32(), r.Uint32()
		p.Listed = string(r.Bytes())
		if flags > cursorKnown|cursorListing || !p.Known && !p.Listing || !p.Listing && p.Listed != "" {
			r.Fail()
		}
		got.Parts = append(got.Parts, p)
	}
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: a cursor: %w", quorate.ErrInvalid, err)
	}
	*c = got
	return nil
}

// Watch begins a watch of the structure. The caller closes the stream.
func (h *Handle) Watch(ctx context.Context, spec WatchSpec) (WatchStream, error) {
	if h.bad != nil {
		return nil, h.Fail(spec.Verb, h.bad, "")
	}
	spec.Kind, spec.Label, spec.Name = h.kind.ID, h.kind.Name, h.name
	return h.inv.Watch(ctx, spec)
}
