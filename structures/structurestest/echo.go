package structurestest

import (
	"context"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Echo is a grid whose every answer is the same, however wrong, for tests of
// what handles make of it.
type Echo structures.Reply

// Invoke returns the answer.
func (e Echo) Invoke(context.Context, structures.Call) (structures.Reply, error) {
	return structures.Reply(e), nil
}

// InvokeAll returns the answer for each call.
func (e Echo) InvokeAll(_ context.Context, calls []structures.Call) ([]structures.Reply, []error) {
	replies := make([]structures.Reply, len(calls))
	for i := range replies {
		replies[i] = structures.Reply(e)
	}
	return replies, make([]error, len(calls))
}

// Watch returns the answer's error: an Echo pushes nothing.
func (e Echo) Watch(_ context.Context, spec structures.WatchSpec) (structures.WatchStream, error) {
	return nil, &quorate.Error{Op: spec.Verb, Object: spec.Object(), Cause: quorate.ErrUnsupported}
}

// Partition returns 0.
func (Echo) Partition(string, []byte) protocol.PartitionID { return 0 }

// Partitions returns 3.
func (Echo) Partitions() int { return 3 }

// Limits returns the default limits.
func (Echo) Limits() protocol.Limits { return protocol.DefaultLimits() }
