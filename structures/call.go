package structures

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// Call is one operation of a handle, inside one partition.
type Call struct {
	Kind  protocol.KindID
	Op    protocol.Op
	Verb  string // for errors: "put"
	Label string // for errors: the kind's name, "map"
	Name  string // of the structure
	// Partition is where the call goes: see Invoker.Partition.
	Partition protocol.PartitionID
	Flags     protocol.Flags
	Body      []byte // must stay unchanged until the call returns
	// Key is the encoded key that the call is about, Keys are those of a call about many.
	// Both nil: all of the partition. Near caches drop by them what a mutation changes.
	Key  []byte
	Keys iter.Seq[[]byte]
	// Wait is, with FlagWait, how long the call may wait, as its body says; 0: until
	// its context ends. The time that it is held back in the client counts.
	Wait time.Duration
	// Late is set for an operation that holds: the session holds what it is granted
	// until that is given back. The Invoker calls Late with a grant that the caller did
	// not get, so that Late gives it back, by a call with the Lease of the reply: either
	// Invoke has returned an unknown outcome, and has gone on cancelling until it knew
	// the outcome, or the session was lost before Invoke could return. Late must not
	// block.
	Late func(Reply)
	// Accept, if set, is called with the reply of a waiting call for which something is
	// reserved, before that is taken for good. An error gives it back, and is the
	// error of the call.
	Accept func(Reply) error
	// Lease, if set, is that of an earlier Reply: the call is made under the session of
	// that reply and no other. If that has ended the error is quorate.ErrSessionLost.
	Lease context.Context
}

// Object names the structure for an error: "map users".
func (c *Call) Object() string { return c.Label + " " + c.Name }

// Reply is the definite answer to a Call. Code is CodeOK, CodeTimedOut or one
// of the kind's own (CodeKindBase and above); every other outcome is an error.
type Reply struct {
	Code protocol.Code
	Body []byte // may be kept
	// Version is that of the partition in the state that answered. For a mutation it is
	// the state in which it was applied, even if a repeat is answered later.
	Version protocol.Version
	// Lease ends when the session under which the mutation was made is lost, or is
	// about to be: before anyone else can be granted what it holds. nil for reads.
	Lease context.Context
}

// Invoker carries calls to the grid; a *client.Client is one. It is safe for
// concurrent use.
//
// Invoke returns when the answer is known or ctx ends. It repeats the call
// under one identity, at whichever member leads, until ctx ends: a mutation is
// applied at most once. Its error is a [*quorate.Error]. With FlagWait it has no
// deadline of its own; when ctx ends it withdraws the call, and returns a grant
// that was on its way rather than lose it.
type Invoker interface {
	Invoke(ctx context.Context, call Call) (Reply, error)
	// InvokeAll carries out many calls, one frame a member. Each is an operation
	// of its own; the i-th answer is that of calls[i].
	InvokeAll(ctx context.Context, calls []Call) ([]Reply, []error)
	// Watch begins a watch. It goes on by itself, at whichever member leads, until its
	// stream is closed or has returned an error.
	Watch(ctx context.Context, spec WatchSpec) (WatchStream, error)
	// Partition returns the partition of a key of a structure, encoded as AppendKey
	// does. For a structure without keys it is nil.
	Partition(name string, key []byte) protocol.PartitionID
	// Partitions returns how many partitions there are.
	Partitions() int
	// Limits returns the limits of the grid.
	Limits() protocol.Limits
}

// CheckName returns ErrInvalid or ErrTooLarge for a name no structure may have.
func CheckName(name string, limits protocol.Limits) error { return checkName(name, int(limits.Name)) }

func checkName(name string, limit int) error { return CheckIdentifier("name", name, limit) }

