package dref

import (
	"context"
	"iter"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Change is what a watch of a reference gives.
type Change[T any] struct {
	Value T
	// Version is that of the value; of a reference without one, that of the state in which
	// it had none.
	Version Version
	// Gone says that there is no value: the reference was never set, or the value was
	// deleted, or the reference destroyed.
	Gone bool
}

// Watch iterates over the values of the reference: that of now, and then the newest
// whenever there is another, until the loop is left, ctx ends or there is an error, which
// is the last thing that comes. Values in between may be left out, so that a slow loop is
// never behind by more than the one it has in hand; what comes is always newer than what
// came before. It goes on by itself over changes of leaders, failures and lost connections.
//
// Errors: [quorate.ErrCodec] for a value that another codec wrote, or that T cannot hold,
// which a watch of [Ref.Encoded] never meets; [quorate.ErrOverloaded] for too many watches;
// [quorate.ErrClosed].
func (r *Ref[T]) Watch(ctx context.Context) iter.Seq2[Change[T], error] {
	return func(yield func(Change[T], error) bool) {
		stream, err := r.Stream(ctx, 0)
		if err != nil {
			yield(Change[T]{}, err)
			return
		}
		defer stream.Close()
		for {
			e, err := stream.Next(ctx)
			if err != nil {
				yield(Change[T]{}, err)
				return
			}
			change := Change[T]{Version: e.Version}
			switch e.Type {
			case structures.EventPut:
				if err := structures.DecodeValue(r.codec, e.Value, &change.Value); err != nil {
					yield(Change[T]{Version: e.Version}, r.handle.Fail(watchVerb, err, ""))
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

const watchVerb = "watch"

// Stream is for package config: the events of [Ref.Watch], with one every so often that
// tells how recent they are; 0: none. The caller closes it.
func (r *Ref[T]) Stream(ctx context.Context, progress time.Duration) (structures.WatchStream, error) {
	return r.handle.Watch(ctx, structures.WatchSpec{
		Verb: watchVerb, Partitions: []protocol.PartitionID{r.handle.Partition(nil)},
		From: valueKey, Options: protocol.WatchRow, Progress: progress,
	})
}
