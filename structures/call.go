package structures

import (
	"context"
	"fmt"
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

func checkName(name string, limit int) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the name is empty", quorate.ErrInvalid)
	case len(name) > limit:
		return fmt.Errorf("%w: the name has %d bytes, at most %d", quorate.ErrTooLarge, len(name), limit)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the name is not UTF-8", quorate.ErrInvalid)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: the name %q has a control character", quorate.ErrInvalid, name)
		}
	}
	return nil
}