// CheckIdentifier returns ErrInvalid or ErrTooLarge for text that is not 1 to limit bytes of
// UTF-8 without control characters. The error calls it what it is, such as a name.
func CheckIdentifier(what, text string, limit int) error {
	switch {
	case text == "":
		return fmt.Errorf("%w: the %s is empty", quorate.ErrInvalid, what)
	case len(text) > limit:
		return fmt.Errorf("%w: the %s has %d bytes, at most %d", quorate.ErrTooLarge, what, len(text), limit)
	case !utf8.ValidString(text):
		return fmt.Errorf("%w: the %s is not UTF-8", quorate.ErrInvalid, what)
	}
	for _, r := range text {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: the %s %q has a control character", quorate.ErrInvalid, what, text)
		}
	}
	return nil
}

// Cacher is an Invoker that keeps near caches; a *client.Client is one.
type Cacher interface {
	// NearCache returns the near cache of a structure, one for all handles. Its error is
	// [quorate.ErrSettings] if another handle of the structure has other settings,
	// [quorate.ErrInvalid] for settings that are out of range.
	NearCache(spec NearSpec) (NearCache, error)
}

// SessionNamer is an Invoker that can say whose a session is; a *client.Client is one.
type SessionNamer interface {
	// SessionNames returns the names of the clients of sessions, without those that are
	// not known: the session has ended, its client has no name, or nobody answers.
	SessionNames(ctx context.Context, ids ...protocol.SessionID) map[protocol.SessionID]string
}

// NearSpec is what a near cache is of, and how it works.
type NearSpec struct {
	Kind        protocol.KindID
	Label, Name string

	MaxStale   time.Duration          // see MinStale, MostStale; 0: DefaultStale
	From, To   []byte                 // encoded keys from From on and before To; an empty To is no end
	Partitions []protocol.PartitionID // that have such keys
	Shared     bool                   // readers share a decoded value
}

// Bounds of NearSpec.MaxStale.
const (
	MinStale     = 200 * time.Millisecond
	DefaultStale = 2 * time.Second
	MostStale    = time.Minute
)

// NearCache keeps values of keys that were read, in the client, as encoded by the
// structure, or that there is none. It is safe for concurrent use.
type NearCache interface {
	// Get returns what is kept of a key; false: nothing that may be returned.
	Get(key []byte) (NearValue, bool)
	// Read has read carried out, which is linearizable, and keeps what it returns. If the
	// same key is being read already, and fresh is false, it waits for that one instead.
	Read(ctx context.Context, p protocol.PartitionID, key []byte, fresh bool, read func() (NearValue, error)) (NearValue, error)
	// Begin notes that a key is about to be read. The caller ends the NearRead.
	Begin(p protocol.PartitionID, key []byte) NearRead
	// Stats returns the counts.
	Stats() NearStats
}

// NearRead is a read of a key whose value is to be kept.
type NearRead interface {
	// Done says what was read. After the first call it does nothing.
	Done(v NearValue)
	// Abandon says that nothing was read. After Done it does nothing.
	Abandon()
}

// NearValue is what is known of a key. Value must not be changed.
type NearValue struct {
	Exists  bool
	Value   []byte  // encoded
	Version Version // of the entry
	Seen    Version // of the partition in the state that was read
	// Left is the time to live that is left; 0: there is no end.
	Left time.Duration
	// Memo has the decoded value, for readers who share it; nil: each decodes it.
	Memo *atomic.Pointer[any]
}

// NearStats are counts of a near cache, since its client was made.
type NearStats struct {
	Hits        uint64 // reads that were answered from it with a value,
	AbsentHits  uint64 // and with the knowledge that there is none
	Misses      uint64 // reads that were not, because nothing was kept
	TooOld      uint64 // reads that were not, because what was kept is not known to be recent
	Joined      uint64 // reads that waited for another of the same key
	Stored      uint64 // entries
	NotStored   uint64 // that were refused, because the key had changed meanwhile or there was no space
	Invalidated uint64 // entries that a change, or a newer read, has ended
	Gaps        uint64 // times that changes of a partition were missed, and all of it was dropped
	Evicted     uint64 // entries that had to go to stay within the bound of the client
	Entries     int
	Bytes       int64 // of keys and values, and what they take beside
	// Age is how long ago the last confirmation was asked for of the partition that was
	// confirmed least recently; 0: no partition is watched.
	Age time.Duration
}
