package structures

import (
	"context"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Call is one operation of a handle, inside one partition.
type Call struct {
	Kind  protocol.KindID
	Op    protocol.Op
	Verb  string // for errors: "put"
	Label string // for errors: the kind's name, "map"
	Name  string // of the structure
	// Partition is where the call goes: Invoker.Partition tells.
	Partition protocol.PartitionID
	Flags     protocol.Flags
	Body      []byte // must stay unchanged until the call returns
	// Wait is, with FlagWait, how long the call may wait, as its body says; 0: until
	// its context ends. The time that it is held back in the client counts.
	Wait time.Duration
	// Late is set for an operation that holds: what it is granted is held by the
	// session until it is given back. It is called with what was granted to a call
	// whose caller does not have it, so that it can be given back: because Invoke
	// has returned an unknown outcome, after which it cancels the call until it knows
	// the outcome, or because the session was lost before it could return. It must
	// not block. The giving back is a call with the Lease of the reply.
	Late func(Reply)
	// Accept, where set, is called with the reply of a waiting call for which
	// something is reserved, before that is taken for good. An error gives it back,
	// and is the call's.
	Accept func(Reply) error
	// Lease, where set, is that of an earlier Reply: the call is made under the
	// session of that reply and no other. Where that has ended it is
	// quorate.ErrSessionLost.
	Lease context.Context
}

// Object names the structure for an error: "map users".
func (c *Call) Object() string { return c.Label + " " + c.Name }

// Reply is the definite answer to a Call. Code is CodeOK, CodeTimedOut or one
// of the structure's own (CodeRoom and above); every other outcome is an error.
type Reply struct {
	Code protocol.Code
	Body []byte // may be kept
	// Version is that of the partition in the state that answered: of a mutation
	// that in which it was applied, however late a repeat of the call is answered.
	Version protocol.Version
	// Lease ends when the session under which the mutation was made is lost, or
	// is about to be: before anyone else can be granted what it holds. nil for
	// reads.
	Lease context.Context
}

// Invoker carries calls to the grid; a *client.Client is one. It is safe for
// concurrent use.
//
// Invoke returns when the answer is known or ctx ends. It repeats the call
// under one identity, at whichever member leads, until ctx ends: a mutation is
// applied at most once. Its error is a *quorate.Error. With FlagWait it has no
// deadline of its own; when ctx ends it withdraws the call, and a grant that
// was on its way is returned rather than lost.
type Invoker interface {
	Invoke(ctx context.Context, call Call) (Reply, error)
	// InvokeAll carries out many calls, one frame a member. Each is an operation
	// of its own; the i-th answer is that of calls[i].
	InvokeAll(ctx context.Context, calls []Call) ([]Reply, []error)
	// Partition returns where a key of a structure lives. A structure without
	// keys passes nil. The key is as AppendKey encoded it.
	Partition(name string, key []byte) protocol.PartitionID
	// Partitions returns how many partitions there are.
	Partitions() int
	// Limits returns the limits of the grid.
	Limits() protocol.Limits
}

// CheckName returns ErrInvalid or ErrTooLarge for a name no structure may have.
func CheckName(name string, limits protocol.Limits) error { return checkName(name, int(limits.Name)) }
