package bench

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dsemaphore"
)

var semaphoreWorkloads = map[string]workload{
	"semaphore": {about: "acquire, then release", operations: []string{"acquire", "release"}, prepare: prepareSemaphores},
}

// prepareSemaphores makes semaphores with a permit for every worker, so that
// the operations are measured and not the queue for permits.
func prepareSemaphores(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	name := func(i int) string { return fmt.Sprintf("%s-of-%d", structure(c, i), c.InFlight) }
	for i := range c.Keys {
		if err := dsemaphore.New(inv, name(i)).Init(ctx, int64(c.InFlight)); err != nil {
			return nil, err
		}
		loaded(i + 1)
	}
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		semaphores := make([]*dsemaphore.Semaphore, c.Keys)
		for i := range semaphores {
			semaphores[i] = dsemaphore.New(inv, name(i))
		}
		return func(ctx context.Context, lap lap) {
			held, err := semaphores[choose.next()].Acquire(ctx, 1)
			lap(0, err)
			if err != nil {
				return
			}
			lap(1, held.Release(ctx))
		}
	}, nil
}
