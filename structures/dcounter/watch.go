package dcounter

import (
	"context"
	"iter"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Change is what a watch of a counter gives.
type Change struct {
	Value int64
	// Version is that of the mutation that wrote the value; of a counter that is not there,
	// that of the state in which it was not.
	Version Version
	// Gone says that the counter was never written, or destroyed: its value is 0.
	Gone bool
}

// Watch iterates over the values of the counter: that of now, and then the newest whenever
// there is another, until the loop is left, ctx ends or there is an error, which is the
// last thing that comes. Values in between may be left out, so that a slow loop is never
// behind by more than the one it has in hand; what comes is always newer than what came
// before. It goes on by itself over changes of leaders, failures and lost connections.
//
// Errors: [quorate.ErrOverloaded] for too many watches; [quorate.ErrClosed].
func (c *Counter) Watch(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		const verb = "watch"
		stream, err := c.handle.Watch(ctx, structures.WatchSpec{
			Verb: verb, Partitions: []protocol.PartitionID{c.handle.Partition(nil)},
			From: valueKey, Options: protocol.WatchRow,
		})
		if err != nil {
			yield(Change{}, err)
			return
		}
		defer stream.Close()
		for {
			e, err := stream.Next(ctx)
			if err != nil {
				yield(Change{}, err)
				return
			}
			change := Change{Version: e.Version}
			switch e.Type {
			case structures.EventPut:
				if err := protocol.ReadInts(e.Value, &change.Value); err != nil {
					yield(Change{}, c.handle.Fail(verb, err, ""))
					return
				}
			case structures.EventRemoved:
				change.Gone = true
			default:
				continue
			}
			if !yield(change, nil) {
				return
			}
		}
	}
}
