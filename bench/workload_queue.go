package bench

import (
	"context"
	"math/rand/v2"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dqueue"
)

var queueWorkloads = map[string]workload{
	"queue": {about: "put, then take", operations: []string{"put", "take"}, prepare: prepareQueues},
}

// prepareQueues empties the queues. A worker puts before it takes, so a take
// waits at most for a put that is on its way.
func prepareQueues(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	for i := range c.Keys {
		if err := dqueue.New[string](inv, structure(c, i)).Clear(ctx); err != nil {
			return nil, err
		}
		loaded(i + 1)
	}
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		value := string(randomBytes(rand.New(rand.NewPCG(c.Seed, ^stream)), c.ValueSize))
		queues := make([]*dqueue.Queue[string], c.Keys)
		for i := range queues {
			queues[i] = dqueue.New[string](inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			q := queues[choose.next()]
			err := q.Put(ctx, value)
			lap(0, err)
			if err != nil {
				return
			}
			_, err = q.Take(ctx)
			lap(1, err)
		}
	}, nil
}
