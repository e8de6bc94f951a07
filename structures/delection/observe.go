package delection

import (
	"context"
	"iter"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Observe iterates over the leaders: that of now, and then the newest after each change of
// leader or value, until the loop is left, ctx ends or there is an error, which is the last
// thing that comes. While nobody leads there is one with None; between two leaders that
// follow at once there is none. A slow loop may miss leaders in between, but tokens never
// go back, and what comes last is what holds. It goes on by itself over changes of the
// grid's leaders, failures and lost connections.
//
// Errors: [quorate.ErrOverloaded] for too many watches; [quorate.ErrCodec] for a value that
// another codec wrote; [quorate.ErrClosed].
func (e *Election[T]) Observe(ctx context.Context) iter.Seq2[Leader[T], error] {
	return func(yield func(Leader[T], error) bool) {
		const verb = "observe"
		// A watch of the row: nothing changes between its first state and the changes
		// (ELECT-5).
		stream, err := e.handle.Watch(ctx, structures.WatchSpec{
			Verb: verb, Partitions: []protocol.PartitionID{e.handle.Partition(nil)},
			From: leaderKey, Options: protocol.WatchRow,
		})
		if err != nil {
			yield(Leader[T]{}, err)
			return
		}
		defer stream.Close()
		for {
			event, err := stream.Next(ctx)
			if err != nil {
				yield(Leader[T]{}, err)
				return
			}
			l := Leader[T]{None: true, Version: event.Version}
			switch event.Type {
			case structures.EventPut:
				var row leader
				if err = row.read(event.Value, false); err == nil {
					l, err = e.shown(verb, &row, event.Version)
				} else {
					err = e.handle.Fail(verb, err, "")
				}
			case structures.EventRemoved:
			default:
				continue
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}
